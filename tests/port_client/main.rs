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

use std::time::{Duration, Instant};

use port_dora_controller::port::{BaseUrl, Client, ClientOptions, Credentials, Entity, Error};
use port_sim::{Effect, Fault, PortSim, Request};

const CLIENT_ID: &str = "id-of-the-test";
const CLIENT_SECRET: &str = "s3cret-of-the-test";
/// How each access token of the stand-in begins.
const TOKEN_PREFIX: &str = "port-sim.";
const USER_AGENT: &str = "port-client-test/1.0";
const TOKEN_PATH: &str = "/v1/auth/";
const BLUEPRINT_PATH: &str = "/v1/blueprints/";

fn start() -> PortSim {
    let options = port_sim::Options {
        client_id: CLIENT_ID.to_owned(),
        client_secret: CLIENT_SECRET.to_owned(),
        ..port_sim::Options::default()
    };
    PortSim::start(options).unwrap()
}

fn options(port: &PortSim) -> ClientOptions {
    let base_url: BaseUrl = port.base_url().parse().unwrap();
    ClientOptions::new(base_url, Credentials::new(CLIENT_ID, CLIENT_SECRET), USER_AGENT)
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

/// Lets the client's clock run ahead. The stand-in lives in a thread of its own and has another clock.
async fn advance(duration: Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}

async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
