//! How records get to Port: in bulk when many wait, at once when one does, in order, each judged by itself, and after every failure.

use std::collections::BTreeSet;
use std::time::Duration;

use cluster::wait_for;
use futures::StreamExt;
use futures::future::{join_all, try_join_all};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use port_dora_controller::resources::{DoraDeployment, DoraIncident};
use port_sim::{Effect, Fault, Request};
use serde_json::{Value, json};

use crate::TestResult;
use crate::fixture::{Controller, DEADLINE, Installation, SAME_POD, incident, number, text};

const INCIDENTS: &str = "/v1/blueprints/dora_incident/entities";
const DEPLOYMENTS: &str = "/v1/blueprints/dora_deployment/entities";

/// Records of a backlog, if `DELIVERY_BACKLOG` doesn't name another number.
const BACKLOG: usize = 200;

/// Entities that Port takes in one request.
const BULK: usize = 20;

/// Requests to Port that the controller has under way at once.
const REQUESTS_IN_FLIGHT: usize = 4;

/// How much longer each record of a backlog may take.
const DEADLINE_OF_A_RECORD: Duration = Duration::from_millis(100);

/// How often a test begins again if the machine was too slow for what it needs.
const ATTEMPTS: usize = 10;

/// Requests to the API server at once.
const AT_ONCE: usize = 16;

/// A deployment that Kubernetes can't see.
fn deployment(name: &str) -> String {
    format!(
        "---\n{{apiVersion: dora.port.io/v1alpha1, kind: DoraDeployment, metadata: {{name: {name}}}, \
         spec: {{outcome: Succeeded, finishedAt: '2026-01-31T12:00:00Z'}}}}\n"
    )
}

/// Creates an incident of this group.
async fn create(api: &Api<DoraIncident>, name: &str, group: &str) -> TestResult {
    let incident = json!({
        "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident", "metadata": {"name": name}, "spec": {"group": group},
    });
    api.create(&PostParams::default(), &serde_json::from_value(incident)?).await?;
    Ok(())
}

/// The requests that write entities under this path.
fn writes(on: &Installation, path: &str) -> Vec<Request> {
    let mut requests = on.port.requests();
    requests.retain(|request| request.method == "POST" && request.path.starts_with(path));
    requests
}

