//! The Port client against the stand-in for Port: what a user of the client relies on, with the stand-in's request log as evidence.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

mod answers;
mod any_answer;
mod any_wire;
mod blueprints;
mod bulk;
mod example;
mod pauses;
mod proxy;
mod secrets;
mod spread;
mod tls;
mod tls_front;
mod token;
mod transport;
mod writes;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use port_client::{BaseUrl, Client, ClientOptions, Credentials, Entity, Error};
use port_sim::{Effect, Fault, PortSim, Request};

const CLIENT_ID: &str = "id-of-the-test";
const CLIENT_SECRET: &str = "s3cret-of-the-test";
/// How each access token of the stand-in begins.
const TOKEN_PREFIX: &str = "port-sim.";
const USER_AGENT: &str = "port-client-test/1.0";
const TOKEN_PATH: &str = "/v1/auth/";
const BLUEPRINT_PATH: &str = "/v1/blueprints/";
/// How long anything may take that takes a moment. Long, for machines that do other things as well: it asserts nothing.
const DEADLINE: Duration = Duration::from_mins(4);

fn start() -> PortSim {
    let options = port_sim::Options {
        client_id: CLIENT_ID.to_owned(),
        client_secret: CLIENT_SECRET.to_owned(),
        ..port_sim::Options::default()
    };
    PortSim::start(options).unwrap()
}

fn options(port: &PortSim) -> ClientOptions {
    patient(port.base_url().parse().unwrap())
}

/// Options with timeouts that only a test which is about them reaches.
fn patient(base_url: BaseUrl) -> ClientOptions {
    ClientOptions {
        request_timeout: DEADLINE,
        connect_timeout: DEADLINE,
        ..ClientOptions::new(base_url, Credentials::new(CLIENT_ID, CLIENT_SECRET), USER_AGENT)
    }
}

fn start_with_client() -> (PortSim, Client) {
    let port = start();
    let client = Client::new(options(&port)).unwrap();
    (port, client)
}

fn deployment(identifier: &str) -> Entity {
    Entity::new(identifier)
        .with_property("environment", "production")
        .with_property("status", "success")
        .with_relation("group", "all_teams")
}

fn fail(port: &PortSim, effect: Effect, path: &str) {
    port.set_fault(Fault::new(effect).path_prefix(path)).unwrap();
}

fn token_requests(port: &PortSim) -> usize {
    port.requests().iter().filter(|request| request.is_token_request()).count()
}

/// All requests but those for a token.
fn calls(port: &PortSim) -> Vec<Request> {
    port.requests().into_iter().filter(|request| !request.is_token_request()).collect()
}

/// The error of a call that has to fail, and never in a way that tells a secret.
#[track_caller]
fn failed<T: std::fmt::Debug>(result: Result<T, Error>) -> Error {
    let error = result.unwrap_err();
    let text = format!("{error}\n{error:?}\n{:?}", error.advice());
    assert!(!text.contains(CLIENT_SECRET), "{text}");
    assert!(!text.contains(TOKEN_PREFIX), "{text}");
    error
}

/// The client's clock, which stands still except where the test sets it forward: on no machine does a pause or a token end too early.
/// The stand-in lives in a thread of its own and has another clock.
struct StoppedClock {
    held: mpsc::Sender<()>,
}

impl StoppedClock {
    fn stop() -> Self {
        tokio::time::pause();
        // While such a task runs, the runtime doesn't set the clock forward by itself when it waits for an answer.
        let (held, released) = mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || released.recv());
        Self { held }
    }

    async fn advance(&self, duration: Duration) {
        tokio::time::advance(duration).await;
    }

    /// Lets it run from now on.
    fn start(self) {
        drop(self.held);
        tokio::time::resume();
    }
}

/// Waits for a condition, also while the clock of the runtime is stopped.
async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(5))).await.unwrap();
    }
}
