//! A namespace with one Deployment, the actions of users, and waits for what the Deployment controller does.

use anyhow::{Context, Result};
use cluster::workload::probe_replica_set;
use cluster::{DEADLINE, LocalCluster, wait_for};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::states::{DeploymentState, Recording, ReplicaSetState};

/// The name of the quota of a test, which is part of the messages of its refusals.
const QUOTA: &str = "none";

/// The manifest of the Deployment `web`.
#[derive(Debug, Clone)]
pub struct Web {
    pub image: &'static str,
    pub replicas: i32,
    /// `progressDeadlineSeconds`. The default is so long that no rollout exceeds it on a slow machine.
    pub deadline: i32,
    pub paused: bool,
    pub strategy: Value,
    pub history_limit: i32,
    /// Annotations of the Deployment.
    pub annotations: Value,
    /// Labels of the pod template, in addition to the label of the selector.
    pub template_labels: Value,
    /// Annotations of the pod template.
    pub template_annotations: Value,
    /// Further fields of the `spec` of the pod.
    pub pod: Value,
}

impl Default for Web {
    fn default() -> Self {
        Self {
            image: "web:1",
            replicas: 2,
            deadline: 600,
            paused: false,
            strategy: json!({}),
            history_limit: 10,
            annotations: json!({}),
            template_labels: json!({}),
            template_annotations: json!({}),
            pod: json!({}),
        }
    }
}

impl Web {
    pub fn image(image: &'static str) -> Self {
        Self { image, ..Self::default() }
    }

    /// An image that can't be pulled, with a deadline of 2 s. Times are whole seconds, so a deadline of 1 s can pass at
    /// once.
    pub fn broken() -> Self {
        Self { image: "web:broken", deadline: 2, ..Self::default() }
    }

    fn manifest(&self) -> String {
        let mut labels = self.template_labels.clone();
        labels["app"] = json!("web");
        let mut pod = json!({"containers": [{"name": "app", "image": self.image}]});
        for (name, value) in self.pod.as_object().into_iter().flatten() {
            pod[name] = value.clone();
        }
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "annotations": self.annotations},
            "spec": {
                "replicas": self.replicas,
                "progressDeadlineSeconds": self.deadline,
                "revisionHistoryLimit": self.history_limit,
                "paused": self.paused,
                "strategy": self.strategy,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": labels, "annotations": self.template_annotations},
                    "spec": pod,
                },
            },
        })
        .to_string()
    }
}

/// A namespace for the Deployment `web`, with a recording of all its states from the beginning.
///
/// An *action* is what a user does. All waits and queries start at the newest action, so that an earlier state is never
/// mistaken for its result.
#[derive(Debug)]
pub struct TestEnv<'a> {
    pub cluster: &'a LocalCluster,
    pub namespace: String,
    pub deployments: Api<Deployment>,
    replica_sets: Api<ReplicaSet>,
    recording: Recording,
    /// Number of states that were recorded before the newest action.
    action: usize,
    /// Number of calls of [`TestEnv::reconciled`].
    reconciled: u32,
}

impl TestEnv<'static> {
    /// An environment on the cluster that all tests share.
    pub async fn new(prefix: &str) -> Result<Self> {
        TestEnv::on(LocalCluster::shared().await, prefix).await
    }

    /// An environment in which the Deployment is complete at revision 1.
    pub async fn with(prefix: &str, web: &Web) -> Result<Self> {
        let mut env = Self::new(prefix).await?;
        env.apply(web).await?;
        env.complete(1).await?;
        Ok(env)
    }
}

impl<'a> TestEnv<'a> {
    /// An environment on this cluster.
    pub async fn on(cluster: &'a LocalCluster, prefix: &str) -> Result<Self> {
        let namespace = cluster.namespace(prefix).await?;
        let client = cluster.client().await?;
        Ok(Self {
            cluster,
            deployments: Api::namespaced(client.clone(), &namespace),
            replica_sets: Api::namespaced(client.clone(), &namespace),
            recording: Recording::start(client, &namespace).await?,
            namespace,
            action: 0,
            reconciled: 0,
        })
    }

