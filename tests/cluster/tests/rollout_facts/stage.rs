//! A namespace with one Deployment, what users do to it, and waiting for what the controller makes of that.

use std::time::Duration;

use anyhow::{Context, Result};
use cluster::{LocalCluster, wait_for};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::states::{DeploymentState, Recording, ReplicaSetState};

/// How long is waited for anything. Long, for machines that do other things as well: it asserts nothing.
pub const SOON: Duration = Duration::from_mins(4);

/// The Deployment `web` as a user's manifest has it.
#[derive(Debug, Clone)]
pub struct Web {
    pub image: &'static str,
    pub replicas: i32,
    /// `progressDeadlineSeconds`. By default so long that a slow machine doesn't fail a rollout.
    pub deadline: i32,
    pub paused: bool,
    pub strategy: Value,
    pub history_limit: i32,
    /// Annotations of the Deployment.
    pub annotations: Value,
    /// Labels of the pod template, beside the one that the selector demands.
    pub template_labels: Value,
    /// Annotations of the pod template.
    pub template_annotations: Value,
    /// Further fields of the pod's `spec`.
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

    /// An image that can't be pulled, with a deadline of 2 s: as times are whole seconds, one of 1 s can be over at once.
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

/// A namespace in which the Deployment `web` lives, watched from the beginning.
///
/// An *action* is what a user does. Waiting and looking begin with the newest action, so that no state from before
/// it can be taken for one that follows from it.
#[derive(Debug)]
pub struct Stage<'a> {
    pub cluster: &'a LocalCluster,
    pub namespace: String,
    pub deployments: Api<Deployment>,
    replica_sets: Api<ReplicaSet>,
    recording: Recording,
    /// How many states had been recorded when the newest action began.
    action: usize,
    settled: u32,
}

impl Stage<'static> {
    /// A stage on the cluster that all tests share.
    pub async fn open(prefix: &str) -> Result<Self> {
        Stage::on(LocalCluster::shared().await, prefix).await
    }

    /// A stage on which the Deployment is complete at revision 1.
    pub async fn with(prefix: &str, web: &Web) -> Result<Self> {
        let mut stage = Self::open(prefix).await?;
        stage.apply(web).await?;
        stage.complete(1).await?;
        Ok(stage)
    }
}

