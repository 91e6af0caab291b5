//! Other installations of the controller in the cluster. Two of them would overwrite each other's statuses without end, so only the one that
//! was installed first writes.
//!
//! Each installation has a lease of the same name in its own namespace. An installation is the second if the lease of another one is older
//! and is still renewed.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;
use kube::api::ListParams;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::identity::{LEASE, lease_reference};
use crate::runtime::{Backoff, Context, Readiness, later, warning_event};

/// How often the leader looks for other installations.
const PERIOD: Duration = Duration::from_secs(10);

/// How long the first installation waits before it writes if others run. They notice it within [`PERIOD`] and stop writing.
const HANDOVER: Duration = Duration::from_secs(15);

/// Bounds of the first and of the longest delay after a request that failed.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_secs(1), PERIOD);

/// The most leases in one list. There is one for each installation.
const MAX_LEASES: u32 = 500;

/// The longest time for which a lease is valid without being renewed: the largest value of `LEASE_SECONDS`.
const MAX_LEASE_SECONDS: i32 = 600;

/// By how much the clocks of two nodes may differ.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(1);

/// Looks for other installations of the controller, and reports them.
pub struct Installations {
    context: Context,
    readiness: Readiness,
    /// The namespace of this installation.
    namespace: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    renewals: Renewals,
    /// The namespace of the installation because of which this one writes nothing, once that is reported.
    reported: Option<String>,
    /// Whether it is reported that this controller may not list the leases.
    is_forbidden: bool,
}

impl Installations {
    pub fn new(context: &Context, readiness: &Readiness, namespace: &str) -> Self {
        let (context, readiness) = (context.clone(), readiness.clone());
        Self { context, readiness, namespace: namespace.to_owned(), state: Mutex::default() }
    }

    /// Waits until this installation is the first, and reports the one that is before it. If others run, they have time to stop writing.
    pub async fn until_first(&self) {
        let backoff = Backoff::new(RETRY_DELAYS.0, RETRY_DELAYS.1);
        let mut has_waited = false;
        loop {
            let delay = match self.place().await {
                Ok(Place::FirstOfSeveral) if !has_waited => {
                    has_waited = true;
                    HANDOVER
                }
                Ok(Place::Only | Place::FirstOfSeveral) => return self.clear_report(),
                Ok(Place::After(first)) => {
                    self.report_second(&first).await;
                    backoff.forget(&());
                    has_waited = false;
                    PERIOD
                }
                Err(error) => {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "failed to look for other installations of the controller; retrying before anything is recorded",
                    );
                    backoff.next_delay(&())
                }
            };
            tokio::time::sleep(delay).await;
        }
    }

    /// Waits until another installation is before this one, for example because the first one was started again.
    pub async fn until_second(&self) {
        loop {
            tokio::time::sleep(PERIOD).await;
            match self.place().await {
                Ok(Place::After(_)) => return,
                Ok(Place::Only | Place::FirstOfSeveral) => {}
                // Without an answer, nothing is known to have changed.
                Err(error) => debug!(
                    error = &error as &dyn std::error::Error,
                    "failed to look for other installations of the controller; retrying",
                ),
            }
        }
    }

    async fn place(&self) -> Result<Place, kube::Error> {
        let named = ListParams::default().fields(&format!("metadata.name={LEASE}")).limit(MAX_LEASES);
        let leases = match Api::<Lease>::all(self.context.client.clone()).list(&named).await {
            Ok(leases) => leases.items,
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                self.report_forbidden();
                return Ok(Place::Only);
            }
            Err(error) => return Err(error),
        };
        let found = self.state.lock().renewals.observe(leases, Timestamp::now(), Instant::now());
        Ok(place(&self.namespace, &found))
    }

    async fn report_second(&self, first: &str) {
        let was_reported = self.state.lock().reported.replace(first.to_owned());
        if was_reported.as_deref() == Some(first) {
            return;
        }
        let note = format!(
            "another installation of the controller runs in the namespace {first} and was there first, so this one in the namespace {} records \
             and delivers nothing. Uninstall one of them",
            self.namespace
        );
        error!("{note}");
        self.context.metrics.process.set_conflicting_installations(true);
        self.readiness.set_notice(Some(note.clone()));
        let event = warning_event("AnotherInstallation", "Lead", note);
        self.context.events.publish(&lease_reference(&self.namespace), &event).await;
    }

    /// Takes back what [`Installations::until_first`] has reported, because this installation is the first, or this replica does not hold
    /// the lease any more.
    pub fn clear_report(&self) {
        let reported = self.state.lock().reported.take();
        if let Some(other) = reported {
            info!(
                namespace = other,
                "this replica does not wait for the other installation of the controller any more"
            );
            self.context.metrics.process.set_conflicting_installations(false);
            self.readiness.set_notice(None);
        }
    }

    fn report_forbidden(&self) {
        if !std::mem::replace(&mut self.state.lock().is_forbidden, true) {
            warn!(
                "the controller may not list the leases {LEASE} of all namespaces, so it does not notice a second installation in the cluster; \
                 apply the ClusterRole of this version",
            );
        }
    }
}

