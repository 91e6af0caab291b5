//! Which deployment is behind an incident: in its status, and in Port where the blueprint has the relation.

use cluster::wait_for;
use port_dora_controller::resources::{Certainty, DoraIncident, IncidentCause};
use port_sim::{Effect, Fault};
use serde_json::{Value, json};

use crate::TestResult;
use crate::fixture::{DEADLINE, Installation, SAME_POD, deployment, incident};
use crate::stage::next_second;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Gives the blueprint of incidents in Port a relation to that of deployments, under this name.
fn add_relation(on: &Installation, name: &str) -> TestResult {
    let mut blueprint: Value = serde_json::from_str(include_str!("../port-sim/blueprints/dora_incident.json"))?;
    blueprint["relations"][name] =
        json!({"title": "Cause", "target": "dora_deployment", "required": false, "many": false});
    on.port.create_blueprint(&blueprint)?;
    Ok(())
}

/// Waits until the status of an incident fulfils a condition, and returns the incident.
async fn until(
    on: &Installation,
    namespace: &str,
    name: &str,
    what: &str,
    fulfils: impl Fn(Option<&IncidentCause>) -> bool,
) -> Result<DoraIncident, Error> {
    let incident = wait_for(format!("the cause of {name} to be {what}"), DEADLINE, async || {
        let incident = on.get_incident(namespace, name).await?;
        let status = incident.status.clone().ok_or("it has no status")?;
        let is_current = status.observed_generation == incident.metadata.generation;
        if !is_current || !fulfils(status.cause.as_ref()) {
            Err(format!("{:?}", status.cause))?;
        }
        Ok(Some(incident))
    })
    .await?;
    Ok(incident)
}

