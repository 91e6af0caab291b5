//! Rollouts that can't be recorded for a while: they are kept, and those beyond the limit are counted.

use cluster::{DEADLINE, wait_for};
use serde_json::json;

use crate::TestResult;
use crate::fixture::{Installation, SAME_POD};
use crate::objects::revision_of;
use crate::test_env::TestEnv;
use crate::web::Web;

/// The last revision that is rolled out. The index keeps 16 unrecorded revisions before it.
const LAST: i64 = 21;

/// Refuses new records in this namespace.
fn refusal(namespace: &str) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": "no-records"},
            "spec": {
                "matchConstraints": {"resourceRules": [{
                    "apiGroups": ["dora.port.io"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["doradeployments"],
                }]},
                "validations": [{"expression": "false", "message": "no records", "reason": "Forbidden"}],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": "no-records"},
            "spec": {
                "policyName": "no-records",
                "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}},
            },
        },
    ]})
    .to_string()
}

/// Waits until the API server refuses or accepts new records in the namespace.
async fn until_records(env: &TestEnv<'_>, are_refused: bool) -> TestResult {
    let record = json!({
        "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraDeployment", "metadata": {"name": "probe"},
        "spec": {"outcome": "InProgress"},
    })
    .to_string();
    wait_for(format!("new records to be refused: {are_refused}"), DEADLINE, async || {
        let created = env.kubectl_with_input("create --dry-run=server --filename=-", &record).await;
        Ok((created.is_err() == are_refused).then_some(()))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rollouts_beyond_the_limit_are_counted() -> TestResult {
    let setup = Installation::exclusive().await?;
    let env = TestEnv::on(&setup, "backlog").await?;
    let controller = setup.start_controller(&SAME_POD).await?;
    env.apply(&Web { replicas: 0, ..Web::default() }).await?;
    env.table(&["web:1 Initial Succeeded NotPublished"]).await?;
    env.kubectl(r#"patch deployment/web --patch={"spec":{"revisionHistoryLimit":2}}"#).await?;
    let refusal = refusal(&env.namespace);
    env.kubectl_with_input("apply --filename=-", &refusal).await?;
    until_records(&env, true).await?;
    for revision in 2..=LAST {
        env.kubectl(&format!("set image deployment/web app=app:v{revision}")).await?;
        env.until(&format!("revision {revision}"), |web| (revision_of(web) == Some(revision)).then_some(())).await?;
    }
    env.complete(LAST).await?;
    env.pruned(&["app:v1", "app:v2", "app:v3", "app:v4"]).await?;
    let metric = "port_dora_rollouts_dropped_total{reason=\"TooManyRevisions\"} 4\n";
    wait_for(metric, DEADLINE, async || Ok(controller.get("/metrics").await?.1.contains(metric).then_some(()))).await?;

    env.kubectl_with_input("delete --filename=-", &refusal).await?;
    until_records(&env, false).await?;
    // The controller tries again at once if the Deployment changes.
    env.kubectl(r#"patch deployment/web --patch={"spec":{"minReadySeconds":1}}"#).await?;
    let mut expected = vec![
        "web:1 Initial Succeeded NotPublished".to_owned(),
        "web:5 ? Succeeded success, 3 unseen before".to_owned(),
    ];
    // How many replicas a past revision had is unknown by now.
    expected.extend((6..LAST).map(|revision| format!("web:{revision} Release Succeeded success")));
    expected.push(format!("web:{LAST} Release Succeeded NotPublished"));
    env.table(&expected.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    Ok(())
}
