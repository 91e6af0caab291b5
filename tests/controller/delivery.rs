//! The delivery of records to Port: many pending records in bulk, a single one at once, in order, and again after
//! failures.

use std::collections::BTreeSet;
use std::time::Duration;

use cluster::{DEADLINE, wait_for};
use futures::StreamExt;
use futures::future::{join_all, try_join_all};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use port_dora_controller::resources::{DoraDeployment, DoraIncident};
use port_sim::{Effect, Fault, Request};
use serde_json::{Value, json};

use crate::fixture::{Controller, Installation, SAME_POD, incident, number, synced_reason, text};
use crate::{Error, TestResult};

const INCIDENTS: &str = "/v1/blueprints/dora_incident/entities";
const DEPLOYMENTS: &str = "/v1/blueprints/dora_deployment/entities";

/// Number of records in the backlog, unless `DELIVERY_BACKLOG` is set.
const BACKLOG: usize = 200;

/// Number of entities that Port accepts in one request.
const BULK: usize = 20;

/// Number of requests to Port that the controller sends at once.
const REQUESTS_IN_FLIGHT: usize = 4;

/// The additional deadline for each record of a backlog.
const DEADLINE_PER_RECORD: Duration = Duration::from_millis(100);

/// Attempts of a test that needs the machine to be fast enough.
const ATTEMPTS: usize = 10;

/// Number of requests to the API server at once.
const AT_ONCE: usize = 16;

/// The record of a deployment outside Kubernetes.
fn deployment(name: &str) -> String {
    format!(
        "---\n{{apiVersion: dora.port.io/v1alpha1, kind: DoraDeployment, metadata: {{name: {name}}}, \
         spec: {{outcome: Succeeded, finishedAt: '2026-01-31T12:00:00Z'}}}}\n"
    )
}

/// Creates an incident with this group.
async fn create(api: &Api<DoraIncident>, name: &str, group: &str) -> TestResult {
    let incident = json!({
        "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident", "metadata": {"name": name}, "spec": {"group": group},
    });
    api.create(&PostParams::default(), &serde_json::from_value(incident)?).await?;
    Ok(())
}

/// The requests that write entities under this path.
fn writes(setup: &Installation, path: &str) -> Vec<Request> {
    let mut requests = setup.port.requests();
    requests.retain(|request| request.method == "POST" && request.path.starts_with(path));
    requests
}

