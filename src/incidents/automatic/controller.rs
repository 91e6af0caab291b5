//! Opens and resolves the controller's own incidents: looks at each Deployment of which there may be something to say.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_controller::events::{Event, EventType};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::decide::{IncidentInput, OpenedBy, Opening, Recorded, Rules, Verdict, Write, decide, loss_name, may_open};
use super::index::{IncidentIndex, newest};
use super::input as scene;
use super::manifest::{INCIDENTS_MANAGER, OPENED_BY, OPENING_MANAGER, noted, opened, reopened, resolved};
use crate::records::{Records, record_name};
use crate::resources::{DoraDeployment, DoraIncident};
use crate::runtime::{Backoff, Context, now};
use crate::settings::ActiveSettings;
use crate::workloads::{Index, Snapshot, WorkloadObject, unavailable_message};
use rollout::{RecordedRevision, Uid, WorkloadKey};

/// Deployments whose incidents are written at once.
const WRITES_IN_FLIGHT: usize = 4;

/// First and longest wait after a write that failed.
const RETRY_WAITS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_mins(1));

/// Wait after somebody else wrote at the same time.
const CONFLICT_WAIT: Duration = Duration::from_millis(200);

/// Shortest time before a Deployment is looked at again that has not changed.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// Opens and resolves the controller's own incidents.
pub struct AutoIncidentController {
    context: Context,
    index: Arc<Index>,
    records: Arc<Records>,
    incidents: Arc<IncidentIndex>,
    settings: Arc<ActiveSettings>,
    waits: Backoff<Uid>,
    /// The last loss of availability that has had an incident, of Deployments without a record to note it on.
    reported_losses: Mutex<HashMap<Uid, Timestamp>>,
}

/// A Deployment, with what was read of it for a decision.
struct Sight {
    uid: Uid,
    place: WorkloadKey,
    snapshot: Snapshot,
    known: Vec<RecordedRevision>,
    /// By name.
    records: HashMap<String, DoraDeployment>,
    /// By name.
    incidents: HashMap<String, DoraIncident>,
}

impl AutoIncidentController {
    /// An opener of incidents of the Deployments in `index` with these `records`. `incidents` names those to look at.
    #[must_use]
    pub fn new(
        context: Context,
        index: Arc<Index>,
        records: Arc<Records>,
        incidents: Arc<IncidentIndex>,
        settings: Arc<ActiveSettings>,
    ) -> Self {
        let waits = Backoff::new(RETRY_WAITS.0, RETRY_WAITS.1);
        Self { context, index, records, incidents, settings, waits, reported_losses: Mutex::default() }
    }

    /// Looks at each Deployment that has an incident open, and from then on at each that is named, until `stop`. `installed` is when the
    /// controller first started. Only the leader does, once all watches have listed everything; dropping the future loses nothing.
    pub async fn run(&self, installed: Timestamp, stop: &CancellationToken) {
        self.incidents.consider_all();
        let look = async |uids: Vec<Uid>| {
            for uid in uids {
                self.look_at(uid, installed).await;
            }
        };
        self.incidents.queue().run(1, WRITES_IN_FLIGHT, stop, look).await;
    }

    async fn look_at(&self, uid: Uid, installed: Timestamp) {
        let queue = self.incidents.queue();
        match self.look(&uid, installed).await {
            Ok(next) => {
                self.waits.forget(&uid);
                if let Some(next) = next {
                    queue.add_after(uid, next);
                }
            }
            // What is known is not what is there any more.
            Err(kube::Error::Api(status)) if status.is_conflict() => {
                queue.add_after(uid, CONFLICT_WAIT);
            }
            Err(error) => {
                self.explain(&uid, &error);
                let delay = self.waits.next_delay(&uid);
                queue.add_after(uid, delay);
            }
        }
    }

    /// Writes what there is to write of one Deployment; when to look again.
    async fn look(&self, uid: &Uid, installed: Timestamp) -> Result<Option<Duration>, kube::Error> {
        let now = now();
        let Some(sight) = self.sight(uid, now).await? else {
            return Ok(None);
        };
        let rules = Rules { settings: &self.settings.file.incidents, installed };
        let Verdict { writes, look_again } = decide(&self.scene(&sight, now), &rules, now);
        for write in &writes {
            self.write(&sight, write).await?;
        }
        if !writes.is_empty() {
            return Ok(Some(Duration::ZERO));
        }
        Ok(look_again.map(|time| {
            let wait = Duration::try_from(time.duration_since(now)).unwrap_or_default();
            wait.max(SHORTEST_WAIT)
        }))
    }

