//! Measures the lag of the controller and of the observer. A Deployment without pods is changed regularly. For each
//! change, this keeps the time when it was sent, and the times when the observer saw the change and its record.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use port_dora_controller::resources::DoraDeployment;
use serde_json::{Value, json};

/// The name of the Deployment.
pub const HEARTBEAT: &str = "heartbeat";

/// The time between two changes.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// The minimum of the tolerance, since the time between two heartbeats is not measured.
const MINIMUM: Duration = Duration::from_secs(1);

/// The annotation of the pod template with the number of a heartbeat. The record has its value as the commit.
const NUMBER: &str = "dora.port.io/commit-sha";

/// The heartbeats so far, by their number.
#[derive(Clone, Debug, Default)]
pub struct Heartbeats(Vec<Heartbeat>);

#[derive(Clone, Debug)]
struct Heartbeat {
    sent: Instant,
    seen: Option<Instant>,
    recorded: Option<Instant>,
}

impl Heartbeat {
    /// When both the observer and the controller had seen it, as far as they have.
    fn completed(&self) -> Instant {
        self.sent.max(self.seen.unwrap_or(self.sent)).max(self.recorded.unwrap_or(self.sent))
    }

    fn lag(&self) -> Duration {
        self.completed().duration_since(self.sent)
    }
}

impl Heartbeats {
    /// Adds the next heartbeat, and returns its number.
    pub fn send(&mut self) -> usize {
        self.0.push(Heartbeat { sent: Instant::now(), seen: None, recorded: None });
        self.0.len() - 1
    }

    /// Applies a state of a Deployment. Returns whether it is the heartbeat.
    pub fn apply_deployment(&mut self, deployment: &Deployment) -> bool {
        let template = deployment.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
        let number = template.and_then(|metadata| metadata.annotations.as_ref()?.get(NUMBER));
        let heartbeat = number.and_then(|number| self.heartbeat(number));
        if let Some(heartbeat) = heartbeat {
            heartbeat.seen.get_or_insert_with(Instant::now);
        }
        deployment.name_any() == HEARTBEAT
    }

    /// Applies a record. Returns whether it belongs to the heartbeat.
    pub fn apply_record(&mut self, record: &DoraDeployment) -> bool {
        let is_heartbeat = record.spec.workload.as_ref().is_some_and(|workload| workload.name == HEARTBEAT);
        let number = record.spec.commit_sha.as_ref().filter(|_| is_heartbeat);
        if let Some(heartbeat) = number.and_then(|number| self.heartbeat(number)) {
            heartbeat.recorded.get_or_insert_with(Instant::now);
        }
        is_heartbeat
    }

    fn heartbeat(&mut self, number: &str) -> Option<&mut Heartbeat> {
        self.0.get_mut(number.parse::<usize>().ok()?)
    }

    /// Whether a heartbeat is recorded.
    pub fn is_any_recorded(&self) -> bool {
        self.0.iter().any(|heartbeat| heartbeat.recorded.is_some())
    }

    /// The time until which all changes were recorded when the controller was killed; `None` if nothing was recorded.
    ///
    /// The controller sees the changes of all Deployments in order, but writes several records at once. Another record
    /// may take longer than that of the heartbeat.
    pub fn recorded_until(&self, killed: Instant) -> Option<Instant> {
        let last =
            self.0.iter().rev().find(|heartbeat| heartbeat.recorded.is_some_and(|recorded| recorded <= killed))?;
        last.sent.checked_sub(last.lag().max(MINIMUM))
    }

    /// The maximum difference between the views of the controller and of the observer, between `from` and `to`.
    pub fn tolerance(&self, from: Instant, to: Instant) -> Duration {
        let first = self.0.iter().position(|heartbeat| heartbeat.completed() >= from).unwrap_or(self.0.len());
        let last = self.0.partition_point(|heartbeat| heartbeat.sent <= to);
        // Include the heartbeats before and after: if the whole machine is slow, there is a long time without
        // heartbeats.
        let (first, last) = (first.saturating_sub(1), (last + 1).min(self.0.len()));
        let around = &self.0[first.min(last)..last];
        let gaps = around.windows(2).map(|pair| pair[1].sent.duration_since(pair[0].sent).saturating_sub(INTERVAL));
        around.iter().map(Heartbeat::lag).chain(gaps).fold(MINIMUM, Duration::max)
    }