/// Waits until the incident in Port is related to this entity.
async fn related(on: &Installation, namespace: &str, name: &str, relation: &str, expected: &Value) -> TestResult {
    wait_for(format!("{name} to be related to {expected} in Port"), DEADLINE, async || {
        let entity = on.port.entity("dora_incident", &format!("test:{namespace}:{name}")).ok_or("it is not there")?;
        let found = entity.relations.get(relation).cloned().unwrap_or(Value::Null);
        if found != *expected {
            Err(found.to_string())?;
        }
        Ok(Some(()))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_in_effect_is_the_cause_and_port_relates_the_two() -> TestResult {
    let on = Installation::alone().await?;
    add_relation(&on, "caused_by")?;
    let settings = "naming: {incident: {relations: {deployment: caused_by}}}\n";
    let mut controller = on.start_controller_with_settings(settings).await?;
    let namespace = on.namespace("cause").await?;
    on.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    on.deployments(&namespace, &[("web:1", "success")]).await?;
    next_second().await?;
    on.apply_in(&namespace, &incident("first", "workloadRef: {name: web}")).await?;
    next_second().await?;
    on.apply_in(&namespace, &deployment("web", "app:v2", "", "")).await?;
    let entities = on.deployments(&namespace, &[("web:1", "success"), ("web:2", "success")]).await?;
    next_second().await?;
    on.apply_in(&namespace, &incident("second", "workloadRef: {name: web}")).await?;
    on.apply_in(&namespace, &incident("stated", "workloadRef: {name: web, revision: 1}")).await?;
    on.apply_in(&namespace, &incident("unknown", "workloadRef: {name: wep}")).await?;
    for (name, revision) in [("first", 1), ("second", 2), ("stated", 1)] {
        let entity = &entities[usize::try_from(revision)? - 1].identifier;
        let found =
            until(&on, &namespace, name, "complete", |cause| cause.is_some_and(|cause| cause.entity.is_some())).await?;
        let cause = found.status.unwrap().cause.unwrap();
        assert_eq!(
            (cause.certainty, cause.workload.name.as_str(), cause.revision),
            (Certainty::Stated, "web", revision)
        );
        assert_eq!(cause.entity.as_ref(), Some(entity));
        related(&on, &namespace, name, "caused_by", &json!(entity)).await?;
    }
    let (_, message) = on.condition(&namespace, "dinc/unknown", "Valid", "PartiallyInvalid").await?;
    assert!(message.contains("spec.workloadRef") && message.contains("no Deployment wep"), "{message}");
    on.incident(&namespace, "unknown", "open").await?;
    // A workload of another kind with the same name is another workload.
    on.apply_in(&namespace, &incident("other-kind", "workloadRef: {kind: StatefulSet, name: web}")).await?;
    let (_, message) = on.condition(&namespace, "dinc/other-kind", "Valid", "PartiallyInvalid").await?;
    assert!(message.contains("records rollouts of Deployments only"), "{message}");
    let other = on.get_incident(&namespace, "other-kind").await?;
    assert_eq!(other.status.and_then(|status| status.cause), None);

    // The record expires, and the cause stays; it goes when the incident names none any more.
    controller.process.kill()?;
    on.kubectl(["--namespace", &namespace, "delete", "ddep", "--all"]).await?;
    on.kubectl(["--namespace", &namespace, "delete", "deployment", "web"]).await?;
    on.apply_in(&namespace, &incident("second", "workloadRef: {name: web}, priority: low")).await?;
    let _controller = on.start_controller_with_settings(settings).await?;
    on.condition(&namespace, "dinc/second", "Synced", "Delivered").await?;
    until(&on, &namespace, "second", "kept", |cause| cause.is_some_and(|cause| cause.revision == 2)).await?;
    related(&on, &namespace, "second", "caused_by", &json!(entities[1].identifier)).await?;
    on.kubectl([
        "--namespace",
        &namespace,
        "patch",
        "dinc",
        "second",
        "--type=json",
        "--patch",
        r#"[{"op":"remove","path":"/spec/workloadRef"}]"#,
    ])
    .await?;
    until(&on, &namespace, "second", "gone", |cause| cause.is_none()).await?;
    related(&on, &namespace, "second", "caused_by", &Value::Null).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_does_not_wait_for_the_deployment_that_caused_it() -> TestResult {
    let on = Installation::alone().await?;
    add_relation(&on, "deployment")?;
    let mut controller = on.start_controller(&SAME_POD).await?;
    // Port takes incidents, and fails with deployments.
    let fault =
        on.port.set_fault(Fault::new(Effect::status(503)).path_prefix("/v1/blueprints/dora_deployment/entities"))?;
    let namespace = on.namespace("later").await?;
    on.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    on.outcomes(&namespace, &[("web:1", "Succeeded")]).await?;
    next_second().await?;
    on.apply_in(&namespace, &incident("down", "workloadRef: {name: web}")).await?;
    let entity = on.incident(&namespace, "down", "open").await?;
    assert!(!entity.relations.contains_key("deployment"), "{:?}", entity.relations);
    let found = until(&on, &namespace, "down", "named", |cause| cause.is_some()).await?;
    assert_eq!(found.status.unwrap().cause.unwrap().entity, None);
    // Whoever takes over goes on waiting.
    controller.process.kill()?;
    on.port.clear_fault(fault);
    let _controller = on.start_controller(&SAME_POD).await?;
    let entities = on.deployments(&namespace, &[("web:1", "success")]).await?;
    related(&on, &namespace, "down", "deployment", &json!(entities[0].identifier)).await?;
    until(&on, &namespace, "down", "complete", |cause| cause.is_some_and(|cause| cause.entity.is_some())).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_and_an_incident_that_came_while_the_controller_was_away_belong_together() -> TestResult {
    let on = Installation::alone().await?;
    let mut controller = on.start_controller(&SAME_POD).await?;
    let namespace = on.namespace("away").await?;
    on.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    on.delivered(&namespace, "web:1").await?;
    controller.process.kill()?;
    next_second().await?;
    on.apply_in(&namespace, &deployment("web", "app:v2", "", "")).await?;
    on.kubectl(["--namespace", &namespace, "rollout", "status", "deployment/web", "--timeout=240s"]).await?;
    next_second().await?;
    on.apply_in(&namespace, &incident("down", "workloadRef: {name: web}")).await?;
    let _controller = on.start_controller(&SAME_POD).await?;
    // Whichever of the two is looked at first.
    until(&on, &namespace, "down", "revision 2", |cause| cause.is_some_and(|cause| cause.revision == 2)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_deployment_that_finished_shortly_before_is_suspected_and_port_is_not_told() -> TestResult {
    let on = Installation::alone().await?;
    add_relation(&on, "deployment")?;
    let _controller = on.start_controller(&SAME_POD).await?;
    let namespace = on.namespace("suspected").await?;
    on.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    let entities = on.deployments(&namespace, &[("web:1", "success")]).await?;
    next_second().await?;
    on.apply_in(&namespace, &incident("one", "")).await?;
    let found = until(&on, &namespace, "one", "suspected", |cause| cause.is_some()).await?;
    let cause = found.status.unwrap().cause.unwrap();
    assert_eq!((cause.certainty, cause.workload.name.as_str(), cause.revision), (Certainty::Suspected, "web", 1));
    assert_eq!(cause.entity.as_deref(), Some(entities[0].identifier.as_str()));
    on.condition(&namespace, "dinc/one", "Synced", "Delivered").await?;
    related(&on, &namespace, "one", "deployment", &Value::Null).await?;
    let table = on.kubectl(["--namespace", &namespace, "get", "dinc", "one", "--output=wide"]).await?;
    assert!(table.contains(&cause.record) && table.contains("Suspected"), "{table}");

    // With a second one, nobody knows which it was.
    on.apply_in(&namespace, &deployment("api", "app:v1", "", "")).await?;
    on.deployments(&namespace, &[("web:1", "success"), ("api:1", "success")]).await?;
    next_second().await?;
    on.apply_in(&namespace, &incident("two", "")).await?;
    on.condition(&namespace, "dinc/two", "Synced", "Delivered").await?;
    assert_eq!(on.get_incident(&namespace, "two").await?.status.unwrap().cause, None);
    // Nor does an incident of long ago.
    on.apply_in(&namespace, &incident("ago", "createdAt: '2026-01-31T12:00:00Z', workloadRef: {name: web}")).await?;
    on.condition(&namespace, "dinc/ago", "Synced", "Delivered").await?;
    assert_eq!(on.get_incident(&namespace, "ago").await?.status.unwrap().cause, None, "nothing was in effect then");
    Ok(())
}
