//! Stores what a notification means as incidents in the cluster.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use tracing::{debug, info, warn};

use super::decide::{
    Decision, GroupIncident, GroupIncidentState, IgnoreReason, decide, group_hash, may_be_early, resolution,
};
use super::index::{AlertIndex, Episode, MAX_OPEN, newest};
use super::locks::GroupLocks;
use super::manifest::{GROUP_LABEL, TargetNamespace, WORKLOAD_ANNOTATION, new_incident, resolve_patch};
use super::notification::{AlertStatus, Notification};
use crate::resources::{DoraIncident, Guarded, ResourceKey, is_object_name};
use crate::runtime::is_namespace_gone;
use crate::settings::{AlertSource, AlertmanagerSettings};

/// Field manager that creates an incident.
const CREATION_MANAGER: &str = "port-dora-controller-alerts";

/// Field manager of `spec.status` and `spec.resolvedAt`. It owns no other field, so changes of people stay.
const RESOLUTION_MANAGER: &str = "port-dora-controller-alerts-resolved";

/// How often a notification is tried if other writers change its incidents or its namespace at the same time.
const MAX_ATTEMPTS: usize = 5;

/// Longest name of a namespace, in characters.
const MAX_NAMESPACE_LENGTH: usize = 63;

/// Incidents in one page of a list, which contains only metadata.
const PAGE_SIZE: u32 = 500;

/// Pages of the longest list. The incidents of a larger group are not searched to the end.
const MAX_PAGES: usize = 20;

/// Namespaces in which incidents are listed for one notification. A group that is grouped by namespace has two.
const MAX_LISTED_NAMESPACES: usize = 10;

/// Writes the incidents of alerts.
///
/// Every replica writes, with or without the lease: the incident and its name follow only from the notification and from the existing
/// incidents of the group.
///
/// Which incidents count: the label of a group isn't a secret, so everybody who may create incidents in a namespace can give them the
/// label of any group. An incident of one team must not hide the alerts of another team. So only incidents in these namespaces decide
/// whether an incident is created, and what is searched:
///
/// - the namespaces that the labels of the notification name,
/// - the namespace of the controller, in which teams can't create incidents.
///
/// A group whose alerts move to another namespace therefore gets a second incident, in that namespace. When the group is resolved, none of
/// its alerts fires anywhere. So the controller then also resolves the open incidents of the group in all other namespaces, after the
/// others. That can't resolve an incident of another group, and errors there don't change the response.
pub struct IncidentStore {
    client: Client,
    namespace: String,
    settings: AlertmanagerSettings,
    index: Arc<AlertIndex>,
    /// Held for one notification of a group at a time, because several Alertmanagers of a cluster send the same notification at nearly
    /// the same time.
    locks: GroupLocks,
}

/// The result of [`IncidentStore::store`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StoreResult {
    /// The API server has stored at least one change.
    Stored,
    /// The notification changes nothing.
    Unchanged,
}

/// Why a notification is not stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The process has just started.
    #[error("the controller has not listed the incidents of the cluster yet")]
    NotListed,
    /// The API server doesn't answer, or rejects the incident.
    #[error(transparent)]
    Api(#[from] kube::Error),
}

impl StoreError {
    /// Whether another attempt decides differently: another writer changed an incident, or the namespace of the alerts is gone.
    fn is_outdated(&self) -> bool {
        let Self::Api(error) = self else {
            return false;
        };
        is_namespace_gone(error) || matches!(error, kube::Error::Api(status) if status.is_conflict())
    }
}

impl IncidentStore {
    /// A store that writes with `client`. Alerts without an existing namespace get their incident in `namespace`.
    #[must_use]
    pub fn new(client: Client, namespace: String, settings: AlertmanagerSettings, index: Arc<AlertIndex>) -> Self {
        Self { client, namespace, settings, index, locks: GroupLocks::default() }
    }

    /// Creates or resolves the incident of `notification`. When this returns, the API server has stored it.
    ///
    /// # Errors
    /// If the API server doesn't answer, or rejects the incident, or if its incidents are not listed yet.
    pub async fn store(&self, notification: &Notification) -> Result<StoreResult, StoreError> {
        let group = group_hash(notification);
        let attempts = async {
            let mut attempt = 1;
            loop {
                match self.try_store(notification, &group, Timestamp::now()).await {
                    Err(error) if error.is_outdated() && attempt < MAX_ATTEMPTS => attempt += 1,
                    result => return result,
                }
            }
        };
        self.locks.run(&group, attempts).await
    }

