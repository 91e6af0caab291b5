//! The part of the settings file that says which rollouts are recorded, published and kept.

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Span, SpanRelativeTo};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use rollout::{ChangeKind, History};

/// How rollouts are followed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Rollouts {
    /// Which of the revisions from before the first start are reported.
    pub history: History,
    /// How long a rollout of a Deployment without a progress deadline may stand still before it counts as failed.
    pub fail_after: Duration,
}

impl Default for Rollouts {
    fn default() -> Self {
        Self { history: History::None, fail_after: Duration(SignedDuration::from_mins(15)) }
    }
}

/// Which of the recorded rollouts Port is told.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Publish {
    /// By what they changed.
    pub changes: Changes,
    /// Rollouts at 0 replicas, which ran nothing.
    pub zero_replicas: bool,
}

/// Whether a change of each kind is published.
#[allow(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
pub struct Changes {
    /// The first revision of a Deployment.
    pub initial: bool,
    /// Another image.
    pub release: bool,
    /// Anything else of the pod template.
    pub config: bool,
    /// An older ReplicaSet was re-used.
    pub rollback: bool,
    /// Nothing.
    pub restart: bool,
}

impl Default for Changes {
    fn default() -> Self {
        Self { initial: true, release: true, config: true, rollback: true, restart: false }
    }
}

impl Changes {
    /// Whether changes of this kind are published.
    #[must_use]
    pub fn includes(&self, change: ChangeKind) -> bool {
        match change {
            ChangeKind::Initial => self.initial,
            ChangeKind::Release => self.release,
            ChangeKind::Config => self.config,
            ChangeKind::Rollback => self.rollback,
            ChangeKind::Restart => self.restart,
        }
    }
}

/// How long the records of a Deployment are kept.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Retention {
    /// The newest records of each Deployment that are kept.
    pub records: u32,
    /// Records that ended longer ago are deleted.
    pub max_age: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { records: 20, max_age: Duration(SignedDuration::from_hours(90 * 24)) }
    }
}

impl Retention {
    /// What is wrong, and what to write instead.
    pub fn validate(&self) -> Result<(), String> {
        if self.records == 0 {
            return Err(
                "retention.records is 0: the newest record of a Deployment is always kept, write 1 or more".to_owned()
            );
        }
        Ok(())
    }
}

/// A length of time such as `15m`, `12h` or `90d`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Duration(pub SignedDuration);

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no length of time: write a number and a unit, such as 15m, 12h or 90d");
        let span: Span = text.parse().map_err(|_| wrong())?;
        let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
        if duration.as_secs() < 1 {
            return Err(format!("{text:?} is shorter than a second: write a longer time, such as 15m"));
        }
        Ok(Self(duration))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#}", self.0)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_a_number_and_a_unit() {
        for (text, seconds) in [("15m", 900), ("90d", 7_776_000), ("12h", 43_200), ("1h 30m", 5400), ("5s", 5)] {
            assert_eq!(text.parse(), Ok(Duration(SignedDuration::from_secs(seconds))), "{text}");
        }
        for text in ["", "15", "soon", "-5m", "0s", "1 month"] {
            let problem = text.parse::<Duration>().unwrap_err();
            assert!(problem.contains("such as 15m"), "{text}: {problem}");
        }
    }
}
