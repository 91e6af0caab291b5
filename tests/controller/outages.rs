//! While Port can't be used, the queues wait, and nothing is read or written for each resource. What Port refuses for one reason is retried
//! once for all.

use cluster::{DEADLINE, wait_for};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{ListParams, PostParams};
use port_client::{Client, ClientOptions, Credentials, Entity, UpsertOptions};
use port_dora_controller::resources::DoraDeployment;
use port_sim::{Effect, Fault, Options};
use serde_json::json;

use crate::fixture::{Controller, Installation, RELEASE, SHORT_LEASE, api_requests, incident, synced_reason};
use crate::{Error, TestResult};

const DEPLOYMENTS: &str = "/v1/blueprints/dora_deployment/entities";

/// Number of records that are pending during an outage.
const PENDING: usize = 500;

/// Resources in the attempts that are under way when an outage begins: four attempts with 20 resources each.
const UNDER_WAY: usize = 80;

/// Number of requests to the API server at once.
const AT_ONCE: usize = 16;

/// Creates records of deployments outside Kubernetes.
async fn create(api: &Api<DoraDeployment>, prefix: &str, count: usize, group: &str) -> TestResult {
    let create = async |number: usize| {
        let record = serde_json::from_value(json!({
            "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraDeployment", "metadata": {"name": format!("{prefix}-{number}")},
            "spec": {"outcome": "Succeeded", "finishedAt": "2026-01-31T12:00:00Z", "group": group},
        }))?;
        api.create(&PostParams::default(), &record).await?;
        Ok::<_, Error>(())
    };
    let created: Vec<_> = futures::stream::iter((0..count).map(create)).buffer_unordered(AT_ONCE).collect().await;
    created.into_iter().collect()
}

/// Waits until this number of records has the reason in the condition Synced.
async fn reasons(api: &Api<DoraDeployment>, reason: &str, count: usize) -> TestResult {
    wait_for(format!("{count} records to be {reason}"), DEADLINE, async || {
        let records = api.list(&ListParams::default()).await?.items;
        let found = records.iter().filter(|record| synced_reason(record) == reason).count();
        if found == count { Ok(Some(())) } else { Err(format!("{found} are"))? }
    })
    .await?;
    Ok(())
}

