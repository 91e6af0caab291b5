//! Records that the API server doesn't accept: their name is taken, or somebody forbids them.

use cluster::{DEADLINE, wait_for};
use serde_json::json;

use crate::TestResult;
use crate::test_env::TestEnv;
use crate::web::Web;

/// The manifest of a record of a deployment outside Kubernetes.
fn record(name: &str) -> String {
    let metadata = json!({"name": name});
    let spec = json!({"outcome": "Unobserved"});
    json!({"apiVersion": "dora.port.io/v1alpha1", "kind": "DoraDeployment", "metadata": metadata, "spec": spec})
        .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn rollout_is_recorded_although_its_name_is_taken() -> TestResult {
    let env = TestEnv::new("taken").await?;
    env.apply(&Web::default()).await?;
    let records = env.setup.outcomes(&env.namespace, &[("web:1", "Succeeded")]).await?;
    let first = records[0].metadata.name.clone().unwrap();
    let taken = first.replacen("web-1-", "web-2-", 1);
    env.setup.apply_in(&env.namespace, &record(&taken)).await?;
    env.kubectl("set image deployment/web app=app:v2").await?;
    let records = env.setup.outcomes(&env.namespace, &[("web:1", "Succeeded"), ("web:2", "Succeeded")]).await?;
    let names: Vec<_> = records.iter().filter_map(|record| record.metadata.name.clone()).collect();
    let other = names.iter().find(|name| name.starts_with(&format!("{taken}-"))).ok_or(format!("{names:?}"))?;
    let note = env.setup.event(&env.namespace, "web", "RecordNameTaken").await?;
    assert!(note.contains(&taken) && note.contains(other.as_str()), "{note}");
    env.setup.deployments(&env.namespace, &[("web:1", "success"), ("web:2", "success")]).await?;

    // Nothing changes when the name is free.
    env.kubectl(&format!("delete ddep/{taken}")).await?;
    env.kubectl("set image deployment/web app=app:v3").await?;
    let expected = [("web:1", "Succeeded"), ("web:2", "Succeeded"), ("web:3", "Succeeded")];
    env.setup.outcomes(&env.namespace, &expected).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_record_is_written_once_it_is_allowed() -> TestResult {
    let env = TestEnv::new("refused").await?;
    let name = format!("refuse-{}", env.namespace);
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["dora.port.io"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["doradeployments"],
            }]},
            "validations": [{"expression": "false", "message": "no records on Fridays"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": env.namespace}}},
        },
    });
    env.setup.apply_in(&env.namespace, &format!("{policy}\n---\n{binding}\n")).await?;
    wait_for("the policy to be in effect", DEADLINE, async || {
        let refused = env.kubectl_with_input("create --dry-run=server --filename=-", &record("probe")).await;
        Ok(refused.is_err().then_some(()))
    })
    .await?;

    env.apply(&Web::default()).await?;
    let note = env.setup.event(&env.namespace, "web", "RecordRefused").await?;
    assert!(note.contains("no records on Fridays"), "{note}");
    let binding = format!("validatingadmissionpolicybinding/{name}");
    env.setup.kubectl(["delete", &binding, &format!("validatingadmissionpolicy/{name}")]).await?;
    env.table(&["web:1 Initial Succeeded success"]).await?;
    Ok(())
}
