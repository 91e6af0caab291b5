//! A namespace for Deployments, the actions of users, and waits for what is recorded and reported.

use cluster::{DEADLINE, wait_for};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use port_dora_controller::resources::{DoraDeployment, DoraDeploymentSpec, FIELD_MANAGER};
use port_sim::Entity;
use rollout::{Accuracy, ChangeKind, Outcome};
use serde_json::json;

use crate::Error;
use crate::fixture::{Installation, RELEASE, text};
use crate::objects::{created, is_stable, progressing, revision_of, rollout_of, stalled_pod_state, updated_replicas};
use crate::web::Web;

/// A namespace on an installation.
pub struct TestEnv<'a> {
    pub setup: &'a Installation,
    pub namespace: String,
}

/// A record, with its entity in Port if it is reported.
pub struct Row {
    pub record: DoraDeployment,
    pub entity: Option<Entity>,
    /// Whether the rollout ended after the installation of the controller: an earlier failure opens no incident.
    ended_since_installation: bool,
}

impl Row {
    /// The resource version, which changes with every write of the record or its status.
    pub fn version(&self) -> &str {
        self.record.metadata.resource_version.as_deref().unwrap_or_default()
    }

    /// The recorded start.
    pub fn started(&self) -> (Timestamp, Accuracy) {
        let spec = &self.record.spec;
        (spec.started_at.as_ref().unwrap().0, spec.started_at_accuracy.unwrap())
    }

    /// The recorded end.
    pub fn finished(&self) -> (Timestamp, Accuracy) {
        let spec = &self.record.spec;
        (spec.finished_at.as_ref().unwrap().0, spec.finished_at_accuracy.unwrap())
    }

    /// How often the entity was written.
    pub fn writes(&self) -> u64 {
        self.entity.as_ref().map_or(0, |entity| entity.writes)
    }

    /// The recorded reason of the failure; empty if there is none.
    pub fn failure(&self) -> &str {
        self.record.spec.failure.as_deref().unwrap_or_default()
    }

    /// Whether the controller will write the record once more, because the name of its incident is missing.
    fn waits_for_incident(&self) -> bool {
        let spec = &self.record.spec;
        let has_one = match spec.outcome {
            Outcome::Failed => true,
            // A restart that was rolled back has the incident of the revision that it restarted.
            Outcome::RolledBack => spec.change != Some(ChangeKind::Restart),
            _ => false,
        };
        let has_name = self.record.status.as_ref().is_some_and(|status| status.incident.is_some());
        has_one && self.ended_since_installation && !has_name && spec.environment.as_deref() == Some("production")
    }

    /// The row as text, such as `web:2 Release Succeeded success`: Deployment and revision, change, outcome, and the
    /// status in Port or the reason why it is not reported. `…` stands for a change that the controller has not handled
    /// yet. `, 3 unseen before` follows if revisions before this one were missed.
    fn line(&self) -> String {
        let spec = &self.record.spec;
        let (name, revision) = rollout_of(&self.record)
            .map(|(workload, revision)| (workload.name.as_str(), revision.number))
            .unwrap_or_default();
        let change = spec.change.map_or("?", |change| change.as_str());
        let status = self.record.status.as_ref();
        let synced = status.and_then(|status| status.conditions.iter().find(|condition| condition.type_ == "Synced"));
        let report = match (synced, &self.entity) {
            (Some(synced), _) if synced.observed_generation != self.record.metadata.generation => "…".to_owned(),
            (Some(synced), Some(entity)) if synced.status == "True" => text(entity, "status"),
            (Some(synced), _) => synced.reason.clone(),
            (None, _) => "…".to_owned(),
        };
        let report = if self.waits_for_incident() { "…".to_owned() } else { report };
        let unseen = spec.unseen_revisions.map(|unseen| format!(", {unseen} unseen before")).unwrap_or_default();
        format!("{name}:{revision} {change} {} {report}{unseen}", spec.outcome.as_str())
    }
}

impl TestEnv<'static> {
    /// An environment on the installation that the tests share.
    pub async fn new(prefix: &str) -> Result<Self, Error> {
        TestEnv::on(Installation::shared().await, prefix).await
    }

    /// An environment whose namespace has the annotation `dora.port.io/environment`, and further annotations. `first`
    /// creates the first records. They show whether the controller already knew the annotations, since the watches of
    /// namespaces and Deployments are not synchronised. If not, this tries again with another namespace.
    pub async fn in_environment(
        prefix: &str,
        environment: &str,
        annotations: &[&str],
        first: impl AsyncFn(&Self) -> Result<Vec<Row>, Error>,
    ) -> Result<Self, Error> {
        for _ in 0..5 {
            let env = Self::new(prefix).await?;
            let environment_key = format!("dora.port.io/environment={environment}");
            let arguments = ["annotate", "namespace", &env.namespace, &environment_key];
            env.setup.kubectl(arguments.into_iter().chain(annotations.iter().copied())).await?;
            let rows = first(&env).await?;
            if rows.iter().all(|row| row.record.spec.environment.as_deref() == Some(environment)) {
                return Ok(env);
            }
        }
        Err(format!("the records of {prefix} don't have the environment of their namespace").into())
    }
}