/// An installation of the controller, by its lease.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Installation {
    namespace: String,
    installed: Timestamp,
    /// Whether a replica holds the lease and renews it.
    is_live: bool,
}

/// The place of an installation in the order of those that run.
#[derive(Debug, Eq, PartialEq)]
enum Place {
    /// No other one runs.
    Only,
    /// Others run, and were installed later.
    FirstOfSeveral,
    /// The first one is that in this namespace.
    After(String),
}

/// The place of the installation in the namespace `own`. Of two that were installed in the same second, the names of the namespaces decide,
/// so that both come to the same result. Pure.
fn place(own: &str, all: &[Installation]) -> Place {
    fn order(installation: &Installation) -> (Timestamp, &str) {
        (installation.installed, &installation.namespace)
    }
    let is_other = |installation: &&Installation| installation.namespace != own && installation.is_live;
    let Some(first) = all.iter().filter(is_other).map(order).min() else {
        return Place::Only;
    };
    // Without a lease of its own, an installation is not in place yet.
    match all.iter().find(|installation| installation.namespace == own).map(order) {
        Some(own) if own < first => Place::FirstOfSeveral,
        Some(_) | None => Place::After(first.1.to_owned()),
    }
}

/// When the leases were seen to be renewed. Their own times are those of other machines, and a clock that is late must not make two
/// installations write.
#[derive(Debug, Default)]
struct Renewals(HashMap<String, Renewal>);

#[derive(Debug)]
struct Renewal {
    renewed: Option<Timestamp>,
    valid_until: Instant,
}

impl Renewals {
    /// The installations of these leases, of which some were seen before.
    fn observe(&mut self, leases: Vec<Lease>, time: Timestamp, now: Instant) -> Vec<Installation> {
        let mut seen = HashMap::new();
        let mut found = Vec::new();
        for Lease { metadata, spec } in leases {
            let (Some(namespace), Some(created)) = (metadata.namespace, metadata.creation_timestamp) else {
                continue;
            };
            let spec = spec.unwrap_or_default();
            let renewal = renewal(self.0.remove(&namespace), &spec, time, now);
            // A holder that ends clears its name.
            let is_held = spec.holder_identity.is_some_and(|holder| !holder.is_empty());
            let is_live = is_held && now < renewal.valid_until;
            seen.insert(namespace.clone(), renewal);
            found.push(Installation { namespace, installed: created.0, is_live });
        }
        self.0 = seen;
        found
    }
}

