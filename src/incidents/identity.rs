//! The identity of an incident: the identifier of its entity, and the annotations that keep identifier and times in a backup. Pure.
//!
//! A backup contains neither the UID, nor the creation time, nor the managed fields, nor, usually, the status of a resource. So the
//! controller writes into annotations what it took from them, before it sends the entity. On a resource with a status, the status takes
//! precedence.

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::ObjectMeta;
use rollout::is_supported_time;

use super::IncidentTimes;
use crate::resources::{DoraIncident, ENTITY};

/// Annotation: when the incident began, if the spec doesn't say so.
pub const OPENED_AT: &str = "dora.port.io/opened-at";
/// Annotation: when the incident was resolved, if the spec doesn't say so. Absent while the incident is open.
pub const RESOLVED_AT: &str = "dora.port.io/resolved-at";

/// Characters of the resource's UID in an identifier.
const UID_CHARACTERS: usize = 8;

/// Identifier of the entity of `incident` in the cluster of this name.
///
/// It is `spec.identifier`, or else the one in the status, or else the one in the annotation of a restored resource. Otherwise it
/// consists of cluster, namespace, name and the start of the UID, which tells the incident from earlier and later ones of the same name.
///
/// Status and annotation count only if they name the incident itself: everybody who may write the resource may write its annotations.
#[must_use]
pub fn incident_identifier(incident: &DoraIncident, cluster: &str) -> String {
    if let Some(identifier) = &incident.spec.identifier {
        return identifier.clone();
    }
    let metadata = &incident.metadata;
    let sent = incident.status.as_ref().and_then(|status| Some(status.entity.as_ref()?.identifier.as_str()));
    let kept = incident.annotations().get(ENTITY).map(String::as_str);
    let earlier =
        [sent, kept].into_iter().flatten().find(|identifier| is_own_identifier(identifier, cluster, metadata));
    earlier.map_or_else(|| default_identifier(cluster, metadata), str::to_owned)
}

