//! How far the controller and the observer are behind: a Deployment of no pods is changed again and again, and each change has the time
//! at which it was sent, and those at which the observer saw it and its record.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use port_dora_controller::resources::DoraDeployment;
use serde_json::{Value, json};

/// Name of the Deployment.
pub const MARKER: &str = "marker";

/// Time between two changes.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// The least that is allowed for, since what happens between two marks is not measured.
const LEAST: Duration = Duration::from_secs(1);

/// The key of the number of a mark in the pod template, which its record repeats.
const NUMBER: &str = "dora.port.io/commit-sha";

/// The changes so far, by their number.
#[derive(Clone, Debug, Default)]
pub struct Marks(Vec<Mark>);

#[derive(Clone, Debug)]
struct Mark {
    sent: Instant,
    seen: Option<Instant>,
    recorded: Option<Instant>,
}

impl Mark {
    /// When all who are to know of it did, as far as they do.
    fn over(&self) -> Instant {
        self.sent.max(self.seen.unwrap_or(self.sent)).max(self.recorded.unwrap_or(self.sent))
    }

    fn lag(&self) -> Duration {
        self.over().duration_since(self.sent)
    }
}

impl Marks {
    /// Begins the next one, and returns its number.
    pub fn send(&mut self) -> usize {
        self.0.push(Mark { sent: Instant::now(), seen: None, recorded: None });
        self.0.len() - 1
    }

    /// Takes in what the observer sees of the Deployment. Returns whether it is the one.
    pub fn note_deployment(&mut self, deployment: &Deployment) -> bool {
        let template = deployment.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
        let number = template.and_then(|metadata| metadata.annotations.as_ref()?.get(NUMBER));
        let mark = number.and_then(|number| self.mark(number));
        if let Some(mark) = mark {
            mark.seen.get_or_insert_with(Instant::now);
        }
        deployment.name_any() == MARKER
    }

    /// Takes in a record. Returns whether it is of this Deployment.
    pub fn note_record(&mut self, record: &DoraDeployment) -> bool {
        let is_mark = record.spec.workload.as_ref().is_some_and(|workload| workload.name == MARKER);
        let mark = record.spec.commit_sha.as_ref().filter(|_| is_mark).and_then(|number| self.mark(number));
        if let Some(mark) = mark {
            mark.recorded.get_or_insert_with(Instant::now);
        }
        is_mark
    }

    fn mark(&mut self, number: &str) -> Option<&mut Mark> {
        self.0.get_mut(number.parse::<usize>().ok()?)
    }

    /// Whether one is recorded.
    pub fn is_any_recorded(&self) -> bool {
        self.0.iter().any(|mark| mark.recorded.is_some())
    }

    /// Until when everything that happened was recorded when the controller was killed; `None` if nothing was.
    ///
    /// The controller sees the changes of all Deployments in their order, but writes several records at once: one of them may take
    /// longer than that of the mark did.
    pub fn recorded_until(&self, killed: Instant) -> Option<Instant> {
        let last = self.0.iter().rev().find(|mark| mark.recorded.is_some_and(|recorded| recorded <= killed))?;
        last.sent.checked_sub(last.lag().max(LEAST))
    }

    /// By how much the controller's view of the time from `from` to `to` may differ from the observer's.
    pub fn slack(&self, from: Instant, to: Instant) -> Duration {
        let first = self.0.iter().position(|mark| mark.over() >= from).unwrap_or(self.0.len());
        let last = self.0.partition_point(|mark| mark.sent <= to);
        // The ones before and after as well: what holds up everybody shows as a long time without a mark.
        let (first, last) = (first.saturating_sub(1), (last + 1).min(self.0.len()));
        let around = &self.0[first.min(last)..last];
        let silences = around.windows(2).map(|pair| pair[1].sent.duration_since(pair[0].sent).saturating_sub(INTERVAL));
        around.iter().map(Mark::lag).chain(silences).fold(LEAST, Duration::max)
    }

    /// How long each took so far to be seen and recorded.
    pub fn lags(&self) -> Vec<Duration> {
        self.0.iter().map(Mark::lag).collect()
    }
}

/// The Deployment with this mark.
pub fn manifest(number: usize) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": MARKER},
        "spec": {
            "replicas": 0,
            // More than it gets, so that each mark is recorded even if it was missed at first.
            "revisionHistoryLimit": 1000,
            "selector": {"matchLabels": {"app": MARKER}},
            "template": {
                "metadata": {"labels": {"app": MARKER}, "annotations": {NUMBER: number.to_string()}},
                "spec": {"containers": [{"name": "app", "image": "app:v1"}]},
            },
        },
    })
}

mod tests {
    use super::*;

    /// Marks by when they were sent, seen and recorded, in seconds.
    fn marks(start: Instant, times: &[(f64, f64, Option<f64>)]) -> Marks {
        let at = |seconds| start + Duration::from_secs_f64(seconds);
        let mark = |(sent, seen, recorded): &(f64, f64, Option<f64>)| Mark {
            sent: at(*sent),
            seen: Some(at(*seen)),
            recorded: recorded.map(at),
        };
        Marks(times.iter().map(mark).collect())
    }

    #[test]
    fn an_absence_begins_with_what_was_not_recorded_at_the_kill() {
        let start = Instant::now() + Duration::from_mins(1);
        let at = |seconds| start + Duration::from_secs_f64(seconds);
        let fast = marks(
            start,
            &[(10.0, 10.1, Some(10.2)), (11.0, 11.1, Some(11.2)), (12.0, 12.1, None), (13.0, 13.1, Some(19.0))],
        );
        assert_eq!(fast.recorded_until(at(12.5)), Some(at(10.0)), "a second before the last one");
        assert_eq!(fast.recorded_until(at(11.1)), Some(at(9.0)), "the record of the last one was not there yet");
        assert_eq!(fast.recorded_until(at(10.1)), None);
        let slow = marks(start, &[(10.0, 11.0, Some(15.0)), (11.0, 12.0, Some(18.0))]);
        assert_eq!(slow.recorded_until(at(17.0)), Some(at(5.0)), "as long before the last one as that took");
    }

    #[test]
    fn the_slack_is_the_largest_lag_around_a_time() {
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
        let marks = marks(start, &times.map(|(sent, seen, recorded)| (sent, seen, Some(recorded))));
        for (from, to, seconds) in
            [(0.2, 0.4, 1.0), (0.2, 1.5, 1.0), (0.2, 2.5, 3.0), (2.5, 3.5, 3.5), (7.0, 9.0, 3.5), (8.0, 9.0, 1.0)]
        {
            assert_eq!(marks.slack(at(from), at(to)), Duration::from_secs_f64(seconds), "{from} to {to}");
        }
        assert_eq!(Marks::default().slack(at(0.0), at(1.0)), LEAST);
    }

    #[test]
    fn a_time_in_which_nobody_ran_shows_as_one_without_marks() {
        let start = Instant::now() + Duration::from_mins(1);
        let at = |seconds| start + Duration::from_secs_f64(seconds);
        let marks =
            marks(start, &[(0.0, 0.1, Some(0.1)), (1.0, 1.1, Some(1.1)), (8.0, 8.1, Some(8.1)), (9.0, 9.1, Some(9.1))]);
        for (from, to, seconds) in [(0.0, 0.5, 1.0), (0.5, 1.2, 6.0), (2.0, 3.0, 6.0), (9.5, 9.6, 1.0)] {
            assert_eq!(marks.slack(at(from), at(to)), Duration::from_secs_f64(seconds), "{from} to {to}");
        }
    }
}
