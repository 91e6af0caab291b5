//! What a notification means for the incidents of its group. Pure.
//!
//! An incident is one episode of a group: from the first alert that fires until none does any more.

use std::fmt::Write as _;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::api::ObjectMeta;
use sha2::{Digest as _, Sha256};

use super::notification::{AlertStatus, Notification};
use crate::incidents::IncidentTimes;
use crate::resources::{DoraIncident, DoraIncidentSpec, FIELD_MANAGER, IncidentStatus, WorkloadRef};
use crate::settings::{AlertFields, AlertSource};

/// The label that all incidents of one group have.
pub const GROUP_LABEL: &str = "dora.port.io/alert-group";

/// The annotation with Alertmanager's key of the group.
pub const GROUP_ANNOTATION: &str = "dora.port.io/alert-group-key";

/// The annotation with the namespace that the alert names, where the incident can't be in it.
pub const NAMESPACE_ANNOTATION: &str = "dora.port.io/alert-namespace";

/// Longest name of the alert within the name of an incident, so that the whole is also a valid label.
const LONGEST_SLUG: usize = 39;

/// Where a new incident belongs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TargetNamespace {
    /// Its namespace.
    pub namespace: String,
    /// The namespace that the alert names, if the incident can't be there.
    pub missed: Option<String>,
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// A new incident.
    Create(Box<DoraIncident>),
    /// These incidents are over, each at its time.
    Resolve(Vec<(DoraIncident, Timestamp)>),
    /// Nothing, for this reason.
    Nothing(&'static str),
}

/// What `notification` means, where `known` are the incidents of its group.
///
/// Notifications may come twice and late: one that began before the group's last incident ended opens nothing, and one that
/// ended before an incident began doesn't resolve it.
#[must_use]
pub fn decide(
    notification: &Notification,
    known: &[DoraIncident],
    fields: &AlertFields,
    place: &TargetNamespace,
    now: Timestamp,
) -> Decision {
    match notification.status {
        AlertStatus::Firing => {
            let Some(started) = notification.started() else {
                return Decision::Nothing("none of its alerts fires");
            };
            if known.iter().any(|incident| incident.spec.status == IncidentStatus::Open) {
                return Decision::Nothing("the incident of the group is open already");
            }
            if known
                .iter()
                .filter_map(|incident| IncidentTimes::of(incident, now).resolved)
                .any(|resolved| started <= resolved)
            {
                return Decision::Nothing("its alerts began before the incident of the group was resolved");
            }
            Decision::Create(Box::new(new_incident(notification, started, fields, place)))
        }
        AlertStatus::Resolved => {
            let ended = notification.ended().unwrap_or(now).min(now);
            let over =
                known.iter().filter(|incident| incident.spec.status == IncidentStatus::Open).filter(|incident| {
                    // Of an earlier episode, and late.
                    incident.spec.created_at.as_ref().is_none_or(|created| created.0 <= ended)
                });
            let over: Vec<_> =
                over.map(|incident| (incident.clone(), ended.max(IncidentTimes::of(incident, now).opened))).collect();
            if over.is_empty() {
                return Decision::Nothing("no incident of the group is open");
            }
            Decision::Resolve(over)
        }
    }
}

/// The value of [`GROUP_LABEL`]: 16 hexadecimal digits. The same group at two receivers is two groups.
#[must_use]
pub fn group_hash(notification: &Notification) -> String {
    let mut hash = Sha256::new();
    hash.update(&notification.receiver);
    hash.update([0]);
    hash.update(&notification.group_key);
    hash.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing into a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn new_incident(
    notification: &Notification,
    started: Timestamp,
    fields: &AlertFields,
    place: &TargetNamespace,
) -> DoraIncident {
    let hash = group_hash(notification);
    let text = |sources: &[AlertSource], longest: usize| {
        let value = sources.iter().find_map(|source| notification.values(source).next())?;
        Some(value.chars().take(longest).collect::<String>())
    };
    // A workload of another namespace can't be named.
    let workload = if place.missed.is_none() { text(&fields.workload, 253) } else { None };
    let spec = DoraIncidentSpec {
        title: text(&fields.title, 500),
        description: text(&fields.description, 16_384),
        incident_type: text(&fields.incident_type, 253),
        url: fields
            .url
            .iter()
            .flat_map(|source| notification.values(source))
            .find(|url| is_url(url))
            .map(str::to_owned),
        priority: text(&fields.priority, 253),
        urgency: text(&fields.urgency, 253),
        group: text(&fields.group, 1000),
        created_at: Some(Time(started)),
        workload_ref: workload.map(|name| WorkloadRef { name, ..WorkloadRef::default() }),
        ..DoraIncidentSpec::default()
    };
    let mut incident = DoraIncident::new(&name(notification, &hash, started), spec);
    incident.metadata =
        ObjectMeta { name: incident.metadata.name, namespace: Some(place.namespace.clone()), ..ObjectMeta::default() };
    incident.labels_mut().insert("app.kubernetes.io/managed-by".to_owned(), FIELD_MANAGER.to_owned());
    incident.labels_mut().insert(GROUP_LABEL.to_owned(), hash);
    incident.annotations_mut().insert(GROUP_ANNOTATION.to_owned(), notification.group_key.clone());
    if let Some(missed) = &place.missed {
        incident.annotations_mut().insert(NAMESPACE_ANNOTATION.to_owned(), missed.clone());
    }
    incident
}

/// The same for each notification of an episode's beginning, so that one that is sent again finds the first one's incident.
fn name(notification: &Notification, hash: &str, started: Timestamp) -> String {
    let alert = AlertSource::Label("alertname".to_owned());
    let groups = || notification.group_labels.values().cloned().collect::<Vec<_>>().join("-");
    let title = notification.values(&alert).next().map_or_else(groups, str::to_owned);
    let mut slug = String::new();
    let mut before = ' ';
    for char in title.chars() {
        // HighLatency becomes high-latency.
        let begins_word = char.is_ascii_uppercase() && before.is_ascii_lowercase();
        if (begins_word || !char.is_ascii_alphanumeric()) && !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if char.is_ascii_alphanumeric() {
            slug.push(char.to_ascii_lowercase());
        }
        before = char;
    }
    slug.truncate(LONGEST_SLUG);
    let slug = slug.trim_end_matches('-');
    let slug = if slug.is_empty() { "alert" } else { slug };
    let hash = hash.get(..8).unwrap_or(hash);
    format!("{slug}-{hash}-{}", started.strftime("%Y%m%d%H%M%S"))
}

/// Whether the CRD accepts it as `spec.url`. An address that is too long isn't clipped: it would lead elsewhere.
fn is_url(text: &str) -> bool {
    let has_good_escapes = text
        .split('%')
        .skip(1)
        .all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()));
    (text.starts_with("http://") || text.starts_with("https://"))
        && text.len() <= 2000
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && has_good_escapes
        && reqwest::Url::parse(text).is_ok_and(|url| url.has_host())
}

#[cfg(test)]
mod tests;
