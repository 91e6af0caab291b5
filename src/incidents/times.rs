//! When an incident was opened and resolved. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

use crate::resources::{DoraIncident, IncidentStatus};

/// The times of an incident.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IncidentTimes {
    /// When it began.
    pub opened: Timestamp,
    /// When it was over; `None` while it lasts.
    pub resolved: Option<Timestamp>,
    /// From the one to the other; `None` while it lasts, or if the times contradict each other.
    pub time_to_resolve: Option<SignedDuration>,
    /// What could not be used, in sentences that say what to write instead.
    pub warnings: Vec<String>,
}

/// The times of `incident`, as it and the cluster state it.
///
/// The moment at which `spec.status` became `resolved` is that of the manager which owns the field. Since Kubernetes
/// renews that time with each later change by the same manager, the first answer stands in `status.resolvedAt`
/// and is kept until the incident is opened again. `now` only counts where the API server gives no time at all.
#[must_use]
pub fn times(incident: &DoraIncident, now: Timestamp) -> IncidentTimes {
    let spec = &incident.spec;
    let created = incident.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let opened = spec.created_at.as_ref().map(|time| time.0).or(created).unwrap_or(now);
    let resolved = match spec.status {
        IncidentStatus::Open => None,
        IncidentStatus::Resolved => Some(
            spec.resolved_at
                .as_ref()
                .or_else(|| incident.status.as_ref()?.resolved_at.as_ref())
                .map(|time| time.0)
                .or_else(|| status_set_at(incident.metadata.managed_fields.as_deref().unwrap_or_default()))
                .unwrap_or(now),
        ),
    };
    let mut warnings = Vec::new();
    let time_to_resolve = resolved.and_then(|resolved| {
        let duration = resolved.duration_since(opened);
        if duration.is_negative() {
            warnings.push(format!(
                "the incident is resolved at {resolved}, before it was opened at {opened}: set spec.createdAt to the time at \
                 which it began. The time to resolve is left out"
            ));
        }
        (!duration.is_negative()).then_some(duration)
    });
    IncidentTimes { opened, resolved, time_to_resolve, warnings }
}

/// When `spec.status` got its present value: the earliest of the managers that own the field. Several own it if they
/// applied the same value, and each one's time only ever moves away from that moment.
fn status_set_at(managed_fields: &[ManagedFieldsEntry]) -> Option<Timestamp> {
    managed_fields
        .iter()
        .filter(|entry| entry.subresource.as_deref().is_none_or(str::is_empty))
        .filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer("/f:spec/f:status").is_some()))
        .filter_map(|entry| entry.time.as_ref().map(|time| time.0))
        .min()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-06-01T00:00:00Z";

    fn incident(spec: &Value, status: &Value, managed_fields: &Value) -> DoraIncident {
        serde_json::from_value(json!({
            "apiVersion": "dora.port.io/v1alpha1",
            "kind": "DoraIncident",
            "metadata": {
                "name": "down",
                "creationTimestamp": "2026-01-01T10:00:00Z",
                "managedFields": managed_fields,
            },
            "spec": spec,
            "status": status,
        }))
        .unwrap()
    }

    fn of(spec: &Value, status: &Value, managed_fields: &Value) -> (String, Option<String>, Option<i64>, usize) {
        let times = times(&incident(spec, status, managed_fields), NOW.parse().unwrap());
        (
            times.opened.to_string(),
            times.resolved.map(|time| time.to_string()),
            times.time_to_resolve.map(|duration| duration.as_secs()),
            times.warnings.len(),
        )
    }

    fn set_by(manager: &str, time: &str, field: &str) -> Value {
        json!({"manager": manager, "operation": "Apply", "time": time, "fieldsV1": {"f:spec": {field: {}}}})
    }

    #[test]
    fn an_open_incident_began_when_it_was_created_and_lasts() {
        let expected = ("2026-01-01T10:00:00Z".to_owned(), None, None, 0);
        assert_eq!(of(&json!({}), &json!({}), &json!([])), expected);
    }

    #[test]
    fn the_resolution_is_the_moment_at_which_the_field_was_set() {
        let managed = json!([
            set_by("somebody", "2026-01-01T12:30:00Z", "f:title"),
            set_by("kubectl", "2026-01-01T11:00:00Z", "f:status"),
            set_by("argocd", "2026-01-01T11:10:00Z", "f:status"),
        ]);
        assert_eq!(
            of(&json!({"status": "resolved"}), &json!({}), &managed),
            ("2026-01-01T10:00:00Z".to_owned(), Some("2026-01-01T11:00:00Z".to_owned()), Some(3600), 0)
        );
    }

    #[test]
    fn a_later_edit_does_not_move_the_resolution() {
        let managed = json!([set_by("kubectl", "2026-01-03T00:00:00Z", "f:status")]);
        let (_, resolved, seconds, _) =
            of(&json!({"status": "resolved"}), &json!({"resolvedAt": "2026-01-01T11:00:00Z"}), &managed);
        assert_eq!((resolved.as_deref(), seconds), (Some("2026-01-01T11:00:00Z"), Some(3600)));
    }

    #[test]
    fn times_in_the_spec_win() {
        let spec =
            json!({"status": "resolved", "createdAt": "2026-01-01T09:00:00Z", "resolvedAt": "2026-01-01T09:30:00Z"});
        let managed = json!([set_by("kubectl", "2026-01-01T11:00:00Z", "f:status")]);
        assert_eq!(
            of(&spec, &json!({"resolvedAt": "2026-01-01T11:00:00Z"}), &managed),
            ("2026-01-01T09:00:00Z".to_owned(), Some("2026-01-01T09:30:00Z".to_owned()), Some(1800), 0)
        );
    }

    #[test]
    fn a_reopened_incident_lasts_again_from_its_start() {
        let (opened, resolved, seconds, _) =
            of(&json!({"status": "open"}), &json!({"resolvedAt": "2026-01-01T11:00:00Z"}), &json!([]));
        assert_eq!((opened.as_str(), resolved, seconds), ("2026-01-01T10:00:00Z", None, None));
    }

    #[test]
    fn a_resolution_before_the_opening_is_explained_and_has_no_duration() {
        let (_, resolved, seconds, warnings) =
            of(&json!({"status": "resolved", "resolvedAt": "2026-01-01T09:00:00Z"}), &json!({}), &json!([]));
        assert_eq!((resolved.as_deref(), seconds, warnings), (Some("2026-01-01T09:00:00Z"), None, 1));
    }
}
