//! Incidents that the controller opens: when a rollout fails or is rolled back, and when a Deployment is unavailable.

use cluster::clock::next_second;
use cluster::{DEADLINE, wait_for};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use port_dora_controller::incidents::automatic::OPENED_BY;
use port_dora_controller::publish::hours;
use port_dora_controller::resources::DoraIncident;
use port_sim::Entity;
use rollout::Outcome;

use crate::fixture::{Installation, incident, text};
use crate::test_env::{Row, TestEnv};
use crate::web::Web;
use crate::{Error, TestResult};

/// An unavailable Deployment is an incident after 2 s. Within an hour, the same incident is reopened.
pub const SETTINGS: &str = "incidents: {unavailableFor: 2s, reopenWithin: 1h}\n";

const FIRST: &str = "web:1 Initial Succeeded success";
const FAILED: [&str; 2] = [FIRST, "web:2 Release Failed failed"];
const FIXED: [&str; 3] = [FIRST, FAILED[1], "web:3 Release Succeeded success"];

/// The incidents of a namespace, sorted by name.
async fn incidents(env: &TestEnv<'_>) -> Result<Vec<DoraIncident>, Error> {
    let api: Api<DoraIncident> = Api::namespaced(env.setup.client().await?, &env.namespace);
    let mut incidents = api.list(&ListParams::default()).await?.items;
    incidents.sort_by_key(ResourceExt::name_any);
    Ok(incidents)
}

pub async fn names(env: &TestEnv<'_>) -> Result<Vec<String>, Error> {
    Ok(incidents(env).await?.iter().map(ResourceExt::name_any).collect())
}

/// Rolls out a first revision that succeeds and a second revision that fails, and returns the rows of both.
pub async fn fail(env: &TestEnv<'_>) -> Result<Vec<Row>, Error> {
    env.apply(&Web::default()).await?;
    env.table(&[FIRST]).await?;
    env.apply_failing(&Web::broken()).await?;
    env.table(&FAILED).await
}

/// Asserts the times of an incident in Port.
fn assert_times(entity: &Entity, from: Timestamp, until: Timestamp) {
    assert_eq!(text(entity, "created_at"), format!("{from:.3}"));
    assert_eq!(text(entity, "resolved_at"), format!("{until:.3}"));
    let time_to_resolve = entity.properties["time_to_resolve"].as_f64().unwrap();
    let expected = hours(until.duration_since(from));
    assert!((time_to_resolve - expected).abs() < 1e-9, "{time_to_resolve} {expected}");
}

/// Waits until the status of this record names an incident, and returns the name.
pub async fn incident_of(env: &TestEnv<'_>, row: &Row) -> Result<String, Error> {
    let resource = format!("ddep/{}", row.record.name_any());
    let name = wait_for(format!("an incident of {resource}"), DEADLINE, async || {
        let name = env.kubectl(&format!("get {resource} --output=jsonpath={{.status.incident}}")).await?;
        Ok((!name.is_empty()).then_some(name))
    })
    .await?;
    Ok(name)
}