    /// Reads what the decision about a Deployment needs: of its records only those that may open an incident.
    async fn sight(&self, uid: &Uid, now: Timestamp) -> Result<Option<Sight>, kube::Error> {
        let snapshot = self.index.snapshot(uid);
        let recorded = self.records.of(uid);
        let place = match (snapshot.workload(), &recorded) {
            (Some(row), _) => {
                Some(WorkloadKey { namespace: Arc::clone(&row.namespace), kind: row.kind, name: row.name.clone() })
            }
            (None, Some(it)) => {
                Some(WorkloadKey { namespace: Arc::clone(&it.namespace), kind: it.kind, name: it.name.clone() })
            }
            (None, None) => self.incidents.place_of(uid),
        };
        let Some(place) = place else {
            self.reported_losses().remove(uid);
            return Ok(None);
        };
        let known = recorded.map(|recorded| recorded.known).unwrap_or_default();
        let lost_since = snapshot
            .observation
            .as_ref()
            .and_then(|observation| observation.row.available)
            .filter(|available| !available.is_available)
            .map(|available| available.since.time());
        let newest = newest(&known);
        let present = lost_since.and_then(|_| scene::present_record(&snapshot, &known));
        let mut names: BTreeSet<String> = self.incidents.names(&place).into_iter().collect();
        names.extend(lost_since.map(|since| loss_name(&place, since)));
        let mut records = HashMap::new();
        for known in &known {
            let may_open = may_open(known, newest, now);
            let name = record_name(place.kind, &place.name, uid, known);
            let has_incident = names.contains(&name);
            if may_open || has_incident || present == Some(known) {
                if let Some(record) = self.api::<DoraDeployment>(&place).get_opt(&name).await? {
                    records.insert(name.clone(), record);
                }
                if may_open {
                    names.insert(name);
                }
            }
        }
        let mut incidents = HashMap::new();
        for name in names {
            if let Some(incident) = self.api::<DoraIncident>(&place).get_opt(&name).await? {
                incidents.insert(name, incident);
            }
        }
        Ok(Some(Sight { uid: Arc::clone(uid), place, snapshot, known, records, incidents }))
    }

