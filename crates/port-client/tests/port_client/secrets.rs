//! No text contains the client secret or the token, even if a response repeats them.

use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;
use port_client::{ErrorKind, UpsertOptions};
use port_sim::{Effect, PortSim};
use serde_json::json;
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::prelude::*;

use super::*;

const TOKEN: &str = "port-sim.token-of-the-test";

fn text(status: u16, body: &str) -> Effect {
    Effect::AnswerText { status, content_type: "text/plain".to_owned(), body: body.to_owned() }
}

/// A client with an unused rate limit. Otherwise a test that requests many tokens would wait for it.
fn new_client(port: &PortSim) -> Client {
    Client::new(options(port)).unwrap()
}

/// Makes the stand-in issue a token that the test knows.
fn issue_known_token(port: &PortSim) {
    let body = json!({"ok": true, "accessToken": TOKEN, "expiresIn": 10800, "tokenType": "Bearer"});
    fail(port, Effect::answer(200, body), TOKEN_PATH);
}

#[tokio::test]
async fn secret_in_a_token_response_is_redacted() {
    let port = start();
    for status in [200, 401, 403, 404, 422, 429, 500] {
        let repeated = json!({"ok": false, "error": CLIENT_SECRET, "message": format!("no {CLIENT_SECRET} here")});
        for effect in [Effect::answer(status, repeated), text(status, CLIENT_SECRET)] {
            port.clear_faults();
            fail(&port, effect, TOKEN_PATH);
            failed(new_client(&port).get_blueprint("group").await);
        }
    }
}

#[tokio::test]
async fn token_in_a_response_is_redacted() {
    let port = start();
    for status in [200, 302, 401, 404, 422, 500] {
        let repeated = json!({"ok": false, "error": TOKEN, "message": format!("no {TOKEN} here")});
        let of_an_entity = json!({"ok": false, "errors": [{"identifier": "a", "index": 0, "statusCode": 422, "error": TOKEN, "message": TOKEN}]});
        for effect in [Effect::answer(status, repeated), text(status, TOKEN), Effect::answer(status, of_an_entity)] {
            port.clear_faults();
            issue_known_token(&port);
            fail(&port, effect, BLUEPRINT_PATH);
            let client = new_client(&port);
            let bulk = client.upsert_bulk("dora_deployment", &[deployment("a")], UpsertOptions::default()).await;
            failed(bulk.and_then(|results| results.into_iter().collect::<Result<Vec<_>, _>>()));
            failed(client.get_blueprint("group").await);
        }
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn log_has_trace_ids_and_no_secret() {
    let log = Log::default();
    // Only of this thread, which runs the client: the log of the other tests would slow them down.
    let own = std::thread::current().id();
    let is_own = dynamic_filter_fn(move |_, _| std::thread::current().id() == own);
    let layer = fmt::layer().with_ansi(false).with_writer(log.clone()).with_filter(is_own);
    tracing_subscriber::registry().with(layer).try_init().unwrap();
    let (port, client) = start_with_client();
    client.upsert("dora_deployment", &deployment("a"), UpsertOptions::default()).await.unwrap();
    assert_eq!(failed(client.get_blueprint("absent").await).kind(), ErrorKind::NotFound);
    port.revoke_tokens();
    client.get_blueprint("group").await.unwrap();

    let log = String::from_utf8(log.0.lock().clone()).unwrap();
    for request in port.requests() {
        assert!(log.contains(&request.trace_id), "{request:?} is not in the log:\n{log}");
    }
    assert!(!log.contains(CLIENT_SECRET) && !log.contains(TOKEN_PREFIX), "{log}");
    assert!(!format!("{client:?}").contains(CLIENT_SECRET));
}
