//! Automatic incidents end when nothing is expected of their workload any more, and people can correct them.

use axum::http::Request;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::automatic_incidents::{SETTINGS, fail, incident_of, names, set_ready};
use crate::fixture::{Installation, text};
use crate::test_env::TestEnv;
use crate::web::Web;
use crate::{Error, TestResult};

/// How often clients have read or listed incidents: the counter of the API server.
async fn reads_of_incidents(setup: &Installation) -> Result<u64, Error> {
    let request = Request::get("/metrics").body(Vec::new())?;
    let metrics = setup.client().await?.request_text(request).await?;
    let reads = metrics.lines().filter(|line| {
        let is_request = line.starts_with("apiserver_request_total{") && line.contains("resource=\"doraincidents\"");
        is_request && line.contains("subresource=\"\"") && line.contains("verb=\"GET\"")
    });
    Ok(reads.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
}

/// Changes the Deployment `web` this often, so that its status changes as well.
async fn churn(env: &TestEnv<'_>, changes: usize) -> TestResult {
    let api: Api<Deployment> = Api::namespaced(env.setup.client().await?, &env.namespace);
    for change in 0..changes {
        let annotation = json!({"metadata": {"annotations": {"test/change": change.to_string()}}});
        api.patch("web", &PatchParams::default(), &Patch::Merge(annotation)).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn status_changes_read_no_incidents() -> TestResult {
    let setup = Installation::exclusive().await?;
    let _controller = setup.start_controller_with_settings(SETTINGS).await?;
    let env = TestEnv::on(&setup, "churn").await?;
    let rows = fail(&env).await?;
    let name = incident_of(&env, &rows[1]).await?;
    setup.condition(&env.namespace, &format!("dinc/{name}"), "Synced", "Delivered").await?;
    let before = reads_of_incidents(&setup).await?;
    churn(&env, 100).await?;
    // The controller handles workloads in the order of their changes, so the incident of this one comes after the changes.
    let marker = TestEnv::on(&setup, "marker").await?;
    let rows = fail(&marker).await?;
    incident_of(&marker, &rows[1]).await?;
    let reads = reads_of_incidents(&setup).await? - before;
    assert!(reads < 25, "{reads} reads of incidents for 100 changes and one new incident");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn success_of_an_ignored_revision_ends_the_incident() -> TestResult {
    let env = TestEnv::new("ignored").await?;
    let rows = fail(&env).await?;
    let name = incident_of(&env, &rows[1]).await?;
    env.setup.incident(&env.namespace, &name, "open").await?;
    // From now on, the rollouts of the Deployment are not recorded.
    env.kubectl("annotate deployment/web dora.port.io/ignore=true").await?;
    env.apply(&Web::image("app:v2")).await?;
    let web = env.complete(3).await?;
    let conditions = web.status.unwrap().conditions.unwrap();
    let progressing = conditions.iter().find(|condition| condition.type_ == "Progressing").unwrap();
    let updated = progressing.last_update_time.as_ref().unwrap().0;
    let resolved = env.setup.incident(&env.namespace, &name, "resolved").await?;
    assert_eq!(text(&resolved, "resolved_at"), format!("{updated:.3}"), "the time comes from the cluster");
    let records = env.kubectl("get ddep --output=name").await?;
    assert!(!records.contains("/web-3-"), "{records}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn deployment_scaled_to_zero_has_no_open_incident() -> TestResult {
    let env = TestEnv::new("scaled").await?;
    let rows = fail(&env).await?;
    let name = incident_of(&env, &rows[1]).await?;
    env.setup.incident(&env.namespace, &name, "open").await?;
    env.kubectl("scale deployment/web --replicas=0").await?;
    let resolved = env.setup.incident(&env.namespace, &name, "resolved").await?;
    assert!(text(&resolved, "resolved_at") >= text(&resolved, "created_at"));
    Ok(())
}

/// Corrects `spec.resolvedAt` of an incident as people do.
async fn correct(env: &TestEnv<'_>, how: &str, name: &str, time: Timestamp) -> TestResult {
    let (namespace, spec) = (&env.namespace, format!("{{status: resolved, resolvedAt: '{time}'}}"));
    let manifest = format!(
        "{{apiVersion: dora.port.io/v1alpha1, kind: DoraIncident, metadata: {{name: {name}, namespace: {namespace}}}, spec: {spec}}}\n"
    );
    match how {
        "patch" => {
            let patch = json!({"spec": {"resolvedAt": time}}).to_string();
            env.setup.patch(namespace, &format!("dinc/{name}"), "merge", &patch).await?;
        }
        "apply" => {
            env.setup.apply_in(namespace, &manifest).await?;
        }
        "server-side apply" => {
            env.kubectl_with_input("apply --server-side --force-conflicts --filename=-", &manifest).await?;
        }
        other => Err(format!("unknown: {other}"))?,
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn corrected_incident_stays_as_it_was_corrected() -> TestResult {
    let setup = Installation::exclusive().await?;
    let controller = setup.start_controller_with_settings(SETTINGS).await?;
    for how in ["patch", "apply", "server-side apply"] {
        let env = TestEnv::on(&setup, "corrected").await?;
        env.apply(&Web::default()).await?;
        env.table(&["web:1 Initial Succeeded success"]).await?;
        let lost = set_ready(&env, false).await?;
        let name = format!("web-unavailable-{}", lost.strftime("%Y%m%d%H%M%S"));
        setup.incident(&env.namespace, &name, "open").await?;
        set_ready(&env, true).await?;
        setup.incident(&env.namespace, &name, "resolved").await?;
        correct(&env, how, &name, lost).await?;

        // The next loss is soon enough to reopen an incident of the controller. This one is the person's.
        let again = set_ready(&env, false).await?;
        let second = format!("web-unavailable-{}", again.strftime("%Y%m%d%H%M%S"));
        setup.incident(&env.namespace, &second, "open").await?;
        set_ready(&env, true).await?;
        setup.incident(&env.namespace, &second, "resolved").await?;
        let corrected = setup.get_incident(&env.namespace, &name).await?;
        assert_eq!(corrected.spec.resolved_at.map(|time| time.0), Some(lost), "{how}");
        assert_eq!(names(&env).await?, [name, second], "{how}");
    }
    let (_, metrics) = controller.get("/metrics").await?;
    let refused = "port_dora_incident_writes_retried_total{reason=\"Refused\"} 0";
    assert!(metrics.contains(refused), "{metrics}");
    Ok(())
}
