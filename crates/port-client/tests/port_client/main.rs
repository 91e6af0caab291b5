//! The client against the stand-in for Port. The request log of the stand-in shows what the client sent.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

mod any_response;
mod blueprints;
mod bulk;
mod example;
mod pauses;
mod proxy;
mod rate_limits;
mod responses;
mod secrets;
mod tls;
mod tls_front;
mod token;
mod transport;
mod wire_response;
mod writes;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use port_client::{BaseUrl, Client, ClientOptions, Credentials, Entity, Error};
use port_sim::{Effect, Fault, PortSim, Request};

const CLIENT_ID: &str = "id-of-the-test";
const CLIENT_SECRET: &str = "s3cret-of-the-test";
/// The prefix of the access tokens of the stand-in.
const TOKEN_PREFIX: &str = "port-sim.";
const USER_AGENT: &str = "port-client-test/1.0";
const TOKEN_PATH: &str = "/v1/auth/";
const BLUEPRINT_PATH: &str = "/v1/blueprints/";
/// The longest wait for something that usually takes a moment. It is long for the sake of busy machines.
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
    with_long_timeouts(port.base_url().parse().unwrap())
}

/// Options with timeouts that only the tests of timeouts reach.
fn with_long_timeouts(base_url: BaseUrl) -> ClientOptions {
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

/// All requests except token requests.
fn calls(port: &PortSim) -> Vec<Request> {
    port.requests().into_iter().filter(|request| !request.is_token_request()).collect()
}

/// The error of a call that must fail, without a secret in its texts.
#[track_caller]
fn failed<T: std::fmt::Debug>(result: Result<T, Error>) -> Error {
    let error = result.unwrap_err();
    let text = format!("{error}\n{error:?}\n{:?}", error.advice());
    assert!(!text.contains(CLIENT_SECRET), "{text}");
    assert!(!text.contains(TOKEN_PREFIX), "{text}");
    error
}

/// The clock of the client, which stands still until the test advances it. So no pause and no token ends too early on a slow machine. The
/// stand-in runs in a thread of its own and has another clock.
struct StoppedClock {
    blocking: mpsc::Sender<()>,
}

impl StoppedClock {
    fn stop() -> Self {
        tokio::time::pause();
        // While a blocking task runs, the runtime does not advance the clock on its own when it waits for a response.
        let (blocking, released) = mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || released.recv());
        Self { blocking }
    }

    async fn advance(&self, duration: Duration) {
        tokio::time::advance(duration).await;
    }

    /// Starts the clock again.
    fn start(self) {
        drop(self.blocking);
        tokio::time::resume();
    }
}

/// Waits for a condition, even while the clock of the runtime is stopped.
async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(5))).await.unwrap();
    }
}
