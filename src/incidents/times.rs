//! When an incident was opened and resolved. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, Time};
use rollout::is_supported_time;

use super::identity::{OPENED_AT, RESOLVED_AT, kept_time};
use crate::resources::{DoraIncident, IncidentStatus, UnsupportedTime, supported};

/// The times of an incident.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IncidentTimes {
    /// When the incident began.
    pub opened: Timestamp,
    /// When the incident ended. `None` while it is open.
    pub resolved: Option<Timestamp>,
    /// Time from `opened` to `resolved`. `None` while the incident is open, or if it was resolved before it began.
    pub time_to_resolve: Option<SignedDuration>,
    /// Which times can't be used, and why there is no time to resolve although the incident is resolved.
    pub warnings: Vec<IncidentTimesWarning>,
}

/// Times of an incident that can't be used, or that contradict each other. The text is for the condition `Valid`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IncidentTimesWarning {
    /// The incident was resolved before it began.
    #[error(
        "the incident was resolved at {resolved}, before it was opened at {opened}, so the time to resolve is omitted: set \
         spec.createdAt to the time at which the incident began"
    )]
    ResolvedBeforeOpened {
        /// When the incident began.
        opened: Timestamp,
        /// When it was resolved.
        resolved: Timestamp,
    },
    /// A time is out of range.
    #[error(transparent)]
    Unsupported(#[from] UnsupportedTime),
}

impl IncidentTimes {
    /// Reads the times of `incident`. `now` applies only if the API server states no time.
    ///
    /// Without `spec.resolvedAt`, the incident was resolved when its field manager set `spec.status`. Kubernetes renews that time
    /// with each later change by the same manager. So the first answer, in `status.resolvedAt`, takes precedence until the incident
    /// is opened again.
    ///
    /// A restored backup has another creation time and other field managers, and no status. Then the times are in the annotations.
    #[must_use]
    pub fn of(incident: &DoraIncident, now: Timestamp) -> Self {
        let mut warnings = Vec::new();
        let mut stated = |field, time: &Option<Time>| {
            supported(field, time.as_ref()).unwrap_or_else(|warning| {
                warnings.push(warning.into());
                None
            })
        };
        let opened = stated("spec.createdAt", &incident.spec.created_at);
        let opened = opened.or_else(|| observed_opening(incident)).unwrap_or(now);
        let resolved_at = stated("spec.resolvedAt", &incident.spec.resolved_at);
        let resolved = match incident.spec.status {
            IncidentStatus::Open => None,
            IncidentStatus::Resolved => Some(resolved_at.or_else(|| observed_resolution(incident)).unwrap_or(now)),
        };
        let time_to_resolve =
            resolved.map(|resolved| resolved.duration_since(opened)).filter(|time| !time.is_negative());
        if let (Some(resolved), None) = (resolved, time_to_resolve) {
            warnings.push(IncidentTimesWarning::ResolvedBeforeOpened { opened, resolved });
        }
        Self { opened, resolved, time_to_resolve, warnings }
    }
}

/// When the `incident` began, if the cluster states it.
fn observed_opening(incident: &DoraIncident) -> Option<Timestamp> {
    let observed = in_bounds(incident.status.as_ref().and_then(|status| status.opened_at.as_ref()));
    let created = || incident.metadata.creation_timestamp.as_ref().map(|time| time.0);
    observed.or_else(|| kept_time(incident, OPENED_AT)).or_else(created)
}

/// When the resolved `incident` was resolved, if the cluster states it.
fn observed_resolution(incident: &DoraIncident) -> Option<Timestamp> {
    let observed = in_bounds(incident.status.as_ref().and_then(|status| status.resolved_at.as_ref()));
    let managed_fields = incident.metadata.managed_fields.as_deref().unwrap_or_default();
    observed.or_else(|| kept_time(incident, RESOLVED_AT)).or_else(|| status_set_at(managed_fields))
}

fn in_bounds(time: Option<&Time>) -> Option<Timestamp> {
    time.map(|time| time.0).filter(|time| is_supported_time(*time))
}

