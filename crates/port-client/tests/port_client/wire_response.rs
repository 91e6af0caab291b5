//! Random responses: those of Port, changed ones, and any other bytes.

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::CLIENT_SECRET;

/// The access token that the responses may repeat.
pub const TOKEN: &str = "t0ken-of-the-test";

/// A response as its bytes on the wire.
#[derive(Clone)]
pub struct WireResponse {
    pub status: u16,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Vec<u8>,
    framing: Framing,
}

impl fmt::Debug for WireResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, headers, body, framing } = self;
        let headers: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {}", value.escape_ascii())).collect();
        write!(formatter, "{status} {headers:?} {framing:?} {}", body.escape_ascii())
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Framing {
    ContentLength,
    Chunked,
    UntilTheEnd,
    /// The announced length is longer than the body.
    CutOff,
    /// The body without a head.
    Headless,
}

fn responses_of_port() -> Vec<Value> {
    vec![
        json!({"ok": true, "accessToken": TOKEN, "expiresIn": 10800, "tokenType": "Bearer"}),
        json!({"ok": true, "entity": {"identifier": "a", "title": "A", "properties": {"status": "success"}, "relations": {"group": null}}}),
        json!({"ok": true, "entities": [{"identifier": "a", "index": 0, "created": true}, {"identifier": "b", "index": 1, "created": false}], "errors": []}),
        json!({"ok": false, "entities": [{"identifier": "a", "index": 0, "created": true}], "errors": [{"identifier": "b", "index": 1, "statusCode": 422, "error": "invalid_request", "message": "no"}]}),
        json!({"ok": true, "blueprint": {"identifier": "a", "title": "A", "schema": {"properties": {"status": {"type": "string", "enum": ["Success"]}}, "required": ["status"]}, "relations": {"group": {"target": "group", "required": true, "many": false}}}}),
        json!({"ok": true}),
        json!({"ok": false, "error": "not_found", "message": "Entity with identifier \"a\" of blueprint \"b\" was not found", "details": {"resource": "Entity", "withValue": "a"}}),
        json!({"ok": false, "error": "invalid_request", "message": format!("you sent {CLIENT_SECRET} and {TOKEN}")}),
    ]
}

/// Texts with a meaning to the client, and others.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec!["a", "b", "group", "Bearer", "not_found", CLIENT_SECRET, TOKEN, ""]).prop_map(str::to_owned),
        ".{0,40}",
        "[a-z]{2000,6000}",
    ]
}

/// JSON values of any type and size; 1e999 is valid JSON too.
fn any_leaf() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec![
            "null",
            "true",
            "false",
            "1e999",
            "-1e308",
            "-0",
            "18446744073709551616",
            "0.5",
            "[]",
            "{}",
            "404"
        ])
        .prop_map(str::to_owned),
        any::<i64>().prop_map(|number| number.to_string()),
        any_text().prop_map(|text| Value::from(text).to_string()),
    ]
}

fn any_name() -> impl Strategy<Value = String> {
    let known = [
        "ok",
        "error",
        "message",
        "details",
        "resource",
        "withValue",
        "entity",
        "entities",
        "errors",
        "index",
        "statusCode",
        "identifier",
        "created",
        "blueprint",
        "schema",
        "properties",
        "required",
        "relations",
        "type",
        "enum",
        "target",
        "many",
        "accessToken",
        "expiresIn",
        "tokenType",
    ];
    select(known.to_vec()).prop_map(str::to_owned)
}

