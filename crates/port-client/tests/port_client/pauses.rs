//! Pauses after a 429, and the limits that avoid one.

use std::time::{Duration, Instant};

use futures::future::join_all;
use port_client::{Client, ClientOptions, DEFAULT_PAUSE, Error, ErrorKind, Limit, Limits, UpsertOptions};
use port_sim::{Effect, Fault, PortSim, RateLimits, ResetFormat};
use serde_json::json;

use super::*;

/// A client whose calls fail during a pause instead of waiting for its end.
fn client_without_waits(port: &PortSim) -> Client {
    Client::new(ClientOptions { max_wait: Duration::ZERO, ..options(port) }).unwrap()
}

#[track_caller]
fn retry_after(error: &Error) -> Duration {
    match error {
        Error::RateLimited { retry_after, .. } => *retry_after,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nothing_is_sent_during_a_pause() {
    let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    for (headers, seconds) in [
        (vec![("retry-after", "20")], 20),
        (vec![("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT"), date], 30),
        (vec![("retry-after", "20"), ("x-ratelimit-reset", "40")], 20),
        (vec![("x-ratelimit-reset", "40")], 40),
        (vec![("x-ratelimit-reset", "784111827"), date], 50),
        (vec![], DEFAULT_PAUSE.as_secs()),
    ] {
        let clock = StoppedClock::stop();
        let port = start();
        let client = client_without_waits(&port);
        client.get_blueprint("group").await.unwrap();
        assert_eq!(client.paused_until(), None);

        let fault = Fault::new(Effect::status(429)).path_prefix(BLUEPRINT_PATH).times(1);
        let fault = headers.iter().fold(fault, |fault, (name, value)| fault.header(*name, *value));
        port.set_fault(fault).unwrap();
        let error = failed(client.get_blueprint("group").await);
        let pause = Duration::from_secs(seconds);
        assert_eq!(retry_after(&error), pause, "{headers:?}");
        assert_eq!(error.response().unwrap().status, 429);
        assert!(error.is_temporary());

        let sent = port.requests().len();
        let clone = client.clone();
        let errors = [
            failed(client.upsert("dora_deployment", &deployment("a"), UpsertOptions::default()).await),
            failed(clone.get_blueprint("group").await),
            failed(clone.delete_entity("group", "a").await),
        ];
        for error in &errors {
            assert!(retry_after(error) == pause && error.response().is_none(), "{error:?}");
        }
        assert_eq!(port.requests().len(), sent, "{headers:?}");
        assert!(clone.paused_until().is_some());

        clock.advance(pause).await;
        assert_eq!(clone.paused_until(), None);
        clone.get_blueprint("group").await.unwrap();
        clock.start();
    }
}

#[tokio::test]
async fn a_503_with_retry_after_pauses_all_calls() {
    let clock = StoppedClock::stop();
    let port = start();
    let client = client_without_waits(&port);
    client.get_blueprint("group").await.unwrap();
    let unavailable = || Fault::new(Effect::status(503)).path_prefix(BLUEPRINT_PATH).times(1);
    port.set_fault(unavailable()).unwrap();
    assert_eq!(failed(client.get_blueprint("group").await).kind(), ErrorKind::ServerError);
    assert_eq!(client.paused_until(), None, "without the header, each caller decides when to retry");

    port.set_fault(unavailable().header("retry-after", "20")).unwrap();
    assert_eq!(failed(client.get_blueprint("group").await).kind(), ErrorKind::ServerError);
    let sent = port.requests().len();
    let error = failed(client.upsert("dora_deployment", &deployment("a"), UpsertOptions::default()).await);
    assert_eq!(retry_after(&error), Duration::from_secs(20));
    assert_eq!(port.requests().len(), sent);
    clock.advance(Duration::from_secs(20)).await;
    client.get_blueprint("group").await.unwrap();
}

#[tokio::test]
async fn calls_that_may_wait_are_sent_after_a_pause() {
    let (port, client) = start_with_client();
    client.get_blueprint("group").await.unwrap();
    let too_many = Fault::new(Effect::status(429)).header("retry-after", "1").path_prefix(BLUEPRINT_PATH).times(1);
    port.set_fault(too_many).unwrap();
    failed(client.get_blueprint("group").await);
    let results = join_all((0..5).map(|_| client.get_blueprint("group"))).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");

    let requests = calls(&port);
    let refused = requests.iter().position(|request| request.status == Some(429)).unwrap();
    let pause_begins = requests[refused].answered_after.unwrap();
    assert_eq!(requests.len(), refused + 6);
    for request in &requests[refused + 1..] {
        assert!(request.received_after >= pause_begins + Duration::from_secs(1), "{request:?}");
    }
}

#[tokio::test]
async fn a_429_for_a_token_pauses_all_calls() {
    let _clock = StoppedClock::stop();
    let port = start();
    let client = client_without_waits(&port);
    port.set_fault(Fault::new(Effect::status(429)).header("retry-after", "30").path_prefix(TOKEN_PATH)).unwrap();
    let errors = join_all((0..10).map(|_| client.get_blueprint("group"))).await;
    assert!(errors.into_iter().all(|result| failed(result).kind() == ErrorKind::RateLimited));
    failed(client.get_blueprint("group").await);
    assert_eq!(port.requests().len(), 1);
}

#[tokio::test]
async fn a_429_for_one_bulk_entity_pauses_all_calls() {
    let _clock = StoppedClock::stop();
    let port = start();
    let client = client_without_waits(&port);
    let refusal =
        json!({"identifier": "b", "index": 1, "statusCode": 429, "error": "rate_limit", "message": "slow down"});
    let body =
        json!({"ok": false, "entities": [{"identifier": "a", "index": 0, "created": true}], "errors": [refusal]});
    port.set_fault(Fault::new(Effect::answer(207, body)).header("retry-after", "30").path_prefix(BLUEPRINT_PATH))
        .unwrap();
    let entities = [deployment("a"), deployment("b")];
    let results = client.upsert_bulk("dora_deployment", &entities, UpsertOptions::default()).await.unwrap();
    assert!(results[0].is_ok());
    assert_eq!(retry_after(&failed(results[1].clone())), Duration::from_secs(30));
    let sent = port.requests().len();
    failed(client.get_blueprint("group").await);
    assert_eq!(port.requests().len(), sent);
}

#[tokio::test]
async fn each_form_of_the_reset_header_is_read() {
    for (reset, with_retry_after) in
        [(ResetFormat::Epoch, false), (ResetFormat::Seconds, false), (ResetFormat::Epoch, true)]
    {
        let clock = StoppedClock::stop();
        let port = start();
        port.set_rate_limits(RateLimits {
            // One in 100 s, and one more at once.
            single_upsert: port_sim::Limit { requests: 3, burst: 1 },
            reset,
            retry_after: with_retry_after,
            ..RateLimits::default()
        });
        let client = client_without_waits(&port);
        let mut refused = None;
        for index in 0..10 {
            let entity = deployment(&index.to_string());
            if let Err(error) = client.upsert("dora_deployment", &entity, UpsertOptions::default()).await {
                refused = Some(error);
                break;
            }
        }
        let error = refused.expect("the stand-in refuses the fourth request at the latest");
        let pause = retry_after(&error);
        assert!(pause > Duration::from_secs(1) && pause <= Duration::from_mins(5), "{reset:?}: {pause:?}");
        let sent = port.requests().len();
        failed(client.get_blueprint("group").await);
        assert_eq!(port.requests().len(), sent);
        clock.start();
    }
}

#[tokio::test]
async fn client_stays_below_its_own_limits() {
    let port = start();
    // One request each 200 ms after the first two.
    let limits = Limits { upsert: Limit::new(1_500, 2), ..Limits::default() };
    let client = Client::new(ClientOptions { limits, ..options(&port) }).unwrap();
    client.get_blueprint("group").await.unwrap();
    let started = Instant::now();
    let entities: Vec<_> = (0..5).map(|index| deployment(&index.to_string())).collect();
    let writes = entities.iter().map(|entity| client.upsert("dora_deployment", entity, UpsertOptions::default()));
    let results = join_all(writes).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert!(started.elapsed() >= Duration::from_millis(600), "three of five requests waited");
}
