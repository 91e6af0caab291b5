//! The conditions `Synced` and `Valid`.

use k8s_controller::conditions::{ConditionStatus, DesiredCondition};

use port_client as port;

use crate::resources::conditions::{SYNCED, VALID};

/// Longest message: Kubernetes allows 32 KiB, a person reads less.
const MESSAGE_CHARACTERS: usize = 2000;

/// Port has it.
#[must_use]
pub fn delivered() -> DesiredCondition {
    DesiredCondition::new(SYNCED, ConditionStatus::True, "Delivered", "Port has this as it is here")
}

/// It is about to be sent, and nobody knows yet whether Port takes it.
#[must_use]
pub fn on_its_way() -> DesiredCondition {
    DesiredCondition::new(SYNCED, ConditionStatus::Unknown, "Sending", "this is on its way to Port")
}

/// It is not meant to be in Port (yet).
#[must_use]
pub fn held(reason: &str, message: &str) -> DesiredCondition {
    DesiredCondition::new(SYNCED, ConditionStatus::False, reason, message)
}

/// Port does not have it, because of `error`.
#[must_use]
pub fn refused(error: &port::Error) -> DesiredCondition {
    DesiredCondition::new(SYNCED, ConditionStatus::False, error.reason(), message(error))
}

/// `error` and what to do about it, in words that stay the same while it lasts: a status that changed with each attempt
/// would be written with each attempt.
#[must_use]
pub fn message(error: &port::Error) -> String {
    let mut text = match error {
        port::Error::RateLimited { .. } => {
            "Port's rate limit is reached; this is sent when Port allows it again".to_owned()
        }
        error => error.to_string(),
    };
    if let Some(trace_id) = error.trace_id() {
        text = text.replace(&format!(" (trace id {trace_id})"), "");
    }
    if let Some(advice) = error.advice() {
        text = format!("{}. {advice}", text.trim_end_matches('.'));
    }
    text.chars().take(MESSAGE_CHARACTERS).collect()
}

/// A part of the resource could not be used.
#[must_use]
pub fn invalid(warnings: &[String]) -> DesiredCondition {
    let message: String = warnings.join("; ").chars().take(MESSAGE_CHARACTERS).collect();
    DesiredCondition::new(VALID, ConditionStatus::False, "PartiallyInvalid", message)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use port_client::{Error, ErrorResponse};

    fn not_found(trace_id: &str) -> Error {
        Error::NotFound(Box::new(ErrorResponse {
            status: 404,
            code: Some("not_found".to_owned()),
            message: Some("Blueprint with identifier \"dora_deployment\" was not found".to_owned()),
            trace_id: Some(trace_id.to_owned()),
            excerpt: None,
        }))
    }

    #[test]
    fn a_message_has_ports_own_words_and_stays_the_same_with_each_attempt() {
        let message = message(&not_found("1"));
        assert!(message.contains("Blueprint with identifier \"dora_deployment\" was not found"), "{message}");
        assert_eq!(message, super::message(&not_found("2")));
        let limited = |seconds| Error::RateLimited { retry_after: Duration::from_secs(seconds), response: None };
        assert_eq!(super::message(&limited(10)), super::message(&limited(299)));
    }
}
