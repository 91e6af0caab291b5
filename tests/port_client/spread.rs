//! What is left of Port's limits is spread before Port has to refuse anything, as the stand-in's own limits and its request log show.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use port_dora_controller::port::{Client, ClientOptions, Limits, Observer, Route, StatusClass};
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

/// A stand-in that lets through 20 requests about entities each second, and a client whose own limits allow far more.
fn narrow(reset: ResetFormat) -> (PortSim, Client, Arc<Waits>) {
    let port = start();
    port.set_rate_limits(RateLimits {
        period: Duration::from_secs(1),
        entities: Limit { requests: 20, burst: 20 },
        reset,
        ..RateLimits::default()
    });
    let waits = Arc::new(Waits::default());
    let observer = Arc::clone(&waits) as Arc<dyn Observer>;
    let limits = Limits::PUBLISHED;
    let options = ClientOptions { limits, longest_wait: Duration::MAX, observer: Some(observer), ..options(&port) };
    (port, Client::new(options).unwrap(), waits)
}

/// Reads an entity more often than two of the stand-in's windows allow, several reads at a time.
async fn more_than_port_allows_at_once(reset: ResetFormat) {
    let (port, client, waits) = narrow(reset);
    client.get_entity("group", "all_teams").await.unwrap();
    let readers = (0..4).map(|_| async {
        for _ in 0..12 {
            client.get_entity("group", "all_teams").await.unwrap();
        }
    });
    join_all(readers).await;

    let statuses: Vec<_> = calls(&port).iter().map(|request| request.status).collect();
    assert_eq!(statuses, vec![Some(200); 49], "not one is refused");
    assert_eq!(client.paused_until(), None);
    let waits = waits.0.lock().unwrap();
    assert!(waits.iter().any(|(route, _)| *route == Route::GetEntity), "the observer is told of the waits: {waits:?}");
}

#[tokio::test]
async fn nothing_is_refused_if_the_reset_is_told_in_seconds() {
    more_than_port_allows_at_once(ResetFormat::Seconds).await;
}

#[tokio::test]
async fn nothing_is_refused_if_the_reset_is_told_as_an_epoch() {
    more_than_port_allows_at_once(ResetFormat::Epoch).await;
}