/// Until when a lease is valid, which was seen before as `previous`.
fn renewal(previous: Option<Renewal>, spec: &LeaseSpec, time: Timestamp, now: Instant) -> Renewal {
    let renewed = spec.renew_time.as_ref().map(|renewed| renewed.0);
    let seconds = spec.lease_duration_seconds.unwrap_or_default().clamp(0, MAX_LEASE_SECONDS);
    let duration = Duration::from_secs(seconds.unsigned_abs().into());
    let is_expired = || {
        let longest = SignedDuration::from_secs(seconds.into()).saturating_add(CLOCK_SKEW);
        renewed.is_none_or(|renewed| time.duration_since(renewed) > longest)
    };
    match previous {
        Some(previous) if previous.renewed == renewed => previous,
        // Nobody knows how long ago the last renewal was, except if it was long ago.
        None if is_expired() => Renewal { renewed, valid_until: now },
        Some(_) | None => Renewal { renewed, valid_until: later(now, duration) },
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
    use kube::api::ObjectMeta;

    use super::*;

    fn time(text: &str) -> Timestamp {
        format!("2026-01-31T{text}Z").parse().unwrap()
    }

    fn installation(namespace: &str, installed: &str, is_live: bool) -> Installation {
        Installation { namespace: namespace.to_owned(), installed: time(installed), is_live }
    }

    #[test]
    fn first_running_installation_writes() {
        let (a, b) = (installation("a", "12:00:00", true), installation("b", "12:00:01", true));
        let after = |namespace: &str| Place::After(namespace.to_owned());
        let both = [b.clone(), a.clone()];
        assert_eq!((place("a", &both), place("b", &both)), (Place::FirstOfSeveral, after("a")));
        let ended = [installation("a", "12:00:00", false), b.clone()];
        assert_eq!(place("b", &ended), Place::Only);
        let at_once = [a.clone(), installation("b", "12:00:00", true)];
        assert_eq!((place("a", &at_once), place("b", &at_once)), (Place::FirstOfSeveral, after("a")));
        assert_eq!(place("new", &at_once), after("a"), "its lease is not there yet");
        assert_eq!(place("b", std::slice::from_ref(&b)), Place::Only);
        let three = [installation("c", "12:00:02", true), b, a];
        assert_eq!(place("c", &three), after("a"));
    }

    fn lease(holder: Option<&str>, renewed: &str) -> Lease {
        let metadata = ObjectMeta {
            namespace: Some("other".to_owned()),
            creation_timestamp: Some(Time(time("10:00:00"))),
            ..ObjectMeta::default()
        };
        let spec = LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: Some(15),
            renew_time: Some(MicroTime(time(renewed))),
            ..LeaseSpec::default()
        };
        Lease { metadata, spec: Some(spec) }
    }

    #[test]
    fn lease_lives_while_it_is_renewed() {
        let start = Instant::now();
        let mut renewals = Renewals::default();
        let mut is_live = |lease: Lease, clock: &str, seconds: u64| {
            let found = renewals.observe(vec![lease], time(clock), start + Duration::from_secs(seconds));
            found[0].is_live
        };
        assert!(is_live(lease(Some("pod"), "12:00:00"), "12:00:50", 0), "the clocks may differ");
        assert!(is_live(lease(Some("pod"), "12:00:00"), "12:01:04", 14));
        assert!(!is_live(lease(Some("pod"), "12:00:00"), "12:01:05", 15), "it was not renewed in time");
        assert!(is_live(lease(Some("pod"), "11:00:00"), "12:01:10", 20), "it is renewed by a clock that is late");
        assert!(!is_live(lease(None, "11:00:01"), "12:01:11", 21), "its holder has ended");
        assert!(!is_live(lease(Some(""), "11:00:02"), "12:01:12", 22), "its holder has ended");
    }

    #[test]
    fn lease_of_a_former_installation_does_not_live() {
        let now = Instant::now();
        let observe = |lease: Lease, clock: &str| Renewals::default().observe(vec![lease], time(clock), now);
        assert!(!observe(lease(Some("pod"), "12:00:00"), "12:01:16")[0].is_live);
        let mut forged = lease(Some("pod"), "12:00:00");
        forged.spec.as_mut().unwrap().lease_duration_seconds = Some(i32::MAX);
        assert!(!observe(forged, "12:30:00")[0].is_live, "no lease is valid for longer than the controller allows");
        let without_times = Lease { spec: Some(LeaseSpec::default()), ..lease(None, "12:00:00") };
        assert!(!observe(without_times, "12:00:00")[0].is_live);
    }
}