/// When `spec.status` got its current value: the earliest time among the managers that own the field. Managers that applied the same
/// value share the field, and the time of each only moves forward.
fn status_set_at(managed_fields: &[ManagedFieldsEntry]) -> Option<Timestamp> {
    managed_fields
        .iter()
        .filter(|entry| entry.subresource.as_deref().is_none_or(str::is_empty))
        .filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer("/f:spec/f:status").is_some()))
        .filter_map(|entry| entry.time.as_ref().map(|time| time.0))
        // Anybody who writes the resource can write this time.
        .filter(|time| is_supported_time(*time))
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

    fn times(spec: &Value, status: &Value, managed_fields: &Value) -> (String, Option<String>, Option<i64>, bool) {
        let times = IncidentTimes::of(&incident(spec, status, managed_fields), NOW.parse().unwrap());
        (
            times.opened.to_string(),
            times.resolved.map(|time| time.to_string()),
            times.time_to_resolve.map(|duration| duration.as_secs()),
            !times.warnings.is_empty(),
        )
    }

    fn set_by(manager: &str, time: &str, field: &str) -> Value {
        json!({"manager": manager, "operation": "Apply", "time": time, "fieldsV1": {"f:spec": {field: {}}}})
    }

    #[test]
    fn open_incident_begins_with_its_resource() {
        let expected = ("2026-01-01T10:00:00Z".to_owned(), None, None, false);
        assert_eq!(times(&json!({}), &json!({}), &json!([])), expected);
    }

    #[test]
    fn resolution_is_when_the_status_was_set() {
        let managed = json!([
            set_by("somebody", "2026-01-01T12:30:00Z", "f:title"),
            set_by("kubectl", "2026-01-01T11:00:00Z", "f:status"),
            set_by("argocd", "2026-01-01T11:10:00Z", "f:status"),
        ]);
        assert_eq!(
            times(&json!({"status": "resolved"}), &json!({}), &managed),
            ("2026-01-01T10:00:00Z".to_owned(), Some("2026-01-01T11:00:00Z".to_owned()), Some(3600), false)
        );
    }

    #[test]
    fn later_edit_does_not_move_the_resolution() {
        let managed = json!([set_by("kubectl", "2026-01-03T00:00:00Z", "f:status")]);
        let (_, resolved, seconds, _) =
            times(&json!({"status": "resolved"}), &json!({"resolvedAt": "2026-01-01T11:00:00Z"}), &managed);
        assert_eq!((resolved.as_deref(), seconds), (Some("2026-01-01T11:00:00Z"), Some(3600)));
    }

    #[test]
    fn times_in_the_spec_take_precedence() {
        let spec =
            json!({"status": "resolved", "createdAt": "2026-01-01T09:00:00Z", "resolvedAt": "2026-01-01T09:30:00Z"});
        let managed = json!([set_by("kubectl", "2026-01-01T11:00:00Z", "f:status")]);
        assert_eq!(
            times(&spec, &json!({"resolvedAt": "2026-01-01T11:00:00Z"}), &managed),
            ("2026-01-01T09:00:00Z".to_owned(), Some("2026-01-01T09:30:00Z".to_owned()), Some(1800), false)
        );
    }

    #[test]
    fn reopened_incident_keeps_its_beginning() {
        let (opened, resolved, seconds, _) =
            times(&json!({"status": "open"}), &json!({"resolvedAt": "2026-01-01T11:00:00Z"}), &json!([]));
        assert_eq!((opened.as_str(), resolved, seconds), ("2026-01-01T10:00:00Z", None, None));
    }

    #[test]
    fn resolution_before_opening_has_no_duration() {
        let (_, resolved, seconds, has_warning) =
            times(&json!({"status": "resolved", "resolvedAt": "2026-01-01T09:00:00Z"}), &json!({}), &json!([]));
        assert_eq!((resolved.as_deref(), seconds, has_warning), (Some("2026-01-01T09:00:00Z"), None, true));
    }

    #[test]
    fn unsupported_times_are_ignored_with_a_warning() {
        for unsupported in
            ["9999-12-30T22:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2026-01-01T09:00:00+99:99"]
        {
            let spec = json!({"status": "resolved", "createdAt": unsupported, "resolvedAt": unsupported});
            let managed = json!([
                set_by("somebody", "0001-01-01T00:00:00Z", "f:status"),
                set_by("kubectl", "2026-01-01T11:00:00Z", "f:status"),
            ]);
            let incident = incident(&spec, &json!({"resolvedAt": unsupported}), &managed);
            let times = IncidentTimes::of(&incident, NOW.parse().unwrap());
            assert_eq!(times.opened.to_string(), "2026-01-01T10:00:00Z", "{unsupported}");
            assert_eq!(times.time_to_resolve, Some(SignedDuration::from_hours(1)), "{unsupported}");
            let warnings: Vec<_> = times.warnings.iter().map(ToString::to_string).collect();
            assert!(
                warnings[0].starts_with("spec.createdAt") && warnings[1].starts_with("spec.resolvedAt"),
                "{warnings:?}"
            );
        }
    }

    #[test]
    fn restored_incident_has_its_original_times() {
        let mut restored = incident(&json!({"status": "resolved"}), &json!({}), &json!([]));
        let annotations = [
            ("dora.port.io/entity", "prod:shop:down:01234567"),
            (OPENED_AT, "2025-03-01T09:00:00Z"),
            (RESOLVED_AT, "2025-03-01T10:30:00Z"),
        ];
        restored.metadata.annotations = Some(annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        restored.metadata.managed_fields = serde_json::from_value(json!([set_by("velero", NOW, "f:status")])).unwrap();
        let of = |incident: &DoraIncident| {
            let IncidentTimes { opened, resolved, .. } = IncidentTimes::of(incident, NOW.parse().unwrap());
            (opened.to_string(), resolved.map(|time| time.to_string()))
        };
        let (opened, resolved) = ("2025-03-01T09:00:00Z".to_owned(), "2025-03-01T10:30:00Z".to_owned());
        assert_eq!(of(&restored), (opened.clone(), Some(resolved)));
        restored.spec.status = IncidentStatus::Open;
        assert_eq!(of(&restored), (opened, None));
        restored.metadata.name = Some("copy".to_owned());
        assert_eq!(of(&restored), ("2026-01-01T10:00:00Z".to_owned(), None), "a copy is another incident");
    }
}
