//! Durations in the settings file, such as `15m`.

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Span, SpanRelativeTo};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration of at least one second, written as numbers and units, such as `30s`, `15m`, `1h 30m` or `90d`. A day has 24 hours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Duration(pub SignedDuration);

/// Why a text is not a duration.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DurationError {
    /// It has no number or no unit, or the unit has no fixed length.
    #[error("invalid duration {0:?}: expected a number and a unit, such as 15m, 12h or 90d")]
    Invalid(String),
    /// It is negative or shorter than a second.
    #[error("invalid duration {0:?}: expected at least one second, such as 15m")]
    TooShort(String),
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let invalid = || DurationError::Invalid(text.to_owned());
        let span: Span = text.parse().map_err(|_| invalid())?;
        let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| invalid())?;
        if duration.as_secs() < 1 { Err(DurationError::TooShort(text.to_owned())) } else { Ok(Self(duration)) }
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
    fn duration_is_a_number_and_a_unit() {
        for (text, seconds) in [("15m", 900), ("90d", 7_776_000), ("12h", 43_200), ("1h 30m", 5400), ("5s", 5)] {
            assert_eq!(text.parse(), Ok(Duration(SignedDuration::from_secs(seconds))), "{text}");
        }
        for text in ["", "15", "soon", "5x", "1 month"] {
            assert_eq!(text.parse::<Duration>(), Err(DurationError::Invalid(text.to_owned())));
        }
        for text in ["-5m", "0s", "500ms"] {
            assert_eq!(text.parse::<Duration>(), Err(DurationError::TooShort(text.to_owned())));
        }
    }
}
