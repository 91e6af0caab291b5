//! The controller reads the blueprints: it omits fields that they do not define, fills further ones, and explains values that they do not allow.

use std::time::Duration;

use cluster::wait_for;
use futures::future::try_join_all;
use port_client::{Client, ClientOptions, Credentials, Entity, UpsertOptions};
use port_dora_controller::resources::DoraDeployment;
use port_sim::{Entity as Stored, Options};
use serde_json::{Value, json};

use crate::TestResult;
use crate::fixture::{self, Controller, DEADLINE, Installation, RELEASE, SAME_POD, deployment, incident};

/// The settings for Port's published model of deployments, as they are shipped.
const PUBLISHED_MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/deployment-blueprint.yaml");

const INCIDENTS: &str = "/v1/blueprints/dora_incident";
const DEPLOYMENTS: &str = "/v1/blueprints/dora_deployment";

/// Longer than the controller waits after a refusal before it reads the blueprints, and shorter than it waits before it does so again.
const QUIET: Duration = Duration::from_secs(4);

/// A blueprint with these properties and relations, as Port's API takes it.
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

/// As small a blueprint of incidents as makes sense, with a property that the controller doesn't know.
fn small_incidents(required: &[&str]) -> Value {
    let properties = json!({
        "incident_type": text(), "status": text(), "created_at": time(), "priority": text(), "cost_centre": text(),
    });
    blueprint("dora_incident", &properties, required, &json!({}))
}

/// Somebody else who works with Port.
fn somebody(on: &Installation) -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
    let Options { client_id, client_secret, .. } = Options::default();
    let credentials = Credentials::new(client_id, client_secret);
    Ok(Client::new(ClientOptions::new(on.port.base_url().parse()?, credentials, "somebody-else/1"))?)
}

/// Writes an entity as somebody else does.
async fn put(on: &Installation, blueprint: &str, identifier: &str) -> TestResult {
    somebody(on)?.upsert(blueprint, &Entity::new(identifier), UpsertOptions::default()).await?;
    Ok(())
}