    /// The action `kubectl apply` with the Deployment.
    pub async fn apply(&mut self, web: &Web) -> Result<()> {
        self.input(&["apply", "--filename=-"], &web.manifest()).await
    }

    /// The action `kubectl …` in this namespace, with the manifest of the Deployment on its standard input.
    pub async fn kubectl_with(&mut self, arguments: &[&str], web: &Web) -> Result<()> {
        self.input(arguments, &web.manifest()).await
    }

    /// The action `kubectl …` in this namespace.
    pub async fn kubectl(&mut self, arguments: &[&str]) -> Result<()> {
        self.input(arguments, "").await
    }

    /// The action `kubectl …` in this namespace, with `input` on its standard input.
    pub async fn input(&mut self, arguments: &[&str], input: &str) -> Result<()> {
        self.catch_up().await?;
        self.action = self.recording.length();
        let namespace = format!("--namespace={}", self.namespace);
        let arguments = arguments.iter().copied().chain([namespace.as_str()]);
        self.cluster.kubectl_with_input(arguments, input).await?;
        Ok(())
    }

    /// `web` with pods that wait at the gate of this namespace.
    pub fn gated(&self, web: Web) -> Web {
        Web { pod: json!({"nodeSelector": self.cluster.gate(&self.namespace).node_selector()}), ..web }
    }

    /// Lets the node accept the pods of [`TestEnv::gated`]. This is not an action.
    pub async fn open_gate(&self) -> Result<()> {
        Ok(self.cluster.gate(&self.namespace).open().await?)
    }

    /// Keeps new pods of [`TestEnv::gated`] from being scheduled. Running pods stay. This is not an action.
    pub async fn close_gate(&self) -> Result<()> {
        Ok(self.cluster.gate(&self.namespace).close().await?)
    }

    /// The action to create a quota such as `pods=0`. Waits until it refuses the manifest `further`.
    pub async fn add_quota(&mut self, hard: &str, further: &Value) -> Result<()> {
        self.kubectl(&["create", "quota", QUOTA, &format!("--hard={hard}")]).await?;
        Ok(wait_for("the quota to take effect", DEADLINE, async || match self.refusal(further).await {
            // A quota without a status refuses everything, with another message.
            Some(message) if message.contains("exceeded quota") => Ok(Some(())),
            other => Err(format!("{other:?}"))?,
        })
        .await?)
    }

    /// The action to delete the quota of [`TestEnv::add_quota`]. Waits until the manifest `further` is accepted, and
    /// makes the controllers retry at once.
    pub async fn remove_quota(&mut self, further: &Value) -> Result<()> {
        self.kubectl(&["delete", "quota", QUOTA]).await?;
        wait_for("the quota to be gone", DEADLINE, async || match self.refusal(further).await {
            None => Ok(Some(())),
            Some(message) => Err(message)?,
        })
        .await?;
        // This annotates the Deployment and so its ReplicaSet. Both controllers retry when they see the change.
        self.reconciled().await?;
        Ok(())
    }

    /// Why the API server refuses to create the object of a manifest, or `None` if it accepts it.
    async fn refusal(&self, manifest: &Value) -> Option<String> {
        let namespace = format!("--namespace={}", self.namespace);
        let arguments = ["create", "--dry-run=server", "--filename=-", &namespace];
        self.cluster.kubectl_with_input(arguments, &manifest.to_string()).await.err().map(|error| error.to_string())
    }

