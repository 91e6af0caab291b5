//! The requests to the API server that create and resolve the incident of a group of alerts. Pure.

use axum::http::uri::Authority;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource as _;
use kube::api::ObjectMeta;
use serde_json::{Value, json};

use super::decide::{GroupIncident, group_hash};
use super::notification::Notification;
use crate::resources::{
    AffectedWorkload, DoraIncident, DoraIncidentSpec, FIELD_MANAGER, IncidentStatus, MANAGED_BY, ResourceKey,
    is_object_name,
};
use crate::settings::{AlertFields, AlertSource};

/// Label with the [hash of the group](group_hash). All incidents of a group have it.
pub const GROUP_LABEL: &str = "dora.port.io/alert-group";

/// Annotation with Alertmanager's key of the group.
pub const GROUP_ANNOTATION: &str = "dora.port.io/alert-group-key";

/// Annotation with the namespace that the alerts name, if the incident can't be in it.
pub const NAMESPACE_ANNOTATION: &str = "dora.port.io/alert-namespace";

/// Annotation with the workload that the alerts name, if it can't be the name of a Deployment.
pub const WORKLOAD_ANNOTATION: &str = "dora.port.io/alert-workload";

/// Longest annotation, in characters. The API server accepts 256 KiB for all annotations together.
const MAX_ANNOTATION_LENGTH: usize = 4096;

/// Longest slug in the name of an incident, in characters. The whole name then has at most 63, so that it is also a valid label.
const MAX_SLUG_LENGTH: usize = 39;

/// Longest `spec.url` that the CRD accepts, in characters.
const MAX_URL_LENGTH: usize = 2000;

/// The namespace of a new incident.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TargetNamespace {
    /// Name of the namespace.
    pub namespace: String,
    /// The namespace that the alerts name, if the incident can't be in it.
    pub alert_namespace: Option<String>,
}

/// The incident of an episode that began at `started`. Values that are longer than the CRD accepts are cut.
#[must_use]
pub fn new_incident(
    notification: &Notification,
    started: Timestamp,
    fields: &AlertFields,
    target: &TargetNamespace,
) -> DoraIncident {
    let text = |sources: &[AlertSource], max_length: usize| {
        let value = sources.iter().find_map(|source| notification.values(source).next())?;
        Some(value.chars().take(max_length).collect::<String>())
    };
    let urls = fields.url.iter().flat_map(|source| notification.values(source));
    // An incident can only refer to a workload in its own namespace.
    let is_in_own_namespace = target.alert_namespace.is_none();
    let names = || fields.workload.iter().flat_map(|source| notification.values(source));
    let workload = names().find(|name| is_object_name(name)).filter(|_| is_in_own_namespace);
    let unusable = names().next().filter(|_| workload.is_none() && is_in_own_namespace);
    let spec = DoraIncidentSpec {
        title: text(&fields.title, 500),
        description: text(&fields.description, 16_384),
        incident_type: text(&fields.incident_type, 253),
        url: urls.filter(|url| is_url(url)).map(str::to_owned).next(),
        priority: text(&fields.priority, 253),
        urgency: text(&fields.urgency, 253),
        group: text(&fields.group, 1000),
        created_at: Some(Time(started)),
        workload_ref: workload.map(|name| AffectedWorkload { name: name.to_owned(), ..AffectedWorkload::default() }),
        ..DoraIncidentSpec::default()
    };
    let hash = group_hash(notification);
    let name = incident_name(notification, &hash, started);
    let labels = [(MANAGED_BY, FIELD_MANAGER.to_owned()), (GROUP_LABEL, hash)];
    let annotations = [
        (GROUP_ANNOTATION, Some(notification.group_key.as_str())),
        (NAMESPACE_ANNOTATION, target.alert_namespace.as_deref()),
        (WORKLOAD_ANNOTATION, unusable),
    ];
    let metadata = ObjectMeta {
        name: Some(name),
        namespace: Some(target.namespace.clone()),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value)).into()),
        annotations: Some(
            annotations.into_iter().filter_map(|(key, value)| Some((key.to_owned(), cut(value?)))).collect(),
        ),
        ..ObjectMeta::default()
    };
    DoraIncident { metadata, spec, status: None }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_ANNOTATION_LENGTH).collect()
}

