//! The chart: the real API server accepts its manifests, and mistyped values are refused.

use crate::TestResult;
use crate::fixture::{CHART, Installation, RELEASE};

#[tokio::test(flavor = "multi_thread")]
async fn chart_is_accepted_under_the_restricted_profile() -> TestResult {
    let setup = Installation::shared().await;
    setup.helm(["lint", "--strict", CHART]).await?;
    let namespace = setup.namespace("chart").await?;
    setup.kubectl(["label", "namespace", &namespace, "pod-security.kubernetes.io/enforce=restricted"]).await?;
    let credentials = ["--set", "port.clientId=id", "--set", "port.clientSecret=secret"];
    for values in [&[][..], &credentials[..]] {
        let arguments = ["template", "chart-test", CHART, "--namespace", &namespace, "--set", "crds.install=false"];
        let manifests = setup.helm(arguments.iter().chain(values)).await?;
        assert!(manifests.contains("value: \"[::]:8080\""), "IPv6 and IPv4: {manifests}");
        setup
            .kubectl_with_input(
                ["--namespace", &namespace, "apply", "--server-side", "--dry-run=server", "--filename", "-"],
                &manifests,
            )
            .await?;
    }
    // The pods of the Deployment are admitted under the restricted profile.
    setup
        .helm(["upgrade", "--install", "chart-test", CHART, "--namespace", &namespace, "--set", "crds.install=false"])
        .await?;
    setup.kubectl(["--namespace", &namespace, "rollout", "status", "deployment", "--timeout=240s"]).await?;
    setup.helm(["uninstall", "chart-test", "--namespace", &namespace]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mistyped_values_are_refused() -> TestResult {
    let setup = Installation::shared().await;
    for value in ["port.clientID=x", "replicaCount=many", "clustername=x"] {
        let refused = setup.helm(["template", RELEASE, CHART, "--set", value]).await.unwrap_err().to_string();
        let key = value.split(['.', '=']).next().unwrap_or_default();
        assert!(refused.contains(key), "{value}: {refused}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn service_account_has_only_the_needed_rights() -> TestResult {
    let setup = Installation::shared().await;
    let can = async |verb: &str, resource: &str| setup.can((RELEASE, RELEASE), verb, resource, "").await;
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
        ["list", "leases.coordination.k8s.io"],
        ["watch", "leases.coordination.k8s.io"],
        ["create", "leases.coordination.k8s.io"],
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
    // Other installations of the controller have leases of the same name.
    let can_lease = async |verb: &str, name: &str, target: &str| {
        setup.can_named((RELEASE, RELEASE), verb, ("leases.coordination.k8s.io", name), target).await
    };
    assert!(can_lease("list", RELEASE, "").await? && can_lease("update", RELEASE, RELEASE).await?);
    for [verb, name, target] in
        [["list", "other", ""], ["get", RELEASE, ""], ["update", RELEASE, ""], ["update", RELEASE, "default"]]
    {
        assert!(!can_lease(verb, name, target).await?, "{verb} {name} in {target:?}");
    }
    Ok(())
}
