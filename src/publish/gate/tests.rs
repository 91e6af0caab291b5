use std::future::ready;

use futures::FutureExt;
use port_client::{ErrorResponse, TransportProblem};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::runtime::WorkQueue;

type Answer = Result<Upserted, Error>;

fn response(status: u16) -> ErrorResponse {
    ErrorResponse { status, code: None, message: None, trace_id: None, excerpt: None }
}

fn unreachable() -> Error {
    let problem = TransportProblem::ConnectionRefused;
    Error::Transport { host: "api.port.io".to_owned(), problem, detail: String::new() }
}

fn limited(seconds: u64) -> Error {
    Error::RateLimited { retry_after: Duration::from_secs(seconds), response: None }
}

fn accepted() -> Upserted {
    Upserted { identifier: String::new(), created: None, trace_id: None }
}

fn gate() -> PortGate {
    PortGate::new(Arc::new(Metrics::default()))
}

/// Takes in the answer to an attempt with these entities.
fn observe(gate: &PortGate, entities: &[&str], answer: &Answer) {
    gate.observe(entities.iter().copied(), &vec![answer.clone(); entities.len()]);
}

/// How many keys the gate admits now, as if their attempt ended without any evidence.
fn admitted(gate: &PortGate) -> usize {
    gate.admit(20).map_or(0, |(max, _)| max)
}

fn unauthorized() -> Error {
    Error::Unauthorized(Box::new(response(401)))
}

fn reason(gate: &PortGate) -> Option<ErrorKind> {
    gate.pauses().borrow().as_ref().map(|pause| pause.reason)
}

#[test]
fn each_answer_says_whether_port_works() {
    let evidence = |answer: &Answer| match Evidence::of(answer) {
        Evidence::None => "none",
        Evidence::Failure(_) => "failure",
        Evidence::PortWorks => "works",
        Evidence::Stop(_) => "stop",
    };
    let unexpected =
        Error::UnexpectedResponse { host: String::new(), problem: String::new(), response: Box::new(response(200)) };
    for (answer, expected) in [
        (Ok(accepted()), "works"),
        (Err(Error::Refused(Box::new(response(422)))), "works"),
        (Err(Error::NotFound(Box::new(response(404)))), "works"),
        (Err(Error::Conflict(Box::new(response(409)))), "works"),
        (Err(Error::TooLarge(Box::new(response(413)))), "works"),
        (Err(Error::BodyTooLarge { bytes: 2_000_000 }), "none"),
        (Err(Error::InvalidIdentifier { what: "entity identifier", value: "..".to_owned() }), "none"),
        (Err(unreachable()), "failure"),
        (Err(Error::ServerError(Box::new(response(500)))), "failure"),
        (Err(Error::ServerError(Box::new(response(408)))), "failure"),
        (Err(Error::Forbidden(Box::new(response(403)))), "failure"),
        (Err(unexpected), "failure"),
        (Err(limited(60)), "stop"),
        (Err(Error::NoCredentials), "none"),
        (Err(Error::WrongCredentials(Box::new(response(401)))), "stop"),
        (Err(Error::Unauthorized(Box::new(response(401)))), "stop"),
    ] {
        assert_eq!(evidence(&answer), expected, "{answer:?}");
    }
    let of_all = |answers: &[Answer]| match Evidence::of_all(answers) {
        Evidence::PortWorks => "works",
        Evidence::Stop(_) => "stop",
        Evidence::Failure(_) | Evidence::None => "neither",
    };
    assert_eq!(of_all(&[Err(unreachable()), Ok(accepted()), Err(unreachable())]), "works");
    assert_eq!(of_all(&[Ok(accepted()), Err(limited(60))]), "stop");
    assert_eq!(of_all(&[]), "neither");
}

#[tokio::test(start_paused = true)]
async fn one_entity_that_always_fails_closes_nothing() {
    let gate = gate();
    for _ in 0..10 {
        observe(&gate, &["bad", "a", "b"], &Err(unreachable()));
        observe(&gate, &["bad", "c"], &Err(unreachable()));
        observe(&gate, &["bad"], &Err(unreachable()));
    }
    assert_eq!((admitted(&gate), reason(&gate)), (20, None));
    observe(&gate, &["a", "b"], &Ok(accepted()));
    observe(&gate, &["bad"], &Err(unreachable()));
    assert_eq!(admitted(&gate), 20);
    observe(&gate, &["other"], &Err(unreachable()));
    assert_eq!((admitted(&gate), reason(&gate)), (0, Some(ErrorKind::Unreachable)), "no single entity explains that");
}

#[tokio::test(start_paused = true)]
async fn success_between_failures_keeps_the_gate_open() {
    let gate = gate();
    for _ in 0..10 {
        observe(&gate, &["a"], &Err(unreachable()));
        observe(&gate, &["b"], &Err(Error::NotFound(Box::new(response(404)))));
        observe(&gate, &["c"], &Err(unreachable()));
        observe(&gate, &["d"], &Ok(accepted()));
    }
    assert_eq!(admitted(&gate), 20);
}

