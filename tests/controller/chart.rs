//! The chart: what it makes is accepted by the real API server, and what is mistyped is refused.

use crate::TestResult;
use crate::fixture::{CHART, Installation, RELEASE};

#[tokio::test(flavor = "multi_thread")]
async fn what_the_chart_makes_is_accepted_and_fits_the_restricted_profile() -> TestResult {
    let on = Installation::shared().await;
    on.helm(["lint", "--strict", CHART]).await?;
    let namespace = on.namespace("chart").await?;
    on.kubectl(["label", "namespace", &namespace, "pod-security.kubernetes.io/enforce=restricted"]).await?;
    let credentials = ["--set", "port.clientId=id", "--set", "port.clientSecret=secret"];
    for values in [&[][..], &credentials[..]] {
        let arguments = ["template", "chart-test", CHART, "--namespace", &namespace, "--set", "crds.install=false"];
        let manifests = on.helm(arguments.iter().chain(values)).await?;
        on.kubectl_with_input(
            ["--namespace", &namespace, "apply", "--server-side", "--dry-run=server", "--filename", "-"],
            &manifests,
        )
        .await?;
    }
    // A pod of the Deployment that the chart makes is admitted under the restricted profile.
    on.helm(["upgrade", "--install", "chart-test", CHART, "--namespace", &namespace, "--set", "crds.install=false"])
        .await?;
    on.kubectl(["--namespace", &namespace, "rollout", "status", "deployment", "--timeout=240s"]).await?;
    on.helm(["uninstall", "chart-test", "--namespace", &namespace]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mistyped_values_are_refused() -> TestResult {
    let on = Installation::shared().await;
    for value in ["port.clientID=x", "replicaCount=many", "clustername=x"] {
        let refused = on.helm(["template", RELEASE, CHART, "--set", value]).await.unwrap_err().to_string();
        let key = value.split(['.', '=']).next().unwrap_or_default();
        assert!(refused.contains(key), "{value}: {refused}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_account_can_do_what_is_needed_and_no_more() -> TestResult {
    let on = Installation::shared().await;
    let can = async |verb: &str, resource: &str| on.may((RELEASE, RELEASE), verb, resource, "").await;
    for [verb, resource] in [["list", "deployments.apps"], ["watch", "replicasets.apps"], ["list", "pods"]] {
        assert!(can(verb, resource).await?, "{verb} {resource}");
    }
    let denied = [
        ["get", "secrets"],
        ["list", "configmaps"],
        ["update", "deployments.apps"],
        ["delete", "pods"],
        ["watch", "pods"],
        ["delete", "doraincidents.dora.port.io"],
        ["get", "leases.coordination.k8s.io"],
        ["get", "replicasets.apps"],
        ["update", "doradeployments.dora.port.io"],
        ["update", "doraincidents.dora.port.io"],
        ["get", "doradeployments.dora.port.io/status"],
        ["update", "doraincidents.dora.port.io/status"],
        ["update", "doraincidents.dora.port.io/finalizers"],
        ["create", "events"],
        ["get", "*"],
    ];
    for [verb, resource] in denied {
        assert!(!can(verb, resource).await?, "{verb} {resource}");
    }
    Ok(())
}
