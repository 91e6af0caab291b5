//! Stores what a notification means as incidents in the cluster.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::Mutex;
use tracing::{debug, info, warn};

use super::decide::{Decision, decide, group_hash};
use super::manifest::{GROUP_LABEL, TargetNamespace, new_incident, resolve_patch};
use super::notification::Notification;
use crate::resources::DoraIncident;
use crate::settings::{AlertSource, AlertmanagerSettings};

/// Field manager that creates an incident.
const CREATION_MANAGER: &str = "port-dora-controller-alerts";

/// Field manager of `spec.status` and `spec.resolvedAt`. It owns no other field, so changes of people stay.
const RESOLUTION_MANAGER: &str = "port-dora-controller-alerts-resolved";

/// How often a notification is tried if other writers change its incidents at the same time.
const MAX_ATTEMPTS: usize = 5;

/// Longest name of a namespace, in characters.
const MAX_NAMESPACE_LENGTH: usize = 63;

/// Writes the incidents of alerts.
///
/// Every replica writes, with or without the lease: the incident and its name follow only from the notification and from the existing
/// incidents of the group.
pub struct IncidentStore {
    client: Client,
    namespace: String,
    settings: AlertmanagerSettings,
    /// Held for one notification at a time, because several Alertmanagers of a cluster send the same notification at nearly the same
    /// time.
    lock: Mutex<()>,
}

/// The result of [`IncidentStore::store`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StoreResult {
    /// The API server has stored at least one change.
    Stored,
    /// The notification changes nothing.
    Unchanged,
}

impl IncidentStore {
    /// A store that writes with `client`. Alerts without an existing namespace get their incident in `namespace`.
    #[must_use]
    pub fn new(client: Client, namespace: String, settings: AlertmanagerSettings) -> Self {
        Self { client, namespace, settings, lock: Mutex::new(()) }
    }

    /// Creates or resolves the incident of `notification`. When this returns, the API server has stored it.
    ///
    /// # Errors
    /// If the API server doesn't answer, or rejects the incident.
    pub async fn store(&self, notification: &Notification) -> Result<StoreResult, kube::Error> {
        let _guard = self.lock.lock().await;
        let mut attempt = 1;
        loop {
            match self.try_store(notification).await {
                Err(kube::Error::Api(status)) if status.is_conflict() && attempt < MAX_ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    async fn try_store(&self, notification: &Notification) -> Result<StoreResult, kube::Error> {
        let group = group_hash(notification);
        // The namespace that the alerts of a group share changes with the alerts, so the incidents can be in any namespace.
        let all: Api<DoraIncident> = Api::all(self.client.clone());
        let incidents = all.list(&ListParams::default().labels(&format!("{GROUP_LABEL}={group}"))).await?.items;
        match decide(notification, &incidents, Timestamp::now()) {
            Decision::Create { started } => {
                let target = self.target_namespace(notification).await?;
                self.create(&new_incident(notification, started, &self.settings.fields, &target)).await
            }
            Decision::Resolve(resolutions) => {
                for (incident, at) in resolutions {
                    self.resolve(&incident, at).await?;
                }
                Ok(StoreResult::Stored)
            }
            Decision::Ignore(reason) => {
                let (status, reason) = (notification.status.as_str(), reason.as_str());
                debug!(group, status, reason, "the notification changes nothing");
                Ok(StoreResult::Unchanged)
            }
        }
    }

    /// The namespace that all alerts share, if it exists. Otherwise the namespace of the controller.
    async fn target_namespace(&self, notification: &Notification) -> Result<TargetNamespace, kube::Error> {
        let (label, group_key) = (&self.settings.namespace, &notification.group_key);
        let own = |alert_namespace: Option<&str>| TargetNamespace {
            namespace: self.namespace.clone(),
            alert_namespace: alert_namespace.map(str::to_owned),
        };
        // Labels of single alerts don't count: an incident in several namespaces belongs to none of them.
        let shared = notification.common_labels.get(label).or_else(|| notification.group_labels.get(label));
        let Some(shared) = shared else {
            warn!(
                label,
                group_key,
                namespace = self.namespace,
                "the alerts share no namespace; creating their incident in the namespace of the controller"
            );
            return Ok(own(notification.values(&AlertSource::Label(label.clone())).next()));
        };
        if self.namespace_exists(shared).await? {
            return Ok(TargetNamespace { namespace: shared.clone(), alert_namespace: None });
        }
        warn!(
            label,
            alert_namespace = shared,
            group_key,
            namespace = self.namespace,
            "the namespace of the alerts doesn't exist; creating their incident in the namespace of the controller"
        );
        Ok(own(Some(shared)))
    }

    /// Whether `name` is the name of a namespace that isn't being deleted.
    async fn namespace_exists(&self, name: &str) -> Result<bool, kube::Error> {
        let is_valid = !name.is_empty()
            && name.len() <= MAX_NAMESPACE_LENGTH
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !is_valid {
            return Ok(false);
        }
        let namespace = Api::<Namespace>::all(self.client.clone()).get_metadata_opt(name).await?;
        Ok(namespace.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_none()))
    }

    async fn create(&self, incident: &DoraIncident) -> Result<StoreResult, kube::Error> {
        let (namespace, name) = (self.namespace_of(incident), incident.name_any());
        let parameters = PostParams { field_manager: Some(CREATION_MANAGER.to_owned()), ..PostParams::default() };
        match self.api(incident).create(&parameters, incident).await {
            Ok(_) => {
                info!(namespace, incident = name, "opened the incident of an alert");
                Ok(StoreResult::Stored)
            }
            // Another replica has created it, or an earlier attempt whose response was lost.
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(StoreResult::Unchanged),
            Err(error) => Err(error),
        }
    }

    async fn resolve(&self, incident: &DoraIncident, at: Timestamp) -> Result<(), kube::Error> {
        let (namespace, name) = (self.namespace_of(incident), incident.name_any());
        let parameters = PatchParams::apply(RESOLUTION_MANAGER).force();
        self.api(incident).patch(&name, &parameters, &Patch::Apply(resolve_patch(incident, at))).await?;
        info!(namespace, incident = name, %at, "resolved the incident of an alert");
        Ok(())
    }

    fn api(&self, incident: &DoraIncident) -> Api<DoraIncident> {
        Api::namespaced(self.client.clone(), self.namespace_of(incident))
    }

    fn namespace_of<'a>(&'a self, incident: &'a DoraIncident) -> &'a str {
        incident.metadata.namespace.as_deref().unwrap_or(&self.namespace)
    }
}
