//! How records get to Port: in bulk when many wait, at once when one does, in order, each judged by itself, and after every failure.

use std::time::Duration;

use cluster::wait_for;
use futures::StreamExt;
use futures::future::join_all;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use port_dora_controller::resources::{DoraDeployment, DoraIncident};
use port_sim::{Effect, Fault, Request};
use serde_json::{Value, json};

use crate::TestResult;
use crate::fixture::{DEADLINE, Installation, SAME_POD, incident, text};

const INCIDENTS: &str = "/v1/blueprints/dora_incident/entities";
const DEPLOYMENTS: &str = "/v1/blueprints/dora_deployment/entities";

/// Records of a backlog, if `DELIVERY_BACKLOG` doesn't name another number.
const BACKLOG: usize = 600;

/// Requests that a backlog of 5,000 records may take: bulks of 20, and a few that are not full.
const REQUESTS_FOR_5000: usize = 300;

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
    let many = std::env::var("DELIVERY_BACKLOG").ok().map_or(Ok(BACKLOG), |number| number.parse())?;
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
    // What a person sees.
    let table = async |reason: &str| {
        wait_for(format!("every resource to show {reason}"), DEADLINE, async || {
            let table = on.kubectl(["--namespace", &namespace, "get", "ddep,dinc"]).await?;
            let shows = |line: &&str| line.split_whitespace().rev().take(2).eq(reason.split_whitespace().rev());
            let count = table.lines().filter(shows).count();
            if count != many + 1 {
                Err(format!("{count} lines show it; the first are {:#?}", table.lines().take(3).collect::<Vec<_>>()))?;
            }
            Ok(Some(table))
        })
        .await
    };
    let shown = table("False NoCredentials").await?;
    let headers: Vec<_> = shown.lines().filter(|line| line.starts_with("NAME")).collect();
    assert_eq!(headers.len(), 2, "{headers:?}");
    assert!(
        headers.iter().all(|header| header.contains("SYNCED") && header.trim_end().ends_with("REASON")),
        "{headers:?}"
    );
    let (_, ready) = controller.get("/readyz").await?;
    assert!(ready.contains(&format!("DoraDeployment waiting to be delivered: {many}")), "{ready}");
    assert_eq!(on.port.requests().len(), 0);

    let options = port_sim::Options::default();
    std::fs::write(&id, options.client_id)?;
    std::fs::write(&secret, options.client_secret)?;
    table("True Delivered").await?;
    assert_eq!(on.entities("dora_deployment", &namespace).len(), many);
    let requests = writes(&on, DEPLOYMENTS);
    let few = many * REQUESTS_FOR_5000 / 5000;
    assert!(requests.len() <= few, "{} requests for {many} entities", requests.len());
    let mut sent: Vec<_> = requests.iter().flat_map(identifiers).collect();
    sent.sort();
    sent.dedup();
    assert_eq!(sent.len(), many);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_record_goes_alone_many_go_together_and_each_is_judged_by_itself() -> TestResult {
    let on = Installation::alone().await?;
    let controller = on.start_controller(&[]).await?;
    let namespace = on.namespace("together").await?;
    let identifier = |name: &str| format!("test:{namespace}:{name}");
    on.apply_in(&namespace, &incident("lone", "priority: high")).await?;
    on.condition(&namespace, "dinc/lone", "Synced", "Delivered").await?;
    let sent = writes(&on, INCIDENTS);
    let paths: Vec<_> = sent.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths, [INCIDENTS], "not a bulk, and once");

    // Four requests that are held: what comes meanwhile waits, and goes out together.
    let held = on.port.set_fault(Fault::new(Effect::HandleOnceCleared).body_contains("slow-").times(4))?;
    let api: Api<DoraIncident> = Api::namespaced(on.client().await?, &namespace);
    for number in 0..4 {
        create(&api, &format!("slow-{number}"), "all_teams").await?;
        wait_for("the slow request to be under way", DEADLINE, async || {
            Ok((writes(&on, INCIDENTS).len() == 2 + number).then_some(()))
        })
        .await?;
    }
    for number in 0..20 {
        if number == 7 {
            create(&api, "bad", "no_such_team").await?;
        }
        create(&api, &format!("good-{number}"), "all_teams").await?;
    }
    wait_for("all of them to wait", DEADLINE, async || {
        let (_, ready) = controller.get("/readyz").await?;
        // Another one, whose cause is looked up again, may wait with them.
        let waiting = ready.rsplit_once("DoraIncident waiting to be delivered: ").ok_or("nothing waits")?.1;
        if waiting.trim().parse::<usize>()? < 25 {
            Err(ready)?;
        }
        Ok(Some(()))
    })
    .await?;
    on.port.clear_fault(held);
    for name in (0..20).map(|number| format!("good-{number}")).chain((0..4).map(|number| format!("slow-{number}"))) {
        on.condition(&namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
        assert!(on.port.entity("dora_incident", &identifier(&name)).is_some(), "{name}");
    }
    let (status, message) = on.condition(&namespace, "dinc/bad", "Synced", "NotFound").await?;
    assert_eq!(status, "False");
    assert!(message.contains("\"no_such_team\" of the blueprint \"group\""), "what is missing: {message}");
    assert!(on.port.entity("dora_incident", &identifier("bad")).is_none());
    // Where an incident whose cause is looked up again takes a place, one more waits for the second request.
    let together: Vec<_> = writes(&on, INCIDENTS).into_iter().skip(5).collect();
    assert_eq!(together.len(), 2, "{together:?}");
    assert_eq!(together.iter().map(|request| identifiers(request).len()).sum::<usize>(), 21, "{together:?}");
    let with_bad: Vec<_> =
        together.iter().filter(|request| identifiers(request).contains(&identifier("bad"))).collect();
    assert_eq!(with_bad.len(), 1, "the bad one is sent once, with the others: {together:?}");
    assert!(identifiers(with_bad[0]).len() >= 15 && with_bad[0].status == Some(207), "{together:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_it_is_sent_is_sent_again_in_order() -> TestResult {
    let on = Installation::alone().await?;
    let _controller = on.start_controller(&[]).await?;
    let namespace = on.namespace("order").await?;
    on.apply_in(&namespace, &incident("down", "priority: low, urgency: high")).await?;
    on.condition(&namespace, "dinc/down", "Synced", "Delivered").await?;
    on.port.clear_requests();

    let api: Api<DoraIncident> = Api::namespaced(on.client().await?, &namespace);
    let change = async |spec: Value| {
        api.patch("down", &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await.map(drop)
    };
    let held = Fault::new(Effect::HandleOnceCleared).method("POST").path_prefix(INCIDENTS).times(1);
    let held = on.port.set_fault(held)?;
    change(json!({"priority": "medium"})).await?;
    wait_for("the former version to be under way", DEADLINE, async || {
        Ok((!writes(&on, INCIDENTS).is_empty()).then_some(()))
    })
    .await?;
    change(json!({"priority": "high"})).await?;
    change(json!({"priority": "critical", "urgency": null})).await?;
    on.port.clear_fault(held);
    let identifier = format!("test:{namespace}:down");
    let entity = wait_for("the newest version in Port", DEADLINE, async || {
        let entity = on.port.entity("dora_incident", &identifier).ok_or("it is not there")?;
        if text(&entity, "priority") != "critical" {
            Err(text(&entity, "priority"))?;
        }
        Ok(Some(entity))
    })
    .await?;
    assert!(!entity.properties.contains_key("urgency"), "what was removed is cleared: {:?}", entity.properties);
    on.condition(&namespace, "dinc/down", "Synced", "Delivered").await?;
    let requests = writes(&on, INCIDENTS);
    let sent: Vec<_> =
        requests.iter().map(|request| request.body.as_ref().unwrap()["properties"]["priority"].clone()).collect();
    assert_eq!(json!(sent), json!(["medium", "critical"]), "what was overtaken on the way is not sent at all");
    assert!(requests[0].answered_after < Some(requests[1].received_after), "one after the other: {requests:?}");
    assert_eq!(
        on.port.entity("dora_incident", &identifier).map(|entity| text(&entity, "priority")),
        Some("critical".into())
    );
    Ok(())
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
        (Effect::html(200), "UnexpectedAnswer"),
    ];
    let mut names = Vec::new();
    for (number, (effect, reason)) in failures.into_iter().enumerate() {
        let fault = on.port.set_fault(Fault::new(effect).method("POST").path_prefix(DEPLOYMENTS))?;
        let together: Vec<_> = (0..5).map(|index| format!("lambda-{number}-{index}")).collect();
        on.apply_in(&namespace, &together.iter().map(|name| deployment(name)).collect::<String>()).await?;
        for name in &together {
            let (status, _) = on.condition(&namespace, &format!("ddep/{name}"), "Synced", reason).await?;
            assert_eq!(status, "False");
        }
        assert_eq!(controller.get("/readyz").await?.0, 200, "it does not depend on Port");
        on.port.clear_fault(fault);
        for name in &together {
            on.condition(&namespace, &format!("ddep/{name}"), "Synced", "Delivered").await?;
        }
        names.extend(together);
    }
    let mut found: Vec<_> =
        on.entities("dora_deployment", &namespace).into_iter().map(|entity| entity.identifier).collect();
    let mut expected: Vec<_> = names.iter().map(|name| format!("test:{namespace}:{name}")).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let note = on.event(&namespace, "unanswered", "TimedOut").await?;
    assert!(note.contains("no complete answer came in time"), "{note}");
    on.condition(&namespace, "dinc/unanswered", "Synced", "Delivered").await?;
    let (_, metrics) = controller.get("/metrics").await?;
    for reason in ["ServerError", "TimedOut", "Unreachable", "UnexpectedAnswer"] {
        let line = format!("port_dora_deliveries_failed_total{{kind=\"DoraDeployment\",reason=\"{reason}\"}}");
        assert!(metrics.contains(&line), "{line} is not among the metrics:\n{metrics}");
    }
    assert!(metrics.contains("port_dora_deliveries_retried_total{kind=\"DoraDeployment\"}"), "{metrics}");
    assert!(metrics.contains("port_dora_oldest_pending_seconds{kind=\"DoraDeployment\"} 0.0\n"), "{metrics}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_never_answers_is_explained_to_all_who_wait_at_once() -> TestResult {
    let on = Installation::alone().await?;
    let fault = on.port.set_fault(Fault::delayed(Duration::from_secs(600)))?;
    let _controller = on.start_controller(&[]).await?;
    let namespace = on.namespace("silent").await?;
    let api: Api<DoraIncident> = Api::namespaced(on.client().await?, &namespace);
    for number in 0..4 {
        create(&api, &format!("down-{number}"), "all_teams").await?;
        wait_for("a request to be under way", DEADLINE, async || Ok((!on.port.requests().is_empty()).then_some(())))
            .await?;
    }
    // A request lasts 30 s: there is no time for one after the other.
    let explained =
        (0..4).map(async |number| on.condition(&namespace, &format!("dinc/down-{number}"), "Synced", "TimedOut").await);
    for explained in join_all(explained).await {
        let (_, message) = explained?;
        assert!(message.contains("no complete answer came in time"), "{message}");
    }
    // What is under way fails at once, and not after 30 s.
    on.port.clear_fault(fault);
    on.port.set_reachable(false).await?;
    on.port.set_reachable(true).await?;
    for number in 0..4 {
        on.condition(&namespace, &format!("dinc/down-{number}"), "Synced", "Delivered").await?;
    }
    Ok(())
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
    // Port stores it, and the controller is gone before it can write that down.
    on.port.set_fault(Fault::new(Effect::NeverAnswer).path_prefix(INCIDENTS))?;
    on.apply_in(&namespace, &incident("controller-lost", said)).await?;
    stored("controller-lost").await?;
    controller.process.kill()?;
    on.apply_in(&namespace, &incident("controller-lost", "status: open")).await?;
    on.port.clear_faults();
    let _controller = on.start_controller(&SAME_POD).await?;
    for name in ["answer-lost", "controller-lost"] {
        on.condition(&namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
        let entity = on.incident(&namespace, name, "open").await?;
        let properties: Vec<_> = entity.properties.keys().map(String::as_str).collect();
        assert_eq!(properties, ["created_at", "incident_type", "status"], "{name}");
    }
    Ok(())
}
