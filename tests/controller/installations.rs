//! Two installations in one cluster: only the one that was installed first writes.

use cluster::{DEADLINE, wait_for};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use kube::api::PostParams;

use crate::TestResult;
use crate::fixture::{CHART, CLUSTER, Controller, Installation, RELEASE, incident};

/// The namespace, the release and the name of the cluster of the second installation.
const SECOND: &str = "second";

/// The line in `/readyz` and the text of the Event of the second installation.
const NOTICE: &str =
    "another installation of the controller runs in the namespace port-dora-controller and was there first";

/// Installs the chart a second time, and starts its controller.
async fn start_second(setup: &Installation) -> Result<Controller, crate::Error> {
    let arguments = ["upgrade", "--install", SECOND, CHART, "--namespace", SECOND, "--create-namespace"];
    let values = ["--set", "replicaCount=0", "--set", "crds.install=false"];
    setup.helm(arguments.into_iter().chain(values)).await?;
    let kubeconfig = setup.service_account_kubeconfig(SECOND, &format!("{SECOND}-{RELEASE}")).await?;
    let environment =
        [("KUBECONFIG", &*kubeconfig.to_string_lossy()), ("POD_NAMESPACE", SECOND), ("CLUSTER_NAME", SECOND)];
    setup.start_controller(&environment).await
}

/// Waits until the metric says whether the controller is that of the second installation.
async fn wait_until_second(controller: &Controller, is_second: bool) -> TestResult {
    let line = format!("port_dora_conflicting_installations {}\n", u8::from(is_second));
    wait_for(format!("the metric {line:?}"), DEADLINE, async || {
        Ok(controller.get("/metrics").await?.1.contains(&line).then_some(()))
    })
    .await?;
    let (status, ready) = controller.get("/readyz").await?;
    assert_eq!((status, ready.contains(NOTICE)), (200, is_second), "{ready}");
    Ok(())
}

/// The identifiers of the incidents in Port that this cluster has sent from a namespace.
fn sent(setup: &Installation, cluster: &str, namespace: &str) -> Vec<String> {
    let prefix = format!("{cluster}:{namespace}:");
    let entities = setup.port.entities("dora_incident").into_iter().map(|entity| entity.identifier);
    entities.filter(|identifier| identifier.starts_with(&prefix)).collect()
}

/// Whether this cluster has sent the incident `name`.
fn has_sent(setup: &Installation, cluster: &str, namespace: &str, name: &str) -> bool {
    let prefix = format!("{cluster}:{namespace}:{name}:");
    sent(setup, cluster, namespace).iter().any(|identifier| identifier.starts_with(&prefix))
}

#[tokio::test(flavor = "multi_thread")]
async fn second_installation_writes_nothing() -> TestResult {
    let setup = Installation::exclusive().await?;
    let mut first = setup.start_controller(&[]).await?;
    first.leads().await?;
    let namespace = setup.namespace("twice").await?;
    setup.apply_in(&namespace, &incident("before", "")).await?;
    setup.condition(&namespace, "dinc/before", "Synced", "Delivered").await?;
    let version = setup.get_incident(&namespace, "before").await?.metadata.resource_version;

    let second = start_second(&setup).await?;
    wait_until_second(&second, true).await?;
    let note = setup.event(SECOND, RELEASE, "AnotherInstallation").await?;
    assert!(note.contains(NOTICE) && note.contains("Uninstall one of them"), "{note}");
    setup.apply_in(&namespace, &incident("during", "")).await?;
    setup.condition(&namespace, "dinc/during", "Synced", "Delivered").await?;
    assert_eq!(sent(&setup, SECOND, &namespace), Vec::<String>::new());
    assert_eq!(setup.get_incident(&namespace, "before").await?.metadata.resource_version, version);
    assert!(!second.is_leading()?);
    wait_until_second(&first, false).await?;

    // When the first one ends, the second one takes over, until the first one is back.
    first.process.terminate(DEADLINE).await?;
    second.leads().await?;
    wait_until_second(&second, false).await?;
    setup.apply_in(&namespace, &incident("after", "")).await?;
    setup.condition(&namespace, "dinc/after", "Synced", "Delivered").await?;
    assert!(has_sent(&setup, SECOND, &namespace, "after"));
    let first = setup.start_controller(&[]).await?;
    wait_until_second(&second, true).await?;
    first.leads().await?;
    setup.apply_in(&namespace, &incident("again", "")).await?;
    setup.condition(&namespace, "dinc/again", "Synced", "Delivered").await?;
    assert!(has_sent(&setup, CLUSTER, &namespace, "again") && !has_sent(&setup, SECOND, &namespace, "again"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn controller_works_without_the_right_to_list_leases() -> TestResult {
    let setup = Installation::exclusive().await?;
    let roles: Api<ClusterRole> = Api::all(setup.client().await?);
    let role = roles.get(RELEASE).await?;
    let mut old = role.clone();
    old.rules.iter_mut().flatten().for_each(|rule| {
        rule.resources.iter_mut().for_each(|resources| resources.retain(|resource| resource != "leases"));
    });
    old.rules.iter_mut().for_each(|rules| rules.retain(|rule| rule.resources != Some(Vec::new())));
    let old = roles.replace(RELEASE, &PostParams::default(), &old).await?;
    wait_for("the right to be gone", DEADLINE, async || {
        let lease = ("leases.coordination.k8s.io", RELEASE);
        Ok((!setup.can_named((RELEASE, RELEASE), "list", lease, "").await?).then_some(()))
    })
    .await?;
    let controller = setup.start_controller(&[]).await?;
    controller.leads().await?;
    let log = controller.logs("may not list the leases").await?;
    assert_eq!(log.matches("may not list the leases").count(), 1, "{log}");
    let namespace = setup.namespace("old-role").await?;
    setup.apply_in(&namespace, &incident("down", "")).await?;
    setup.condition(&namespace, "dinc/down", "Synced", "Delivered").await?;
    // Another test may use the cluster.
    let version = old.metadata.resource_version;
    let restored =
        ClusterRole { metadata: kube::api::ObjectMeta { resource_version: version, ..role.metadata }, ..role };
    roles.replace(RELEASE, &PostParams::default(), &restored).await?;
    Ok(())
}