#[tokio::test(start_paused = true)]
async fn probes_have_one_key_and_longer_and_longer_delays() {
    let gate = gate();
    observe(&gate, &["a"], &Err(unreachable()));
    observe(&gate, &["b"], &Err(unreachable()));
    let (mut now, mut bound) = (Instant::now(), PROBE_DELAYS.0);
    for _ in 0..20 {
        gate.reopened().await;
        assert!(now.elapsed() <= bound + Duration::from_millis(1), "{:?}", now.elapsed());
        let (max, probe) = gate.admit(20).unwrap();
        assert_eq!((max, gate.admit(20).map(drop)), (1, None), "one probe at a time");
        assert!(gate.reopened().now_or_never().is_none(), "a probe is under way");
        (now, bound) = (Instant::now(), (bound * 2).min(PROBE_DELAYS.1));
        observe(&gate, &["c"], &Err(unreachable()));
        // The failures of attempts that began before the gate was closed don't count.
        drop(probe);
        observe(&gate, &["d"], &Err(unreachable()));
    }
    tokio::time::advance(PROBE_DELAYS.1).await;
    let probe = gate.admit(20);
    observe(&gate, &["a"], &Ok(accepted()));
    drop(probe);
    assert_eq!((admitted(&gate), gate.is_open()), (20, true));
}

#[tokio::test(start_paused = true)]
async fn probe_without_a_request_is_followed_by_another() {
    let gate = gate();
    observe(&gate, &["a"], &Err(unauthorized()));
    tokio::time::advance(CREDENTIALS_DELAY).await;
    for _ in 0..3 {
        assert_eq!(admitted(&gate), 1);
    }
    let probe = gate.admit(20);
    observe(&gate, &["a"], &Err(unauthorized()));
    drop(probe);
    assert_eq!(admitted(&gate), 0);
}

#[tokio::test(start_paused = true)]
async fn gate_stays_closed_for_as_long_as_port_asks() {
    let gate = gate();
    observe(&gate, &["a"], &Err(limited(60)));
    // The answer to a request from before.
    observe(&gate, &["b"], &Ok(accepted()));
    gate.probe_now();
    assert_eq!((admitted(&gate), reason(&gate)), (0, Some(ErrorKind::RateLimited)));
    let closed = Instant::now();
    gate.reopened().await;
    assert_eq!((closed.elapsed().as_secs(), admitted(&gate)), (60, 1));
    observe(&gate, &["b"], &Ok(accepted()));
    assert!(gate.is_open());
    observe(&gate, &["a"], &Err(Error::RateLimited { retry_after: Duration::MAX, response: None }));
    tokio::time::advance(LONGEST_PAUSE).await;
    assert_eq!(admitted(&gate), 1, "a pause without end is not believed");
}

#[tokio::test(start_paused = true)]
async fn changed_credentials_are_tried_at_once() {
    let gate = gate();
    observe(&gate, &["a"], &Err(Error::WrongCredentials(Box::new(response(401)))));
    tokio::time::advance(CREDENTIALS_DELAY / 2).await;
    assert_eq!(admitted(&gate), 0);
    let reopened = gate.reopened();
    let probe = async {
        tokio::task::yield_now().await;
        gate.probe_now();
    };
    futures::future::join(reopened, probe).await;
    assert_eq!(admitted(&gate), 1);
}

#[tokio::test(start_paused = true)]
async fn backlog_waits_for_one_probe_and_leaves_in_bulk() {
    let (gate, queue, stop) = (gate(), WorkQueue::default(), CancellationToken::new());
    for key in 0..500_usize {
        queue.add(key);
    }
    let (is_down, batches) = (Mutex::new(true), Mutex::new(Vec::<usize>::new()));
    let attempt = |keys: Vec<usize>| {
        batches.lock().push(keys.len());
        let entities: Vec<String> = keys.iter().map(ToString::to_string).collect();
        let answer = if *is_down.lock() { Err(unreachable()) } else { Ok(accepted()) };
        gate.observe(entities.iter().map(String::as_str), &vec![answer.clone(); keys.len()]);
        if answer.is_err() {
            for key in keys {
                queue.add_after(key, Duration::from_secs(1));
            }
        }
        if answer.is_ok() && batches.lock().iter().sum::<usize>() == 500 {
            stop.cancel();
        }
        ready(())
    };
    let outage = async {
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(!gate.is_open());
        *is_down.lock() = false;
        let down = std::mem::take(&mut *batches.lock());
        // The attempts until the gate closes, and then the probes.
        assert!(down.iter().sum::<usize>() < 60 && down.ends_with(&[1, 1, 1]), "{down:?}");
    };
    futures::future::join(queue.run_gated(&gate, 20, 4, &stop, attempt), outage).await;
    let up = batches.lock().clone();
    assert_eq!((up[0], queue.len()), (1, 0), "{up:?}");
    assert!(up.len() <= 1 + 500_usize.div_ceil(20), "{up:?}");
}
