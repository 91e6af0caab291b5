//! The cause of an incident: in its status, and in Port if the blueprint has the relation.

use cluster::clock::next_second;
use cluster::{DEADLINE, wait_for};
use port_dora_controller::resources::{Certainty, DoraIncident, IncidentCause};
use port_sim::{Effect, Fault};
use serde_json::{Value, json};

use crate::fixture::{Installation, RELEASE, SAME_POD, deployment, incident};
use crate::{Error, TestResult};

/// Adds a relation with this name from the blueprint of incidents to that of deployments.
fn add_relation(setup: &Installation, name: &str) -> TestResult {
    let mut blueprint: Value = serde_json::from_str(include_str!("../port-sim/blueprints/dora_incident.json"))?;
    blueprint["relations"][name] =
        json!({"title": "Cause", "target": "dora_deployment", "required": false, "many": false});
    setup.port.create_blueprint(&blueprint)?;
    Ok(())
}

/// Waits until the cause of an incident fulfils a condition, and returns the incident.
async fn until(
    setup: &Installation,
    namespace: &str,
    name: &str,
    what: &str,
    fulfils: impl Fn(Option<&IncidentCause>) -> bool,
) -> Result<DoraIncident, Error> {
    let incident = wait_for(format!("the cause of {name} to be {what}"), DEADLINE, async || {
        let incident = setup.get_incident(namespace, name).await?;
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

/// Waits until the incident in Port has this relation.
async fn related(setup: &Installation, namespace: &str, name: &str, relation: &str, expected: &Value) -> TestResult {
    wait_for(format!("{name} to be related to {expected} in Port"), DEADLINE, async || {
        let entity = setup.incident_entity(namespace, name).ok_or("it is missing")?;
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
async fn revision_in_effect_is_the_cause_of_an_incident() -> TestResult {
    let setup = Installation::exclusive().await?;
    add_relation(&setup, "caused_by")?;
    let settings = "naming: {incident: {relations: {deployment: caused_by}}}\n";
    let mut controller = setup.start_controller_with_settings(settings).await?;
    let namespace = setup.namespace("cause").await?;
    setup.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    setup.deployments(&namespace, &[("web:1", "success")]).await?;
    next_second().await?;
    setup.apply_in(&namespace, &incident("first", "workloadRef: {name: web}")).await?;
    next_second().await?;
    setup.apply_in(&namespace, &deployment("web", "app:v2", "", "")).await?;
    let entities = setup.deployments(&namespace, &[("web:1", "success"), ("web:2", "success")]).await?;
    next_second().await?;
    setup.apply_in(&namespace, &incident("second", "workloadRef: {name: web}")).await?;
    setup.apply_in(&namespace, &incident("stated", "workloadRef: {name: web, revision: 1}")).await?;
    setup.apply_in(&namespace, &incident("unknown", "workloadRef: {name: wep}")).await?;
    for (name, revision) in [("first", 1), ("second", 2), ("stated", 1)] {
        let entity = &entities[usize::try_from(revision)? - 1].identifier;
        let found =
            until(&setup, &namespace, name, "complete", |cause| cause.is_some_and(|cause| cause.entity.is_some()))
                .await?;
        let cause = found.status.unwrap().cause.unwrap();
        assert_eq!(
            (cause.certainty, cause.workload.name.as_str(), cause.revision),
            (Certainty::Stated, "web", revision)
        );
        assert_eq!(cause.entity.as_ref(), Some(entity));
        related(&setup, &namespace, name, "caused_by", &json!(entity)).await?;
    }
    let (_, message) = setup.condition(&namespace, "dinc/unknown", "Valid", "PartiallyInvalid").await?;
    assert!(message.contains("spec.workloadRef") && message.contains("no Deployment wep"), "{message}");
    setup.incident(&namespace, "unknown", "open").await?;
    // A workload of another kind is another workload, even with the same name.
    setup.apply_in(&namespace, &incident("other-kind", "workloadRef: {kind: StatefulSet, name: web}")).await?;
    let (_, message) = setup.condition(&namespace, "dinc/other-kind", "Valid", "PartiallyInvalid").await?;
    assert!(message.contains("records rollouts of Deployments only"), "{message}");
    let other = setup.get_incident(&namespace, "other-kind").await?;
    assert_eq!(other.status.and_then(|status| status.cause), None);

    // The cause stays when the record expires. It is removed when the incident names no workload any more.
    controller.process.kill()?;
    setup.kubectl(["--namespace", &namespace, "delete", "ddep", "--all"]).await?;
    setup.kubectl(["--namespace", &namespace, "delete", "deployment", "web"]).await?;
    setup.apply_in(&namespace, &incident("second", "workloadRef: {name: web}, priority: low")).await?;
    let _controller = setup.start_controller_with_settings(settings).await?;
    setup.condition(&namespace, "dinc/second", "Synced", "Delivered").await?;
    until(&setup, &namespace, "second", "kept", |cause| cause.is_some_and(|cause| cause.revision == 2)).await?;
    related(&setup, &namespace, "second", "caused_by", &json!(entities[1].identifier)).await?;
    setup.patch(&namespace, "dinc/second", "json", r#"[{"op":"remove","path":"/spec/workloadRef"}]"#).await?;
    until(&setup, &namespace, "second", "gone", |cause| cause.is_none()).await?;
    related(&setup, &namespace, "second", "caused_by", &Value::Null).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn incident_is_delivered_before_its_cause() -> TestResult {
    let setup = Installation::exclusive().await?;
    add_relation(&setup, "deployment")?;
    let mut controller = setup.start_controller(&SAME_POD).await?;
    // Port accepts incidents, and fails for deployments.
    let fault =
        setup.port.set_fault(Fault::new(Effect::status(503)).path_prefix("/v1/blueprints/dora_deployment/entities"))?;
    let namespace = setup.namespace("later").await?;
    setup.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    setup.outcomes(&namespace, &[("web:1", "Succeeded")]).await?;
    next_second().await?;
    setup.apply_in(&namespace, &incident("down", "workloadRef: {name: web}")).await?;
    let entity = setup.incident(&namespace, "down", "open").await?;
    assert!(!entity.relations.contains_key("deployment"), "{:?}", entity.relations);
    let found = until(&setup, &namespace, "down", "named", |cause| cause.is_some()).await?;
    assert_eq!(found.status.unwrap().cause.unwrap().entity, None);
    // The next controller keeps waiting for the entity.
    controller.process.kill()?;
    setup.port.clear_fault(fault);
    let _controller = setup.start_controller(&SAME_POD).await?;
    let entities = setup.deployments(&namespace, &[("web:1", "success")]).await?;
    related(&setup, &namespace, "down", "deployment", &json!(entities[0].identifier)).await?;
    until(&setup, &namespace, "down", "complete", |cause| cause.is_some_and(|cause| cause.entity.is_some())).await?;

    // A controller that is waiting already hears of the delivery.
    let fault =
        setup.port.set_fault(Fault::new(Effect::status(503)).path_prefix("/v1/blueprints/dora_deployment/entities"))?;
    setup.apply_in(&namespace, &deployment("api", "app:v1", "", "")).await?;
    setup.outcomes(&namespace, &[("web:1", "Succeeded"), ("api:1", "Succeeded")]).await?;
    next_second().await?;
    setup.apply_in(&namespace, &incident("slow", "workloadRef: {name: api}")).await?;
    until(&setup, &namespace, "slow", "named", |cause| cause.is_some_and(|cause| cause.entity.is_none())).await?;
    setup.port.clear_fault(fault);
    let entities = setup.deployments(&namespace, &[("web:1", "success"), ("api:1", "success")]).await?;
    let api = entities.iter().find(|entity| entity.identifier.contains(":api:")).ok_or("it is missing")?;
    related(&setup, &namespace, "slow", "deployment", &json!(api.identifier)).await?;
    Ok(())
}

/// Adds or removes the verb `get` on Deployments in the ClusterRole of the controller, and waits until that counts.
async fn allow_to_get_deployments(setup: &Installation, is_allowed: bool) -> TestResult {
    let verbs = if is_allowed { r#"["get","list","watch"]"# } else { r#"["list","watch"]"# };
    let patch = format!(r#"[{{"op":"replace","path":"/rules/0/verbs","value":{verbs}}}]"#);
    setup.kubectl(["patch", "clusterrole", RELEASE, "--type=json", "--patch", &patch]).await?;
    wait_for(format!("get on Deployments to be allowed: {is_allowed}"), DEADLINE, async || {
        let can = setup.can((RELEASE, RELEASE), "get", "deployments.apps", "").await?;
        Ok((can == is_allowed).then_some(()))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_lookup_stops_no_delivery() -> TestResult {
    let setup = Installation::exclusive().await?;
    let controller = setup.start_controller(&SAME_POD).await?;
    let namespace = setup.namespace("lookup").await?;
    allow_to_get_deployments(&setup, false).await?;
    setup.apply_in(&namespace, &incident("down", "workloadRef: {name: wep}")).await?;
    setup.incident(&namespace, "down", "open").await?;
    setup.condition(&namespace, "dinc/down", "Synced", "Delivered").await?;
    let (_, metrics) = controller.get("/metrics").await?;
    assert!(!metrics.contains("port_dora_lookups_failed_total 0"), "{metrics}");
    allow_to_get_deployments(&setup, true).await?;
    let (_, message) = setup.condition(&namespace, "dinc/down", "Valid", "PartiallyInvalid").await?;
    assert!(message.contains("no Deployment wep"), "{message}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cause_is_found_after_a_restart() -> TestResult {
    let setup = Installation::exclusive().await?;
    let mut controller = setup.start_controller(&SAME_POD).await?;
    let namespace = setup.namespace("downtime").await?;
    setup.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    setup.delivered(&namespace, "web:1").await?;
    controller.process.kill()?;
    next_second().await?;
    setup.apply_in(&namespace, &deployment("web", "app:v2", "", "")).await?;
    setup.kubectl(["--namespace", &namespace, "rollout", "status", "deployment/web", "--timeout=240s"]).await?;
    next_second().await?;
    setup.apply_in(&namespace, &incident("down", "workloadRef: {name: web}")).await?;
    let _controller = setup.start_controller(&SAME_POD).await?;
    // The order in which the controller sees the two doesn't matter.
    until(&setup, &namespace, "down", "revision 2", |cause| cause.is_some_and(|cause| cause.revision == 2)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_recent_deployment_is_the_suspected_cause() -> TestResult {
    let setup = Installation::exclusive().await?;
    add_relation(&setup, "deployment")?;
    let _controller = setup.start_controller(&SAME_POD).await?;
    let namespace = setup.namespace("suspected").await?;
    setup.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    let entities = setup.deployments(&namespace, &[("web:1", "success")]).await?;
    next_second().await?;
    setup.apply_in(&namespace, &incident("one", "")).await?;
    let found = until(&setup, &namespace, "one", "suspected", |cause| cause.is_some()).await?;
    let cause = found.status.unwrap().cause.unwrap();
    assert_eq!((cause.certainty, cause.workload.name.as_str(), cause.revision), (Certainty::Suspected, "web", 1));
    assert_eq!(cause.entity.as_deref(), Some(entities[0].identifier.as_str()));
    setup.condition(&namespace, "dinc/one", "Synced", "Delivered").await?;
    related(&setup, &namespace, "one", "deployment", &Value::Null).await?;
    let table = setup.kubectl(["--namespace", &namespace, "get", "dinc", "one", "--output=wide"]).await?;
    assert!(table.contains(&cause.record) && table.contains("Suspected"), "{table}");

    // With a second recent deployment, the cause is unknown.
    setup.apply_in(&namespace, &deployment("api", "app:v1", "", "")).await?;
    setup.deployments(&namespace, &[("web:1", "success"), ("api:1", "success")]).await?;
    next_second().await?;
    setup.apply_in(&namespace, &incident("two", "")).await?;
    setup.condition(&namespace, "dinc/two", "Synced", "Delivered").await?;
    assert_eq!(setup.get_incident(&namespace, "two").await?.status.unwrap().cause, None);
    // An old incident has no cause, since nothing was in effect at that time.
    setup.apply_in(&namespace, &incident("ago", "createdAt: '2026-01-31T12:00:00Z', workloadRef: {name: web}")).await?;
    setup.condition(&namespace, "dinc/ago", "Synced", "Delivered").await?;
    assert_eq!(
        setup.get_incident(&namespace, "ago").await?.status.unwrap().cause,
        None,
        "nothing was in effect at that time"
    );
    Ok(())
}
