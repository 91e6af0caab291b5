//! What is left of Port's limits is spread before Port has to refuse anything, as the stand-in's own limits and its request log show.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use port_client::{Client, ClientOptions, Limits, Observer, Route, StatusClass};
use port_sim::{Limit, PortSim, RateLimits, ResetFormat};

use super::*;

#[derive(Default)]
struct Waits(Mutex<Vec<(Route, Duration)>>);

impl Observer for Waits {
    fn on_request(&self, _: Route, _: StatusClass, _: Duration) {}

    fn on_wait(&self, route: Route, duration: Duration) {
        self.0.lock().unwrap().push((route, duration));
    }
}

/// Reads at a time. With more, an answer that is overtaken by two others could tell of a request that is used up already.
const READERS: usize = 2;

/// What the first answer says of the time until there is more.
const FIRST_WAIT: Duration = Duration::from_mins(5);

/// A stand-in that lets through 20 requests about entities each second, and a client whose own limits allow far more.
fn narrow(reset: ResetFormat) -> (PortSim, Client, Arc<Waits>) {
    let port = start();
    port.set_rate_limits(RateLimits {
        period: Duration::from_secs(1),
        // No answer tells of the steady rate, which the client's own limits are for: it is out of the way here.
        entities: Limit { requests: 20, burst: 1_000 },
        reset,
        ..RateLimits::default()
    });
    let waits = Arc::new(Waits::default());
    let observer = Arc::clone(&waits) as Arc<dyn Observer>;
    let limits = Limits::PUBLISHED;
    let options = ClientOptions { limits, longest_wait: Duration::MAX, observer: Some(observer), ..options(&port) };
    (port, Client::new(options).unwrap(), waits)
}

/// Reads an entity more often than two of the stand-in's windows allow, several reads at a time. The first answer says that nothing is
/// left for a while, so that each reader has to wait on any machine, and not only on one that is fast enough to use up a window.
async fn more_than_port_allows_at_once(reset: ResetFormat) {
    let clock = StoppedClock::stop();
    let (port, client, waits) = narrow(reset);
    let seconds = match reset {
        ResetFormat::Seconds => FIRST_WAIT.as_secs(),
        // The client takes no longer time than this for granted, however far away the epoch is.
        ResetFormat::Epoch => Timestamp::now().as_second().cast_unsigned() + 2 * FIRST_WAIT.as_secs(),
    };
    let used_up = Fault::new(Effect::Handle).header("x-ratelimit-remaining", "0");
    port.set_fault(used_up.header("x-ratelimit-reset", seconds.to_string()).path_prefix(BLUEPRINT_PATH).times(1))
        .unwrap();
    client.get_entity("group", "all_teams").await.unwrap();
    let readers = (0..READERS).map(|_| async {
        for _ in 0..24 {
            client.get_entity("group", "all_teams").await.unwrap();
        }
    });
    let end_of_wait = async {
        assert_eq!(calls(&port).len(), 1, "both readers wait");
        clock.advance(FIRST_WAIT).await;
        clock.start();
    };
    tokio::join!(join_all(readers), end_of_wait);

    let statuses: Vec<_> = calls(&port).iter().map(|request| request.status).collect();
    assert_eq!(statuses, vec![Some(200); 49], "not one is refused");
    assert_eq!(client.paused_until(), None);
    let waits = waits.0.lock().unwrap();
    let is_first = |(route, wait): &&(Route, Duration)| *route == Route::GetEntity && *wait >= FIRST_WAIT;
    assert_eq!(waits.iter().filter(is_first).count(), READERS, "the observer is told of the waits: {waits:?}");
}

#[tokio::test]
async fn nothing_is_refused_if_the_reset_is_told_in_seconds() {
    more_than_port_allows_at_once(ResetFormat::Seconds).await;
}

#[tokio::test]
async fn nothing_is_refused_if_the_reset_is_told_as_an_epoch() {
    more_than_port_allows_at_once(ResetFormat::Epoch).await;
}