/// The identifiers that a write carries, one or many.
fn identifiers(request: &Request) -> Vec<String> {
    let Some(body) = &request.body else {
        return Vec::new();
    };
    let entities = body["entities"].as_array().cloned().unwrap_or_else(|| vec![body.as_ref().clone()]);
    entities.iter().filter_map(|entity| Some(entity["identifier"].as_str()?.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_goes_out_in_bulk_once_there_are_credentials() -> TestResult {
    let many = number("DELIVERY_BACKLOG")?.map_or(Ok(BACKLOG), usize::try_from)?;
    let on = Installation::alone().await?;
    let (controller, id, secret) = on.start_controller_with_files().await?;
    let namespace = on.namespace("backlog").await?;
    let api: Api<DoraDeployment> = Api::namespaced(on.client().await?, &namespace);
    let create = async |number: usize| {
        let record = serde_json::from_value(json!({
            "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraDeployment", "metadata": {"name": format!("lambda-{number}")},
            "spec": {"outcome": "Succeeded", "finishedAt": "2026-01-31T12:00:00Z"},
        }))?;
        api.create(&PostParams::default(), &record).await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    };
    let created: Vec<_> = futures::stream::iter((0..many).map(create)).buffer_unordered(AT_ONCE).collect().await;
    created.into_iter().collect::<Result<Vec<_>, _>>()?;
    on.apply_in(&namespace, &incident("down", "priority: high")).await?;
    // What a person sees once every resource has this condition.
    let table = async |status: &str, reason: &str| {
        let deadline = DEADLINE + DEADLINE_OF_A_RECORD * u32::try_from(many)?;
        wait_for(format!("every record to be {reason}"), deadline, async || {
            let records = api.list(&ListParams::default()).await?.items;
            let conditions =
                records.iter().filter_map(|record| record.status.as_ref()).flat_map(|status| &status.conditions);
            let count =
                conditions.filter(|condition| condition.type_ == "Synced" && condition.reason == reason).count();
            if count == many { Ok(Some(())) } else { Err(format!("{count} are"))? }
        })
        .await?;
        on.condition(&namespace, "dinc/down", "Synced", reason).await?;
        let table = on.kubectl(["--namespace", &namespace, "get", "ddep,dinc"]).await?;
        let shows = |line: &&str| line.split_whitespace().rev().take(2).eq([reason, status]);
        assert_eq!(table.lines().filter(shows).count(), many + 1, "{table}");
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(table)
    };
    let shown = table("False", "NoCredentials").await?;
    let headers: Vec<_> = shown.lines().filter(|line| line.starts_with("NAME")).collect();
    assert_eq!(headers.len(), 2, "{headers:?}");
    assert!(
        headers.iter().all(|header| header.contains("SYNCED") && header.trim_end().ends_with("REASON")),
        "{headers:?}"
    );
    controller.waiting("DoraDeployment", many).await?;
    assert_eq!(on.port.requests().len(), 0);

    let options = port_sim::Options::default();
    std::fs::write(&id, options.client_id)?;
    std::fs::write(&secret, options.client_secret)?;
    table("True", "Delivered").await?;
    assert_eq!(on.entities("dora_deployment", &namespace).len(), many);
    // Those that carry anything new: one that was answered too late is repeated.
    let mut sent = BTreeSet::new();
    let requests = writes(&on, DEPLOYMENTS).iter().filter(|request| adds(&mut sent, identifiers(request))).count();
    assert_eq!(sent.len(), many);
    // Before the first answer tells that all can go, a few go whose time has come.
    let few = many.div_ceil(BULK) + REQUESTS_IN_FLIGHT;
    assert!(requests <= few, "{requests} requests for {many} entities");
    Ok(())
}

/// Adds `names` to a set; whether any is new to it.
fn adds(set: &mut BTreeSet<String>, names: Vec<String>) -> bool {
    let before = set.len();
    set.extend(names);
    set.len() > before
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_record_goes_alone_many_go_together_and_each_is_judged_by_itself() -> TestResult {
    // Again on a machine that is so slow that the controller gives up what is held.
    for _ in 0..ATTEMPTS {
        if many_go_together().await? {
            return Ok(());
        }
    }
    panic!("the controller gave up what was held, each time");
}

/// Whether everything came to wait before the controller gave up what it waited for.
async fn many_go_together() -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let on = Installation::alone().await?;
    let controller = on.start_controller(&[]).await?;
    let namespace = on.namespace("together").await?;
    let identifier = |name: &str| format!("test:{namespace}:{name}");
    let api: Api<DoraIncident> = Api::namespaced(on.client().await?, &namespace);
    on.apply_in(&namespace, &incident("lone", "priority: high, deletionPolicy: Delete")).await?;
    on.condition(&namespace, "dinc/lone", "Synced", "Delivered").await?;
    let sent = writes(&on, INCIDENTS);
    let paths: Vec<_> = sent.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths, [INCIDENTS], "not a bulk, and once");
    // Otherwise its cause would be looked up again, for which it would wait among the others. With the finalizer the controller forgets it
    // before it is done with it, and so before the last of four requests can be under way.
    api.delete("lone", &DeleteParams::default()).await?;
    wait_for("the lone one to be gone", DEADLINE, async || Ok(api.get_opt("lone").await?.is_none().then_some(())))
        .await?;

    // Four requests that are held: what comes meanwhile waits, and goes out together.
    let held = on.port.set_fault(Fault::new(Effect::HandleOnceCleared).body_contains("slow-").times(4))?;
    for number in 0..4 {
        create(&api, &format!("slow-{number}"), "all_teams").await?;
        wait_for("the slow request to be under way", DEADLINE, async || {
            Ok((writes(&on, INCIDENTS).len() >= 2 + number).then_some(()))
        })
        .await?;
    }
    create(&api, "bad", "no_such_team").await?;
    if !all_wait(&on, &controller, 5).await? {
        return Ok(false);
    }
    let good: Vec<String> = (0..20).map(|number| format!("good-{number}")).collect();
    try_join_all(good.iter().map(|name| create(&api, name, "all_teams"))).await?;
    if !all_wait(&on, &controller, 25).await? {
        return Ok(false);
    }
    on.port.clear_fault(held);
    for name in good.into_iter().chain((0..4).map(|number| format!("slow-{number}"))) {
        on.condition(&namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
        assert!(on.port.entity("dora_incident", &identifier(&name)).is_some(), "{name}");
    }
    let (status, message) = on.condition(&namespace, "dinc/bad", "Synced", "NotFound").await?;
    assert_eq!(status, "False");
    assert!(message.contains("\"no_such_team\" of the blueprint \"group\""), "what is missing: {message}");
    assert!(on.port.entity("dora_incident", &identifier("bad")).is_none());
    let requests = writes(&on, INCIDENTS);
    let (before, together) = requests.split_at(5);
    if before.iter().any(|request| request.status.is_none()) {
        return Ok(false);
    }
    let mut sizes: Vec<_> = together.iter().map(|request| identifiers(request).len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 20], "{together:?}");
    let with_bad: Vec<_> =
        together.iter().filter(|request| identifiers(request).contains(&identifier("bad"))).collect();
    assert_eq!(with_bad.len(), 1, "the bad one is sent once, with the others: {together:?}");
    assert!(identifiers(with_bad[0]).len() == 20 && with_bad[0].status == Some(207), "{together:?}");
    Ok(true)
}

/// Waits until so many incidents wait, while four of five requests are held. Returns false if one was given up, and another was sent.
async fn all_wait(
    on: &Installation,
    controller: &Controller,
    count: usize,
) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let line = format!("DoraIncident waiting to be delivered: {count}");
    let is_held = wait_for(format!("{line:?} in /readyz"), DEADLINE, async || {
        let (_, ready) = controller.get("/readyz").await?;
        if writes(on, INCIDENTS).len() > 5 {
            return Ok(Some(false));
        }
        if ready.lines().any(|found| found == line) { Ok(Some(true)) } else { Err(ready)? }
    })
    .await?;
    Ok(is_held)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_it_is_sent_is_sent_again_in_order() -> TestResult {
    let on = Installation::alone().await?;
    let _controller = on.start_controller(&[]).await?;
    let namespace = on.namespace("order").await?;
    // Again with another on a machine that is so slow that the controller gives up what is held.
    for number in 0..ATTEMPTS {
        if goes_in_order(&on, &namespace, &format!("down-{number}")).await? {
            return Ok(());
        }
    }
    panic!("the controller gave up what was held, each time");
}

/// Whether the changes were made before the controller gave up the request during which they were to be made.
async fn goes_in_order(
    on: &Installation,
    namespace: &str,
    name: &str,
) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    on.apply_in(namespace, &incident(name, "priority: low, urgency: high")).await?;
    on.condition(namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
    on.port.clear_requests();

    let api: Api<DoraIncident> = Api::namespaced(on.client().await?, namespace);
    let change = async |spec: Value| {
        api.patch(name, &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await.map(drop)
    };
    let held = Fault::new(Effect::HandleOnceCleared).method("POST").path_prefix(INCIDENTS).times(1);
    let held = on.port.set_fault(held)?;
    change(json!({"priority": "medium"})).await?;
    wait_for("the former version to be under way", DEADLINE, async || {
        Ok((!writes(on, INCIDENTS).is_empty()).then_some(()))
    })
    .await?;
    change(json!({"priority": "high"})).await?;
    change(json!({"priority": "critical", "urgency": null})).await?;
    on.port.clear_fault(held);
    let identifier = format!("test:{namespace}:{name}");
    let entity = wait_for("the newest version in Port", DEADLINE, async || {
        let entity = on.port.entity("dora_incident", &identifier).ok_or("it is not there")?;
        if text(&entity, "priority") != "critical" {
            Err(text(&entity, "priority"))?;
        }
        Ok(Some(entity))
    })
    .await?;
    assert!(!entity.properties.contains_key("urgency"), "what was removed is cleared: {:?}", entity.properties);
    on.condition(namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
    let requests = writes(on, INCIDENTS);
    let Some(answered) = requests[0].answered_after else {
        return Ok(false);
    };
    let sent: Vec<_> =
        requests.iter().map(|request| request.body.as_ref().unwrap()["properties"]["priority"].clone()).collect();
    assert_eq!(json!(sent), json!(["medium", "critical"]), "what was overtaken on the way is not sent at all");
    assert!(answered < requests[1].received_after, "one after the other: {requests:?}");
    assert_eq!(
        on.port.entity("dora_incident", &identifier).map(|entity| text(&entity, "priority")),
        Some("critical".into())
    );
    Ok(true)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_passing_failure_is_explained_while_it_lasts_and_everything_arrives_after_it() -> TestResult {
    let on = Installation::alone().await?;
    let controller = on.start_controller(&[]).await?;
    let namespace = on.namespace("passing").await?;
    // An answer that never comes, while everything else goes on.
    on.port.set_fault(Fault::delayed(Duration::from_secs(600)).path_prefix(INCIDENTS).times(1))?;
    on.apply_in(&namespace, &incident("unanswered", "priority: high")).await?;
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
        let fault = on.port.set_fault(Fault::new(effect).method("POST").path_prefix(DEPLOYMENTS))?;
        let together: Vec<_> = (0..5).map(|index| format!("lambda-{number}-{index}")).collect();
        on.apply_in(&namespace, &together.iter().map(|name| deployment(name)).collect::<String>()).await?;
        let all = async |reason: &str| {
            let one = async |name| on.condition(&namespace, &format!("ddep/{name}"), "Synced", reason).await;
            try_join_all(together.iter().map(one)).await
        };
        let found = all(reason).await?;
        assert!(found.iter().all(|(status, _)| status == "False"), "{found:?}");
        assert_eq!(controller.get("/readyz").await?.0, 200, "it does not depend on Port");
        on.port.clear_fault(fault);
        all("Delivered").await?;
        names.extend(together);
    }
    let mut found: Vec<_> =
        on.entities("dora_deployment", &namespace).into_iter().map(|entity| entity.identifier).collect();
    let mut expected: Vec<_> = names.iter().map(|name| format!("test:{namespace}:{name}")).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let note = on.event(&namespace, "unanswered", "TimedOut").await?;
    assert!(note.contains("the response was not complete in time"), "{note}");
    on.condition(&namespace, "dinc/unanswered", "Synced", "Delivered").await?;
    let failed = ["ServerError", "TimedOut", "Unreachable", "UnexpectedResponse"]
        .map(|reason| format!("port_dora_deliveries_failed_total{{kind=\"DoraDeployment\",reason=\"{reason}\"}}"));
    wait_for("the metrics to tell of it", DEADLINE, async || {
        let (_, metrics) = controller.get("/metrics").await?;
        let further = [
            "port_dora_deliveries_retried_total{kind=\"DoraDeployment\"}",
            "port_dora_oldest_pending_seconds{kind=\"DoraDeployment\"} 0.0\n",
        ];
        match failed.iter().map(String::as_str).chain(further).find(|line| !metrics.contains(line)) {
            Some(line) => Err(format!("{line} is not among the metrics:\n{metrics}"))?,
            None => Ok(Some(())),
        }
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_never_answers_is_explained_to_all_who_wait_at_once() -> TestResult {
    // One after the other, each would wait for a request of its own, always. On a slow machine some may come too late for the first.
    for _ in 0..ATTEMPTS {
        if all_are_explained_at_once().await? {
            return Ok(());
        }
    }
    panic!("several requests failed before all who waited were told of it, each time");
}

/// Whether a single request had failed when all who waited were told of it.
async fn all_are_explained_at_once() -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let on = Installation::alone().await?;
    let fault = on.port.set_fault(Fault::delayed(Duration::from_secs(600)))?;
    let controller = on.start_controller(&[]).await?;
    let namespace = on.namespace("silent").await?;
    let api: Api<DoraIncident> = Api::namespaced(on.client().await?, &namespace);
    let names: Vec<String> = (0..4).map(|number| format!("down-{number}")).collect();
    try_join_all(names.iter().map(|name| create(&api, name, "all_teams"))).await?;
    let explained =
        names.iter().map(async |name| on.condition(&namespace, &format!("dinc/{name}"), "Synced", "TimedOut").await);
    for explained in join_all(explained).await {
        let (_, message) = explained?;
        assert!(message.contains("the response was not complete in time"), "{message}");
    }
    let log = controller.process.log()?;
    let told = log.match_indices("failed to deliver the entity to Port").nth(3).ok_or("not all were told of it")?.0;
    let is_at_once = log[..told].matches("request to Port failed").count() == 1;
    // What is under way fails at once, and not after 30 s.
    on.port.clear_fault(fault);
    on.port.set_reachable(false).await?;
    on.port.set_reachable(true).await?;
    for name in names {
        on.condition(&namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
    }
    Ok(is_at_once)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_port_stored_without_anybody_knowing_is_cleared_once_it_is_taken_back() -> TestResult {
    let on = Installation::alone().await?;
    let mut controller = on.start_controller(&SAME_POD).await?;
    let namespace = on.namespace("unknown").await?;
    let said = "status: resolved, description: Nobody knows why";
    let stored = async |name: &str| {
        wait_for("the entity in Port", DEADLINE, async || {
            let entity = on.port.entity("dora_incident", &format!("test:{namespace}:{name}"));
            Ok(entity.filter(|entity| entity.properties.contains_key("description")))
        })
        .await
    };
    // Port stores it, and the answer never arrives.
    let lost = on.port.set_fault(Fault::new(Effect::DropAfterHandling).path_prefix(INCIDENTS))?;
    on.apply_in(&namespace, &incident("answer-lost", said)).await?;
    stored("answer-lost").await?;
    on.condition(&namespace, "dinc/answer-lost", "Synced", "Unreachable").await?;
    on.apply_in(&namespace, &incident("answer-lost", "status: open")).await?;
    on.port.clear_fault(lost);
    // Port stores it, and the controller is gone before it can write that down; with another one if it had given up by then.
    on.port.set_fault(Fault::new(Effect::NeverAnswer).path_prefix(INCIDENTS).body_contains("controller-lost"))?;
    let mut controller_lost = None;
    for number in 0..ATTEMPTS {
        let name = format!("controller-lost-{number}");
        on.apply_in(&namespace, &incident(&name, said)).await?;
        stored(&name).await?;
        controller.process.kill()?;
        let status = on.get_incident(&namespace, &name).await?.status.unwrap_or_default();
        if status.conditions.iter().any(|synced| synced.type_ == "Synced" && synced.reason == "Sending") {
            controller_lost = Some(name);
            break;
        }
        controller = on.start_controller(&SAME_POD).await?;
    }
    let controller_lost = controller_lost.ok_or("the controller was never killed while it was sending")?;
    on.apply_in(&namespace, &incident(&controller_lost, "status: open")).await?;
    on.port.clear_faults();
    let _controller = on.start_controller(&SAME_POD).await?;
    for name in ["answer-lost", &controller_lost] {
        on.condition(&namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
        let entity = on.incident(&namespace, name, "open").await?;
        let properties: Vec<_> = entity.properties.keys().map(String::as_str).collect();
        assert_eq!(properties, ["created_at", "incident_type", "status"], "{name}");
    }
    Ok(())
}
