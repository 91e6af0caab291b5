//! Random responses: each has a result, none is a success by mistake, and no text contains a secret.
//!
//! The bytes go through the whole client: HTTP, the parsing of statuses, headers and bodies, and the texts of errors. `PROPTEST_CASES` sets
//! the number of cases (default: 256).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use port_client::{
    BaseUrl, Client, ClientOptions, Entity, Error, ExpectedFields, MAX_PAUSE, NewBlueprint, Property, Sent,
    UpsertOptions,
};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::wire_response::{TOKEN, WireResponse, any_response};
use super::{CLIENT_SECRET, with_long_timeouts};

/// No text of the client is longer than this.
const MAX_TEXT_CHARACTERS: usize = 4_096;

/// The call of a case. The random response answers this call, or the token request before it for `Token`.
#[derive(Debug, Clone, Copy)]
enum Call {
    Token,
    Upsert,
    UpsertBulk,
    GetBlueprint,
    CreateBlueprint,
    GetEntity,
    DeleteEntity,
}

const CALLS: [Call; 7] = [
    Call::Token,
    Call::Upsert,
    Call::UpsertBulk,
    Call::GetBlueprint,
    Call::CreateBlueprint,
    Call::GetEntity,
    Call::DeleteEntity,
];

/// A server that issues a token, and gives one prepared response to every other request (or to the token request).
struct Impostor {
    base_url: String,
    response: Arc<Mutex<(Vec<u8>, Call)>>,
}

impl Impostor {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let response = Arc::new(Mutex::new((Vec::new(), Call::Token)));
        let current = Arc::clone(&response);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                // One after the other: the client opens a new connection for each request, since the server closes each of them.
                let (bytes, call) = current.lock().clone();
                let _ = respond(connection, &bytes, call).await;
            }
        });
        Self { base_url, response }
    }
}

async fn respond(mut connection: TcpStream, bytes: &[u8], call: Call) -> std::io::Result<()> {
    let mut request = Vec::new();
    loop {
        if connection.read_buf(&mut request).await? == 0 || is_complete(&request) {
            break;
        }
    }
    if request.starts_with(b"POST /v1/auth/") && !matches!(call, Call::Token) {
        let body = json!({"ok": true, "accessToken": TOKEN, "expiresIn": 10800, "tokenType": "Bearer"}).to_string();
        let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        connection.write_all((head + &body).as_bytes()).await?;
    } else {
        connection.write_all(bytes).await?;
    }
    connection.shutdown().await
}

/// Whether the head and the whole body have arrived.
fn is_complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let announced = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= announced.unwrap_or(0)
}

fn check_error(error: &Error, call: Call) -> Result<(), TestCaseError> {
    let advice = error.advice().unwrap_or_default();
    let text = error.to_string();
    prop_assert!(text.chars().count() <= MAX_TEXT_CHARACTERS, "{} characters: {text}", text.chars().count());
    prop_assert!(advice.chars().count() <= MAX_TEXT_CHARACTERS);
    prop_assert!(error.is_temporary() || !advice.is_empty(), "either a retry helps or there is advice: {text}");
    prop_assert!(!text.chars().any(char::is_control), "one line: {text:?}");
    for shown in [text, advice, format!("{error:?}"), format!("{:?}", error.missing_resource())] {
        prop_assert!(!shown.contains(CLIENT_SECRET), "{shown}");
        // The response to a token request may repeat any text; the client does not use it as a token.
        prop_assert!(matches!(call, Call::Token) || !shown.contains(TOKEN), "{shown}");
    }
    Ok(())
}

fn check<T: fmt::Debug>(call: Call, result: &Result<T, Error>, may_succeed: bool) -> Result<(), TestCaseError> {
    match result {
        Ok(value) => prop_assert!(may_succeed, "{value:?}"),
        Err(error) => check_error(error, call)?,
    }
    Ok(())
}

async fn try_one(impostor: &Impostor, wire: &WireResponse, call: Call) -> Result<(), TestCaseError> {
    *impostor.response.lock() = (wire.bytes(), call);
    let base_url: BaseUrl = impostor.base_url.parse().unwrap();
    let client = Client::new(ClientOptions {
        // No call waits, and a closed connection is noticed at once, so the timeouts are only a last resort.
        max_wait: Duration::ZERO,
        ..with_long_timeouts(base_url)
    })
    .unwrap();
    let entities = [Entity::new("a"), Entity::new("b"), Entity::new("c")];
    let options = UpsertOptions::default();
    let is_success = wire.is_success();
    match call {
        Call::Upsert => check(call, &client.upsert("b", &entities[0], options).await, is_success)?,
        Call::Token | Call::GetBlueprint => {
            let result = client.get_blueprint("b").await;
            check(call, &result, is_success)?;
            if let Ok(blueprint) = result {
                let expected = ExpectedFields::default().with_property("status", Property::string(), Sent::Always);
                let differences = blueprint.differences(&expected);
                prop_assert!(differences.iter().all(|difference| !difference.to_string().is_empty()));
                for property in blueprint.schema.properties.values() {
                    let allowed = &property.allowed_values;
                    let conformed = property.conform(&json!("success"));
                    prop_assert!(conformed.map_or(true, |value| allowed.is_empty() || allowed.contains(&value)));
                }
            }
        }
        Call::CreateBlueprint => {
            let result = client.create_blueprint(&NewBlueprint::new("b", "B")).await;
            check(call, &result, is_success || (wire.status == 409 && wire.has_ok(false)))?;
        }
        Call::GetEntity => check(call, &client.get_entity("b", "a").await, is_success)?,
        Call::DeleteEntity => {
            let result = client.delete_entity("b", "a").await;
            check(call, &result, is_success || (wire.status == 404 && wire.has_ok(false)))?;
        }
        Call::UpsertBulk => match client.upsert_bulk("b", &entities, options).await {
            Ok(results) => {
                prop_assert_eq!(results.len(), entities.len());
                for (index, result) in [0.0, 1.0, 2.0].into_iter().zip(&results) {
                    check(call, result, (200..300).contains(&wire.status) && wire.stored_indexes().contains(&index))?;
                }
            }
            Err(error) => check_error(&error, call)?,
        },
    }
    if let Some(until) = client.paused_until() {
        prop_assert!(until <= Instant::now() + MAX_PAUSE);
    }
    Ok(())
}

#[test]
fn random_response_is_never_a_false_success() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let impostor = runtime.block_on(Impostor::start());
    // No regression file is written: the smallest failing case belongs into a test of its own.
    let config = Config { failure_persistence: None, max_shrink_iters: 1_000, ..Config::default() };
    let cases = (any_response(), select(CALLS.to_vec()));
    TestRunner::new(config)
        .run(&cases, |(wire, call)| runtime.block_on(try_one(&impostor, &wire, call)))
        .unwrap_or_else(|failure| panic!("{failure}"));
}