impl<'a> TestEnv<'a> {
    /// An environment on this installation.
    pub async fn on(setup: &'a Installation, prefix: &str) -> Result<Self, Error> {
        Ok(Self { setup, namespace: setup.namespace(prefix).await? })
    }

    /// Runs `kubectl apply` with a Deployment.
    pub async fn apply(&self, web: &Web) -> Result<(), Error> {
        self.setup.apply_in(&self.namespace, &web.manifest()).await?;
        Ok(())
    }

    /// Runs `kubectl …` in this namespace. No argument may contain a space.
    pub async fn kubectl(&self, arguments: &str) -> Result<String, Error> {
        self.kubectl_with_input(arguments, "").await
    }

    /// Runs `kubectl …` in this namespace, with a manifest on its standard input.
    pub async fn kubectl_with_input(&self, arguments: &str, input: &str) -> Result<String, Error> {
        let arguments = ["--namespace", &self.namespace].into_iter().chain(arguments.split_whitespace());
        Ok(self.setup.kubectl_with_input(arguments, input).await?)
    }

    /// `web` with pods that wait at the gate of this namespace.
    pub fn gated(&self, web: Web) -> Web {
        Web { pod: json!({"nodeSelector": self.setup.gate(&self.namespace).node_selector()}), ..web }
    }

    /// Lets the node accept the pods of [`TestEnv::gated`].
    pub async fn open_gate(&self) -> Result<(), Error> {
        Ok(self.setup.gate(&self.namespace).open().await?)
    }

    /// Keeps new pods of [`TestEnv::gated`] from being scheduled. Running pods stay.
    pub async fn close_gate(&self) -> Result<(), Error> {
        Ok(self.setup.gate(&self.namespace).close().await?)
    }

    /// Sets a deadline of the Deployment `web` that its next rollout doesn't exceed on a slow machine.
    pub async fn extend_deadline(&self) -> Result<(), Error> {
        self.set_deadline("web", 600).await
    }

    /// Makes the rollout of this Deployment fail by setting a deadline that has passed. The rollout must have stalled,
    /// see [`TestEnv::stalled`]: after further progress, Kubernetes would let it fail a second time.
    pub async fn fail_now(&self, name: &str) -> Result<(), Error> {
        self.set_deadline(name, 1).await
    }

    /// Applies a rollout that can't succeed, and makes it fail when it has stalled. So the pods have the same state at
    /// each failure.
    pub async fn apply_failing(&self, web: &Web) -> Result<(), Error> {
        self.apply_stalled(web, usize::try_from(web.replicas)?).await?;
        self.fail_now(web.name).await
    }

    /// Applies a rollout that can't succeed, with a long deadline, and waits until it has stalled with this number of
    /// pods.
    pub async fn apply_stalled(&self, web: &Web, pods: usize) -> Result<(), Error> {
        self.apply(&Web { deadline: 600, ..web.clone() }).await?;
        self.stalled(web, pods).await
    }

