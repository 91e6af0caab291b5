//! A namespace in which Deployments live, what users do to them, and the table of what is recorded and reported.

use cluster::wait_for;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use port_dora_controller::resources::{DoraDeployment, DoraDeploymentSpec, FIELD_MANAGER};
use port_sim::Entity;
use rollout::{Accuracy, ChangeKind, Outcome};
use serde_json::json;

use crate::fixture::{DEADLINE, Installation, RELEASE, text};
use crate::objects::{
    created, is_counted, is_on_node, is_unscheduled, obstacle, progressing, revision_of, rollout_of, updated_replicas,
};
use crate::web::Web;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A namespace on an installation.
pub struct Stage<'a> {
    pub on: &'a Installation,
    pub namespace: String,
}

/// A record, and its entity if it is reported.
pub struct Row {
    pub record: DoraDeployment,
    pub entity: Option<Entity>,
    /// Whether it ended since the controller was installed: what failed before opens no incident.
    ended_since_installation: bool,
}

impl Row {
    /// Changes with every write of the record, also of its status.
    pub fn version(&self) -> &str {
        self.record.metadata.resource_version.as_deref().unwrap_or_default()
    }

    /// When it began, as it is recorded.
    pub fn started(&self) -> (Timestamp, Accuracy) {
        let spec = &self.record.spec;
        (spec.started_at.as_ref().unwrap().0, spec.started_at_accuracy.unwrap())
    }

    /// When it ended, as it is recorded.
    pub fn finished(&self) -> (Timestamp, Accuracy) {
        let spec = &self.record.spec;
        (spec.finished_at.as_ref().unwrap().0, spec.finished_at_accuracy.unwrap())
    }

    /// How often its entity was written.
    pub fn writes(&self) -> u64 {
        self.entity.as_ref().map_or(0, |entity| entity.writes)
    }

    pub fn failure(&self) -> &str {
        self.record.spec.failure.as_deref().unwrap_or_default()
    }

    /// Whether it will be written once more, since its incident is not noted yet.
    fn waits_for_incident(&self) -> bool {
        let spec = &self.record.spec;
        let has_one = match spec.outcome {
            Outcome::Failed => true,
            // One that was restarted before it was rolled back has the incident of what it restarted.
            Outcome::RolledBack => spec.change != Some(ChangeKind::Restart),
            _ => false,
        };
        let is_noted = self.record.status.as_ref().is_some_and(|status| status.incident.is_some());
        has_one && self.ended_since_installation && !is_noted && spec.environment.as_deref() == Some("production")
    }

    /// Such as `web:2 Release Succeeded success`: the Deployment and its revision, the change, the outcome, and the status in Port, or
    /// why Port isn't told. A record whose last change hasn't been dealt with has `…` there. `, 3 unseen before` follows where
    /// revisions came and went unseen.
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

impl Stage<'static> {
    /// A stage on the installation that the tests share.
    pub async fn open(prefix: &str) -> Result<Self, Error> {
        Stage::on(Installation::shared().await, prefix).await
    }

    /// A stage in an environment, and with further annotations of its namespace, of which the controller knows: namespaces and
    /// Deployments come by watches of their own, and one can be behind. `first` makes the first records, which tell.
    pub async fn open_in(
        prefix: &str,
        environment: &str,
        annotations: &[&str],
        first: impl AsyncFn(&Self) -> Result<Vec<Row>, Error>,
    ) -> Result<Self, Error> {
        for _ in 0..5 {
            let stage = Self::open(prefix).await?;
            let environment_key = format!("dora.port.io/environment={environment}");
            let arguments = ["annotate", "namespace", &stage.namespace, &environment_key];
            stage.on.kubectl(arguments.into_iter().chain(annotations.iter().copied())).await?;
            let rows = first(&stage).await?;
            if rows.iter().all(|row| row.record.spec.environment.as_deref() == Some(environment)) {
                return Ok(stage);
            }
        }
        Err(format!("the records of {prefix} don't have the environment of their namespace").into())
    }
}

impl<'a> Stage<'a> {
    pub async fn on(on: &'a Installation, prefix: &str) -> Result<Self, Error> {
        Ok(Self { on, namespace: on.namespace(prefix).await? })
    }

    /// `kubectl apply` of a Deployment.
    pub async fn apply(&self, web: &Web) -> Result<(), Error> {
        self.on.apply_in(&self.namespace, &web.manifest()).await?;
        Ok(())
    }

    /// `kubectl …` in this namespace. No argument may contain a space.
    pub async fn kubectl(&self, arguments: &str) -> Result<String, Error> {
        self.kubectl_with_input(arguments, "").await
    }

    /// `kubectl …` in this namespace, with a manifest on its standard input.
    pub async fn kubectl_with_input(&self, arguments: &str, input: &str) -> Result<String, Error> {
        let arguments = ["--namespace", &self.namespace].into_iter().chain(arguments.split_whitespace());
        Ok(self.on.kubectl_with_input(arguments, input).await?)
    }

