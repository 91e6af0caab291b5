//! The controller reads the blueprints: it sends only what they define, and explains values that they don't allow.

use std::time::Duration;

use cluster::{DEADLINE, wait_for};
use futures::future::try_join_all;
use port_client::{Client, ClientOptions, Credentials, Entity, UpsertOptions};
use port_dora_controller::resources::DoraDeployment;
use port_sim::Options;
use serde_json::{Value, json};

use crate::fixture::{self, Controller, Installation, RELEASE, SAME_POD, deployment, incident};
use crate::{Error, TestResult};

/// The shipped settings for the blueprint of deployments that Port publishes.
const PUBLISHED_MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/deployment-blueprint.yaml");

const INCIDENTS: &str = "/v1/blueprints/dora_incident";
const DEPLOYMENTS: &str = "/v1/blueprints/dora_deployment";

/// A time longer than the wait of the controller after a refusal before it reads the blueprints, and shorter than its
/// wait before it reads them again.
const QUIET: Duration = Duration::from_secs(4);

/// A blueprint with these properties and relations, as the body of a request to Port.
fn blueprint(identifier: &str, properties: &Value, required: &[&str], relations: &Value) -> Value {
    json!({
        "identifier": identifier,
        "title": identifier,
        "schema": {"properties": properties, "required": required},
        "relations": relations,
    })
}

fn text() -> Value {
    json!({"type": "string"})
}

fn one_of(values: &[&str]) -> Value {
    json!({"type": "string", "enum": values})
}

fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

/// A relation to one entity.
fn one(target: &str) -> Value {
    json!({"target": target, "required": false, "many": false})
}

/// A minimal blueprint of incidents, with a property that the controller doesn't know.
fn small_incidents(required: &[&str]) -> Value {
    let properties = json!({
        "incident_type": text(), "status": text(), "created_at": time(), "priority": text(), "cost_centre": text(),
    });
    blueprint("dora_incident", &properties, required, &json!({}))
}

/// A blueprint of deployments with more fields than the default, with enums, and without the lead time.
fn large_deployments() -> Value {
    let properties = json!({
        "deployment_time": time(), "deployment_type": text(), "environment": one_of(&["Production", "Staging"]),
        "status": one_of(&["SUCCESS", "FAILED"]), "change": text(), "started_at": time(), "duration_hours": {"type": "number"},
        "failure": text(), "commit_sha": text(), "repository": text(), "cluster": text(), "namespace": text(),
        "deployment": text(), "revision": {"type": "number"},
    });
    let relations = json!({"group": one("group"), "service": one("service")});
    blueprint("dora_deployment", &properties, &[], &relations)
}

/// Another client of Port.
fn other_client(setup: &Installation) -> Result<Client, Error> {
    let Options { client_id, client_secret, .. } = Options::default();
    let credentials = Credentials::new(client_id, client_secret);
    Ok(Client::new(ClientOptions::new(setup.port.base_url().parse()?, credentials, "other-client/1"))?)
}

/// Writes an entity with another client.
async fn put(setup: &Installation, blueprint: &str, identifier: &str) -> TestResult {
    other_client(setup)?.upsert(blueprint, &Entity::new(identifier), UpsertOptions::default()).await?;
    Ok(())
}

/// Waits until the metric of missing fields of a blueprint has this value.
async fn wait_for_missing_fields(controller: &Controller, blueprint: &str, count: usize) -> TestResult {
    let line = format!("port_dora_blueprint_missing_fields{{blueprint=\"{blueprint}\"}} {count}\n");
    wait_for(format!("the metric {line:?}"), DEADLINE, async || {
        let (_, metrics) = controller.get("/metrics").await?;
        let found: Vec<_> = metrics.lines().filter(|line| line.contains("blueprint_missing_fields{")).collect();
        if !metrics.contains(&line) {
            Err(format!("{found:?}"))?;
        }
        Ok(Some(()))
    })
    .await?;
    Ok(())
}

/// When the blueprint of this path was last read after its last refused entity; `None` if it was not read since then.
fn since_refusal(setup: &Installation, path: &str) -> Option<Duration> {
    let requests = setup.port.requests();
    let refused = requests.iter().rposition(|request| {
        request.method == "POST" && request.path.starts_with(path) && request.status >= Some(400)
    })?;
    let mut since = requests.iter().skip(refused);
    let read = since.rfind(|request| request.method == "GET" && request.path == path)?;
    read.answered_after
}