/// Whether `identifier` is one that the controller gives to the resource with this metadata: `<cluster>:<namespace>:<name>`, and usually
/// the start of a UID. The UID may be an earlier one, of the resource before it was restored.
#[must_use]
pub fn is_own_identifier(identifier: &str, cluster: &str, metadata: &ObjectMeta) -> bool {
    let is_short_uid = |text: &str| {
        (1..=UID_CHARACTERS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let suffix = identifier.strip_prefix(&own_prefix(cluster, metadata));
    suffix.is_some_and(|suffix| suffix.is_empty() || suffix.strip_prefix(':').is_some_and(is_short_uid))
}

fn default_identifier(cluster: &str, metadata: &ObjectMeta) -> String {
    let uid: String = metadata.uid.iter().flat_map(|uid| uid.chars()).take(UID_CHARACTERS).collect();
    format!("{}:{uid}", own_prefix(cluster, metadata))
}

fn own_prefix(cluster: &str, metadata: &ObjectMeta) -> String {
    let ObjectMeta { namespace, name, .. } = metadata;
    format!("{cluster}:{}:{}", namespace.as_deref().unwrap_or_default(), name.as_deref().unwrap_or_default())
}

/// The annotations that `incident` should have, with `None` for one that it should not have.
#[must_use]
pub fn backup_annotations(
    incident: &DoraIncident,
    cluster: &str,
    now: Timestamp,
) -> [(&'static str, Option<String>); 3] {
    let IncidentTimes { opened, resolved, .. } = IncidentTimes::of(incident, now);
    let time = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    [
        (ENTITY, Some(incident_identifier(incident, cluster))),
        (OPENED_AT, incident.spec.created_at.is_none().then(|| time(opened))),
        (RESOLVED_AT, resolved.filter(|_| incident.spec.resolved_at.is_none()).map(time)),
    ]
}

/// The time in the annotation `key`, if the annotations are of this incident.
///
/// A copy under another name has the annotations of the original. The namespace and the cluster may differ: a backup can be restored to
/// others.
pub(super) fn kept_time(incident: &DoraIncident, key: &str) -> Option<Timestamp> {
    let annotation = incident.annotations().get(key).filter(|_| has_own_annotations(incident))?;
    annotation.parse().ok().filter(|time| is_supported_time(*time))
}

fn has_own_annotations(incident: &DoraIncident) -> bool {
    let Some(entity) = incident.annotations().get(ENTITY) else {
        return false;
    };
    let name = entity.split(':').nth(2);
    incident.spec.identifier.as_ref() == Some(entity) || name.is_some() && name == incident.metadata.name.as_deref()
}

/// The annotations of `incident` that can't be used, a text for each. The controller replaces them.
#[must_use]
pub fn invalid_annotations(incident: &DoraIncident) -> Vec<String> {
    let present = [ENTITY, OPENED_AT, RESOLVED_AT].into_iter().filter(|key| incident.annotations().contains_key(*key));
    let problem = |key: &str| {
        if !has_own_annotations(incident) {
            Some(format!("the annotation {key} is ignored: {ENTITY} does not name this incident"))
        } else if key != ENTITY && kept_time(incident, key).is_none() {
            Some(format!("the annotation {key} is ignored: it is not a time such as 2026-01-31T12:00:00Z"))
        } else {
            None
        }
    };
    present.filter_map(problem).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-06-01T00:00:00Z";

    /// The incident `shop/down` in the cluster `prod`, which was created today.
    fn incident(spec: &Value, status: &Value, annotations: &Value) -> DoraIncident {
        serde_json::from_value(json!({
            "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident",
            "metadata": {
                "name": "down", "namespace": "shop", "uid": "0123456789ab", "creationTimestamp": "2026-05-31T10:00:00Z",
                "annotations": annotations,
            },
            "spec": spec, "status": status,
        }))
        .unwrap()
    }

    fn sent(identifier: &str) -> Value {
        json!({"entity": {"blueprint": "dora_incident", "identifier": identifier, "digest": ""}})
    }

    #[test]
    fn identifier_outlives_a_restored_backup() {
        let (none, own) = (json!({}), "prod:shop:down:01234567");
        let kept = |identifier: &str| json!({ ENTITY: identifier });
        for (spec, status, annotations, expected, case) in [
            (&none, &none, &none, own, "a new incident"),
            (&none, &none, &kept("prod:shop:down:fedcba98"), "prod:shop:down:fedcba98", "restored, with another UID"),
            (&none, &sent("prod:shop:down"), &none, "prod:shop:down", "sent by an earlier version"),
            (&none, &sent("prod:shop:down"), &kept(own), "prod:shop:down", "the status takes precedence"),
            (&none, &none, &kept("prod:other:down:fedcba98"), own, "restored to another namespace"),
            (&none, &none, &kept("prod:shop:copied:fedcba98"), own, "a copy of another incident"),
            (&none, &none, &kept("payroll-42"), own, "somebody wrote it"),
            (&none, &none, &kept("prod:shop:down:0123456789"), own, "too long for a UID"),
            (&none, &none, &kept("prod:shop:down:a b"), own, "Port would refuse it"),
            (&none, &sent("prod:other:down"), &none, own, "somebody forged the status"),
            (&none, &sent("old:shop:down:01234567"), &none, own, "the cluster has another name"),
            (&json!({"identifier": "inc-42"}), &sent(own), &kept(own), "inc-42", "the spec takes precedence"),
        ] {
            assert_eq!(incident_identifier(&incident(spec, status, annotations), "prod"), expected, "{case}");
        }
    }

    #[test]
    fn annotations_keep_what_the_spec_omits() {
        let annotations = |spec: &Value| {
            let [(_, entity), (_, opened), (_, resolved)] =
                backup_annotations(&incident(spec, &json!({}), &json!({})), "prod", NOW.parse().unwrap());
            (entity.unwrap(), opened, resolved)
        };
        let (entity, opened, time) =
            ("prod:shop:down:01234567".to_owned(), Some("2026-05-31T10:00:00Z".to_owned()), Some(NOW.to_owned()));
        assert_eq!(annotations(&json!({})), (entity.clone(), opened.clone(), None));
        assert_eq!(annotations(&json!({"status": "resolved"})), (entity.clone(), opened, time));
        let spec = json!({"status": "resolved", "createdAt": "2026-01-01T09:00:00Z", "resolvedAt": NOW});
        assert_eq!(annotations(&spec), (entity, None, None));
    }

    #[test]
    fn only_annotations_of_this_incident_count() {
        let time = "2026-01-01T09:00:00Z";
        let kept = |spec: &Value, entity: &str, opened: &str| {
            let incident = incident(spec, &json!({}), &json!({ ENTITY: entity, OPENED_AT: opened }));
            (kept_time(&incident, OPENED_AT).map(|time| time.to_string()), invalid_annotations(&incident).len())
        };
        let (spec, valid) = (json!({}), (Some(time.to_owned()), 0));
        assert_eq!(kept(&spec, "prod:shop:down:fedcba98", time), valid);
        assert_eq!(kept(&spec, "old:elsewhere:down", time), valid, "restored to another namespace and cluster");
        assert_eq!(kept(&json!({"identifier": "inc-42"}), "inc-42", time), valid);
        assert_eq!(kept(&spec, "prod:shop:copied:fedcba98", time), (None, 2));
        assert_eq!(kept(&json!({"identifier": "inc-43"}), "inc-42", time), (None, 2), "a copy");
        for time in ["yesterday", "9999-12-30T22:00:00Z", "-000001-01-01T00:00:00Z", "2026-01-01T00:00:00+26:00", ""] {
            assert_eq!(kept(&spec, "prod:shop:down", time), (None, 1), "{time}");
        }
        assert_eq!(invalid_annotations(&incident(&spec, &spec, &spec)), Vec::<String>::new());
    }
}