    /// `web` with pods that no node takes before [`Stage::open_gate`].
    pub fn gated(&self, web: Web) -> Web {
        Web { pod: json!({"nodeSelector": {&self.namespace: "open"}}), ..web }
    }

    /// Lets the nodes take the pods of [`Stage::gated`].
    pub async fn open_gate(&self) -> Result<(), Error> {
        self.kubectl(&format!("label nodes --all {}=open", self.namespace)).await?;
        Ok(())
    }

    /// From now on the nodes take no more pods of [`Stage::gated`]; those that run stay.
    pub async fn close_gate(&self) -> Result<(), Error> {
        self.kubectl(&format!("label nodes --all {}-", self.namespace)).await?;
        // The scheduler learns of it by a watch: this pod shows when it has.
        let probe: Pod = serde_json::from_value(json!({
            "metadata": {"generateName": "probe-"},
            "spec": {"nodeSelector": {&self.namespace: "open"}, "containers": [{"name": "probe", "image": "probe:v1"}]},
        }))?;
        let pods: Api<Pod> = Api::namespaced(self.on.client().await?, &self.namespace);
        wait_for("the scheduler to find the gate closed", DEADLINE, async || {
            let name = pods.create(&PostParams::default(), &probe).await?.name_any();
            let is_held = wait_for("the scheduler to look at a pod", DEADLINE, async || {
                let probe = pods.get(&name).await?;
                Ok((is_on_node(&probe) || is_unscheduled(&probe)).then(|| !is_on_node(&probe)))
            })
            .await?;
            pods.delete(&name, &DeleteParams::default().grace_period(0)).await?;
            Ok(is_held.then_some(()))
        })
        .await?;
        Ok(())
    }

    /// Gives the Deployment `web` so long a deadline that a slow machine doesn't fail its next rollout.
    pub async fn give_time(&self) -> Result<(), Error> {
        self.set_deadline("web", 600).await
    }

    /// Fails the rollout of this Deployment by a deadline that is over. It must stand still, as after [`Stage::stands_still`]: what
    /// moves after a failure makes Kubernetes begin again and fail once more.
    pub async fn fail_now(&self, name: &str) -> Result<(), Error> {
        self.set_deadline(name, 1).await
    }

    /// Applies a rollout that can't succeed, and lets it fail once it stands still: its reason is what the pods are like at that moment.
    pub async fn apply_failing(&self, web: &Web) -> Result<(), Error> {
        self.apply_stuck(web, usize::try_from(web.replicas)?).await?;
        self.fail_now(web.name).await
    }

    /// Applies a rollout that can't succeed, with a deadline that isn't over soon, and waits until it stands still with so many pods.
    pub async fn apply_stuck(&self, web: &Web, pods: usize) -> Result<(), Error> {
        self.apply(&Web { deadline: 600, ..web.clone() }).await?;
        self.stands_still(web, pods).await
    }