/// Waits until Port has answered this number of requests that create blueprints, and returns their statuses.
async fn creations(setup: &Installation, count: usize) -> Result<Vec<u16>, cluster::WaitError> {
    wait_for(format!("{count} answers to requests that create blueprints"), DEADLINE, async || {
        let mut requests = setup.port.requests();
        requests.retain(|request| request.method == "POST" && request.path == "/v1/blueprints");
        let answers: Vec<u16> = requests.iter().filter_map(|request| request.status).collect();
        if answers.len() < count { Err(format!("{answers:?}"))? } else { Ok(Some(answers)) }
    })
    .await
}

/// The requests that write to Port, as method, path and status.
fn writes(setup: &Installation) -> Vec<String> {
    let mut requests = setup.port.requests();
    requests.retain(|request| request.method != "GET" && !request.is_token_request());
    requests.iter().map(|request| format!("{} {} {:?}", request.method, request.path, request.status)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn entity_contains_only_what_the_blueprint_defines() -> TestResult {
    let setup = Installation::exclusive().await?;
    setup.port.create_blueprint(&small_incidents(&[]))?;
    setup.port.create_blueprint(&blueprint("service", &json!({}), &[], &json!({})))?;
    put(&setup, "service", "shop").await?;
    setup.port.create_blueprint(&large_deployments())?;
    let controller = setup.start_controller(&[]).await?;
    let namespace = setup.namespace("blueprints").await?;
    check_small_incident(&setup, &namespace, &controller).await?;

    // One rollout succeeds, one fails, and one has an environment that the blueprint doesn't allow.
    let annotations = "dora.port.io/commit-sha: 4f2a, dora.port.io/repository: shop.git, dora.port.io/service: shop, \
                       dora.port.io/commit-time: '2026-01-31T12:00:00Z'";
    setup.apply_in(&namespace, &deployment("web", "app:v1", "", annotations)).await?;
    let broken = deployment("broken", "app:broken", "dora.port.io/environment: staging", "");
    setup.apply_in(&namespace, &broken.replace("replicas: 1", "progressDeadlineSeconds: 2")).await?;
    setup.apply_in(&namespace, &deployment("lunar", "app:v1", "dora.port.io/environment: moon", "")).await?;
    let expected = [("web:1", "SUCCESS"), ("broken:1", "FAILED"), ("lunar:1", "SUCCESS")];
    let entities = setup.deployments(&namespace, &expected).await?;
    let records =
        setup.outcomes(&namespace, &[("web:1", "Succeeded"), ("broken:1", "Failed"), ("lunar:1", "Succeeded")]).await?;
    let of = |name: &str| {
        let entity = entities.iter().find(|entity| entity.identifier.contains(&format!(":{name}:"))).unwrap();
        let is_it =
            |record: &&DoraDeployment| record.spec.workload.as_ref().is_some_and(|workload| workload.name == name);
        (entity, records.iter().find(is_it).unwrap())
    };
    let (web, record) = of("web");
    let started = record.spec.started_at.as_ref().unwrap().0;
    let finished = record.spec.finished_at.as_ref().unwrap().0;
    let hours = web.properties["duration_hours"].as_f64().unwrap();
    assert!((hours - finished.duration_since(started).as_secs_f64() / 3600.0).abs() < 0.001, "{hours}");
    assert_eq!(
        json!(web.properties),
        json!({
            "deployment_time": format!("{finished:.3}"), "deployment_type": "Kubernetes", "environment": "Production",
            "status": "SUCCESS", "change": "Initial", "started_at": format!("{started:.3}"), "duration_hours": hours,
            "commit_sha": "4f2a", "repository": "shop.git", "cluster": "test", "namespace": namespace, "deployment": "web",
            "revision": 1,
        })
    );
    assert_eq!(json!(web.relations), json!({"group": "all_teams", "service": "shop"}));

    let (broken, record) = of("broken");
    assert_eq!(broken.properties["environment"], "Staging");
    assert_eq!(broken.properties.get("failure"), record.spec.failure.clone().map(Value::from).as_ref());
    assert!(record.spec.failure.is_some(), "{record:?}");

    let (lunar, record) = of("lunar");
    assert!(!lunar.properties.contains_key("environment"), "{:?}", lunar.properties);
    let name = record.metadata.name.as_deref().unwrap();
    setup.condition(&namespace, &format!("ddep/{name}"), "Synced", "Delivered").await?;
    let (status, message) = setup.condition(&namespace, &format!("ddep/{name}"), "Valid", "PartiallyInvalid").await?;
    assert_eq!(status, "False");
    for text in [message, setup.event(&namespace, name, "PartiallyInvalid").await?] {
        for part in ["environment is \"moon\"", "\"Production\", \"Staging\"", "omits it"] {
            assert!(text.contains(part), "{text}");
        }
    }
    let refused: Vec<_> = writes(&setup).into_iter().filter(|write| write.ends_with("Some(422)")).collect();
    assert!(refused.is_empty(), "invalid values must not be sent: {refused:?}");
    Ok(())
}

/// Checks that an incident is delivered without the fields that [`small_incidents`] doesn't define, and that they are
/// reported.
async fn check_small_incident(setup: &Installation, namespace: &str, controller: &Controller) -> TestResult {
    setup.apply_in(namespace, &incident("down", "priority: high, urgency: high, description: It is down")).await?;
    let entity = setup.incident(namespace, "down", "open").await?;
    setup.condition(namespace, "dinc/down", "Synced", "Delivered").await?;
    let names: Vec<_> = entity.properties.keys().collect();
    assert_eq!(names, ["created_at", "incident_type", "priority", "status"]);
    assert!(entity.relations.is_empty(), "{:?}", entity.relations);
    wait_for_missing_fields(controller, "dora_incident", 6).await?;
    wait_for_missing_fields(controller, "dora_deployment", 1).await?;
    // The Events, one for each blueprint, name all missing fields.
    let missing =
        ["description", "incident_url", "resolved_at", "time_to_resolve", "urgency", "group", "lead_time_hours"];
    let names_all = |notes: &str| missing.iter().all(|name| notes.contains(name));
    setup.event_that(RELEASE, RELEASE, "BlueprintIncomplete", names_all).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_of_other_types_do_not_block_delivery() -> TestResult {
    let setup = Installation::exclusive().await?;
    let properties = json!({
        "deployment_time": time(), "status": text(), "environment": text(), "lead_time_hours": text(), "revision": text(),
        "cluster": {"type": "array", "items": text()}, "change": {"type": "boolean"}, "deployment_type": {"type": "object"},
    });
    let relations = json!({"group": one("group")});
    setup.port.create_blueprint(&blueprint("dora_deployment", &properties, &[], &relations))?;
    let properties = json!({
        "status": text(), "created_at": {"type": "number"}, "cost_centre": text(), "level": {"type": "number", "enum": [1, 2]},
        "seen": {"type": "boolean"},
    });
    setup.port.create_blueprint(&blueprint("dora_incident", &properties, &[], &json!({})))?;
    let controller = setup.start_controller(&[]).await?;
    let namespace = setup.namespace("types").await?;

    let commit = "dora.port.io/commit-time: '2026-01-31T12:00:00Z'";
    setup.apply_in(&namespace, &deployment("web", "app:v1", "", commit)).await?;
    let web = setup.deployments(&namespace, &[("web:1", "success")]).await?.remove(0);
    assert_eq!((&web.properties["revision"], &web.properties["cluster"]), (&json!("1"), &json!(["test"])));
    assert!(web.properties["lead_time_hours"].is_string(), "{:?}", web.properties);
    assert!(!web.properties.contains_key("change") && !web.properties.contains_key("deployment_type"));
    setup.delivered(&namespace, "web:1").await?;
    // The blueprint is the reason, so it is reported once and not on each record.
    wait_for_missing_fields(&controller, "dora_deployment", 2).await?;
    let note = "change as boolean (not string), deployment_type as object (not string)";
    setup.event_that(RELEASE, RELEASE, "BlueprintIncomplete", |notes| notes.contains(note)).await?;
    let records = setup.outcomes(&namespace, &[("web:1", "Succeeded")]).await?;
    let conditions = &records[0].status.as_ref().unwrap().conditions;
    assert!(conditions.iter().all(|condition| condition.type_ != "Valid"), "{conditions:?}");

    let own = "properties: {cost_centre: 7, level: '2', seen: 'yes'}";
    setup.apply_in(&namespace, &incident("down", own)).await?;
    let entity = setup.incident(&namespace, "down", "open").await?;
    assert_eq!(json!(entity.properties), json!({"status": "open", "cost_centre": "7", "level": 2}));
    let (_, message) = setup.condition(&namespace, "dinc/down", "Valid", "PartiallyInvalid").await?;
    assert!(message.contains("spec.properties.seen is \"yes\", but the blueprint defines it as boolean"), "{message}");
    assert!(!message.contains("created_at"), "{message}");
    let refused: Vec<_> = writes(&setup).into_iter().filter(|write| write.ends_with("Some(422)")).collect();
    assert!(refused.is_empty(), "{refused:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_resource_is_delivered_after_a_fix() -> TestResult {
    let setup = Installation::exclusive().await?;
    setup.port.create_blueprint(&small_incidents(&["cost_centre"]))?;
    assert!(setup.port.remove_blueprint("dora_deployment"));
    let controller = setup.start_controller(&[]).await?;
    let namespace = setup.namespace("fixed").await?;

    let note = setup.event(RELEASE, RELEASE, "BlueprintIncomplete").await?;
    assert!(note.contains("requires cost_centre"), "{note}");
    wait_for_missing_fields(&controller, "dora_incident", 7).await?;
    setup.apply_in(&namespace, &incident("unassigned", "priority: high")).await?;
    let (_, message) = setup.condition(&namespace, "dinc/unassigned", "Synced", "Refused").await?;
    assert!(message.contains("cost_centre"), "the message of Port: {message}");
    setup.apply_in(&namespace, &incident("assigned", "properties: {cost_centre: it}")).await?;
    let entity = setup.incident(&namespace, "assigned", "open").await?;
    assert_eq!(entity.properties["cost_centre"], "it", "a person can set what the controller can't");
    setup.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    let records = setup.outcomes(&namespace, &[("web:1", "Succeeded")]).await?;
    let record = format!("ddep/{}", records[0].metadata.name.as_deref().unwrap());
    setup.condition(&namespace, &record, "Synced", "NotFound").await?;

    // Fix the blueprints only after the controller has read them again, as a person would.
    wait_for("the blueprints to be read after the refusals", DEADLINE, async || {
        Ok([INCIDENTS, DEPLOYMENTS].iter().all(|path| since_refusal(&setup, path).is_some()).then_some(()))
    })
    .await?;
    // If the controller reads them more often, the test is still valid.
    let _ = wait_for("a time without reads of the blueprints", QUIET * 2, async || {
        let last = since_refusal(&setup, INCIDENTS).ok_or("an entity was refused again")?;
        Ok((setup.port.started_at().elapsed() > last + QUIET).then_some(()))
    })
    .await;
    setup.port.create_blueprint(&small_incidents(&[]))?;
    let properties = json!({"deployment_time": time(), "status": text()});
    setup.port.create_blueprint(&blueprint("dora_deployment", &properties, &[], &json!({})))?;
    setup.incident(&namespace, "unassigned", "open").await?;
    setup.condition(&namespace, "dinc/unassigned", "Synced", "Delivered").await?;
    setup.deployments(&namespace, &[("web:1", "success")]).await?;
    setup.condition(&namespace, &record, "Synced", "Delivered").await?;
    wait_for_missing_fields(&controller, "dora_incident", 6).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_blueprints_are_read_before_the_first_entity() -> TestResult {
    let setup = Installation::exclusive().await?;
    let properties = json!({
        "incident_type": text(), "status": one_of(&["Open", "Resolved"]), "created_at": time(), "cluster": text(),
    });
    setup.port.create_blueprint(&blueprint("dora_incident", &properties, &[], &json!({})))?;
    setup.port.set_reachable(false).await?;
    let _controller = setup.start_controller(&[]).await?;
    let namespace = setup.namespace("late").await?;
    setup.apply_in(&namespace, &incident("down", "priority: high")).await?;
    setup.condition(&namespace, "dinc/down", "Synced", "Unreachable").await?;
    setup.port.set_reachable(true).await?;
    let entity = setup.incident(&namespace, "down", "Open").await?;
    assert_eq!(entity.properties["cluster"], "test");
    setup.condition(&namespace, "dinc/down", "Synced", "Delivered").await?;
    assert_eq!(writes(&setup), [format!("POST {INCIDENTS}/entities Some(201)")]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn example_settings_fit_the_published_blueprint() -> TestResult {
    let setup = Installation::exclusive().await?;
    let properties = json!({
        "createdAt": time(), "environment": one_of(&["Production", "Staging", "Testing"]),
        "deploymentStatus": one_of(&["Success", "Failed"]),
    });
    setup.port.create_blueprint(&blueprint("service", &json!({}), &[], &json!({})))?;
    let relations = json!({"service": one("service")});
    let required = ["createdAt", "environment", "deploymentStatus"];
    setup.port.create_blueprint(&blueprint("deployment", &properties, &required, &relations))?;
    assert!(setup.port.remove_blueprint("dora_deployment"));
    put(&setup, "service", "shop").await?;
    let controller = setup.start_controller(&[("CONFIG_FILE", PUBLISHED_MODEL)]).await?;
    let namespace = setup.namespace("published").await?;

    let annotated = |environment: &str| format!("dora.port.io/service: shop, dora.port.io/environment: {environment}");
    setup.apply_in(&namespace, &deployment("web", "app:v1", "", "dora.port.io/service: shop")).await?;
    setup.apply_in(&namespace, &deployment("tested", "app:v1", "", &annotated("test"))).await?;
    let broken = deployment("broken", "app:broken", "", &annotated("staging"));
    setup.apply_in(&namespace, &broken.replace("replicas: 1", "progressDeadlineSeconds: 2")).await?;
    let lambda = "{apiVersion: dora.port.io/v1alpha1, kind: DoraDeployment, metadata: {name: lambda}, \
                  spec: {outcome: Succeeded, finishedAt: '2026-01-31T12:00:00Z', service: shop}}";
    setup.apply_in(&namespace, lambda).await?;
    let expected = [
        ("broken", "Staging", "Failed"),
        ("lambda", "Production", "Success"),
        ("tested", "Testing", "Success"),
        ("web", "Production", "Success"),
    ];
    let entities = wait_for("the deployments in Port", DEADLINE, async || {
        let mut entities = setup.entities("deployment", &namespace);
        entities.sort_by(|one, other| one.identifier.cmp(&other.identifier));
        let found: Vec<_> = entities
            .iter()
            .map(|entity| {
                let name = entity.identifier.split(':').nth(2).unwrap_or_default().to_owned();
                (name, fixture::text(entity, "environment"), fixture::text(entity, "deploymentStatus"))
            })
            .collect();
        let wanted =
            expected.map(|(name, environment, status)| (name.to_owned(), environment.to_owned(), status.to_owned()));
        if found != wanted {
            Err(format!("{found:?}"))?;
        }
        Ok(Some(entities))
    })
    .await?;
    for entity in &entities {
        let names: Vec<_> = entity.properties.keys().collect();
        assert_eq!(names, ["createdAt", "deploymentStatus", "environment"]);
        assert_eq!(json!(entity.relations), json!({"service": "shop"}));
    }
    assert_eq!(entities[1].properties["createdAt"], "2026-01-31T12:00:00.000Z");
    setup.condition(&namespace, "ddep/lambda", "Synced", "Delivered").await?;
    wait_for_missing_fields(&controller, "deployment", 0).await?;
    // The settings of deployments don't affect incidents.
    setup.apply_in(&namespace, &incident("down", "priority: high")).await?;
    setup.incident(&namespace, "down", "open").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_missing_blueprints_are_created() -> TestResult {
    let setup = Installation::exclusive().await?;
    for identifier in ["dora_deployment", "dora_incident", "group"] {
        assert!(setup.port.remove_blueprint(identifier));
    }
    let namespace = setup.namespace("created").await?;
    setup.apply_in(&namespace, &incident("before", "priority: high")).await?;
    let create = ("PORT_CREATE_BLUEPRINTS", "true");
    let mut controller = setup.start_controller(&[SAME_POD[0], create]).await?;
    wait_for_missing_fields(&controller, "dora_deployment", 0).await?;
    wait_for_missing_fields(&controller, "dora_incident", 0).await?;
    // The group is an entity: creating entities is another setting.
    setup
        .condition_that(&namespace, "dinc/before", "Synced", "NotFound", |message| message.contains("all_teams"))
        .await?;
    // Port has answered all creations before the next start.
    let first = creations(&setup, 3).await?;
    assert_eq!(first.iter().filter(|status| **status == 201).count(), 3, "{first:?}");
    controller.process.kill()?;

    let create_related = ("PORT_CREATE_MISSING_RELATED_ENTITIES", "true");
    let mut controller = setup.start_controller(&[SAME_POD[0], create, create_related]).await?;
    let entity = setup.incident(&namespace, "before", "open").await?;
    assert_eq!((&entity.properties["cluster"], &entity.properties["namespace"]), (&json!("test"), &json!(namespace)));
    assert!(setup.port.entity("group", "all_teams").is_some(), "the related group must be created");
    setup.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    let entity = setup.deployments(&namespace, &[("web:1", "success")]).await?.remove(0);
    for (name, value) in [("change", json!("Initial")), ("deployment", json!("web")), ("revision", json!(1))] {
        assert_eq!(entity.properties[name], value);
    }
    let second = creations(&setup, first.len() + 3).await?;
    controller.process.kill()?;

    // A person has changed the blueprint in the meantime.
    setup.port.create_blueprint(&small_incidents(&[]))?;
    let other_client = other_client(&setup)?;
    let read = async || {
        try_join_all(["dora_deployment", "dora_incident", "group"].map(|name| other_client.get_blueprint(name))).await
    };
    let before = read().await?;
    let controller = setup.start_controller(&[SAME_POD[0], create, create_related]).await?;
    controller.logs("the blueprint already exists in Port; leaving it unchanged").await?;
    setup.apply_in(&namespace, &incident("after", "properties: {cost_centre: it}")).await?;
    let entity = setup.incident(&namespace, "after", "open").await?;
    assert_eq!(entity.properties["cost_centre"], "it");
    let all = creations(&setup, second.len() + 3).await?;
    assert!(all[first.len()..].iter().all(|status| *status == 409), "{all:?}");
    assert_eq!(read().await?, before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn dry_run_records_and_logs_but_sends_nothing() -> TestResult {
    let setup = Installation::exclusive().await?;
    let namespace = setup.namespace("dry").await?;
    let dry = [SAME_POD[0], ("DRY_RUN", "true"), ("PORT_CREATE_BLUEPRINTS", "true")];
    assert!(setup.port.remove_blueprint("dora_incident"));
    let properties = json!({"deployment_time": time(), "status": text(), "change": text()});
    setup.port.create_blueprint(&blueprint("dora_deployment", &properties, &[], &json!({"group": one("group")})))?;
    let mut controller = setup.start_controller(&dry).await?;
    setup.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    setup.apply_in(&namespace, &incident("down", "priority: high")).await?;
    let records = setup.outcomes(&namespace, &[("web:1", "Succeeded")]).await?;
    let record = format!("ddep/{}", records[0].metadata.name.as_deref().unwrap());
    for resource in [record.as_str(), "dinc/down"] {
        let (status, message) = setup.condition(&namespace, resource, "Synced", "DryRun").await?;
        assert_eq!(status, "False");
        assert!(message.contains("it logs the entity and does not send it"), "{message}");
    }
    for identifier in [format!("test:{namespace}:web:1:"), format!("test:{namespace}:down")] {
        let log = controller.logs(&identifier).await?;
        let line =
            log.lines().find(|line| line.contains(&identifier) && line.contains("the entity is not sent")).unwrap();
        assert!(
            line.contains("properties") && line.contains("all_teams"),
            "the log must show the whole entity: {line}"
        );
        // The entity contains only fields of the blueprint.
        assert!(!line.contains(":web:1:") || line.contains("Initial") && !line.contains("environment"), "{line}");
    }
    assert_eq!(writes(&setup), Vec::<String>::new());
    controller.process.terminate(DEADLINE).await?;
    assert_eq!(writes(&setup), Vec::<String>::new());

    let _controller = setup.start_controller(&[SAME_POD[0], dry[2]]).await?;
    setup.deployments(&namespace, &[("web:1", "success")]).await?;
    setup.incident(&namespace, "down", "open").await?;
    for resource in [record.as_str(), "dinc/down"] {
        setup.condition(&namespace, resource, "Synced", "Delivered").await?;
    }
    Ok(())
}
