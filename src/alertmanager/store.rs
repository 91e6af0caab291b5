//! Writes down what a notification means.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde_json::json;
use tokio::sync::Mutex;
use tracing::{debug, info, warn};

use super::decide::{Decision, GROUP_LABEL, TargetNamespace, decide, group_hash};
use super::notification::Notification;
use crate::resources::DoraIncident;
use crate::settings::{AlertSource, AlertmanagerSettings};

/// Owns the fields of a new incident.
const CREATION_MANAGER: &str = "port-dora-controller-alerts";

/// Owns only `spec.status` and `spec.resolvedAt`: what people write into the other fields stays.
const RESOLUTION_MANAGER: &str = "port-dora-controller-alerts-resolved";

/// How often a write that somebody else's came before is decided anew.
const ATTEMPTS: usize = 5;

/// Writes incidents of alerts.
///
/// Every replica does, also one that doesn't hold the lease: what it writes follows from the notification and the group's
/// incidents alone, under a name that follows from them too. The lease is for what the controller decides by itself.
pub struct Store {
    client: Client,
    namespace: String,
    settings: AlertmanagerSettings,
    /// One notification at a time: Alertmanagers of a cluster send the same at nearly the same moment.
    turn: Mutex<()>,
}

impl Store {
    /// Writes with `client`; `namespace` is for alerts that name none, or none that exists.
    #[must_use]
    pub fn new(client: Client, namespace: String, settings: AlertmanagerSettings) -> Self {
        Self { client, namespace, settings, turn: Mutex::new(()) }
    }

    /// Writes down what `notification` means; `true` if that was anything. When this returns, the API server has it.
    ///
    /// # Errors
    /// What the API server answered, or why it didn't.
    pub async fn take(&self, notification: &Notification) -> Result<bool, kube::Error> {
        let _turn = self.turn.lock().await;
        let mut attempt = 1;
        loop {
            match self.attempt(notification).await {
                Err(kube::Error::Api(status)) if status.code == 409 && attempt < ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    async fn attempt(&self, notification: &Notification) -> Result<bool, kube::Error> {
        let group = group_hash(notification);
        // In all namespaces: what the alerts of a group have in common changes with them, also the namespace.
        let all: Api<DoraIncident> = Api::all(self.client.clone());
        let known = all.list(&ListParams::default().labels(&format!("{GROUP_LABEL}={group}"))).await?.items;
        let own = TargetNamespace { namespace: self.namespace.clone(), missed: None };
        let fields = &self.settings.fields;
        match decide(notification, &known, fields, &own, Timestamp::now()) {
            Decision::Create(_) => {
                let place = self.place(notification).await?;
                match decide(notification, &known, fields, &place, Timestamp::now()) {
                    Decision::Create(incident) => self.create(&incident).await,
                    _ => Ok(false),
                }
            }
            Decision::Resolve(incidents) => {
                for (incident, at) in incidents {
                    self.resolve(&incident, at).await?;
                }
                Ok(true)
            }
            Decision::Nothing(reason) => {
                debug!(group, status = notification.status.as_str(), reason, "a notification changes nothing");
                Ok(false)
            }
        }
    }

    async fn place(&self, notification: &Notification) -> Result<TargetNamespace, kube::Error> {
        let own = |missed: Option<&str>| TargetNamespace {
            namespace: self.namespace.clone(),
            missed: missed.map(str::to_owned),
        };
        let label = &self.settings.namespace;
        let source = AlertSource::Label(label.clone());
        // Not that of the first alert: an incident of several namespaces belongs to none of them.
        let Some(named) = notification.common_labels.get(label).or_else(|| notification.group_labels.get(label)) else {
            warn!(
                label,
                group_key = notification.group_key,
                namespace = self.namespace,
                "the alerts have no namespace in common: their incident is made in the controller's own"
            );
            return Ok(own(notification.values(&source).next()));
        };
        let is_name = named.len() <= 63
            && named.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        let found = if is_name && !named.is_empty() {
            Api::<Namespace>::all(self.client.clone()).get_opt(named).await?
        } else {
            None
        };
        if found.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_none()) {
            return Ok(TargetNamespace { namespace: named.clone(), missed: None });
        }
        warn!(
            label,
            named,
            group_key = notification.group_key,
            namespace = self.namespace,
            "the namespace of the alerts doesn't exist: their incident is made in the controller's own"
        );
        Ok(own(Some(named)))
    }

    async fn create(&self, incident: &DoraIncident) -> Result<bool, kube::Error> {
        let api = self.api(incident);
        let parameters = PostParams { field_manager: Some(CREATION_MANAGER.to_owned()), ..PostParams::default() };
        match api.create(&parameters, incident).await {
            Ok(_) => {
                info!(
                    namespace = self.namespace_of(incident),
                    name = incident.name_any(),
                    "an alert opened an incident"
                );
                Ok(true)
            }
            // Made by another replica in this moment, or by an earlier attempt whose answer was lost.
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn resolve(&self, incident: &DoraIncident, at: Timestamp) -> Result<(), kube::Error> {
        let patch = json!({
            "apiVersion": DoraIncident::api_version(&()),
            "kind": DoraIncident::kind(&()),
            // An apply to an incident that was deleted meanwhile would make it anew, and one that a person has just resolved
            // would get another time: both are conflicts with these two.
            "metadata": {"name": incident.name_any(), "uid": incident.uid(), "resourceVersion": incident.resource_version()},
            "spec": {"status": "resolved", "resolvedAt": at},
        });
        let parameters = PatchParams::apply(RESOLUTION_MANAGER).force();
        self.api(incident).patch(&incident.name_any(), &parameters, &Patch::Apply(&patch)).await?;
        info!(namespace = self.namespace_of(incident), name = incident.name_any(), %at, "an alert ended: its incident is resolved");
        Ok(())
    }

    fn api(&self, incident: &DoraIncident) -> Api<DoraIncident> {
        Api::namespaced(self.client.clone(), self.namespace_of(incident))
    }

    fn namespace_of<'a>(&'a self, incident: &'a DoraIncident) -> &'a str {
        incident.metadata.namespace.as_deref().unwrap_or(&self.namespace)
    }
}