    /// Waits until nothing moves any more of a rollout that can't succeed: the Deployment counts so many pods of it, and each of them
    /// is where it stays.
    pub async fn stands_still(&self, web: &Web, pods: usize) -> Result<(), Error> {
        let client = self.on.client().await?;
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), &self.namespace);
        let replica_sets: Api<ReplicaSet> = Api::namespaced(client.clone(), &self.namespace);
        let all_pods: Api<Pod> = Api::namespaced(client, &self.namespace);
        let (where_they_stay, is_there) = obstacle(web);
        let selector = format!("app={}", web.name);
        wait_for(format!("{pods} pods of {} with {}, {where_they_stay}", web.name, web.image), DEADLINE, async || {
            let deployment = deployments.get(web.name).await?;
            let sets = replica_sets.list(&ListParams::default().labels(&selector)).await?.items;
            if !is_counted(&deployment, &sets) || updated_replicas(&deployment) != i32::try_from(pods)? {
                Err(format!("{:?}", deployment.status))?;
            }
            let present = sets.iter().find(|set| revision_of(*set) == revision_of(&deployment)).ok_or("no revision")?;
            let hash = present.labels().get("pod-template-hash").ok_or("no hash")?;
            let selected = ListParams::default().labels(&format!("{selector},pod-template-hash={hash}"));
            let found = all_pods.list(&selected).await?.items;
            if found.len() != pods || !found.iter().all(is_there) {
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

    /// Waits until the records of this namespace are exactly these (see [`Row::line`]), by name, revision and age, and returns them.
    /// Port then has an entity of each that is reported, and no other.
    pub async fn table(&self, expected: &[&str]) -> Result<Vec<Row>, Error> {
        let api: Api<DoraDeployment> = Api::namespaced(self.on.client().await?, &self.namespace);
        let leases: Api<Lease> = Api::namespaced(self.on.client().await?, RELEASE);
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
        let entity = delivered.and_then(|delivered| self.on.port.entity("dora_deployment", &delivered.identifier));
        let ended = record.spec.finished_at.as_ref().map(|time| time.0);
        let ended_since_installation = ended.zip(installed).is_some_and(|(ended, installed)| ended >= installed);
        Row { record, entity, ended_since_installation }
    }

    /// What holds of any table of rollouts that the controller has followed.
    fn check(&self, rows: &[Row]) {
        let mut reported: Vec<&str> =
            rows.iter().filter_map(|row| row.entity.as_ref()).map(|entity| entity.identifier.as_str()).collect();
        let entities = self.on.entities("dora_deployment", &self.namespace);
        let mut found: Vec<&str> = entities.iter().map(|entity| entity.identifier.as_str()).collect();
        reported.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, reported, "each reported record has an entity of its own, and there is no other");
        for row in rows {
            let spec = &row.record.spec;
            if let Some(entity) = &row.entity {
                let time = spec.finished_at.as_ref().or(spec.started_at.as_ref()).map(|time| format!("{:.3}", time.0));
                assert_eq!(Some(text(entity, "deployment_time")), time, "{}", row.line());
            }
            // A failed rollout can be paused after its end.
            if let (Some(started), Some(finished)) = (&spec.started_at, &spec.finished_at)
                && spec.outcome != Outcome::Failed
            {
                let paused = spec.paused_seconds.unwrap_or_default();
                let seconds = finished.0.as_second() - started.0.as_second() - paused;
                assert_eq!(spec.duration_seconds, Some(seconds), "{}", row.line());
            }
        }
    }

    /// Waits until the record of this revision of `web` fulfils a condition, and returns what it says.
    pub async fn record(
        &self,
        revision: i64,
        what: &str,
        fulfils: impl Fn(&DoraDeploymentSpec) -> bool,
    ) -> Result<DoraDeploymentSpec, Error> {
        let api: Api<DoraDeployment> = Api::namespaced(self.on.client().await?, &self.namespace);
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

    /// The Deployment `web` as it is.
    pub async fn web(&self) -> Result<Deployment, Error> {
        let api: Api<Deployment> = Api::namespaced(self.on.client().await?, &self.namespace);
        Ok(api.get("web").await?)
    }

    /// Waits until the Deployment `web` is at this revision and its counts say that it is complete, whatever the condition says.
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

    /// Waits until the Deployment `web` fulfils a condition.
    pub async fn until(&self, what: &str, fulfils: impl Fn(&Deployment) -> Option<()>) -> Result<Deployment, Error> {
        let api: Api<Deployment> = Api::namespaced(self.on.client().await?, &self.namespace);
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

    /// Waits until the Deployment controller has gone over the Deployment `web` once more: what isn't there by then doesn't come by
    /// itself. For this the Deployment gets an annotation.
    pub async fn settled(&self) -> Result<Deployment, Error> {
        let api: Api<Deployment> = Api::namespaced(self.on.client().await?, &self.namespace);
        let annotation = json!({"metadata": {"annotations": {"test/settled": Timestamp::now().to_string()}}});
        api.patch("web", &PatchParams::default(), &Patch::Merge(annotation)).await?;
        self.until("the newest generation to be observed", |web| {
            (web.status.as_ref()?.observed_generation == web.metadata.generation).then_some(())
        })
        .await
    }

    /// Waits until the condition Progressing of the Deployment `web` names the ReplicaSet with this image.
    pub async fn named(&self, image: &str) -> Result<Deployment, Error> {
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
        let api: Api<ReplicaSet> = Api::namespaced(self.on.client().await?, &self.namespace);
        let mut all = api.list(&ListParams::default()).await?.items;
        all.retain(|set| {
            let pod = set.spec.as_ref().and_then(|spec| spec.template.as_ref()?.spec.as_ref());
            pod.is_some_and(|pod| pod.containers[0].image.as_deref() == Some(image))
        });
        Ok(all)
    }

    /// Waits until no ReplicaSet has one of these images: the Deployment controller removes what is beyond the limit at some time
    /// after the completion.
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

/// The versions of the records of these rows: equal if nothing was written meanwhile.
pub fn versions(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| row.version().to_owned()).collect()
}

/// Waits until the clock has left the present second, so that no later time of the API server, which writes whole seconds, can
/// equal an earlier one.
pub async fn next_second() -> Result<(), Error> {
    seconds_after(Timestamp::now(), 0).await
}

/// Waits until more than so many whole seconds have gone by since a time.
pub async fn seconds_after(time: Timestamp, seconds: i64) -> Result<(), Error> {
    let end = time.as_second() + seconds;
    wait_for(format!("{seconds} s to pass"), DEADLINE, async || Ok((Timestamp::now().as_second() > end).then_some(())))
        .await?;
    Ok(())
}