/// Waits until this number of probes has failed.
async fn failed_probes(controller: &Controller, count: u64) -> TestResult {
    wait_for(format!("{count} failed probes"), DEADLINE, async || {
        let found = controller.counter("port_dora_delivery_probes_total{result=\"failed\"}").await?;
        if found >= count { Ok(Some(())) } else { Err(found)? }
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn backlog_costs_nothing_while_port_is_away() -> TestResult {
    let setup = Installation::exclusive().await?;
    let controller = setup.start_controller(&[]).await?;
    controller.leads().await?;
    let mut pauses = 0;
    for reason in ["Unreachable", "RateLimited"] {
        let namespace = setup.namespace("away").await?;
        let api: Api<DoraDeployment> = Api::namespaced(setup.client().await?, &namespace);
        let limited = setup
            .port
            .set_fault(Fault::new(Effect::status(429)).path_prefix(DEPLOYMENTS).header("retry-after", "1"))?;
        if reason == "Unreachable" {
            setup.port.clear_fault(limited);
            setup.port.set_reachable(false).await?;
        }
        let before = api_requests(&setup, "doradeployments").await?;
        let probes = controller.counter("port_dora_delivery_probes_total{result=\"failed\"}").await?;
        create(&api, "lambda", PENDING, "all_teams").await?;
        controller.waiting("DoraDeployment", PENDING).await?;
        controller.shows(&format!("port_dora_delivery_paused{{reason=\"{reason}\"}} 1")).await?;
        failed_probes(&controller, probes + 3).await?;

        // Each attempt reads a resource and writes its status. With a request for each resource, there would be many more.
        let probes = controller.counter("port_dora_delivery_probes_total{result=\"failed\"}").await? - probes;
        let attempted = records_with_a_status(&api).await?;
        assert!((1..=UNDER_WAY + 10).contains(&attempted), "{attempted} resources were tried");
        let requests = api_requests(&setup, "doradeployments").await? - before;
        let few = 3 * (u64::try_from(UNDER_WAY)? + probes);
        assert!(requests <= few, "{reason}: {requests} requests, {probes} probes");
        let events: Api<Event> = Api::namespaced(setup.client().await?, &namespace);
        let announced = events.list(&ListParams::default()).await?.items.len();
        assert!(announced <= attempted, "{announced} Events");
        pauses += 1;
        assert_eq!(events_on_lease(&setup, "DeliveryPaused").await?, pauses, "one Event for each outage");
        let (ready, text) = controller.get("/readyz").await?;
        assert_eq!(ready, 200, "{text}");

        setup.port.clear_requests();
        setup.port.clear_faults();
        setup.port.set_reachable(true).await?;
        reasons(&api, "Delivered", PENDING).await?;
        assert_eq!(setup.entities("dora_deployment", &namespace).len(), PENDING);
        controller.shows(&format!("port_dora_delivery_paused{{reason=\"{reason}\"}} 0")).await?;
        let mut sent = setup.port.requests();
        sent.retain(|request| request.method == "POST" && request.path.starts_with(DEPLOYMENTS));
        assert!(sent.len() <= PENDING / 10, "{} requests: the backlog must be delivered in bulk", sent.len());
        setup.event(RELEASE, RELEASE, "DeliveryResumed").await?;
    }
    Ok(())
}

async fn records_with_a_status(api: &Api<DoraDeployment>) -> Result<usize, Error> {
    Ok(api.list(&ListParams::default()).await?.items.iter().filter(|record| record.status.is_some()).count())
}

/// The number of Events on the lease with this reason.
async fn events_on_lease(setup: &Installation, reason: &str) -> Result<usize, Error> {
    setup.event(RELEASE, RELEASE, reason).await?;
    let api: Api<Event> = Api::namespaced(setup.client().await?, RELEASE);
    let selected = ListParams::default().fields(&format!("involvedObject.name={RELEASE},reason={reason}"));
    Ok(api.list(&selected).await?.items.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn entity_that_breaks_port_delays_no_other() -> TestResult {
    let setup = Installation::exclusive().await?;
    setup.port.set_fault(Fault::new(Effect::status(500)).body_contains("poison"))?;
    let controller = setup.start_controller(&[]).await?;
    let namespace = setup.namespace("breaking").await?;
    setup.apply_in(&namespace, &incident("poison", "priority: high")).await?;
    setup.condition(&namespace, "dinc/poison", "Synced", "ServerError").await?;
    for round in 0..3 {
        let names: Vec<String> = (0..10).map(|number| format!("good-{round}-{number}")).collect();
        let manifests: String = names.iter().map(|name| incident(name, "priority: high")).collect();
        setup.apply_in(&namespace, &manifests).await?;
        for name in names {
            setup.condition(&namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
        }
    }
    setup.condition(&namespace, "dinc/poison", "Synced", "ServerError").await?;
    controller.shows("port_dora_delivery_paused{reason=\"ServerError\"} 0").await?;
    setup.port.clear_faults();
    setup.condition(&namespace, "dinc/poison", "Synced", "Delivered").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_missing_group_are_retried_as_one() -> TestResult {
    let setup = Installation::exclusive().await?;
    let controller = setup.start_controller(&[]).await?;
    let namespace = setup.namespace("group").await?;
    let api: Api<DoraDeployment> = Api::namespaced(setup.client().await?, &namespace);
    let many = 100;
    create(&api, "lambda", many, "no_such_team").await?;
    reasons(&api, "NotFound", many).await?;
    controller.shows(&format!("port_dora_resources_parked{{kind=\"DoraDeployment\"}} {many}")).await?;
    controller.waiting("DoraDeployment", many).await?;
    let sent = || {
        let mut requests = setup.port.requests();
        requests.retain(|request| request.method == "POST" && request.path.starts_with(DEPLOYMENTS));
        requests
    };
    setup.port.clear_requests();
    // The first retry is after one minute.
    let options = Options::default();
    let credentials = Credentials::new(options.client_id, options.client_secret);
    let other = Client::new(ClientOptions::new(setup.port.base_url().parse()?, credentials, "other-client/1"))?;
    other.upsert("group", &Entity::new("no_such_team"), UpsertOptions::default()).await?;
    reasons(&api, "Delivered", many).await?;
    let sent = sent();
    assert_eq!(sent[0].path, DEPLOYMENTS, "one of them is sent alone");
    assert!(sent.len() <= 1 + many / 10, "then the others in bulk, in {} requests", sent.len());
    controller.shows("port_dora_resources_parked{kind=\"DoraDeployment\"} 0").await?;
    controller.waiting("DoraDeployment", 0).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn standby_knows_what_is_pending() -> TestResult {
    let setup = Installation::exclusive().await?;
    setup.port.set_reachable(false).await?;
    let leader = setup.start_controller(&[SHORT_LEASE]).await?;
    leader.leads().await?;
    let standby = setup.start_controller(&[SHORT_LEASE]).await?;
    let namespace = setup.namespace("standby").await?;
    let api: Api<DoraDeployment> = Api::namespaced(setup.client().await?, &namespace);
    create(&api, "lambda", 30, "all_teams").await?;
    setup.apply_in(&namespace, &(incident("down", "priority: high") + &incident("up", "priority: high"))).await?;
    for replica in [&leader, &standby] {
        replica.waiting("DoraDeployment", 30).await?;
        replica.waiting("DoraIncident", 2).await?;
    }
    setup.kubectl(["--namespace", &namespace, "delete", "ddep,dinc", "--all"]).await?;
    for replica in [&leader, &standby] {
        replica.waiting("DoraDeployment", 0).await?;
        replica.waiting("DoraIncident", 0).await?;
        replica.shows("port_dora_oldest_pending_seconds{kind=\"DoraDeployment\"} 0.0").await?;
    }

    // Delivered, although the cause may still change.
    setup.port.set_reachable(true).await?;
    setup.apply_in(&namespace, &incident("back", "priority: high")).await?;
    setup.condition(&namespace, "dinc/back", "Synced", "Delivered").await?;
    for replica in [&leader, &standby] {
        replica.waiting("DoraIncident", 0).await?;
    }
    Ok(())
}
