//! Whatever answers in place of Port: there is always a result, none that is good by mistake, and none that tells a secret.
//!
//! The bytes go through all of the client: HTTP, the reading of statuses, headers and bodies, and the texts of errors.
//! `PROPTEST_CASES` says how many cases there are (default: 256).

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use port_client::{
    BaseUrl, Client, ClientOptions, Entity, Error, LONGEST_PAUSE, NewBlueprint, Property, UpsertOptions,
};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::any_wire::{TOKEN, Wire, any_wire};
use super::{CLIENT_SECRET, patient};

/// No text of the client is longer than this. Condition messages of Kubernetes may have 32,768 characters.
const LONGEST_TEXT: usize = 4_096;

/// The calls of the client. In each case the strange answer is that to this one; for `Token`, to the request before.
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

/// A server that gives a token, and one prepared answer to all else (or to the request for a token).
struct Impostor {
    base_url: String,
    answer: Arc<Mutex<(Vec<u8>, Call)>>,
}

impl Impostor {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new((Vec::new(), Call::Token)));
        let current = Arc::clone(&answer);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                // One after the other: the client opens a connection for each request, since none is kept.
                let (bytes, call) = current.lock().unwrap().clone();
                let _ = answer_one(connection, &bytes, call).await;
            }
        });
        Self { base_url, answer }
    }
}

async fn answer_one(mut connection: TcpStream, bytes: &[u8], call: Call) -> std::io::Result<()> {
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

/// Whether the head and as much of a body as it announces are there.
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
    prop_assert!(text.chars().count() <= LONGEST_TEXT, "{} characters: {text}", text.chars().count());
    prop_assert!(advice.chars().count() <= LONGEST_TEXT);
    prop_assert!(error.is_temporary() || !advice.is_empty(), "either waiting helps or a person does: {text}");
    prop_assert!(!text.chars().any(char::is_control), "one line: {text:?}");
    for shown in [text, advice, format!("{error:?}"), format!("{:?}", error.missing())] {
        prop_assert!(!shown.contains(CLIENT_SECRET), "{shown}");
        // What Port says in place of a token can't be a token in use.
        prop_assert!(matches!(call, Call::Token) || !shown.contains(TOKEN), "{shown}");
    }
    Ok(())
}

fn check<T: fmt::Debug>(call: Call, result: &Result<T, Error>, may_be_good: bool) -> Result<(), TestCaseError> {
    match result {
        Ok(value) => prop_assert!(may_be_good, "{value:?}"),
        Err(error) => check_error(error, call)?,
    }
    Ok(())
}

async fn try_one(impostor: &Impostor, wire: &Wire, call: Call) -> Result<(), TestCaseError> {
    *impostor.answer.lock().unwrap() = (wire.bytes(), call);
    let base_url: BaseUrl = impostor.base_url.parse().unwrap();
    let client = Client::new(ClientOptions {
        // Nothing waits, and a server that hung up is noticed at once: the timeouts are for what nobody thought of.
        longest_wait: Duration::ZERO,
        ..patient(base_url)
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
                let expected = NewBlueprint::new("b", "B").with_property("status", Property::string());
                let differences = blueprint.differences(&expected);
                prop_assert!(differences.iter().all(|difference| !difference.to_string().is_empty()));
                for property in blueprint.schema.properties.values() {
                    let fitting = property.fitting(&json!("success"));
                    prop_assert!(
                        fitting.is_none_or(|value| property.allowed.is_empty() || property.allowed.contains(&value))
                    );
                }
            }
        }
        Call::CreateBlueprint => {
            let result = client.create_blueprint(&NewBlueprint::new("b", "B")).await;
            check(call, &result, is_success || (wire.status == 409 && wire.says(false)))?;
        }
        Call::GetEntity => check(call, &client.get_entity("b", "a").await, is_success)?,
        Call::DeleteEntity => {
            let result = client.delete_entity("b", "a").await;
            check(call, &result, is_success || (wire.status == 404 && wire.says(false)))?;
        }
        Call::UpsertBulk => match client.upsert_bulk("b", &entities, options).await {
            Ok(results) => {
                prop_assert_eq!(results.len(), entities.len());
                for (index, result) in [0.0, 1.0, 2.0].into_iter().zip(&results) {
                    check(call, result, (200..300).contains(&wire.status) && wire.stored().contains(&index))?;
                }
            }
            Err(error) => check_error(&error, call)?,
        },
    }
    if let Some(until) = client.paused_until() {
        prop_assert!(until <= Instant::now() + LONGEST_PAUSE);
    }
    Ok(())
}

#[test]
fn any_answer_has_a_result_that_is_neither_wrong_nor_tells_a_secret() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let impostor = runtime.block_on(Impostor::start());
    // A failure shows its smallest case, which belongs into a test of its own: no file is written into the repository.
    let config = Config { failure_persistence: None, max_shrink_iters: 1_000, ..Config::default() };
    let cases = (any_wire(), select(CALLS.to_vec()));
    TestRunner::new(config)
        .run(&cases, |(wire, call)| runtime.block_on(try_one(&impostor, &wire, call)))
        .unwrap_or_else(|failure| panic!("{failure}"));
}