    fn scene<'a>(&self, sight: &'a Sight, now: Timestamp) -> IncidentInput<'a> {
        let Sight { uid, place, snapshot, known, records, incidents } = sight;
        let defaults = &self.settings.file.defaults;
        let recorded = |known: &RecordedRevision| {
            let name = record_name(place.kind, &place.name, uid, known);
            let details = records.get(&name).map(|record| scene::details(record, defaults));
            Recorded { name, known: known.clone(), details }
        };
        let reported_loss = self.reported_losses().get(uid).copied();
        IncidentInput {
            workload: place,
            uid,
            present: scene::present(snapshot, known, sight.present_record(), reported_loss, defaults),
            records: known.iter().map(recorded).collect(),
            incidents: incidents.values().filter_map(|it| scene::incident(it, place, now)).collect(),
        }
    }

    async fn write(&self, sight: &Sight, write: &Write) -> Result<(), kube::Error> {
        match write {
            Write::Open(opening) => self.open(sight, opening).await,
            Write::Resolve { name, at } => {
                info!(namespace = %sight.place.namespace, incident = name, %at, "the incident is over");
                self.apply(sight, name, |incident| resolved(incident, *at)).await
            }
            Write::Reopen { name, since } => {
                info!(namespace = %sight.place.namespace, incident = name, %since, "the incident goes on");
                self.apply(sight, name, |incident| reopened(incident, *since)).await
            }
            Write::Note { record, incident } => {
                let noted_loss = sight.records.get(record).and_then(noted_loss);
                self.note(sight, record, Some(incident), noted_loss).await
            }
            Write::NoteLoss { since } => {
                let Some(record) = sight.present_record() else {
                    self.reported_losses().insert(Arc::clone(&sight.uid), *since);
                    return Ok(());
                };
                let name = record.metadata.name.as_deref().unwrap_or_default();
                let incident = record.status.as_ref().and_then(|status| status.incident.as_deref());
                self.note(sight, name, incident, Some(*since)).await
            }
        }
    }

    async fn open(&self, sight: &Sight, opening: &Opening) -> Result<(), kube::Error> {
        let Sight { place, uid, .. } = sight;
        let record = match opening.opened_by {
            OpenedBy::FailedRollout | OpenedBy::RolledBackRollout => sight.records.get(&opening.name),
            OpenedBy::LostAvailability => sight.present_record(),
        };
        let description = match opening.opened_by {
            OpenedBy::FailedRollout => record.and_then(|record| record.spec.failure.clone()),
            OpenedBy::RolledBackRollout => {
                opening.rolled_back_by.map(|revision| format!("Revision {revision} took it back."))
            }
            OpenedBy::LostAvailability => unavailable_message(&self.context.client, place).await?,
        };
        let group = record.and_then(|record| record.spec.group.clone()).or_else(|| scene::group(&sight.snapshot));
        let incident = opened(opening, place, uid, description, group);
        let parameters = PostParams { field_manager: Some(OPENING_MANAGER.to_owned()), ..PostParams::default() };
        match self.api::<DoraIncident>(place).create(&parameters, &incident).await {
            Ok(incident) => {
                self.tell(sight, opening.opened_by, &incident).await;
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Says that an incident was opened: in the log, as a metric, and on the workload that it concerns.
    async fn tell(&self, sight: &Sight, opened_by: OpenedBy, incident: &DoraIncident) {
        let Sight { place: WorkloadKey { namespace, kind, name: workload }, uid, .. } = sight;
        let name = incident.metadata.name.as_deref().unwrap_or_default();
        let cause = opened_by.as_str();
        self.context.metrics.incident_opened(cause);
        info!(%namespace, %kind, workload, incident = name, cause, "opened an incident");
        let workload = WorkloadObject::new(*kind, namespace, workload, uid);
        let title = incident.spec.title.as_deref().unwrap_or(name);
        let event = Event {
            type_: EventType::Warning,
            reason: "IncidentOpened".to_owned(),
            action: "Open".to_owned(),
            note: Some(format!("{title}: opened the DoraIncident {name} ({OPENED_BY}: {cause})")),
            related: None,
        };
        self.context.events.publish(&workload, &event).await;
    }

    async fn apply(
        &self,
        sight: &Sight,
        name: &str,
        patch: impl Fn(&DoraIncident) -> Value,
    ) -> Result<(), kube::Error> {
        let Some(incident) = sight.incidents.get(name) else {
            return Ok(());
        };
        let parameters = PatchParams::apply(INCIDENTS_MANAGER).force();
        let patch = Patch::Apply(patch(incident));
        self.api::<DoraIncident>(&sight.place).patch(name, &parameters, &patch).await.map(|_| ())
    }

    async fn note(
        &self,
        sight: &Sight,
        record: &str,
        incident: Option<&str>,
        reported_loss: Option<Timestamp>,
    ) -> Result<(), kube::Error> {
        let parameters = PatchParams::apply(INCIDENTS_MANAGER).force();
        let patch = Patch::Apply(noted(record, incident, reported_loss));
        match self.api::<DoraDeployment>(&sight.place).patch_status(record, &parameters, &patch).await {
            Ok(_) => Ok(()),
            // It was deleted meanwhile, and opens nothing any more.
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn explain(&self, uid: &Uid, error: &kube::Error) {
        let ends =
            matches!(error, kube::Error::Api(status) if status.message.contains("because it is being terminated"));
        if ends {
            debug!(%uid, "the namespace is being deleted, and no incident can be made in it");
        } else if !self.waits.is_failing(uid) {
            warn!(
                %uid,
                error = error as &dyn std::error::Error,
                "the incidents of a Deployment can't be read or written and are tried again; if this stays, check that the custom \
                 resource definitions and the ClusterRole are those of this version",
            );
        }
    }

    /// A poisoned lock still guards a usable map.
    fn reported_losses(&self) -> MutexGuard<'_, HashMap<Uid, Timestamp>> {
        self.reported_losses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn api<K>(&self, place: &WorkloadKey) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.context.client.clone(), &place.namespace)
    }
}

impl Sight {
    /// The record of the present revision, if it was read.
    fn present_record(&self) -> Option<&DoraDeployment> {
        let known = scene::present_record(&self.snapshot, &self.known)?;
        self.records.get(&record_name(self.place.kind, &self.place.name, &self.uid, known))
    }
}

fn noted_loss(record: &DoraDeployment) -> Option<Timestamp> {
    Some(record.status.as_ref()?.reported_loss.as_ref()?.0)
}