    async fn try_store(
        &self,
        notification: &Notification,
        group: &str,
        now: Timestamp,
    ) -> Result<StoreResult, StoreError> {
        let namespaces = self.namespaces(notification);
        let relevant = self.index.relevant(group, &namespaces, now).ok_or(StoreError::NotListed)?;
        let mut incidents = Vec::new();
        for (key, episode) in relevant {
            incidents.extend(self.read(group, key, episode, now).await?);
        }
        let mut decision = decide(notification, &incidents, now);
        if decision == Decision::Ignore(IgnoreReason::NoOpenIncident) && may_be_early(notification, &incidents, now) {
            decision = decide(notification, &self.read_unknown(group, &namespaces, now).await?, now);
        }
        let result = self.carry_out(decision, notification, group, now).await?;
        let is_resolved = notification.status == AlertStatus::Resolved;
        let is_stored = is_resolved && self.resolve_elsewhere(notification, group, &namespaces, now).await?;
        Ok(if is_stored { StoreResult::Stored } else { result })
    }

    /// The namespaces whose incidents count for this notification. For the reason, see [`IncidentStore`].
    fn namespaces<'a>(&'a self, notification: &'a Notification) -> BTreeSet<&'a str> {
        let mut namespaces = notification.label_values(&self.settings.namespace);
        namespaces.insert(&self.namespace);
        namespaces
    }

    async fn carry_out(
        &self,
        decision: Decision,
        notification: &Notification,
        group: &str,
        now: Timestamp,
    ) -> Result<StoreResult, StoreError> {
        match decision {
            Decision::Create { started } => {
                let target = self.target_namespace(notification).await?;
                let incident = new_incident(notification, started, &self.settings.fields, &target);
                log_unusable(notification, &incident, now);
                self.create(&incident).await
            }
            Decision::Resolve(resolutions) => self.resolve_all(&resolutions).await,
            Decision::Ignore(reason) => {
                let (status, reason) = (notification.status.as_str(), reason.as_str());
                debug!(group, status, reason, "the notification changes nothing");
                Ok(StoreResult::Unchanged)
            }
        }
    }

    /// Resolves the open incidents of the group in namespaces that its last notification doesn't name. Returns whether there was one.
    ///
    /// Anybody can have put them there. So an incident that can't be changed is only logged. Otherwise it would make each notification of
    /// the group fail.
    async fn resolve_elsewhere(
        &self,
        notification: &Notification,
        group: &str,
        namespaces: &BTreeSet<&str>,
        now: Timestamp,
    ) -> Result<bool, kube::Error> {
        let mut is_resolved = false;
        for key in self.index.open_elsewhere(group, namespaces) {
            let ResourceKey { namespace, name } = &key;
            let mut result = Ok(false);
            for _ in 0..MAX_ATTEMPTS {
                result = self.try_resolve_elsewhere(notification, group, &key, now).await;
                if !matches!(&result, Err(kube::Error::Api(status)) if status.is_conflict()) {
                    break;
                }
            }
            match result {
                Ok(has_changed) => is_resolved |= has_changed,
                Err(kube::Error::Api(status)) if (400..500).contains(&status.code) && status.code != 429 => warn!(
                    %namespace, incident = %name, error = status.message,
                    "failed to resolve an incident in a namespace that its alerts no longer name; its status stays as it is (resolve or \
                     delete the incident)",
                ),
                Err(error) => return Err(error),
            }
        }
        Ok(is_resolved)
    }

    async fn try_resolve_elsewhere(
        &self,
        notification: &Notification,
        group: &str,
        key: &ResourceKey,
        now: Timestamp,
    ) -> Result<bool, kube::Error> {
        let Some(incident) = self.read(group, key.clone(), Episode::Open, now).await? else {
            return Ok(false);
        };
        let Some(at) = resolution(notification, &incident, now) else {
            return Ok(false);
        };
        self.resolve(&incident, at).await?;
        Ok(true)
    }

    /// Reads an incident of the group. `None` if it doesn't exist or is in another group. An incident that can't be decoded counts as the
    /// index has it.
    async fn read(
        &self,
        group: &str,
        key: ResourceKey,
        episode: Episode,
        now: Timestamp,
    ) -> Result<Option<GroupIncident>, kube::Error> {
        let api: Api<Guarded<DoraIncident>> = Api::namespaced(self.client.clone(), &key.namespace);
        let Some(guarded) = api.get_opt(&key.name).await? else {
            return Ok(None);
        };
        match guarded.0 {
            Ok(incident) => {
                let is_member = incident.labels().get(GROUP_LABEL).is_some_and(|label| label == group);
                Ok(GroupIncident::of(&incident, now).filter(|_| is_member))
            }
            Err(undecodable) => {
                let ResourceKey { namespace, name } = &key;
                warn!(
                    %namespace, incident = %name, problem = undecodable.problem,
                    "failed to decode the incident of an alert; its status stays as it is (correct or delete the incident)",
                );
                let state = GroupIncidentState::Unreadable;
                let unreadable = GroupIncident { key, uid: None, resource_version: None, state };
                Ok((episode == Episode::Open).then_some(unreadable))
            }
        }
    }