    /// Waits until a rollout that can't succeed has stalled: the Deployment counts this number of updated pods, and
    /// each pod is in its final state.
    pub async fn stalled(&self, web: &Web, pods: usize) -> Result<(), Error> {
        let client = self.setup.client().await?;
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), &self.namespace);
        let replica_sets: Api<ReplicaSet> = Api::namespaced(client.clone(), &self.namespace);
        let all_pods: Api<Pod> = Api::namespaced(client, &self.namespace);
        let (state, is_final) = stalled_pod_state(web);
        let selector = format!("app={}", web.name);
        wait_for(format!("{pods} pods of {} with {}, {state}", web.name, web.image), DEADLINE, async || {
            let deployment = deployments.get(web.name).await?;
            let sets = replica_sets.list(&ListParams::default().labels(&selector)).await?.items;
            if !is_stable(&deployment, &sets) || updated_replicas(&deployment) != i32::try_from(pods)? {
                Err(format!("{:?}", deployment.status))?;
            }
            let current = sets.iter().find(|set| revision_of(*set) == revision_of(&deployment)).ok_or("no revision")?;
            let hash = current.labels().get("pod-template-hash").ok_or("no hash")?;
            let selected = ListParams::default().labels(&format!("{selector},pod-template-hash={hash}"));
            let found = all_pods.list(&selected).await?.items;
            if found.len() != pods || !found.iter().all(is_final) {
                Err(format!("{:?}", found.iter().map(|pod| &pod.status).collect::<Vec<_>>()))?;
            }
            Ok(Some(()))
        })
        .await?;
        Ok(())
    }

    /// Sets `progressDeadlineSeconds` of a Deployment.
    pub async fn set_deadline(&self, name: &str, seconds: i32) -> Result<(), Error> {
        let patch = format!(r#"{{"spec":{{"progressDeadlineSeconds":{seconds}}}}}"#);
        self.kubectl(&format!("patch deployment/{name} --patch={patch}")).await?;
        Ok(())
    }

    /// Waits until the records of this namespace are exactly these, and returns them. Each is written as in
    /// [`Row::line`], and they are sorted by name, revision and age. Checks that Port has an entity of each reported
    /// record, and no other.
    pub async fn table(&self, expected: &[&str]) -> Result<Vec<Row>, Error> {
        let api: Api<DoraDeployment> = Api::namespaced(self.setup.client().await?, &self.namespace);
        let leases: Api<Lease> = Api::namespaced(self.setup.client().await?, RELEASE);
        let rows = wait_for(format!("the records {expected:#?}"), DEADLINE, async || {
            let installed = leases.get_opt(FIELD_MANAGER).await?.as_ref().map(created);
            let mut records = api.list(&ListParams::default()).await?.items;
            records.sort_by_key(|record| {
                let rollout = rollout_of(record).map(|(workload, revision)| (workload.name.clone(), revision.number));
                (rollout, record.metadata.creation_timestamp.as_ref().map(|time| time.0))
            });
            let rows: Vec<Row> = records.into_iter().map(|record| self.row(record, installed)).collect();
            let found: Vec<String> = rows.iter().map(Row::line).collect();
            if found != expected {
                Err(format!("{found:#?}"))?;
            }
            Ok(Some(rows))
        })
        .await?;
        self.check(&rows);
        Ok(rows)
    }

    fn row(&self, record: DoraDeployment, installed: Option<Timestamp>) -> Row {
        let delivered = record.status.as_ref().and_then(|status| status.entity.as_ref());
        let entity = delivered.and_then(|delivered| self.setup.port.entity("dora_deployment", &delivered.identifier));
        let ended = record.spec.finished_at.as_ref().map(|time| time.0);
        let ended_since_installation = ended.zip(installed).is_some_and(|(ended, installed)| ended >= installed);
        Row { record, entity, ended_since_installation }
    }

    /// Checks what is true for all rollouts that the controller has observed.
    fn check(&self, rows: &[Row]) {
        let mut reported: Vec<&str> =
            rows.iter().filter_map(|row| row.entity.as_ref()).map(|entity| entity.identifier.as_str()).collect();
        let entities = self.setup.entities("dora_deployment", &self.namespace);
        let mut found: Vec<&str> = entities.iter().map(|entity| entity.identifier.as_str()).collect();
        reported.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, reported, "each reported record has one entity, and there are no others");
        for row in rows {
            let spec = &row.record.spec;
            if let Some(entity) = &row.entity {
                let time = spec.finished_at.as_ref().or(spec.started_at.as_ref()).map(|time| format!("{:.3}", time.0));
                assert_eq!(Some(text(entity, "deployment_time")), time, "{}", row.line());
            }
            // A failed rollout can also be paused after its end.
            if let (Some(started), Some(finished)) = (&spec.started_at, &spec.finished_at)
                && spec.outcome != Outcome::Failed
            {
                let paused = spec.paused_seconds.unwrap_or_default();
                let seconds = finished.0.as_second() - started.0.as_second() - paused;
                assert_eq!(spec.duration_seconds, Some(seconds), "{}", row.line());
            }
        }
    }

    /// Waits until the record of this revision of `web` fulfils a condition, and returns its spec.
    pub async fn record(
        &self,
        revision: i64,
        what: &str,
        fulfils: impl Fn(&DoraDeploymentSpec) -> bool,
    ) -> Result<DoraDeploymentSpec, Error> {
        let api: Api<DoraDeployment> = Api::namespaced(self.setup.client().await?, &self.namespace);
        let spec = wait_for(format!("the record of revision {revision} to be {what}"), DEADLINE, async || {
            let records = api.list(&ListParams::default()).await?.items;
            let is_it = |record: &DoraDeployment| {
                record.spec.revision.as_ref().is_some_and(|reference| reference.number == revision)
            };
            let record = records.into_iter().find(is_it).ok_or("it is not there")?;
            if !fulfils(&record.spec) {
                Err(format!("{:?}", record.spec))?;
            }
            Ok(Some(record.spec))
        })
        .await?;
        Ok(spec)
    }

    /// The current state of the Deployment `web`.
    pub async fn web(&self) -> Result<Deployment, Error> {
        let api: Api<Deployment> = Api::namespaced(self.setup.client().await?, &self.namespace);
        Ok(api.get("web").await?)
    }

    /// Waits until the Deployment `web` has this revision and is complete according to its counts. Ignores the
    /// condition.
    pub async fn complete(&self, revision: i64) -> Result<Deployment, Error> {
        self.until(&format!("revision {revision} to be complete"), |web| {
            let (wanted, status) = (web.spec.as_ref()?.replicas?, web.status.as_ref()?);
            let counts = [status.replicas, status.updated_replicas, status.available_replicas];
            let is_complete = counts.iter().all(|count| count.unwrap_or_default() == wanted);
            let is_observed = status.observed_generation == web.metadata.generation;
            (is_complete && is_observed && revision_of(web) == Some(revision)).then_some(())
        })
        .await
    }

    /// Waits until the Deployment `web` fulfils a condition, and returns it.
    pub async fn until(&self, what: &str, fulfils: impl Fn(&Deployment) -> Option<()>) -> Result<Deployment, Error> {
        let api: Api<Deployment> = Api::namespaced(self.setup.client().await?, &self.namespace);
        let web = wait_for(format!("{what} in {}", self.namespace), DEADLINE, async || {
            let web = api.get("web").await?;
            if fulfils(&web).is_none() {
                Err(format!("{:?}", web.status))?;
            }
            Ok(Some(web))
        })
        .await?;
        Ok(web)
    }

    /// Waits until the Deployment controller has reconciled the Deployment `web` once more. For this, the Deployment
    /// gets an annotation. What has not happened by then doesn't happen without another change.
    pub async fn reconciled(&self) -> Result<Deployment, Error> {
        let api: Api<Deployment> = Api::namespaced(self.setup.client().await?, &self.namespace);
        let annotation = json!({"metadata": {"annotations": {"test/reconciled": Timestamp::now().to_string()}}});
        api.patch("web", &PatchParams::default(), &Patch::Merge(annotation)).await?;
        self.until("the newest generation to be observed", |web| {
            (web.status.as_ref()?.observed_generation == web.metadata.generation).then_some(())
        })
        .await
    }

    /// Waits until the condition Progressing of the Deployment `web` names the ReplicaSet with this image.
    pub async fn condition_names(&self, image: &str) -> Result<Deployment, Error> {
        let name = self.replica_set(image).await?.metadata.name.unwrap_or_default();
        self.until(&format!("the condition to name {name}"), |web| {
            progressing(web).message.as_ref()?.contains(&name).then_some(())
        })
        .await
    }

    /// The ReplicaSet whose first container has this image.
    pub async fn replica_set(&self, image: &str) -> Result<ReplicaSet, Error> {
        match self.replica_sets(image).await?.as_slice() {
            [set] => Ok(set.clone()),
            several => Err(format!("{} ReplicaSets have the image {image}", several.len()).into()),
        }
    }

    /// The ReplicaSets whose first container has this image.
    pub async fn replica_sets(&self, image: &str) -> Result<Vec<ReplicaSet>, Error> {
        let api: Api<ReplicaSet> = Api::namespaced(self.setup.client().await?, &self.namespace);
        let mut all = api.list(&ListParams::default()).await?.items;
        all.retain(|set| {
            let pod = set.spec.as_ref().and_then(|spec| spec.template.as_ref()?.spec.as_ref());
            pod.is_some_and(|pod| pod.containers[0].image.as_deref() == Some(image))
        });
        Ok(all)
    }

    /// Waits until no ReplicaSet has one of these images. The Deployment controller removes old ReplicaSets some time
    /// after the completion of a rollout.
    pub async fn pruned(&self, images: &[&str]) -> Result<(), Error> {
        for image in images {
            wait_for(format!("the ReplicaSet of {image} to be gone"), DEADLINE, async || {
                Ok(self.replica_sets(image).await?.is_empty().then_some(()))
            })
            .await?;
        }
        Ok(())
    }
}

/// The resource versions of the records. They are equal if nothing was written in between.
pub fn versions(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| row.version().to_owned()).collect()
}

/// How often each entity was written.
pub fn writes(rows: &[Row]) -> Vec<u64> {
    rows.iter().map(Row::writes).collect()
}