/// Waits until the metrics say that a blueprint lacks so many names.
async fn lacks(controller: &Controller, blueprint: &str, count: usize) -> TestResult {
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

/// When the blueprint of this path was last read since an entity of it was last refused; `None` if it was not.
fn since_refusal(on: &Installation, path: &str) -> Option<Duration> {
    let requests = on.port.requests();
    let refused = requests.iter().rposition(|request| {
        request.method == "POST" && request.path.starts_with(path) && request.status >= Some(400)
    })?;
    let mut since = requests.iter().skip(refused);
    let read = since.rfind(|request| request.method == "GET" && request.path == path)?;
    read.answered_after
}

/// Waits until Port has answered so many creations of blueprints, and returns the statuses of all of them.
async fn creations(on: &Installation, count: usize) -> Result<Vec<u16>, cluster::WaitError> {
    wait_for(format!("{count} answers to creations of blueprints"), DEADLINE, async || {
        let mut requests = on.port.requests();
        requests.retain(|request| request.method == "POST" && request.path == "/v1/blueprints");
        let answers: Vec<u16> = requests.iter().filter_map(|request| request.status).collect();
        if answers.len() < count { Err(format!("{answers:?}"))? } else { Ok(Some(answers)) }
    })
    .await
}

/// The requests that would change something in Port, as method, path and status.
fn writes(on: &Installation) -> Vec<String> {
    let mut requests = on.port.requests();
    requests.retain(|request| request.method != "GET" && !request.is_token_request());
    requests.iter().map(|request| format!("{} {} {:?}", request.method, request.path, request.status)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_blueprint_lacks_is_left_out_and_what_it_has_beyond_is_sent() -> TestResult {
    let on = Installation::alone().await?;
    on.port.create_blueprint(&small_incidents(&[]))?;
    on.port.create_blueprint(&blueprint("service", &json!({}), &[], &json!({})))?;
    put(&on, "service", "shop").await?;
    let properties = json!({
        "deployment_time": time(), "deployment_type": text(), "environment": one_of(&["Production", "Staging"]),
        "status": one_of(&["SUCCESS", "FAILED"]), "change": text(), "started_at": time(), "duration_hours": {"type": "number"},
        "failure": text(), "commit_sha": text(), "repository": text(), "cluster": text(), "namespace": text(),
        "deployment": text(), "revision": {"type": "number"},
    });
    let relations = json!({"group": one("group"), "service": one("service")});
    on.port.create_blueprint(&blueprint("dora_deployment", &properties, &[], &relations))?;
    let controller = on.start_controller(&[]).await?;
    let namespace = on.namespace("blueprints").await?;

    on.apply_in(&namespace, &incident("down", "priority: high, urgency: high, description: It is down")).await?;
    let entity = on.incident(&namespace, "down", "open").await?;
    on.condition(&namespace, "dinc/down", "Synced", "Delivered").await?;
    let names: Vec<_> = entity.properties.keys().collect();
    assert_eq!(names, ["created_at", "incident_type", "priority", "status"]);
    assert!(entity.relations.is_empty(), "{:?}", entity.relations);
    lacks(&controller, "dora_incident", 6).await?;
    lacks(&controller, "dora_deployment", 1).await?;
    // What is lacking, of each blueprint in an Event of its own.
    let lacking =
        ["description", "incident_url", "resolved_at", "time_to_resolve", "urgency", "group", "lead_time_hours"];
    let names_all = |notes: &str| lacking.iter().all(|name| notes.contains(name));
    on.event_that(RELEASE, RELEASE, "BlueprintIncomplete", names_all).await?;

    // One that succeeds, one that fails, and one with an environment that the blueprint doesn't allow.
    let annotations = "dora.port.io/commit-sha: 4f2a, dora.port.io/repository: shop.git, dora.port.io/service: shop, \
                       dora.port.io/commit-time: '2026-01-31T12:00:00Z'";
    on.apply_in(&namespace, &deployment("web", "app:v1", "", annotations)).await?;
    let broken = deployment("broken", "app:broken", "dora.port.io/environment: staging", "");
    on.apply_in(&namespace, &broken.replace("replicas: 1", "progressDeadlineSeconds: 2")).await?;
    on.apply_in(&namespace, &deployment("lunar", "app:v1", "dora.port.io/environment: moon", "")).await?;
    let expected = [("web:1", "SUCCESS"), ("broken:1", "FAILED"), ("lunar:1", "SUCCESS")];
    let entities = on.deployments(&namespace, &expected).await?;
    let records =
        on.outcomes(&namespace, &[("web:1", "Succeeded"), ("broken:1", "Failed"), ("lunar:1", "Succeeded")]).await?;
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
    on.condition(&namespace, &format!("ddep/{name}"), "Synced", "Delivered").await?;
    let (status, message) = on.condition(&namespace, &format!("ddep/{name}"), "Valid", "PartiallyInvalid").await?;
    assert_eq!(status, "False");
    for said in [message, on.event(&namespace, name, "PartiallyInvalid").await?] {
        for part in ["environment is \"moon\"", "\"Production\", \"Staging\"", "omits it"] {
            assert!(said.contains(part), "{said}");
        }
    }
    let refused: Vec<_> = writes(&on).into_iter().filter(|write| write.ends_with("Some(422)")).collect();
    assert!(refused.is_empty(), "what doesn't fit must not be sent: {refused:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_is_delivered_soon_after_the_blueprint_is_mended() -> TestResult {
    let on = Installation::alone().await?;
    on.port.create_blueprint(&small_incidents(&["cost_centre"]))?;
    assert!(on.port.remove_blueprint("dora_deployment"));
    let controller = on.start_controller(&[]).await?;
    let namespace = on.namespace("mended").await?;

    let note = on.event(RELEASE, RELEASE, "BlueprintIncomplete").await?;
    assert!(note.contains("requires cost_centre"), "{note}");
    lacks(&controller, "dora_incident", 7).await?;
    on.apply_in(&namespace, &incident("unassigned", "priority: high")).await?;
    let (_, message) = on.condition(&namespace, "dinc/unassigned", "Synced", "Refused").await?;
    assert!(message.contains("cost_centre"), "Port's own words: {message}");
    on.apply_in(&namespace, &incident("assigned", "properties: {cost_centre: it}")).await?;
    let entity = on.incident(&namespace, "assigned", "open").await?;
    assert_eq!(entity.properties["cost_centre"], "it", "a person can fill what the controller can't");
    on.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    let records = on.outcomes(&namespace, &[("web:1", "Succeeded")]).await?;
    let record = format!("ddep/{}", records[0].metadata.name.as_deref().unwrap());
    on.condition(&namespace, &record, "Synced", "NotFound").await?;

    // A person takes more time for it than the controller for reading the blueprints once more.
    wait_for("the blueprints to be read after the refusals", DEADLINE, async || {
        Ok([INCIDENTS, DEPLOYMENTS].iter().all(|path| since_refusal(&on, path).is_some()).then_some(()))
    })
    .await?;
    // That it is read more often is as good.
    let _ = wait_for("the blueprints not to be read any more", QUIET * 2, async || {
        let last = since_refusal(&on, INCIDENTS).ok_or("it was refused once more")?;
        Ok((on.port.started_at().elapsed() > last + QUIET).then_some(()))
    })
    .await;
    on.port.create_blueprint(&small_incidents(&[]))?;
    let properties = json!({"deployment_time": time(), "status": text()});
    on.port.create_blueprint(&blueprint("dora_deployment", &properties, &[], &json!({})))?;
    on.incident(&namespace, "unassigned", "open").await?;
    on.condition(&namespace, "dinc/unassigned", "Synced", "Delivered").await?;
    on.deployments(&namespace, &[("web:1", "success")]).await?;
    on.condition(&namespace, &record, "Synced", "Delivered").await?;
    lacks(&controller, "dora_incident", 6).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn blueprints_that_could_not_be_read_at_the_start_are_known_before_the_first_entity() -> TestResult {
    let on = Installation::alone().await?;
    let properties = json!({
        "incident_type": text(), "status": one_of(&["Open", "Resolved"]), "created_at": time(), "cluster": text(),
    });
    on.port.create_blueprint(&blueprint("dora_incident", &properties, &[], &json!({})))?;
    on.port.set_reachable(false).await?;
    let _controller = on.start_controller(&[]).await?;
    let namespace = on.namespace("late").await?;
    on.apply_in(&namespace, &incident("down", "priority: high")).await?;
    on.condition(&namespace, "dinc/down", "Synced", "Unreachable").await?;
    on.port.set_reachable(true).await?;
    let entity = on.incident(&namespace, "down", "Open").await?;
    assert_eq!(entity.properties["cluster"], "test");
    on.condition(&namespace, "dinc/down", "Synced", "Delivered").await?;
    assert_eq!(writes(&on), [format!("POST {INCIDENTS}/entities Some(201)")]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_published_model_of_deployments_works_with_the_settings_of_the_example() -> TestResult {
    let on = Installation::alone().await?;
    let properties = json!({
        "createdAt": time(), "environment": one_of(&["Production", "Staging", "Testing"]),
        "deploymentStatus": one_of(&["Success", "Failed"]),
    });
    on.port.create_blueprint(&blueprint("service", &json!({}), &[], &json!({})))?;
    let relations = json!({"service": one("service")});
    let required = ["createdAt", "environment", "deploymentStatus"];
    on.port.create_blueprint(&blueprint("deployment", &properties, &required, &relations))?;
    assert!(on.port.remove_blueprint("dora_deployment"));
    put(&on, "service", "shop").await?;
    let controller = on.start_controller(&[("CONFIG_FILE", PUBLISHED_MODEL)]).await?;
    let namespace = on.namespace("published").await?;

    let annotated = |environment: &str| format!("dora.port.io/service: shop, dora.port.io/environment: {environment}");
    on.apply_in(&namespace, &deployment("web", "app:v1", "", "dora.port.io/service: shop")).await?;
    on.apply_in(&namespace, &deployment("tested", "app:v1", "", &annotated("test"))).await?;
    let broken = deployment("broken", "app:broken", "", &annotated("staging"));
    on.apply_in(&namespace, &broken.replace("replicas: 1", "progressDeadlineSeconds: 2")).await?;
    let lambda = "{apiVersion: dora.port.io/v1alpha1, kind: DoraDeployment, metadata: {name: lambda}, \
                  spec: {outcome: Succeeded, finishedAt: '2026-01-31T12:00:00Z', service: shop}}";
    on.apply_in(&namespace, lambda).await?;
    let expected = [
        ("broken", "Staging", "Failed"),
        ("lambda", "Production", "Success"),
        ("tested", "Testing", "Success"),
        ("web", "Production", "Success"),
    ];
    let entities = wait_for("the deployments in Port", DEADLINE, async || {
        let mut entities = on.entities("deployment", &namespace);
        entities.sort_by(|one, other| one.identifier.cmp(&other.identifier));
        let said = |entity: &Stored, property: &str| fixture::text(entity, property);
        let found: Vec<_> = entities
            .iter()
            .map(|entity| {
                let name = entity.identifier.split(':').nth(2).unwrap_or_default().to_owned();
                (name, said(entity, "environment"), said(entity, "deploymentStatus"))
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
    on.condition(&namespace, "ddep/lambda", "Synced", "Delivered").await?;
    lacks(&controller, "deployment", 0).await?;
    // What is said of deployments is no reason to leave out incidents.
    on.apply_in(&namespace, &incident("down", "priority: high")).await?;
    on.incident(&namespace, "down", "open").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn blueprints_are_created_where_there_are_none_and_left_alone_where_there_are() -> TestResult {
    let on = Installation::alone().await?;
    for identifier in ["dora_deployment", "dora_incident", "group"] {
        assert!(on.port.remove_blueprint(identifier));
    }
    let namespace = on.namespace("created").await?;
    on.apply_in(&namespace, &incident("before", "priority: high")).await?;
    let create = ("PORT_CREATE_BLUEPRINTS", "true");
    let mut controller = on.start_controller(&[SAME_POD[0], create]).await?;
    lacks(&controller, "dora_deployment", 0).await?;
    lacks(&controller, "dora_incident", 0).await?;
    // A group is an entity, which is another setting.
    on.condition_that(&namespace, "dinc/before", "Synced", "NotFound", |said| said.contains("all_teams")).await?;
    // Each start is answered before the next.
    let first = creations(&on, 3).await?;
    assert_eq!(first.iter().filter(|status| **status == 201).count(), 3, "{first:?}");
    controller.process.kill()?;

    let create_related = ("PORT_CREATE_MISSING_RELATED_ENTITIES", "true");
    let mut controller = on.start_controller(&[SAME_POD[0], create, create_related]).await?;
    let entity = on.incident(&namespace, "before", "open").await?;
    assert_eq!((&entity.properties["cluster"], &entity.properties["namespace"]), (&json!("test"), &json!(namespace)));
    assert!(on.port.entity("group", "all_teams").is_some(), "the group that it relates to");
    on.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    let entity = on.deployments(&namespace, &[("web:1", "success")]).await?.remove(0);
    for (name, value) in [("change", json!("Initial")), ("deployment", json!("web")), ("revision", json!(1))] {
        assert_eq!(entity.properties[name], value);
    }
    let second = creations(&on, first.len() + 3).await?;
    controller.process.kill()?;

    // Somebody has made it their own since.
    on.port.create_blueprint(&small_incidents(&[]))?;
    let somebody = somebody(&on)?;
    let read = async || {
        try_join_all(["dora_deployment", "dora_incident", "group"].map(|name| somebody.get_blueprint(name))).await
    };
    let before = read().await?;
    let controller = on.start_controller(&[SAME_POD[0], create, create_related]).await?;
    controller.logs("the blueprint already exists in Port; leaving it unchanged").await?;
    on.apply_in(&namespace, &incident("after", "properties: {cost_centre: it}")).await?;
    let entity = on.incident(&namespace, "after", "open").await?;
    assert_eq!(entity.properties["cost_centre"], "it");
    let all = creations(&on, second.len() + 3).await?;
    assert!(all[first.len()..].iter().all(|status| *status == 409), "{all:?}");
    assert_eq!(read().await?, before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_records_everything_sends_nothing_and_says_what_it_would_send() -> TestResult {
    let on = Installation::alone().await?;
    let namespace = on.namespace("dry").await?;
    let dry = [SAME_POD[0], ("DRY_RUN", "true"), ("PORT_CREATE_BLUEPRINTS", "true")];
    assert!(on.port.remove_blueprint("dora_incident"));
    let properties = json!({"deployment_time": time(), "status": text(), "change": text()});
    on.port.create_blueprint(&blueprint("dora_deployment", &properties, &[], &json!({"group": one("group")})))?;
    let mut controller = on.start_controller(&dry).await?;
    on.apply_in(&namespace, &deployment("web", "app:v1", "", "")).await?;
    on.apply_in(&namespace, &incident("down", "priority: high")).await?;
    let records = on.outcomes(&namespace, &[("web:1", "Succeeded")]).await?;
    let record = format!("ddep/{}", records[0].metadata.name.as_deref().unwrap());
    for resource in [record.as_str(), "dinc/down"] {
        let (status, message) = on.condition(&namespace, resource, "Synced", "DryRun").await?;
        assert_eq!(status, "False");
        assert!(message.contains("it logs the entity and does not send it"), "{message}");
    }
    for said in [format!("test:{namespace}:web:1:"), format!("test:{namespace}:down")] {
        let log = controller.logs(&said).await?;
        let line = log.lines().find(|line| line.contains(&said) && line.contains("the entity is not sent")).unwrap();
        assert!(line.contains("properties") && line.contains("all_teams"), "the whole entity: {line}");
        // As the blueprint has it.
        assert!(!line.contains(":web:1:") || line.contains("Initial") && !line.contains("environment"), "{line}");
    }
    assert_eq!(writes(&on), Vec::<String>::new());
    controller.process.terminate(DEADLINE).await?;
    assert_eq!(writes(&on), Vec::<String>::new());

    let _controller = on.start_controller(&[SAME_POD[0], dry[2]]).await?;
    on.deployments(&namespace, &[("web:1", "success")]).await?;
    on.incident(&namespace, "down", "open").await?;
    for resource in [record.as_str(), "dinc/down"] {
        on.condition(&namespace, resource, "Synced", "Delivered").await?;
    }
    Ok(())
}
