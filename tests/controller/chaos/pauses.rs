//! Whether the pauses that Port asks for are kept, by the request log.

use std::time::Duration;

use port_sim::Request;

use super::weather::PAUSE;

/// How long a request that was sent before the controller had read the 429 may take to arrive on a machine that does other things as well.
const ON_THE_WAY: Duration = Duration::from_secs(1);

/// Requests that can be on the way at once: each of the two publishers has four, one reads a blueprint, and one asks for a token.
const MOST_ON_THE_WAY: usize = 10;

/// The requests that were sent although Port had asked for a pause, a line each.
///
/// A controller that was killed takes the pause with it. Whether an answer arrived that was followed by an outage is not known.
pub fn disregarded(requests: &[Request], kills: &[Duration], outages: &[Duration]) -> Vec<String> {
    let mut found = Vec::new();
    for limited in requests {
        let Some((seconds, answered)) = pause(limited) else {
            continue;
        };
        if outages.iter().any(|outage| (answered..answered + ON_THE_WAY).contains(outage)) {
            continue;
        }
        let killed = kills.iter().copied().find(|kill| *kill >= limited.received_after);
        let end = killed.unwrap_or(Duration::MAX).min(answered + Duration::from_secs(seconds));
        let during = |request: &&Request| (answered..end).contains(&request.received_after);
        let (on_the_way, late): (Vec<_>, Vec<_>) =
            requests.iter().filter(during).partition(|request| request.received_after <= answered + ON_THE_WAY);
        let excess = on_the_way.iter().skip(MOST_ON_THE_WAY);
        found.extend(late.iter().chain(excess).map(|request| {
            format!(
                "request {} ({} {}) at {:?}, though request {} was answered at {answered:?} with a {}",
                request.id,
                request.method,
                request.path,
                request.received_after,
                limited.id,
                limited.fault.as_deref().unwrap_or_default(),
            )
        }));
    }
    found
}

/// Whether the answer to this request asks to send nothing for a while.
pub fn asks_for_pause(request: &Request) -> bool {
    pause(request).is_some()
}

/// For how many seconds the answer to this request asks to send nothing, and when it was given.
fn pause(request: &Request) -> Option<(u64, Duration)> {
    let seconds = request.fault.as_deref()?.strip_prefix(PAUSE)?.strip_suffix(" s")?.parse().ok()?;
    Some((seconds, request.answered_after?))
}

mod tests {
    use super::*;

    fn request(id: u64, received_after: f64, fault: Option<&str>) -> Request {
        let received_after = Duration::from_secs_f64(received_after);
        Request {
            id,
            received_at: jiff::Timestamp::UNIX_EPOCH,
            received_after,
            method: "POST".to_owned(),
            path: "/v1".to_owned(),
            query: None,
            user_agent: None,
            body: None,
            body_bytes: 0,
            status: None,
            answered_after: Some(received_after + Duration::from_millis(10)),
            trace_id: String::new(),
            fault: fault.map(str::to_owned),
        }
    }

    #[test]
    fn a_request_during_a_pause_is_found() {
        let pause = request(1, 10.0, Some("pause of 3 s"));
        let sent = |after: f64, kills: &[u64], outages: &[f64]| {
            let kills: Vec<_> = kills.iter().copied().map(Duration::from_secs).collect();
            let outages: Vec<_> = outages.iter().copied().map(Duration::from_secs_f64).collect();
            !disregarded(&[pause.clone(), request(2, after, None)], &kills, &outages).is_empty()
        };
        assert!(sent(12.9, &[], &[]));
        assert!(sent(12.9, &[9, 13], &[9.0]));
        assert!(!sent(13.1, &[], &[]), "after the pause");
        assert!(!sent(10.5, &[], &[]), "on the way when it began");
        assert!(!sent(12.9, &[11], &[]), "another process, which doesn't know of it");
        assert!(!sent(12.9, &[], &[10.5]), "the answer may not have arrived");
        let mut crowd = vec![pause];
        crowd.extend((0..=MOST_ON_THE_WAY).map(|number| request(2 + number as u64, 10.5, None)));
        assert_eq!(disregarded(&crowd, &[], &[]).len(), 1, "more than can have been on the way");
    }
}
