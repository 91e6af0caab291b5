//! The conditions `Synced` and `Valid`.

use k8s_controller::conditions::{ConditionStatus, DesiredCondition};
use port_client as port;

use crate::resources::conditions::{DRY_RUN, REFUSED_REASONS, SYNCED, UNDECODABLE, VALID};

/// Characters of the longest message. The API server allows 32 KiB, which nobody would read.
const MESSAGE_CHARACTERS: usize = 2000;

/// `Synced`: Port has accepted the entity.
#[must_use]
pub fn delivered() -> DesiredCondition {
    DesiredCondition::new(SYNCED, ConditionStatus::True, "Delivered", "The entity in Port is up to date")
}

/// `Synced`: the entity is about to be sent.
#[must_use]
pub fn sending() -> DesiredCondition {
    let message = "The controller is about to send the entity to Port";
    DesiredCondition::new(SYNCED, ConditionStatus::Unknown, "Sending", message)
}

/// `Synced`: the entity is not sent. `reason` is one of [`HELD_REASONS`](crate::resources::conditions::HELD_REASONS) or
/// [`REFUSED_REASONS`].
#[must_use]
pub fn held(reason: &str, message: &str) -> DesiredCondition {
    DesiredCondition::new(SYNCED, ConditionStatus::False, reason, message)
}

/// `Synced`: the entity with this digest is logged and not sent.
#[must_use]
pub fn dry_run(digest: &str) -> DesiredCondition {
    let message = format!(
        "The controller runs in dry-run mode: it logs the entity and does not send it (hash of the logged entity: {digest})"
    );
    held(DRY_RUN, &message)
}

/// `Synced`: the entity could not be sent, because of `error`.
#[must_use]
pub fn not_delivered(error: &port::Error) -> DesiredCondition {
    let message = format!("Failed to send the entity to Port: {}", explain(error));
    DesiredCondition::new(SYNCED, ConditionStatus::False, error.reason(), truncate(&message))
}

/// `error` and what to do about it.
///
/// The text is the same for each attempt that fails for the same reason, so that the status does not change with each attempt.
#[must_use]
pub fn explain(error: &port::Error) -> String {
    let mut text = match error {
        port::Error::RateLimited { .. } => {
            "Port's rate limit is reached; the controller retries when Port allows requests again".to_owned()
        }
        error => error.to_string(),
    };
    if let Some(trace_id) = error.trace_id() {
        text = text.replace(&format!(" (trace id {trace_id})"), "");
    }
    if let Some(advice) = error.advice() {
        text = format!("{}. {advice}", text.trim_end_matches('.'));
    }
    text
}

/// `Valid`, if the controller can't use the resource, which `synced` says, or parts of it. `warnings` has a sentence for each part.
#[must_use]
pub fn valid(synced: &DesiredCondition, warnings: &[String]) -> Option<DesiredCondition> {
    if REFUSED_REASONS.contains(&synced.reason.as_str()) {
        return Some(DesiredCondition::new(VALID, ConditionStatus::False, &*synced.reason, &*synced.message));
    }
    (!warnings.is_empty()).then(|| invalid(warnings))
}

/// `Valid`: parts of the resource can't be used. `warnings` has a sentence for each.
#[must_use]
pub fn invalid(warnings: &[String]) -> DesiredCondition {
    DesiredCondition::new(VALID, ConditionStatus::False, "PartiallyInvalid", truncate(&warnings.join("; ")))
}

/// `Synced` and `Valid`: the resource can't be decoded, because of `problem`.
#[must_use]
pub fn undecodable(problem: &str) -> [DesiredCondition; 2] {
    let advice = "Correct the resource, or delete it. If the controller was updated, apply its CustomResourceDefinitions as well";
    let valid = format!("The controller can't read the resource: {problem}. {advice}");
    let synced = "The controller sends nothing, because it can't read the resource. The condition Valid says why";
    [
        DesiredCondition::new(SYNCED, ConditionStatus::False, UNDECODABLE, synced),
        DesiredCondition::new(VALID, ConditionStatus::False, UNDECODABLE, truncate(&valid)),
    ]
}

fn truncate(message: &str) -> String {
    message.chars().take(MESSAGE_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use port_client::{Error, ErrorResponse};

    use super::*;

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
    fn message_quotes_port_and_is_stable() {
        let message = |error: &Error| not_delivered(error).message;
        let first = message(&not_found("1"));
        assert!(first.contains("Blueprint with identifier \"dora_deployment\" was not found"), "{first}");
        assert_eq!(first, message(&not_found("2")), "the trace id differs with each attempt");
        let limited = |seconds| Error::RateLimited { retry_after: Duration::from_secs(seconds), response: None };
        assert_eq!(message(&limited(10)), message(&limited(299)));
    }

    #[test]
    fn message_has_a_maximum_length() {
        let warnings = vec!["ä".repeat(MESSAGE_CHARACTERS), "b".to_owned()];
        assert_eq!(invalid(&warnings).message.chars().count(), MESSAGE_CHARACTERS);
    }
}