impl<'a> Stage<'a> {
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
            settled: 0,
        })
    }

    /// The action `kubectl apply` of the Deployment.
    pub async fn apply(&mut self, web: &Web) -> Result<()> {
        self.input(&["apply", "--filename=-"], &web.manifest()).await
    }

    /// The action `kubectl …` in this namespace, with the Deployment as a manifest on its standard input.
    pub async fn kubectl_with(&mut self, arguments: &[&str], web: &Web) -> Result<()> {
        self.input(arguments, &web.manifest()).await
    }

    /// The action `kubectl …` in this namespace.
    pub async fn kubectl(&mut self, arguments: &[&str]) -> Result<()> {
        self.input(arguments, "").await
    }

    /// The action `kubectl …` with a text on its standard input.
    pub async fn input(&mut self, arguments: &[&str], input: &str) -> Result<()> {
        self.catch_up().await?;
        self.action = self.recording.length();
        let namespace = format!("--namespace={}", self.namespace);
        let arguments = arguments.iter().copied().chain([namespace.as_str()]);
        self.cluster.kubectl_with_input(arguments, input).await?;
        Ok(())
    }

    /// `web` with pods that the node doesn't take before [`Stage::open_gate`].
    pub fn gated(&self, web: Web) -> Web {
        Web { pod: json!({"nodeSelector": {&self.namespace: "open"}}), ..web }
    }

    /// Lets the node take the pods of [`Stage::gated`]. This is no action.
    pub async fn open_gate(&self) -> Result<()> {
        self.cluster.kubectl(["label", "nodes", "--all", &format!("{}=open", self.namespace)]).await?;
        Ok(())
    }

    /// From now on the node takes no more pods of [`Stage::gated`]; those that run stay. This is no action.
    pub async fn close_gate(&self) -> Result<()> {
        self.cluster.kubectl(["label", "nodes", "--all", &format!("{}-", self.namespace)]).await?;
        // The scheduler learns of it by a watch: this pod shows when it has.
        let mut probe = any_pod();
        probe["spec"]["nodeSelector"] = json!({&self.namespace: "open"});
        let probe: Pod = serde_json::from_value(probe)?;
        let pods: Api<Pod> = Api::namespaced(self.cluster.client().await?, &self.namespace);
        Ok(wait_for("the scheduler to find the gate closed", SOON, async || {
            let name = pods.create(&PostParams::default(), &probe).await?.name_any();
            let is_held = wait_for("the scheduler to look at a pod", SOON, async || {
                let probe = pods.get(&name).await?;
                let is_taken = probe.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
                Ok((is_taken || is_unschedulable(&probe)).then_some(!is_taken))
            })
            .await?;
            pods.delete(&name, &DeleteParams::default().grace_period(0)).await?;
            Ok(is_held.then_some(()))
        })
        .await?)
    }

    /// The action to make a quota such as `pods=0`. Waits until it refuses `further`, a manifest.
    pub async fn limit(&mut self, hard: &str, further: &Value) -> Result<()> {
        self.kubectl(&["create", "quota", QUOTA, &format!("--hard={hard}")]).await?;
        Ok(wait_for("the quota to be in force", SOON, async || match self.refusal(further).await {
            // Before its status is there, a quota refuses everything with another message.
            Some(message) if message.contains("exceeded quota") => Ok(Some(())),
            other => Err(format!("{other:?}"))?,
        })
        .await?)
    }

    /// The action to delete the quota of [`Stage::limit`]. Waits until `further` is refused no more, and has what was
    /// refused before be tried again at once.
    pub async fn unlimit(&mut self, further: &Value) -> Result<()> {
        self.kubectl(&["delete", "quota", QUOTA]).await?;
        wait_for("the quota to be gone", SOON, async || match self.refusal(further).await {
            None => Ok(Some(())),
            Some(message) => Err(message)?,
        })
        .await?;
        // The annotation reaches the ReplicaSet as well, and both controllers try again when they see it.
        self.settle().await?;
        Ok(())
    }

    /// Why the API server would not make the object of a manifest, if so.
    async fn refusal(&self, manifest: &Value) -> Option<String> {
        let namespace = format!("--namespace={}", self.namespace);
        let arguments = ["create", "--dry-run=server", "--filename=-", &namespace];
        self.cluster.kubectl_with_input(arguments, &manifest.to_string()).await.err().map(|error| error.to_string())
    }

    /// Has the API server refuse to scale a ReplicaSet, so that the controller can't take its pods away before
    /// [`Stage::release`]. This is no action.
    pub async fn hold(&self, replica_set: &str) -> Result<()> {
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

    /// Ends [`Stage::hold`], and has the controller try again at once. This is no action.
    pub async fn release(&self, replica_set: &str) -> Result<()> {
        let kinds = "validatingadmissionpolicybindings,validatingadmissionpolicies";
        self.cluster.kubectl(["delete", kinds, &self.namespace]).await?;
        self.scaling_is_refused(replica_set, false).await?;
        // The controller has forgotten the refusal, but looks whenever the ReplicaSet changes.
        let patch = json!({"metadata": {"annotations": {"test/released": "yes"}}});
        self.replica_sets.patch(replica_set, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn scaling_is_refused(&self, replica_set: &str, expected: bool) -> Result<()> {
        let parameters = PatchParams { dry_run: true, ..PatchParams::default() };
        let patch = Patch::Merge(json!({"spec": {"replicas": 7}}));
        Ok(wait_for(format!("scaling {replica_set} to be refused: {expected}"), SOON, async || {
            let is_refused = match self.replica_sets.patch(replica_set, &parameters, &patch).await {
                Ok(_) => false,
                Err(kube::Error::Api(status)) if status.code == 422 => true,
                Err(error) => Err(error)?,
            };
            Ok((is_refused == expected).then_some(()))
        })
        .await?)
    }

    /// Waits until the controllers know all that has happened to the ReplicaSets of this namespace so far. They share
    /// one watch, and what it shows last is one more ReplicaSet, of which its controller says that it has seen it.
    pub async fn replica_sets_are_known(&self) -> Result<()> {
        let probe = serde_json::from_value(any_replica_set())?;
        let name = self.replica_sets.create(&PostParams::default(), &probe).await?.name_any();
        wait_for("the controllers to see the newest ReplicaSet", SOON, async || {
            let status = self.replica_sets.get(&name).await?.status.unwrap_or_default();
            Ok(status.observed_generation.map(drop))
        })
        .await?;
        self.replica_sets.delete(&name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Fails the rollout that stands still, by a deadline that is over. With a short deadline from the beginning it
    /// could fail before all of its pods are there, and once more after that. This is no action.
    pub async fn fail_now(&self) -> Result<()> {
        let patch = json!({"spec": {"progressDeadlineSeconds": 1}});
        self.deployments.patch("web", &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Waits until the recording has what the API server has: a watch lags behind a read.
    async fn catch_up(&self) -> Result<()> {
        Ok(wait_for("the watch to catch up", SOON, async || {
            let now = self.deployments.get_opt("web").await?;
            let version = now.and_then(|deployment| deployment.metadata.resource_version);
            let states = self.recording.deployment(0)?;
            let caught_up = match (version, states.last()) {
                (Some(version), Some(last)) => !last.deleted && last.resource_version >= version.parse()?,
                (None, Some(last)) => last.deleted,
                (version, None) => version.is_none(),
            };
            Ok(caught_up.then_some(()))
        })
        .await?)
    }

    /// Every state of the Deployment since the newest action.
    pub fn states(&self) -> Result<Vec<DeploymentState>> {
        self.recording.deployment(self.action)
    }

    /// Every state of every ReplicaSet from the beginning to now.
    pub async fn replica_set_states(&self) -> Result<Vec<ReplicaSetState>> {
        Ok(wait_for("the watch of ReplicaSets to catch up", SOON, async || {
            let now = self.replica_sets().await?;
            let states = self.recording.replica_sets()?;
            let all_are_shown = now.iter().all(|set| states.contains(set));
            let all_others_are_gone = states
                .iter()
                .filter(|state| now.iter().all(|set| set.uid != state.uid))
                .all(|gone| states.iter().any(|state| state.uid == gone.uid && state.deleted));
            Ok((all_are_shown && all_others_are_gone).then_some(states))
        })
        .await?)
    }

    /// The first state since the newest action that fulfils a condition.
    pub async fn until(&self, what: &str, fulfils: impl Fn(&DeploymentState) -> bool) -> Result<DeploymentState> {
        Ok(wait_for(format!("{what} in namespace {}", self.namespace), SOON, async || {
            let states = self.states()?;
            match states.iter().find(|state| fulfils(state)) {
                Some(state) => Ok(Some(state.clone())),
                None => Err(format!("{:?}", states.last()))?,
            }
        })
        .await?)
    }

    /// The first state with a reason in Progressing.
    pub async fn until_reason(&self, reason: &str) -> Result<DeploymentState> {
        self.until(&format!("Progressing={reason}"), |state| state.reason() == Some(reason)).await
    }

    /// Waits until a revision is rolled out by the counts, whatever the condition says.
    pub async fn rolled_out(&self, revision: i64) -> Result<DeploymentState> {
        self.until(&format!("the counts of revision {revision} to be complete"), |state| {
            state.revision == Some(revision) && state.is_complete_by_counts()
        })
        .await
    }

    /// Waits until a revision is rolled out by the counts and by a condition that names its ReplicaSet.
    pub async fn complete(&self, revision: i64) -> Result<DeploymentState> {
        let name = wait_for(format!("the ReplicaSet of revision {revision}"), SOON, async || {
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

    /// Waits until a revision has failed for good: with the one pod that a rolling update begins with, so that no
    /// progress can follow, unless something else happens.
    pub async fn failed(&self, revision: i64) -> Result<DeploymentState> {
        self.until(&format!("revision {revision} to have failed with one pod"), |state| {
            state.revision == Some(revision)
                && state.is_observed()
                && state.updated == 1
                && state.reason() == Some("ProgressDeadlineExceeded")
        })
        .await
    }

    /// The Deployment after the controller has gone over it once more, from the beginning to the end: what isn't
    /// there by then doesn't come by itself.
    ///
    /// It is no action. It adds an annotation, and the controller reports the generation that this makes only at the
    /// end of its work.
    pub async fn settle(&mut self) -> Result<DeploymentState> {
        self.settled += 1;
        let patch = json!({"metadata": {"annotations": {"test/settle": self.settled.to_string()}}});
        let patched = self.deployments.patch("web", &PatchParams::default(), &Patch::Merge(patch)).await?;
        let generation = patched.metadata.generation.context("no generation")?;
        self.until(&format!("generation {generation} to be observed"), |state| {
            state.observed_generation == Some(generation)
        })
        .await
    }

    /// The ReplicaSets as they are now, in the order of their revisions.
    pub async fn replica_sets(&self) -> Result<Vec<ReplicaSetState>> {
        let list = self.replica_sets.list(&ListParams::default()).await?;
        let mut all: Vec<_> = list.items.iter().map(|set| ReplicaSetState::new(set, false)).collect();
        all.sort_by_key(|set| set.revision);
        Ok(all)
    }

    /// The ReplicaSet whose first container has an image.
    pub async fn replica_set(&self, image: &str) -> Result<ReplicaSetState> {
        let mut all = self.replica_sets().await?;
        let place = all.iter().position(|set| set.image == image);
        let place = place.with_context(|| format!("no ReplicaSet has the image {image}: {all:?}"))?;
        Ok(all.swap_remove(place))
    }
}

/// The name of the quota that a test makes, which is in the messages of its refusals.
const QUOTA: &str = "none";

/// The manifest of a pod of nobody.
pub fn any_pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "probe-"},
        "spec": {"containers": [{"name": "app", "image": "probe:1"}]},
    })
}

/// The manifest of a ReplicaSet of nobody, without pods.
pub fn any_replica_set() -> Value {
    let labels = json!({"app": "probe"});
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"generateName": "probe-"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": any_pod()["spec"]},
        },
    })
}

fn is_unschedulable(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
}

/// Waits until the clock has left a second, so that no later time of the API server, which writes whole seconds,
/// can equal it.
pub async fn past(second: Timestamp) -> Result<()> {
    past_by(second, 0).await
}

/// Waits until so many seconds have gone by since a time.
pub async fn past_by(time: Timestamp, seconds: i64) -> Result<()> {
    let end = time.checked_add(SignedDuration::from_secs(seconds + 1))?;
    Ok(wait_for(format!("{end}"), SOON, async || Ok((Timestamp::now() >= end).then_some(()))).await?)
}
