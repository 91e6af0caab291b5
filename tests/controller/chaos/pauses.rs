//! Checks that the controller keeps the pauses that Port asks for. The log of the controller contains each request that
//! is sent and each answer that is read, in order, so network delays don't matter.

use jiff::{SignedDuration, Timestamp};
use port_sim::Request;

use super::fault_schedule::PAUSE;

/// The message that the controller logs before it sends a request, at level TRACE.
const SENT: &str = "sending a request to Port";

/// The tolerance between the clock of the log and the clock that measures a pause.
const DRIFT: SignedDuration = SignedDuration::from_millis(10);

/// The requests that a controller sent after it had read an answer that asks for a pause, one line each. `logs` has one
/// entry for each process, since the next process doesn't know of the pause.
pub fn sent_during_pause(logs: &[String], requests: &[Request]) -> Vec<String> {
    let asked = requests.iter().filter_map(|request| Some((request, pause(request)?)));
    let of_each = asked.flat_map(|(request, pause)| logs.iter().map(move |log| (request, pause, log)));
    of_each.flat_map(|(request, pause, log)| sent_in_log(request, pause, log)).collect()
}

/// The requests in one log that were sent during the pause after this request, one line each.
fn sent_in_log(limited: &Request, pause: SignedDuration, log: &str) -> Vec<String> {
    let mut lines = log.lines().skip_while(|line| !line.contains(&limited.trace_id));
    // The first line with the trace id is that of the answer.
    let Some(read) = lines.next().and_then(time) else { return Vec::new() };
    let is_during = |line: &&str| time(line).is_some_and(|sent| sent.duration_since(read) + DRIFT < pause);
    let during = lines.filter(|line| line.contains(SENT)).filter(is_during);
    let fault = limited.fault.as_deref().unwrap_or_default();
    during
        .map(|line| format!("{line}\n  after the answer to request {} was read at {read}: {fault}", limited.id))
        .collect()
}

/// The number of requests that were sent.
pub fn sent(logs: &[String]) -> usize {
    logs.iter().flat_map(|log| log.lines()).filter(|line| line.contains(SENT)).count()
}

/// Whether the answer to this request asks for a pause.
pub fn asks_for_pause(request: &Request) -> bool {
    pause(request).is_some()
}

/// The pause that the answer to this request asks for.
fn pause(request: &Request) -> Option<SignedDuration> {
    let seconds = request.fault.as_deref()?.strip_prefix(PAUSE)?.strip_suffix(" s")?.parse().ok()?;
    Some(SignedDuration::from_secs(seconds))
}

/// The time at the beginning of a line of the log.
fn time(line: &str) -> Option<Timestamp> {
    line.split_whitespace().next()?.parse().ok()
}

mod tests {
    use std::time::Duration;

    use super::*;

    fn request(id: u64, trace_id: &str, fault: Option<&str>) -> Request {
        Request {
            id,
            received_at: Timestamp::UNIX_EPOCH,
            received_after: Duration::ZERO,
            method: "POST".to_owned(),
            path: "/v1".to_owned(),
            query: None,
            user_agent: None,
            body: None,
            body_bytes: 0,
            status: Some(429),
            answered_after: Some(Duration::ZERO),
            trace_id: trace_id.to_owned(),
            fault: fault.map(str::to_owned),
        }
    }

    /// The log line of an answer with a trace id, or of a request without one.
    fn line(at: f64, trace_id: Option<&str>) -> String {
        let time = Timestamp::UNIX_EPOCH + SignedDuration::from_secs_f64(at);
        let target = "port_client::http::transport";
        match trace_id {
            Some(trace_id) => format!(
                "{time} DEBUG {target}: request to Port failed route=upsert status=429 trace_id=\"{trace_id}\" milliseconds=3 error=no\n"
            ),
            None => format!("{time} TRACE {target}: {SENT} route=upsert\n"),
        }
    }

    #[test]
    fn request_during_a_pause_is_found() {
        let requests =
            [request(1, "one", Some("pause of 3 s")), request(2, "two", Some("handle")), request(3, "three", None)];
        let (one, two, three) = (|at| line(at, Some("one")), |at| line(at, Some("two")), |at| line(at, Some("three")));
        let sent = |at| line(at, None);
        for (what, log, found) in [
            ("at once", one(10.0) + &sent(10.0), 1),
            ("near the end", one(10.0) + &sent(12.9), 1),
            ("several", one(10.0) + &sent(11.0) + &three(11.5) + &sent(12.0) + &sent(13.0), 2),
            ("at the end", one(10.0) + &sent(13.0), 0),
            ("before the answer was read", sent(9.9) + &one(10.0) + &sent(13.1), 0),
            ("after answers without a pause", two(10.0) + &three(10.0) + &sent(10.1), 0),
        ] {
            assert_eq!(sent_during_pause(&[log], &requests).len(), found, "{what}");
        }
        assert_eq!(
            sent_during_pause(&[one(10.0), sent(11.0)], &requests).len(),
            0,
            "another process doesn't know of the pause"
        );
        assert_eq!(super::sent(&[one(10.0), sent(11.0) + &sent(12.0)]), 2);
    }
}