    /// Reads the incidents of the group in these namespaces that the watch has not brought yet.
    async fn read_unknown(
        &self,
        group: &str,
        namespaces: &BTreeSet<&str>,
        now: Timestamp,
    ) -> Result<Vec<GroupIncident>, kube::Error> {
        // The namespace of the controller comes first, because the names of the others come from the notification.
        let others = namespaces.iter().copied().filter(|name| *name != self.namespace && is_namespace_name(name));
        let mut unknown = Vec::new();
        for namespace in std::iter::once(self.namespace.as_str()).chain(others).take(MAX_LISTED_NAMESPACES) {
            unknown.extend(self.list_unknown(group, namespace).await?);
        }
        let mut incidents = Vec::new();
        for key in newest(unknown, MAX_OPEN) {
            incidents.extend(self.read(group, key, Episode::Open, now).await?);
        }
        Ok(incidents)
    }

    /// The incidents of the group in this namespace that the watch has not brought yet, with their creation. Only metadata is listed.
    async fn list_unknown(
        &self,
        group: &str,
        namespace: &str,
    ) -> Result<Vec<(ResourceKey, Option<Timestamp>)>, kube::Error> {
        let api = self.api(namespace);
        let mut parameters = ListParams::default().labels(&format!("{GROUP_LABEL}={group}")).limit(PAGE_SIZE);
        let mut unknown = Vec::new();
        for _ in 0..MAX_PAGES {
            let page = api.list_metadata(&parameters).await?;
            let listed = page.items.iter().filter_map(|item| {
                let created = item.metadata.creation_timestamp.as_ref().map(|time| time.0);
                Some((ResourceKey::of(&item.metadata)?, created))
            });
            unknown.extend(listed.filter(|(key, _)| !self.index.knows(group, key)));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => break,
            }
        }
        Ok(unknown)
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
        if !is_namespace_name(name) {
            return Ok(false);
        }
        let namespace = Api::<Namespace>::all(self.client.clone()).get_metadata_opt(name).await?;
        Ok(namespace.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_none()))
    }

    async fn create(&self, incident: &DoraIncident) -> Result<StoreResult, StoreError> {
        let (namespace, name) = (incident.namespace().unwrap_or_else(|| self.namespace.clone()), incident.name_any());
        let parameters = PostParams { field_manager: Some(CREATION_MANAGER.to_owned()), ..PostParams::default() };
        match self.api(&namespace).create(&parameters, incident).await {
            Ok(created) => {
                self.index.written(&created);
                info!(namespace, incident = name, "opened the incident of an alert");
                Ok(StoreResult::Stored)
            }
            // Another replica has created it, or an earlier attempt whose response was lost.
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(StoreResult::Unchanged),
            Err(error) => Err(error.into()),
        }
    }

    /// Resolves these incidents. One that the API server rejects doesn't keep the others open.
    async fn resolve_all(&self, resolutions: &[(GroupIncident, Timestamp)]) -> Result<StoreResult, StoreError> {
        let mut failed = None;
        for (incident, at) in resolutions {
            if let Err(error) = self.resolve(incident, *at).await {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(StoreResult::Stored), |error| Err(error.into()))
    }

    async fn resolve(&self, incident: &GroupIncident, at: Timestamp) -> Result<(), kube::Error> {
        let ResourceKey { namespace, name } = &incident.key;
        let parameters = PatchParams::apply(RESOLUTION_MANAGER).force();
        let patch = Patch::Apply(resolve_patch(incident, at));
        let resolved = self.api(namespace).patch(name, &parameters, &patch).await?;
        self.index.written(&resolved);
        info!(%namespace, incident = %name, %at, "resolved the incident of an alert");
        Ok(())
    }

    fn api(&self, namespace: &str) -> Api<DoraIncident> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// Whether a namespace can have this name. Another text would change the path of a request.
fn is_namespace_name(name: &str) -> bool {
    is_object_name(name) && !name.contains('.') && name.len() <= MAX_NAMESPACE_LENGTH
}

/// Logs which values of a notification can't be used for its incident.
fn log_unusable(notification: &Notification, incident: &DoraIncident, now: Timestamp) {
    let group_key = &notification.group_key;
    if let Some(workload) = incident.annotations().get(WORKLOAD_ANNOTATION) {
        warn!(
            group_key,
            workload,
            "the workload of the alerts can't be the name of a Deployment; creating their incident without spec.workloadRef (check the \
             setting alertmanager.fields.workload)"
        );
    }
    if !notification.states_start(now) {
        warn!(
            group_key,
            "no firing alert states a usable start; the incident begins with the receipt of the notification (check the clock and the \
             program that sends the alerts)"
        );
    }
}

#[cfg(test)]
mod tests;
