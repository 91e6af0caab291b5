//! Incidents that open themselves: when a rollout fails or is rolled back, and when a Deployment loses its availability.

use cluster::wait_for;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use port_dora_controller::incidents::automatic::OPENED_BY;
use port_dora_controller::publish::hours;
use port_dora_controller::resources::DoraIncident;
use port_sim::Entity;
use rollout::Outcome;

use crate::TestResult;
use crate::fixture::{DEADLINE, Installation, incident, text};
use crate::stage::{Row, Stage, next_second};
use crate::web::Web;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A loss of availability is an incident after 2 s, and the same one for an hour.
const SETTINGS: &str = "incidents: {unavailableFor: 2s, reopenWithin: 1h}\n";

const FIRST: &str = "web:1 Initial Succeeded success";
const FAILED: [&str; 2] = [FIRST, "web:2 Release Failed failed"];
const MENDED: [&str; 3] = [FIRST, FAILED[1], "web:3 Release Succeeded success"];

/// The incidents of a stage, by name.
async fn incidents(stage: &Stage<'_>) -> Result<Vec<DoraIncident>, Error> {
    let api: Api<DoraIncident> = Api::namespaced(stage.on.client().await?, &stage.namespace);
    let mut incidents = api.list(&ListParams::default()).await?.items;
    incidents.sort_by_key(ResourceExt::name_any);
    Ok(incidents)
}

async fn names(stage: &Stage<'_>) -> Result<Vec<String>, Error> {
    Ok(incidents(stage).await?.iter().map(ResourceExt::name_any).collect())
}

/// A first revision that succeeds and a second one that fails, with the rows of both.
async fn fail(stage: &Stage<'_>) -> Result<Vec<Row>, Error> {
    stage.apply(&Web::default()).await?;
    stage.table(&[FIRST]).await?;
    stage.apply_failing(&Web::broken()).await?;
    stage.table(&FAILED).await
}

/// What Port has of an incident lasted from the one time to the other.
fn lasted(entity: &Entity, from: Timestamp, until: Timestamp) {
    assert_eq!(text(entity, "created_at"), format!("{from:.3}"));
    assert_eq!(text(entity, "resolved_at"), format!("{until:.3}"));
    let time_to_resolve = entity.properties["time_to_resolve"].as_f64().unwrap();
    let expected = hours(until.duration_since(from));
    assert!((time_to_resolve - expected).abs() < 1e-9, "{time_to_resolve} {expected}");
}

/// Waits until the record of this revision has had an incident, and returns its name.
async fn noted(stage: &Stage<'_>, row: &Row) -> Result<String, Error> {
    let resource = format!("ddep/{}", row.record.name_any());
    let name = wait_for(format!("an incident of {resource}"), DEADLINE, async || {
        let name = stage.kubectl(&format!("get {resource} --output=jsonpath={{.status.incident}}")).await?;
        Ok((!name.is_empty()).then_some(name))
    })
    .await?;
    Ok(name)
}