/// The server-side apply that resolves an incident.
///
/// UID and resource version make it fail with a conflict if the incident was deleted or changed in the meantime. Otherwise it would
/// create a deleted incident again, or change the time of an incident that a person has just resolved.
#[must_use]
pub fn resolve_patch(incident: &GroupIncident, at: Timestamp) -> Value {
    let GroupIncident { key: ResourceKey { name, .. }, uid, resource_version, state: _ } = incident;
    json!({
        "apiVersion": DoraIncident::api_version(&()),
        "kind": DoraIncident::kind(&()),
        "metadata": { "name": &**name, "uid": uid, "resourceVersion": resource_version },
        "spec": { "status": IncidentStatus::Resolved, "resolvedAt": at },
    })
}

/// Name of the incident. All notifications about the beginning of an episode lead to the same name, so that only one incident exists.
fn incident_name(notification: &Notification, hash: &str, started: Timestamp) -> String {
    let alert_name = AlertSource::Label("alertname".to_owned());
    let groups = || notification.group_labels.values().cloned().collect::<Vec<_>>().join("-");
    let title = notification.values(&alert_name).next().map_or_else(groups, str::to_owned);
    let hash = hash.get(..8).unwrap_or(hash);
    format!("{}-{hash}-{}", slug(&title), started.strftime("%Y%m%d%H%M%S"))
}

/// `title` in kebab case, such as `high-latency` for `HighLatency`; `alert` if it has no letter or digit.
fn slug(title: &str) -> String {
    let mut slug = String::new();
    let mut previous = ' ';
    for char in title.chars() {
        let starts_word = char.is_ascii_uppercase() && previous.is_ascii_lowercase();
        if (starts_word || !char.is_ascii_alphanumeric()) && !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if char.is_ascii_alphanumeric() {
            slug.push(char.to_ascii_lowercase());
        }
        previous = char;
    }
    slug.truncate(MAX_SLUG_LENGTH);
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "alert".to_owned() } else { slug.to_owned() }
}

/// Whether the API server accepts `text` as `spec.url`. If it doesn't, the next source of the URL applies.
///
/// The CRD asks for an http or https URL that CEL's `isURL` accepts. That function is `url.ParseRequestURI` of Go, which is stricter
/// than the URL standard ([`reqwest::Url`]) about escapes and about the characters before the path. A URL that is too long isn't cut,
/// because it would lead elsewhere.
fn is_url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return false;
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let userinfo = authority.rsplit_once('@').map_or("", |(userinfo, _)| userinfo);
    text.len() <= MAX_URL_LENGTH
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && has_valid_escapes(text)
        && Authority::try_from(authority).is_ok()
        && !userinfo.contains('[')
        && reqwest::Url::parse(text).is_ok()
}

fn has_valid_escapes(text: &str) -> bool {
    let is_valid = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    text.split('%').skip(1).all(is_valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_that_the_api_server_accepts_are_valid() {
        for url in [
            "http://a",
            "https://a.example.com:443?q=%20#part",
            "https://user:p%40ss@a/{b}|c#part",
            "http://[::1]:9090/graph?g0.expr=up",
        ] {
            assert!(is_url(url), "{url}");
        }
        let too_long = format!("https://a/{}", "b".repeat(MAX_URL_LENGTH));
        for text in ["wiki", "ftp://a", "HTTP://a", "http://", "https://a b", "https://a/%zz", &too_long] {
            assert!(!is_url(text), "{text}");
        }
        // The URL standard accepts these, and ParseRequestURI of Go rejects them.
        for text in ["http://a#part", r"http://a\b", "http://us^er@a/", "http://%41/", "http://[]@a/", "http://a/\tb"] {
            assert!(!is_url(text) && reqwest::Url::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn slug_is_kebab_case() {
        for (title, expected) in [
            ("KubePodCrashLooping", "kube-pod-crash-looping"),
            ("a/b c", "a-b-c"),
            ("--", "alert"),
            ("HTTPErrors", "httperrors"),
            (&"x".repeat(300), &"x".repeat(MAX_SLUG_LENGTH)),
        ] {
            assert_eq!(slug(title), expected);
        }
    }
}