fn any_json() -> impl Strategy<Value = String> {
    any_leaf().prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(|items| format!("[{}]", items.join(","))),
            vec((any_name(), inner), 0..6).prop_map(|fields| {
                let fields: Vec<_> = fields.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

#[derive(Debug, Clone)]
enum Change {
    /// Replaces one value.
    Replace(Index, String),
    Flip(Index, u8),
    Truncate(Index),
    Insert(Index, Vec<u8>),
    Remove(Index, Index),
}

fn any_change() -> impl Strategy<Value = Change> {
    let insertions = prop_oneof![
        vec(any::<u8>(), 1..8),
        any_text().prop_map(String::into_bytes),
        Just(vec![0xff, 0xfe]),
        select(vec![b'[', b'{', b'"']).prop_map(|byte| vec![byte; 5_000]),
    ];
    prop_oneof![
        4 => (any::<Index>(), any_leaf()).prop_map(|(at, leaf)| Change::Replace(at, leaf)),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Flip(at, byte)),
        1 => any::<Index>().prop_map(Change::Truncate),
        1 => (any::<Index>(), insertions).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Remove(from, to)),
    ]
}

fn changed(mut bytes: Vec<u8>, change: &Change) -> Vec<u8> {
    let place = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
    match change {
        Change::Replace(at, leaf) => {
            // The text between two delimiters of JSON: a value, a name, or nothing.
            let is_delimiter = |byte: &u8| matches!(byte, b':' | b',' | b'[' | b'{' | b']' | b'}');
            let middle = place(at, &bytes);
            let from = bytes[..middle].iter().rposition(is_delimiter).map_or(0, |index| index + 1);
            let to = bytes[middle..].iter().position(is_delimiter).map_or(bytes.len(), |index| middle + index);
            bytes.splice(from..to.max(from), leaf.bytes());
        }
        Change::Flip(at, byte) => {
            if !bytes.is_empty() {
                let index = at.index(bytes.len());
                bytes[index] = *byte;
            }
        }
        Change::Truncate(at) => bytes.truncate(place(at, &bytes)),
        Change::Insert(at, more) => {
            let index = place(at, &bytes);
            bytes.splice(index..index, more.iter().copied());
        }
        Change::Remove(from, to) => {
            let (from, to) = (place(from, &bytes), place(to, &bytes));
            bytes.drain(from.min(to)..from.max(to));
        }
    }
    bytes
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let real = || select(responses_of_port()).prop_map(|response| response.to_string().into_bytes());
    let changed_ones =
        (real(), vec(any_change(), 1..5)).prop_map(|(bytes, changes)| changes.iter().fold(bytes, changed));
    let deep =
        (1_usize..20_000).prop_map(|depth| format!("{{\"ok\":true,\"entity\":{}", "[".repeat(depth)).into_bytes());
    prop_oneof![
        2 => real(),
        6 => changed_ones,
        3 => any_json().prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..2_000),
        1 => any_text().prop_map(String::into_bytes),
        1 => deep,
    ]
}

fn any_headers() -> impl Strategy<Value = Vec<(&'static str, Vec<u8>)>> {
    let names = [
        "retry-after",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "x-ratelimit-period",
        "date",
        "x-trace-id",
        "location",
        "content-type",
        "content-encoding",
        "set-cookie",
    ];
    let meaningful = [
        "0",
        "1",
        "-1",
        "30",
        "1e308",
        "NaN",
        "inf",
        "9999",
        "10001",
        "784111897",
        "99999999999999999999",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "https://elsewhere.invalid/?secret",
        CLIENT_SECRET,
        TOKEN,
    ];
    let visible = prop_oneof![Just(b'\t'), 0x20_u8..0x7f, 0x80_u8..=0xff];
    let value = prop_oneof![
        4 => select(meaningful.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(visible, 0..300),
    ];
    vec((select(names.to_vec()), value), 0..5)
}

pub fn any_response() -> impl Strategy<Value = WireResponse> {
    let usual = [200, 201, 204, 207, 301, 400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 503];
    let status = prop_oneof![6 => select(usual.to_vec()), 1 => 100_u16..1_000];
    let framing = prop_oneof![
        8 => Just(Framing::ContentLength),
        1 => Just(Framing::Chunked),
        1 => Just(Framing::UntilTheEnd),
        1 => Just(Framing::CutOff),
        1 => Just(Framing::Headless),
    ];
    (status, any_headers(), any_body(), framing).prop_map(|(status, headers, body, framing)| WireResponse {
        status,
        headers,
        body,
        framing,
    })
}

impl WireResponse {
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.framing != Framing::Headless {
            bytes.extend(format!("HTTP/1.1 {} Whatever\r\nconnection: close\r\n", self.status).into_bytes());
            for (name, value) in &self.headers {
                bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
            }
            match self.framing {
                Framing::ContentLength => {
                    bytes.extend(format!("content-length: {}\r\n\r\n", self.body.len()).into_bytes());
                }
                Framing::CutOff => {
                    bytes.extend(format!("content-length: {}\r\n\r\n", self.body.len() + 7).into_bytes());
                }
                Framing::Chunked => {
                    bytes.extend(format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n", self.body.len()).into_bytes());
                }
                Framing::UntilTheEnd | Framing::Headless => bytes.extend(b"\r\n"),
            }
        }
        bytes.extend(&self.body);
        if self.framing == Framing::Chunked {
            bytes.extend(b"\r\n0\r\n\r\n");
        }
        bytes
    }

    /// Whether it is a successful response of Port.
    pub fn is_success(&self) -> bool {
        self.has_ok(true) && (200..300).contains(&self.status)
    }

    /// Whether its body has this `"ok"`.
    pub fn has_ok(&self, ok: bool) -> bool {
        serde_json::from_slice::<Value>(&self.body).is_ok_and(|json| json.get("ok") == Some(&Value::Bool(ok)))
    }

    /// The indexes in the list of stored entities.
    pub fn stored_indexes(&self) -> Vec<f64> {
        let json: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let entities = json.get("entities").and_then(Value::as_array).cloned().unwrap_or_default();
        entities.iter().filter_map(|entry| entry.get("index")?.as_f64()).collect()
    }
}