/// Makes the only pod of `web` ready or unready, and waits until the Deployment is available or not; since when.
async fn set_ready(stage: &Stage<'_>, ready: bool) -> Result<Timestamp, Error> {
    let status = if ready { "True" } else { "False" };
    let pod = stage.kubectl("get pods --selector=app=web --output=jsonpath={.items[0].metadata.name}").await?;
    let patch = format!(r#"{{"status":{{"conditions":[{{"type":"Ready","status":"{status}"}}]}}}}"#);
    next_second().await?;
    stage.kubectl(&format!("patch pod {pod} --subresource=status --patch={patch}")).await?;
    let web = stage
        .until(&format!("Available to be {status}"), |web| (available(web)?.status == status).then_some(()))
        .await?;
    Ok(available(&web).unwrap().last_transition_time.as_ref().unwrap().0)
}

fn available(web: &Deployment) -> Option<&DeploymentCondition> {
    web.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == "Available")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_rollout_has_one_incident_until_the_next_success_even_if_the_controller_is_away() -> TestResult {
    let on = Installation::alone().await?;
    let mut controller = on.start_controller_with_settings(SETTINGS).await?;
    let stage = Stage::on(&on, "failed").await?;
    let rows = fail(&stage).await?;
    let (failed, _) = rows[1].finished();
    let name = noted(&stage, &rows[1]).await?;
    assert_eq!(name, rows[1].record.name_any());
    let open = on.incident(&stage.namespace, &name, "open").await?;
    assert_eq!(text(&open, "created_at"), format!("{failed:.3}"));
    assert_eq!(text(&open, "description"), rows[1].failure());
    assert_eq!(open.title, Some(format!("Rollout of {}/web revision 2 failed", stage.namespace)));
    let resource = on.get_incident(&stage.namespace, &name).await?;
    assert_eq!(resource.labels()[OPENED_BY], "FailedRollout");
    assert_eq!(resource.labels()["app.kubernetes.io/managed-by"], "port-dora-controller");
    let reference = resource.spec.workload_ref.unwrap();
    assert_eq!((reference.name.as_str(), reference.revision), ("web", Some(2)));
    assert!(on.event(&stage.namespace, "web", "IncidentOpened").await?.contains(&name));
    let listed = stage.kubectl("get dinc --output=wide").await?;
    let heads: Vec<&str> = listed.lines().next().unwrap_or_default().split_whitespace().collect();
    let columns = [
        "NAME",
        "TITLE",
        "WORKLOAD",
        "STATUS",
        "PRIORITY",
        "OPENED",
        "TIME-TO-RESOLVE",
        "SYNCED",
        "REASON",
        "CAUSE",
        "CERTAINTY",
        "OPENED-BY",
        "MESSAGE",
    ];
    assert_eq!(heads, columns);
    assert!(listed.contains("FailedRollout"), "{listed}");
    let (_, metrics) = controller.get("/metrics").await?;
    assert!(metrics.contains("port_dora_incidents_opened_total{cause=\"FailedRollout\"} 1"), "{metrics}");

    controller.process.kill()?;
    stage.apply(&Web::image("app:v2")).await?;
    stage.complete(3).await?;
    let mut controller = on.start_controller_with_settings(SETTINGS).await?;
    let rows = stage.table(&MENDED).await?;
    let resolved = on.incident(&stage.namespace, &name, "resolved").await?;
    lasted(&resolved, failed, rows[2].finished().0);

    // A restart, and another failure to wait for, write nothing more of the first one.
    controller.process.kill()?;
    let before = on.get_incident(&stage.namespace, &name).await?.metadata.generation;
    let _controller = on.start_controller_with_settings(SETTINGS).await?;
    stage.apply_failing(&Web::image("other:broken")).await?;
    let rows = stage.table(&[&MENDED[..], &["web:4 Release Failed failed"]].concat()).await?;
    let second = noted(&stage, &rows[3]).await?;
    assert_eq!(names(&stage).await?, [name.clone(), second]);
    assert_eq!(on.get_incident(&stage.namespace, &name).await?.metadata.generation, before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_recovers_resolves_its_incident() -> TestResult {
    let stage = Stage::open("recovers").await?;
    stage.apply_failing(&stage.gated(Web::default())).await?;
    let rows = stage.table(&["web:1 Initial Failed failed"]).await?;
    let (failed, name) = (rows[0].finished().0, noted(&stage, &rows[0]).await?);
    stage.on.incident(&stage.namespace, &name, "open").await?;
    stage.give_time().await?;
    stage.open_gate().await?;
    let rows = stage.table(&["web:1 Initial Recovered success"]).await?;
    let resolved = stage.on.incident(&stage.namespace, &name, "resolved").await?;
    lasted(&resolved, failed, rows[0].finished().0);
    assert_eq!(names(&stage).await?, [name]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_has_an_incident_from_the_completion_of_the_bad_revision_to_its_own() -> TestResult {
    let stage = Stage::open("rolled-back").await?;
    stage.apply(&Web::default()).await?;
    stage.table(&[FIRST]).await?;
    stage.apply(&Web::image("app:v2")).await?;
    stage.table(&[FIRST, "web:2 Release Succeeded success"]).await?;
    stage.kubectl("rollout undo deployment/web").await?;
    let rows =
        stage.table(&[FIRST, "web:2 Release RolledBack rolled_back", "web:3 Rollback Succeeded success"]).await?;
    let name = noted(&stage, &rows[1]).await?;
    let resolved = stage.on.incident(&stage.namespace, &name, "resolved").await?;
    lasted(&resolved, rows[1].finished().0, rows[2].finished().0);
    assert_eq!(text(&resolved, "description"), "Rolled back by revision 3.");
    assert_eq!(names(&stage).await?, [rows[1].record.name_any()]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_of_availability_has_one_incident_however_often_it_comes_and_goes() -> TestResult {
    let on = Installation::alone().await?;
    let mut controller = on.start_controller_with_settings(SETTINGS).await?;
    let stage = Stage::on(&on, "lost").await?;
    stage.apply(&Web::default()).await?;
    stage.table(&[FIRST]).await?;
    let lost = set_ready(&stage, false).await?;
    let name = format!("web-unavailable-{}", lost.strftime("%Y%m%d%H%M%S"));
    let open = on.incident(&stage.namespace, &name, "open").await?;
    assert_eq!(text(&open, "created_at"), format!("{lost:.3}"));
    assert_eq!(open.title, Some(format!("{}/web is unavailable", stage.namespace)));
    assert_eq!(text(&open, "description"), "Deployment does not have minimum availability.");
    assert_eq!(on.get_incident(&stage.namespace, &name).await?.labels()[OPENED_BY], "LostAvailability");

    controller.process.kill()?;
    let returned = set_ready(&stage, true).await?;
    let mut controller = on.start_controller_with_settings(SETTINGS).await?;
    let resolved = on.incident(&stage.namespace, &name, "resolved").await?;
    lasted(&resolved, lost, returned);

    // It comes and goes, once while the controller is away.
    set_ready(&stage, false).await?;
    let open = on.incident(&stage.namespace, &name, "open").await?;
    assert!(!open.properties.contains_key("resolved_at"), "{:?}", open.properties);
    assert_eq!(on.get_incident(&stage.namespace, &name).await?.spec.resolved_at, None);
    set_ready(&stage, true).await?;
    on.incident(&stage.namespace, &name, "resolved").await?;
    controller.process.kill()?;
    set_ready(&stage, false).await?;
    let _controller = on.start_controller_with_settings(SETTINGS).await?;
    on.incident(&stage.namespace, &name, "open").await?;
    let returned = set_ready(&stage, true).await?;
    let resolved = on.incident(&stage.namespace, &name, "resolved").await?;
    lasted(&resolved, lost, returned);
    assert_eq!(names(&stage).await?, [name]);
    stage.table(&[FIRST]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_that_a_person_opened_is_used_and_left_to_them() -> TestResult {
    let stage = Stage::open("persons").await?;
    stage.apply(&Web::default()).await?;
    stage.table(&[FIRST]).await?;
    stage.on.apply_in(&stage.namespace, &incident("checkout-down", "workloadRef: {name: web}")).await?;
    stage.on.incident(&stage.namespace, "checkout-down", "open").await?;
    let before = stage.on.get_incident(&stage.namespace, "checkout-down").await?.metadata.generation;
    stage.apply_failing(&Web::broken()).await?;
    let rows = stage.table(&FAILED).await?;
    assert_eq!(noted(&stage, &rows[1]).await?, "checkout-down");
    // The next failure is one of another change, and nobody has opened one for that.
    stage.kubectl("delete dinc/checkout-down").await?;
    stage.apply_failing(&Web::image("other:broken")).await?;
    let rows = stage.table(&[&FAILED[..], &["web:3 Release Failed failed"]].concat()).await?;
    let name = noted(&stage, &rows[2]).await?;
    assert_eq!(name, rows[2].record.name_any());
    assert_eq!(names(&stage).await?, [name]);
    assert_eq!(before, Some(1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_writes_into_an_incident_stays_and_what_they_delete_stays_away() -> TestResult {
    let stage = Stage::open("edited").await?;
    let rows = fail(&stage).await?;
    let name = noted(&stage, &rows[1]).await?;
    let patch = r#"{"spec":{"title":"Checkout","priority":"high"}}"#;
    stage.kubectl(&format!("patch dinc/{name} --type=merge --patch={patch}")).await?;
    let applied = incident(&name, "description: Nobody could pay");
    stage.kubectl_with_input("apply --server-side --force-conflicts --filename=-", &applied).await?;
    stage.apply(&Web::image("app:v2")).await?;
    stage.table(&MENDED).await?;
    let resolved = stage.on.incident(&stage.namespace, &name, "resolved").await?;
    assert_eq!(resolved.title.as_deref(), Some("Checkout"));
    assert_eq!(text(&resolved, "priority"), "high");
    assert_eq!(text(&resolved, "description"), "Nobody could pay");

    stage.kubectl(&format!("delete dinc/{name}")).await?;
    stage.apply_failing(&Web::image("other:broken")).await?;
    let rows = stage.table(&[&MENDED[..], &["web:4 Release Failed failed"]].concat()).await?;
    let second = noted(&stage, &rows[3]).await?;
    assert_eq!(names(&stage).await?, std::slice::from_ref(&second));

    // Whether it lasts is theirs once they have said so.
    let patch = r#"{"spec":{"status":"resolved"}}"#;
    stage.kubectl(&format!("patch dinc/{second} --type=merge --patch={patch}")).await?;
    stage.on.incident(&stage.namespace, &second, "resolved").await?;
    let patch = r#"{"spec":{"status":"open"}}"#;
    stage.kubectl(&format!("patch dinc/{second} --type=merge --patch={patch}")).await?;
    stage.apply(&Web::image("app:v5")).await?;
    stage.record(5, "complete", |spec| spec.outcome == Outcome::Succeeded).await?;
    stage.apply_failing(&Web::image("third:broken")).await?;
    stage.record(6, "failed", |spec| spec.outcome == Outcome::Failed).await?;
    wait_for("the incident of revision 6", DEADLINE, async || Ok((names(&stage).await?.len() == 2).then_some(())))
        .await?;
    let theirs = stage.on.get_incident(&stage.namespace, &second).await?.spec;
    assert_eq!((theirs.status.as_str(), theirs.resolved_at), ("open", None));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_is_deleted_takes_its_incident_to_the_end() -> TestResult {
    let stage = Stage::open("gone").await?;
    let rows = fail(&stage).await?;
    let name = noted(&stage, &rows[1]).await?;
    stage.on.incident(&stage.namespace, &name, "open").await?;
    stage.kubectl("delete deployment/web").await?;
    let resolved = stage.on.incident(&stage.namespace, &name, "resolved").await?;
    assert!(text(&resolved, "resolved_at") >= text(&resolved, "created_at"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn in_another_environment_nothing_opens_an_incident() -> TestResult {
    let staging = Stage::open_in("staging", "staging", &[], async |staging| {
        staging.apply(&Web::default()).await?;
        staging.table(&[FIRST]).await
    })
    .await?;
    staging.apply_failing(&Web::broken()).await?;
    staging.table(&FAILED).await?;
    let production = Stage::open("production").await?;
    // Deployments are looked at in the order in which they change.
    let rows = fail(&production).await?;
    noted(&production, &rows[1]).await?;
    assert!(names(&staging).await?.is_empty());
    Ok(())
}