    /// Makes the API server refuse to scale a ReplicaSet, so that its pods stay until [`TestEnv::allow_scaling`]. This
    /// is not an action.
    pub async fn deny_scaling(&self, replica_set: &str) -> Result<()> {
        let matched = json!({"matchLabels": {"kubernetes.io/metadata.name": self.namespace}});
        let rules = json!([{
            "apiGroups": ["apps"],
            "apiVersions": ["v1"],
            "operations": ["UPDATE"],
            "resources": ["replicasets"],
            "resourceNames": [replica_set],
        }]);
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": self.namespace},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"namespaceSelector": matched, "resourceRules": rules},
                "validations": [{"expression": "object.spec.replicas == oldObject.spec.replicas"}],
            },
        });
        let binding = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": self.namespace},
            "spec": {"policyName": self.namespace, "validationActions": ["Deny"]},
        });
        self.cluster.apply(&format!("{policy}\n---\n{binding}")).await?;
        self.scaling_is_refused(replica_set, true).await
    }

    /// Ends [`TestEnv::deny_scaling`], and makes the controller retry at once. This is not an action.
    pub async fn allow_scaling(&self, replica_set: &str) -> Result<()> {
        let kinds = "validatingadmissionpolicybindings,validatingadmissionpolicies";
        self.cluster.kubectl(["delete", kinds, &self.namespace]).await?;
        self.scaling_is_refused(replica_set, false).await?;
        // The controller retries when the ReplicaSet changes.
        let patch = json!({"metadata": {"annotations": {"test/scaling-allowed": "yes"}}});
        self.replica_sets.patch(replica_set, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn scaling_is_refused(&self, replica_set: &str, expected: bool) -> Result<()> {
        let parameters = PatchParams { dry_run: true, ..PatchParams::default() };
        let patch = Patch::Merge(json!({"spec": {"replicas": 7}}));
        Ok(wait_for(format!("scaling {replica_set} to be refused: {expected}"), DEADLINE, async || {
            let is_refused = match self.replica_sets.patch(replica_set, &parameters, &patch).await {
                Ok(_) => false,
                Err(kube::Error::Api(status)) if status.code == 422 => true,
                Err(error) => Err(error)?,
            };
            Ok((is_refused == expected).then_some(()))
        })
        .await?)
    }

    /// Waits until the controllers have seen all changes of the ReplicaSets of this namespace so far. They share one
    /// watch, so this creates another ReplicaSet and waits until its controller has observed it.
    pub async fn replica_sets_are_observed(&self) -> Result<()> {
        let probe = serde_json::from_value(probe_replica_set())?;
        let name = self.replica_sets.create(&PostParams::default(), &probe).await?.name_any();
        wait_for("the controllers to observe the newest ReplicaSet", DEADLINE, async || {
            let status = self.replica_sets.get(&name).await?.status.unwrap_or_default();
            Ok(status.observed_generation.map(drop))
        })
        .await?;
        self.replica_sets.delete(&name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Makes a stalled rollout fail by setting a deadline that has passed. With a short deadline from the beginning, it
    /// could fail before all of its pods exist, and then a second time. This is not an action.
    pub async fn fail_now(&self) -> Result<()> {
        let patch = json!({"spec": {"progressDeadlineSeconds": 1}});
        self.deployments.patch("web", &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Waits until the recording has the state of the API server, since a watch lags behind a read.
    async fn catch_up(&self) -> Result<()> {
        Ok(wait_for("the watch to catch up", DEADLINE, async || {
            let now = self.deployments.get_opt("web").await?;
            let version = now.and_then(|deployment| deployment.metadata.resource_version);
            let states = self.recording.deployment(0)?;
            let caught_up = match (version, states.last()) {
                (Some(version), Some(last)) => !last.is_deleted() && last.resource_version >= version.parse()?,
                (None, Some(last)) => last.is_deleted(),
                (version, None) => version.is_none(),
            };
            Ok(caught_up.then_some(()))
        })
        .await?)
    }

    /// All states of the Deployment since the newest action.
    pub fn states(&self) -> Result<Vec<DeploymentState>> {
        self.recording.deployment(self.action)
    }

    /// All states of all ReplicaSets from the beginning.
    pub async fn replica_set_states(&self) -> Result<Vec<ReplicaSetState>> {
        Ok(wait_for("the watch of ReplicaSets to catch up", DEADLINE, async || {
            let now = self.replica_sets().await?;
            let states = self.recording.replica_sets()?;
            let all_are_recorded = now.iter().all(|set| states.contains(set));
            let all_others_are_deleted = states
                .iter()
                .filter(|state| now.iter().all(|set| set.uid != state.uid))
                .all(|gone| states.iter().any(|state| state.uid == gone.uid && state.deleted));
            Ok((all_are_recorded && all_others_are_deleted).then_some(states))
        })
        .await?)
    }

    /// Waits for the first state since the newest action that fulfils a condition, and returns it.
    pub async fn until(&self, what: &str, fulfils: impl Fn(&DeploymentState) -> bool) -> Result<DeploymentState> {
        Ok(wait_for(format!("{what} in namespace {}", self.namespace), DEADLINE, async || {
            let states = self.states()?;
            match states.iter().find(|state| fulfils(state)) {
                Some(state) => Ok(Some(state.clone())),
                None => Err(format!("{:?}", states.last()))?,
            }
        })
        .await?)
    }

    /// Waits for the first state whose condition Progressing has this reason.
    pub async fn until_reason(&self, reason: &str) -> Result<DeploymentState> {
        self.until(&format!("Progressing={reason}"), |state| state.reason() == Some(reason)).await
    }

    /// Waits until a revision is complete according to the counts in the status, and ignores the condition.
    pub async fn rolled_out(&self, revision: i64) -> Result<DeploymentState> {
        self.until(&format!("the counts of revision {revision} to be complete"), |state| {
            state.revision == Some(revision) && state.is_complete_by_counts()
        })
        .await
    }

    /// Waits until a revision is complete according to the counts and to a condition that names its ReplicaSet.
    pub async fn complete(&self, revision: i64) -> Result<DeploymentState> {
        let name = wait_for(format!("the ReplicaSet of revision {revision}"), DEADLINE, async || {
            let all = self.replica_sets().await?;
            Ok(all.into_iter().find(|set| set.revision == Some(revision)).map(|set| set.name))
        })
        .await?;
        self.until(&format!("revision {revision}, which is {name}, to be complete"), |state| {
            let condition = state.progressing.as_ref();
            state.revision == Some(revision)
                && state.is_complete_by_counts()
                && state.reason() == Some("NewReplicaSetAvailable")
                && condition.and_then(|condition| condition.names()) == Some(&name)
        })
        .await
    }

    /// Waits until a revision has failed with the one pod that a rolling update starts with. Then no further progress
    /// can follow without another action.
    pub async fn failed(&self, revision: i64) -> Result<DeploymentState> {
        self.until(&format!("revision {revision} to have failed with one pod"), |state| {
            state.revision == Some(revision)
                && state.is_observed()
                && state.updated == 1
                && state.reason() == Some("ProgressDeadlineExceeded")
        })
        .await
    }

    /// Waits until the Deployment controller has reconciled the Deployment once more, and returns its state. What has
    /// not happened by then doesn't happen without another action.
    ///
    /// This is not an action. It adds an annotation, and the controller reports the new generation at the end of its
    /// reconciliation.
    pub async fn reconciled(&mut self) -> Result<DeploymentState> {
        self.reconciled += 1;
        let patch = json!({"metadata": {"annotations": {"test/reconciled": self.reconciled.to_string()}}});
        let patched = self.deployments.patch("web", &PatchParams::default(), &Patch::Merge(patch)).await?;
        let generation = patched.metadata.generation.context("no generation")?;
        self.until(&format!("generation {generation} to be observed"), |state| {
            state.observed_generation == Some(generation)
        })
        .await
    }

    /// The current ReplicaSets, sorted by revision.
    pub async fn replica_sets(&self) -> Result<Vec<ReplicaSetState>> {
        let list = self.replica_sets.list(&ListParams::default()).await?;
        let mut all: Vec<_> = list.items.iter().map(|set| ReplicaSetState::new(set, false)).collect();
        all.sort_by_key(|set| set.revision);
        Ok(all)
    }

    /// The ReplicaSet whose first container has this image.
    pub async fn replica_set(&self, image: &str) -> Result<ReplicaSetState> {
        let mut all = self.replica_sets().await?;
        let index = all.iter().position(|set| set.image == image);
        let index = index.with_context(|| format!("no ReplicaSet has the image {image}: {all:?}"))?;
        Ok(all.swap_remove(index))
    }
}