/// Makes the only pod of `web` ready or unready, waits until the Deployment is available or not, and returns the time
/// of that transition.
pub async fn set_ready(env: &TestEnv<'_>, ready: bool) -> Result<Timestamp, Error> {
    let status = if ready { "True" } else { "False" };
    let pod = env.kubectl("get pods --selector=app=web --output=jsonpath={.items[0].metadata.name}").await?;
    let patch = format!(r#"{{"status":{{"conditions":[{{"type":"Ready","status":"{status}"}}]}}}}"#);
    next_second().await?;
    env.kubectl(&format!("patch pod {pod} --subresource=status --patch={patch}")).await?;
    let web =
        env.until(&format!("Available to be {status}"), |web| (available(web)?.status == status).then_some(())).await?;
    Ok(available(&web).unwrap().last_transition_time.as_ref().unwrap().0)
}

fn available(web: &Deployment) -> Option<&DeploymentCondition> {
    web.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == "Available")
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_rollout_has_one_incident_until_a_success() -> TestResult {
    let setup = Installation::exclusive().await?;
    let mut controller = setup.start_controller_with_settings(SETTINGS).await?;
    let env = TestEnv::on(&setup, "failed").await?;
    let rows = fail(&env).await?;
    let (failed, _) = rows[1].finished();
    let name = incident_of(&env, &rows[1]).await?;
    assert_eq!(name, rows[1].record.name_any());
    let open = setup.incident(&env.namespace, &name, "open").await?;
    assert_eq!(text(&open, "created_at"), format!("{failed:.3}"));
    assert_eq!(text(&open, "description"), rows[1].failure());
    assert_eq!(open.title, Some(format!("Rollout of {}/web revision 2 failed", env.namespace)));
    let resource = setup.get_incident(&env.namespace, &name).await?;
    assert_eq!(resource.labels()[OPENED_BY], "FailedRollout");
    assert_eq!(resource.labels()["app.kubernetes.io/managed-by"], "port-dora-controller");
    let reference = resource.spec.workload_ref.unwrap();
    assert_eq!((reference.name.as_str(), reference.revision), ("web", Some(2)));
    assert!(setup.event(&env.namespace, "web", "IncidentOpened").await?.contains(&name));
    let listed = env.kubectl("get dinc --output=wide").await?;
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
    env.apply(&Web::image("app:v2")).await?;
    env.complete(3).await?;
    let mut controller = setup.start_controller_with_settings(SETTINGS).await?;
    let rows = env.table(&FIXED).await?;
    let resolved = setup.incident(&env.namespace, &name, "resolved").await?;
    assert_times(&resolved, failed, rows[2].finished().0);

    // A restart and another failure don't write the first incident again.
    controller.process.kill()?;
    let before = setup.get_incident(&env.namespace, &name).await?.metadata.generation;
    let _controller = setup.start_controller_with_settings(SETTINGS).await?;
    env.apply_failing(&Web::image("other:broken")).await?;
    let rows = env.table(&[&FIXED[..], &["web:4 Release Failed failed"]].concat()).await?;
    let second = incident_of(&env, &rows[3]).await?;
    assert_eq!(names(&env).await?, [name.clone(), second]);
    assert_eq!(setup.get_incident(&env.namespace, &name).await?.metadata.generation, before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn recovered_rollout_resolves_its_incident() -> TestResult {
    let env = TestEnv::new("recovers").await?;
    env.apply_failing(&env.gated(Web::default())).await?;
    let rows = env.table(&["web:1 Initial Failed failed"]).await?;
    let (failed, name) = (rows[0].finished().0, incident_of(&env, &rows[0]).await?);
    env.setup.incident(&env.namespace, &name, "open").await?;
    env.extend_deadline().await?;
    env.open_gate().await?;
    let rows = env.table(&["web:1 Initial Recovered success"]).await?;
    let resolved = env.setup.incident(&env.namespace, &name, "resolved").await?;
    assert_times(&resolved, failed, rows[0].finished().0);
    assert_eq!(names(&env).await?, [name]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_incident_covers_the_bad_revision() -> TestResult {
    let env = TestEnv::new("rolled-back").await?;
    env.apply(&Web::default()).await?;
    env.table(&[FIRST]).await?;
    env.apply(&Web::image("app:v2")).await?;
    env.table(&[FIRST, "web:2 Release Succeeded success"]).await?;
    env.kubectl("rollout undo deployment/web").await?;
    let rows = env.table(&[FIRST, "web:2 Release RolledBack rolled_back", "web:3 Rollback Succeeded success"]).await?;
    let name = incident_of(&env, &rows[1]).await?;
    let resolved = env.setup.incident(&env.namespace, &name, "resolved").await?;
    assert_times(&resolved, rows[1].finished().0, rows[2].finished().0);
    assert_eq!(text(&resolved, "description"), "Rolled back by revision 3.");
    assert_eq!(names(&env).await?, [rows[1].record.name_any()]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn flapping_availability_is_one_incident() -> TestResult {
    let setup = Installation::exclusive().await?;
    let mut controller = setup.start_controller_with_settings(SETTINGS).await?;
    let env = TestEnv::on(&setup, "lost").await?;
    env.apply(&Web::default()).await?;
    env.table(&[FIRST]).await?;
    let lost = set_ready(&env, false).await?;
    let name = format!("web-unavailable-{}", lost.strftime("%Y%m%d%H%M%S"));
    let open = setup.incident(&env.namespace, &name, "open").await?;
    assert_eq!(text(&open, "created_at"), format!("{lost:.3}"));
    assert_eq!(open.title, Some(format!("{}/web is unavailable", env.namespace)));
    assert_eq!(text(&open, "description"), "Deployment does not have minimum availability.");
    assert_eq!(setup.get_incident(&env.namespace, &name).await?.labels()[OPENED_BY], "LostAvailability");

    controller.process.kill()?;
    let returned = set_ready(&env, true).await?;
    let mut controller = setup.start_controller_with_settings(SETTINGS).await?;
    let resolved = setup.incident(&env.namespace, &name, "resolved").await?;
    assert_times(&resolved, lost, returned);

    // The availability changes several times, once while the controller is down.
    set_ready(&env, false).await?;
    let open = setup.incident(&env.namespace, &name, "open").await?;
    assert!(!open.properties.contains_key("resolved_at"), "{:?}", open.properties);
    assert_eq!(setup.get_incident(&env.namespace, &name).await?.spec.resolved_at, None);
    set_ready(&env, true).await?;
    setup.incident(&env.namespace, &name, "resolved").await?;
    controller.process.kill()?;
    set_ready(&env, false).await?;
    let _controller = setup.start_controller_with_settings(SETTINGS).await?;
    setup.incident(&env.namespace, &name, "open").await?;
    let returned = set_ready(&env, true).await?;
    let resolved = setup.incident(&env.namespace, &name, "resolved").await?;
    assert_times(&resolved, lost, returned);
    assert_eq!(names(&env).await?, [name]);
    env.table(&[FIRST]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_of_a_person_is_used_and_not_changed() -> TestResult {
    let env = TestEnv::new("persons").await?;
    env.apply(&Web::default()).await?;
    env.table(&[FIRST]).await?;
    env.setup.apply_in(&env.namespace, &incident("checkout-down", "workloadRef: {name: web}")).await?;
    env.setup.incident(&env.namespace, "checkout-down", "open").await?;
    let before = env.setup.get_incident(&env.namespace, "checkout-down").await?.metadata.generation;
    env.apply_failing(&Web::broken()).await?;
    let rows = env.table(&FAILED).await?;
    assert_eq!(incident_of(&env, &rows[1]).await?, "checkout-down");
    // Another change fails, and no person has opened an incident for that.
    env.kubectl("delete dinc/checkout-down").await?;
    env.apply_failing(&Web::image("other:broken")).await?;
    let rows = env.table(&[&FAILED[..], &["web:3 Release Failed failed"]].concat()).await?;
    let name = incident_of(&env, &rows[2]).await?;
    assert_eq!(name, rows[2].record.name_any());
    assert_eq!(names(&env).await?, [name]);
    assert_eq!(before, Some(1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_of_an_automatic_incident_are_kept() -> TestResult {
    let env = TestEnv::new("edited").await?;
    let rows = fail(&env).await?;
    let name = incident_of(&env, &rows[1]).await?;
    let patch = r#"{"spec":{"title":"Checkout","priority":"high"}}"#;
    env.kubectl(&format!("patch dinc/{name} --type=merge --patch={patch}")).await?;
    let applied = incident(&name, "description: Nobody could pay");
    env.kubectl_with_input("apply --server-side --force-conflicts --filename=-", &applied).await?;
    env.apply(&Web::image("app:v2")).await?;
    env.table(&FIXED).await?;
    let resolved = env.setup.incident(&env.namespace, &name, "resolved").await?;
    assert_eq!(resolved.title.as_deref(), Some("Checkout"));
    assert_eq!(text(&resolved, "priority"), "high");
    assert_eq!(text(&resolved, "description"), "Nobody could pay");

    env.kubectl(&format!("delete dinc/{name}")).await?;
    env.apply_failing(&Web::image("other:broken")).await?;
    let rows = env.table(&[&FIXED[..], &["web:4 Release Failed failed"]].concat()).await?;
    let second = incident_of(&env, &rows[3]).await?;
    assert_eq!(names(&env).await?, std::slice::from_ref(&second));

    // When a person has set the status, the controller doesn't change it any more.
    let patch = r#"{"spec":{"status":"resolved"}}"#;
    env.kubectl(&format!("patch dinc/{second} --type=merge --patch={patch}")).await?;
    env.setup.incident(&env.namespace, &second, "resolved").await?;
    let patch = r#"{"spec":{"status":"open"}}"#;
    env.kubectl(&format!("patch dinc/{second} --type=merge --patch={patch}")).await?;
    env.apply(&Web::image("app:v5")).await?;
    env.record(5, "complete", |spec| spec.outcome == Outcome::Succeeded).await?;
    env.apply_failing(&Web::image("third:broken")).await?;
    env.record(6, "failed", |spec| spec.outcome == Outcome::Failed).await?;
    wait_for("the incident of revision 6", DEADLINE, async || Ok((names(&env).await?.len() == 2).then_some(())))
        .await?;
    let edited = env.setup.get_incident(&env.namespace, &second).await?.spec;
    assert_eq!((edited.status.as_str(), edited.resolved_at), ("open", None));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_deployment_resolves_its_incident() -> TestResult {
    let env = TestEnv::new("gone").await?;
    let rows = fail(&env).await?;
    let name = incident_of(&env, &rows[1]).await?;
    env.setup.incident(&env.namespace, &name, "open").await?;
    env.kubectl("delete deployment/web").await?;
    let resolved = env.setup.incident(&env.namespace, &name, "resolved").await?;
    assert!(text(&resolved, "resolved_at") >= text(&resolved, "created_at"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn other_environments_open_no_incidents() -> TestResult {
    let staging = TestEnv::in_environment("staging", "staging", &[], async |staging| {
        staging.apply(&Web::default()).await?;
        staging.table(&[FIRST]).await
    })
    .await?;
    staging.apply_failing(&Web::broken()).await?;
    staging.table(&FAILED).await?;
    let production = TestEnv::new("production").await?;
    // The controller handles Deployments in the order of their changes.
    let rows = fail(&production).await?;
    incident_of(&production, &rows[1]).await?;
    assert!(names(&staging).await?.is_empty());
    Ok(())
}