/// The identifiers of the entities in a request, single or bulk.
fn identifiers(request: &Request) -> Vec<String> {
    let Some(body) = &request.body else {
        return Vec::new();
    };
    let entities = body["entities"].as_array().cloned().unwrap_or_else(|| vec![body.as_ref().clone()]);
    entities.iter().filter_map(|entity| Some(entity["identifier"].as_str()?.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_delivered_in_bulk() -> TestResult {
    let many = number("DELIVERY_BACKLOG")?.map_or(Ok(BACKLOG), usize::try_from)?;
    let setup = Installation::exclusive().await?;
    let (controller, id, secret) = setup.start_controller_with_files().await?;
    let namespace = setup.namespace("backlog").await?;
    let api: Api<DoraDeployment> = Api::namespaced(setup.client().await?, &namespace);
    let create = async |number: usize| {
        let record = serde_json::from_value(json!({
            "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraDeployment", "metadata": {"name": format!("lambda-{number}")},
            "spec": {"outcome": "Succeeded", "finishedAt": "2026-01-31T12:00:00Z"},
        }))?;
        api.create(&PostParams::default(), &record).await?;
        Ok::<_, Error>(())
    };
    let created: Vec<_> = futures::stream::iter((0..many).map(create)).buffer_unordered(AT_ONCE).collect().await;
    created.into_iter().collect::<Result<Vec<_>, _>>()?;
    setup.apply_in(&namespace, &incident("down", "priority: high")).await?;
    // Without credentials, each record says so once, and waits.
    controller.waiting("DoraDeployment", many).await?;
    controller.shows(&format!("port_dora_resources_parked{{kind=\"DoraDeployment\"}} {many}")).await?;
    assert_eq!(setup.port.requests().len(), 0);

    let options = port_sim::Options::default();
    std::fs::write(&id, options.client_id)?;
    std::fs::write(&secret, options.client_secret)?;
    let deadline = DEADLINE + DEADLINE_PER_RECORD * u32::try_from(many)?;
    wait_for("every record to be delivered", deadline, async || {
        let records = api.list(&ListParams::default()).await?.items;
        let count = records.iter().filter(|record| synced_reason(record) == "Delivered").count();
        if count == many { Ok(Some(())) } else { Err(format!("{count} of {many} are"))? }
    })
    .await?;
    setup.condition(&namespace, "dinc/down", "Synced", "Delivered").await?;
    check_table(&setup.kubectl(["--namespace", &namespace, "get", "ddep,dinc"]).await?, many + 1);
    assert_eq!(setup.entities("dora_deployment", &namespace).len(), many);
    // Count only requests with new entities, since the controller repeats a request that is answered too late.
    let mut sent = BTreeSet::new();
    let requests = writes(&setup, DEPLOYMENTS).iter().filter(|request| adds(&mut sent, identifiers(request))).count();
    assert_eq!(sent.len(), many);
    // Before the first answer shows that Port accepts requests, some entities may be sent alone.
    let few = many.div_ceil(BULK) + REQUESTS_IN_FLIGHT;
    assert!(requests <= few, "{requests} requests for {many} entities");
    Ok(())
}

/// Checks the output of `kubectl get`: this number of resources is delivered.
fn check_table(table: &str, count: usize) {
    let shows = |line: &&str| line.split_whitespace().rev().take(2).eq(["Delivered", "True"]);
    assert_eq!(table.lines().filter(shows).count(), count, "{table}");
    let headers: Vec<_> = table.lines().filter(|line| line.starts_with("NAME")).collect();
    assert_eq!(headers.len(), 2, "{headers:?}");
    assert!(
        headers.iter().all(|header| header.contains("SYNCED") && header.trim_end().ends_with("REASON")),
        "{headers:?}"
    );
}

/// Adds `names` to a set, and returns whether any of them is new.
fn adds(set: &mut BTreeSet<String>, names: Vec<String>) -> bool {
    let before = set.len();
    set.extend(names);
    set.len() > before
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_delivers_good_records_beside_a_bad_one() -> TestResult {
    // Try again if the machine is so slow that the held requests time out.
    for _ in 0..ATTEMPTS {
        if try_bulk().await? {
            return Ok(());
        }
    }
    panic!("the held requests timed out in each attempt");
}

/// Returns false if a held request timed out before all incidents were pending.
async fn try_bulk() -> Result<bool, Error> {
    let setup = Installation::exclusive().await?;
    let controller = setup.start_controller(&[]).await?;
    let namespace = setup.namespace("together").await?;
    let prefix = |name: &str| format!("test:{namespace}:{name}:");
    let api: Api<DoraIncident> = Api::namespaced(setup.client().await?, &namespace);
    setup.apply_in(&namespace, &incident("lone", "priority: high, deletionPolicy: Delete")).await?;
    setup.condition(&namespace, "dinc/lone", "Synced", "Delivered").await?;
    let paths: Vec<_> = writes(&setup, INCIDENTS).into_iter().map(|request| request.path).collect();
    assert_eq!(paths, [INCIDENTS], "a single request, sent once");
    // Delete this incident. Otherwise the controller would look up its cause again, and it would be pending like the
    // others. Because of the finalizer, the controller forgets it before the fourth of the next requests can start.
    api.delete("lone", &DeleteParams::default()).await?;
    wait_for("the incident to be gone", DEADLINE, async || Ok(api.get_opt("lone").await?.is_none().then_some(())))
        .await?;

    // While four requests are held, further incidents are pending, and are then sent together.
    let held = setup.port.set_fault(Fault::new(Effect::HandleOnceCleared).body_contains("slow-").times(4))?;
    for number in 0..4 {
        create(&api, &format!("slow-{number}"), "all_teams").await?;
        wait_for("the slow request to arrive", DEADLINE, async || {
            Ok((writes(&setup, INCIDENTS).len() >= 2 + number).then_some(()))
        })
        .await?;
    }
    create(&api, "bad", "no_such_team").await?;
    if !wait_for_pending(&setup, &controller, 5).await? {
        return Ok(false);
    }
    let good: Vec<String> = (0..20).map(|number| format!("good-{number}")).collect();
    try_join_all(good.iter().map(|name| create(&api, name, "all_teams"))).await?;
    if !wait_for_pending(&setup, &controller, 25).await? {
        return Ok(false);
    }
    setup.port.clear_fault(held);
    for name in good.into_iter().chain((0..4).map(|number| format!("slow-{number}"))) {
        setup.condition(&namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
        assert!(setup.incident_entity(&namespace, &name).is_some(), "{name}");
    }
    let (status, message) = setup.condition(&namespace, "dinc/bad", "Synced", "NotFound").await?;
    assert_eq!(status, "False");
    assert!(
        message.contains("\"no_such_team\" of the blueprint \"group\""),
        "the message names the missing entity: {message}"
    );
    assert!(setup.incident_entity(&namespace, "bad").is_none());
    let requests = writes(&setup, INCIDENTS);
    let (before, together) = requests.split_at(5);
    if before.iter().any(|request| request.status.is_none()) {
        return Ok(false);
    }
    let mut sizes: Vec<_> = together.iter().map(|request| identifiers(request).len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 20], "{together:?}");
    let with_bad: Vec<_> = together
        .iter()
        .filter(|request| identifiers(request).iter().any(|it| it.starts_with(&prefix("bad"))))
        .collect();
    assert_eq!(with_bad.len(), 1, "the bad incident is sent once, with the others: {together:?}");
    assert!(identifiers(with_bad[0]).len() == 20 && with_bad[0].status == Some(207), "{together:?}");
    Ok(true)
}

/// Waits until this number of incidents is pending while four of five requests are held. Returns false if a held
/// request timed out and another one was sent.
async fn wait_for_pending(setup: &Installation, controller: &Controller, count: usize) -> Result<bool, Error> {
    let line = format!("DoraIncident waiting to be delivered: {count}");
    let is_held = wait_for(format!("{line:?} in /readyz"), DEADLINE, async || {
        let (_, ready) = controller.get("/readyz").await?;
        if writes(setup, INCIDENTS).len() > 5 {
            return Ok(Some(false));
        }
        if ready.lines().any(|found| found == line) { Ok(Some(true)) } else { Err(ready)? }
    })
    .await?;
    Ok(is_held)
}

#[tokio::test(flavor = "multi_thread")]
async fn change_during_a_request_is_sent_afterwards() -> TestResult {
    let setup = Installation::exclusive().await?;
    let _controller = setup.start_controller(&[]).await?;
    let namespace = setup.namespace("order").await?;
    // Try again with another incident if the machine is so slow that the held request times out.
    for number in 0..ATTEMPTS {
        if try_change_during_request(&setup, &namespace, &format!("down-{number}")).await? {
            return Ok(());
        }
    }
    panic!("the held requests timed out in each attempt");
}

/// Returns false if the held request timed out before the changes were made.
async fn try_change_during_request(setup: &Installation, namespace: &str, name: &str) -> Result<bool, Error> {
    setup.apply_in(namespace, &incident(name, "priority: low, urgency: high")).await?;
    setup.condition(namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
    setup.port.clear_requests();

    let api: Api<DoraIncident> = Api::namespaced(setup.client().await?, namespace);
    let change = async |spec: Value| {
        api.patch(name, &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await.map(drop)
    };
    let held = Fault::new(Effect::HandleOnceCleared).method("POST").path_prefix(INCIDENTS).times(1);
    let held = setup.port.set_fault(held)?;
    change(json!({"priority": "medium"})).await?;
    wait_for("the request with the old version to arrive", DEADLINE, async || {
        Ok((!writes(setup, INCIDENTS).is_empty()).then_some(()))
    })
    .await?;
    change(json!({"priority": "high"})).await?;
    change(json!({"priority": "critical", "urgency": null})).await?;
    setup.port.clear_fault(held);
    let entity = wait_for("the newest version in Port", DEADLINE, async || {
        let entity = setup.incident_entity(namespace, name).ok_or("it is missing")?;
        if text(&entity, "priority") != "critical" {
            Err(text(&entity, "priority"))?;
        }
        Ok(Some(entity))
    })
    .await?;
    assert!(!entity.properties.contains_key("urgency"), "removed fields are cleared: {:?}", entity.properties);
    setup.condition(namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
    let requests = writes(setup, INCIDENTS);
    let Some(answered) = requests[0].answered_after else {
        return Ok(false);
    };
    let sent: Vec<_> =
        requests.iter().map(|request| request.body.as_ref().unwrap()["properties"]["priority"].clone()).collect();
    assert_eq!(
        json!(sent),
        json!(["medium", "critical"]),
        "a version that was replaced before it was sent is never sent"
    );
    assert!(answered < requests[1].received_after, "the requests must not overlap: {requests:?}");
    assert_eq!(setup.incident_entity(namespace, name).map(|entity| text(&entity, "priority")), Some("critical".into()));
    Ok(true)
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_failures_are_explained_and_retried() -> TestResult {
    let setup = Installation::exclusive().await?;
    let controller = setup.start_controller(&[]).await?;
    let namespace = setup.namespace("passing").await?;
    // One request is never answered, while other requests are.
    setup.port.set_fault(Fault::delayed(Duration::from_secs(600)).path_prefix(INCIDENTS).times(1))?;
    setup.apply_in(&namespace, &incident("unanswered", "priority: high")).await?;
    let failures = [
        (Effect::status(503), "ServerError"),
        (Effect::status(408), "TimedOut"),
        (Effect::DropBeforeHandling, "Unreachable"),
        (Effect::DropAfterHandling, "Unreachable"),
        (Effect::HalfAnswer, "Unreachable"),
        (Effect::html(200), "UnexpectedResponse"),
    ];
    let mut names = Vec::new();
    for (number, (effect, reason)) in failures.into_iter().enumerate() {
        let fault = setup.port.set_fault(Fault::new(effect).method("POST").path_prefix(DEPLOYMENTS))?;
        let together: Vec<_> = (0..5).map(|index| format!("lambda-{number}-{index}")).collect();
        setup.apply_in(&namespace, &together.iter().map(|name| deployment(name)).collect::<String>()).await?;
        let all = async |reason: &str| {
            let one = async |name| setup.condition(&namespace, &format!("ddep/{name}"), "Synced", reason).await;
            try_join_all(together.iter().map(one)).await
        };
        let found = all(reason).await?;
        assert!(found.iter().all(|(status, _)| status == "False"), "{found:?}");
        assert_eq!(controller.get("/readyz").await?.0, 200, "readiness does not depend on Port");
        setup.port.clear_fault(fault);
        all("Delivered").await?;
        names.extend(together);
    }
    let mut found: Vec<_> =
        setup.entities("dora_deployment", &namespace).into_iter().map(|entity| entity.identifier).collect();
    let mut expected: Vec<_> = names.iter().map(|name| format!("test:{namespace}:{name}")).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let note = setup.event(&namespace, "unanswered", "TimedOut").await?;
    assert!(note.contains("the response was not complete in time"), "{note}");
    setup.condition(&namespace, "dinc/unanswered", "Synced", "Delivered").await?;
    let failed = ["ServerError", "TimedOut", "Unreachable", "UnexpectedResponse"]
        .map(|reason| format!("port_dora_deliveries_failed_total{{kind=\"DoraDeployment\",reason=\"{reason}\"}}"));
    wait_for("the failures in the metrics", DEADLINE, async || {
        let (_, metrics) = controller.get("/metrics").await?;
        let further = [
            "port_dora_deliveries_retried_total{kind=\"DoraDeployment\"}",
            "port_dora_oldest_pending_seconds{kind=\"DoraDeployment\"} 0.0\n",
        ];
        match failed.iter().map(String::as_str).chain(further).find(|line| !metrics.contains(line)) {
            Some(line) => Err(format!("{line} is not in the metrics:\n{metrics}"))?,
            None => Ok(Some(())),
        }
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn unanswered_request_is_reported_on_all_resources() -> TestResult {
    // On a slow machine, some incidents may be created too late to be reported with the first request.
    for _ in 0..ATTEMPTS {
        if try_unanswered_request().await? {
            return Ok(());
        }
    }
    panic!("several requests failed before all incidents were reported, in each attempt");
}

/// Whether only one request had failed when all pending incidents were reported as failed.
async fn try_unanswered_request() -> Result<bool, Error> {
    let setup = Installation::exclusive().await?;
    let fault = setup.port.set_fault(Fault::delayed(Duration::from_secs(600)))?;
    let controller = setup.start_controller(&[]).await?;
    let namespace = setup.namespace("silent").await?;
    let api: Api<DoraIncident> = Api::namespaced(setup.client().await?, &namespace);
    let names: Vec<String> = (0..4).map(|number| format!("down-{number}")).collect();
    try_join_all(names.iter().map(|name| create(&api, name, "all_teams"))).await?;
    let conditions =
        names.iter().map(async |name| setup.condition(&namespace, &format!("dinc/{name}"), "Synced", "TimedOut").await);
    for condition in join_all(conditions).await {
        let (_, message) = condition?;
        assert!(message.contains("the response was not complete in time"), "{message}");
    }
    let log = controller.process.log()?;
    let fourth =
        log.match_indices("failed to deliver the entity to Port").nth(3).ok_or("not all incidents were reported")?.0;
    let is_at_once = log[..fourth].matches("request to Port failed").count() == 1;
    // Close the connections, so that pending requests fail at once instead of after 30 s.
    setup.port.clear_fault(fault);
    setup.port.set_reachable(false).await?;
    setup.port.set_reachable(true).await?;
    for name in names {
        setup.condition(&namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
    }
    Ok(is_at_once)
}

#[tokio::test(flavor = "multi_thread")]
async fn reverted_fields_of_a_lost_answer_are_cleared() -> TestResult {
    let setup = Installation::exclusive().await?;
    let mut controller = setup.start_controller(&SAME_POD).await?;
    let namespace = setup.namespace("unknown").await?;
    let spec = "status: resolved, description: Nobody knows why";
    let stored = async |name: &str| {
        wait_for("the entity in Port", DEADLINE, async || {
            let entity = setup.incident_entity(&namespace, name);
            Ok(entity.filter(|entity| entity.properties.contains_key("description")))
        })
        .await
    };
    // Port stores the entity, and the answer is lost.
    let lost = setup.port.set_fault(Fault::new(Effect::DropAfterHandling).path_prefix(INCIDENTS))?;
    setup.apply_in(&namespace, &incident("answer-lost", spec)).await?;
    stored("answer-lost").await?;
    setup.condition(&namespace, "dinc/answer-lost", "Synced", "Unreachable").await?;
    setup.apply_in(&namespace, &incident("answer-lost", "status: open")).await?;
    setup.port.clear_fault(lost);
    // Port stores the entity, and the controller is killed before it can update the status. If the request had already
    // timed out, this tries again with another incident.
    setup.port.set_fault(Fault::new(Effect::NeverAnswer).path_prefix(INCIDENTS).body_contains("controller-lost"))?;
    let mut controller_lost = None;
    for number in 0..ATTEMPTS {
        let name = format!("controller-lost-{number}");
        setup.apply_in(&namespace, &incident(&name, spec)).await?;
        stored(&name).await?;
        controller.process.kill()?;
        let status = setup.get_incident(&namespace, &name).await?.status.unwrap_or_default();
        if status.conditions.iter().any(|synced| synced.type_ == "Synced" && synced.reason == "Sending") {
            controller_lost = Some(name);
            break;
        }
        controller = setup.start_controller(&SAME_POD).await?;
    }
    let controller_lost = controller_lost.ok_or("the controller was never killed during the request")?;
    setup.apply_in(&namespace, &incident(&controller_lost, "status: open")).await?;
    setup.port.clear_faults();
    let _controller = setup.start_controller(&SAME_POD).await?;
    for name in ["answer-lost", &controller_lost] {
        setup.condition(&namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
        let entity = setup.incident(&namespace, name, "open").await?;
        let properties: Vec<_> = entity.properties.keys().map(String::as_str).collect();
        assert_eq!(properties, ["created_at", "incident_type", "status"], "{name}");
    }
    Ok(())
}
