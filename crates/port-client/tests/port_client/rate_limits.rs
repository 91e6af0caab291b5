//! The client spreads the requests that remain in a window, so that Port does not have to refuse any.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use parking_lot::Mutex;
use port_client::{Client, ClientOptions, Limits, Observer, Route, StatusClass};
use port_sim::{Limit, PortSim, RateLimits, ResetFormat};

use super::*;

#[derive(Default)]
struct Waits(Mutex<Vec<(Route, Duration)>>);

impl Observer for Waits {
    fn on_request(&self, _: Route, _: StatusClass, _: Duration) {}

    fn on_wait(&self, route: Route, duration: Duration) {
        self.0.lock().push((route, duration));
    }
}

/// Concurrent readers. With more, a response that two others overtake could report a request that is no longer available.
const READERS: usize = 2;

/// The time until the reset, according to the first response.
const FIRST_WAIT: Duration = Duration::from_mins(5);

/// A stand-in that allows 20 requests for entities per second, and a client whose own limits are far higher.
fn start_with_narrow_limit(reset: ResetFormat) -> (PortSim, Client, Arc<Waits>) {
    let port = start();
    port.set_rate_limits(RateLimits {
        period: Duration::from_secs(1),
        // No header reports the steady rate, which only the client's own limits observe, so the burst is out of reach here.
        entities: Limit { requests: 20, burst: 1_000 },
        reset,
        ..RateLimits::default()
    });
    let waits = Arc::new(Waits::default());
    let observer = Arc::clone(&waits) as Arc<dyn Observer>;
    let limits = Limits::PUBLISHED;
    let options = ClientOptions { limits, max_wait: Duration::MAX, observer: Some(observer), ..options(&port) };
    (port, Client::new(options).unwrap(), waits)
}

/// Reads an entity more often than two windows of the stand-in allow, with concurrent readers. The first response reports that no request
/// remains, so that each reader has to wait on every machine, and not only on one that is fast enough to use up a window.
async fn read_more_often_than_allowed(reset: ResetFormat) {
    let clock = StoppedClock::stop();
    let (port, client, waits) = start_with_narrow_limit(reset);
    let seconds = match reset {
        ResetFormat::Seconds => FIRST_WAIT.as_secs(),
        // The client waits no longer than a period, however far in the future the reset is.
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
    assert_eq!(statuses, vec![Some(200); 49], "Port refuses none");
    assert_eq!(client.paused_until(), None);
    let waits = waits.0.lock();
    let is_first = |(route, wait): &&(Route, Duration)| *route == Route::GetEntity && *wait >= FIRST_WAIT;
    assert_eq!(waits.iter().filter(is_first).count(), READERS, "the observer is called for each wait: {waits:?}");
}

#[tokio::test]
async fn port_refuses_none_with_reset_in_seconds() {
    read_more_often_than_allowed(ResetFormat::Seconds).await;
}

#[tokio::test]
async fn port_refuses_none_with_reset_as_epoch() {
    read_more_often_than_allowed(ResetFormat::Epoch).await;
}