    /// The lag of each heartbeat so far.
    pub fn lags(&self) -> Vec<Duration> {
        self.0.iter().map(Heartbeat::lag).collect()
    }
}

/// The manifest of the Deployment with this number.
pub fn manifest(number: usize) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": HEARTBEAT},
        "spec": {
            "replicas": 0,
            // No ReplicaSet is removed, so that each heartbeat is recorded even if the controller missed it at first.
            "revisionHistoryLimit": 1000,
            "selector": {"matchLabels": {"app": HEARTBEAT}},
            "template": {
                "metadata": {"labels": {"app": HEARTBEAT}, "annotations": {NUMBER: number.to_string()}},
                "spec": {"containers": [{"name": "app", "image": "app:v1"}]},
            },
        },
    })
}

mod tests {
    use super::*;

    /// Heartbeats with the times when they were sent, seen and recorded, in seconds.
    fn heartbeats(start: Instant, times: &[(f64, f64, Option<f64>)]) -> Heartbeats {
        let at = |seconds| start + Duration::from_secs_f64(seconds);
        let heartbeat = |(sent, seen, recorded): &(f64, f64, Option<f64>)| Heartbeat {
            sent: at(*sent),
            seen: Some(at(*seen)),
            recorded: recorded.map(at),
        };
        Heartbeats(times.iter().map(heartbeat).collect())
    }

    #[test]
    fn downtime_starts_after_the_last_recorded_change() {
        let start = Instant::now() + Duration::from_mins(1);
        let at = |seconds| start + Duration::from_secs_f64(seconds);
        let fast = heartbeats(
            start,
            &[(10.0, 10.1, Some(10.2)), (11.0, 11.1, Some(11.2)), (12.0, 12.1, None), (13.0, 13.1, Some(19.0))],
        );
        assert_eq!(fast.recorded_until(at(12.5)), Some(at(10.0)), "one second before the last recorded heartbeat");
        assert_eq!(fast.recorded_until(at(11.1)), Some(at(9.0)), "the last heartbeat was not recorded yet");
        assert_eq!(fast.recorded_until(at(10.1)), None);
        let slow = heartbeats(start, &[(10.0, 11.0, Some(15.0)), (11.0, 12.0, Some(18.0))]);
        assert_eq!(slow.recorded_until(at(17.0)), Some(at(5.0)), "the lag of the last heartbeat before it was sent");
    }

    #[test]
    fn tolerance_is_the_largest_lag_around_a_time() {
        let start = Instant::now() + Duration::from_mins(1);
        let at = |seconds| start + Duration::from_secs_f64(seconds);
        let times = [
            (0.0, 0.1, 0.1),
            (1.0, 1.1, 1.1),
            (2.0, 2.1, 2.1),
            (3.0, 6.0, 4.0),
            (4.0, 4.1, 7.5),
            (5.0, 5.1, 5.1),
            (6.1, 6.2, 6.2),
        ];
        let heartbeats = heartbeats(start, &times.map(|(sent, seen, recorded)| (sent, seen, Some(recorded))));
        for (from, to, seconds) in
            [(0.2, 0.4, 1.0), (0.2, 1.5, 1.0), (0.2, 2.5, 3.0), (2.5, 3.5, 3.5), (7.0, 9.0, 3.5), (8.0, 9.0, 1.0)]
        {
            assert_eq!(heartbeats.tolerance(at(from), at(to)), Duration::from_secs_f64(seconds), "{from} to {to}");
        }
        assert_eq!(Heartbeats::default().tolerance(at(0.0), at(1.0)), MINIMUM);
    }

    #[test]
    fn time_without_heartbeats_counts_as_lag() {
        let start = Instant::now() + Duration::from_mins(1);
        let at = |seconds| start + Duration::from_secs_f64(seconds);
        let heartbeats = heartbeats(
            start,
            &[(0.0, 0.1, Some(0.1)), (1.0, 1.1, Some(1.1)), (8.0, 8.1, Some(8.1)), (9.0, 9.1, Some(9.1))],
        );
        for (from, to, seconds) in [(0.0, 0.5, 1.0), (0.5, 1.2, 6.0), (2.0, 3.0, 6.0), (9.5, 9.6, 1.0)] {
            assert_eq!(heartbeats.tolerance(at(from), at(to)), Duration::from_secs_f64(seconds), "{from} to {to}");
        }
    }
}
