//! The roles view, edit and admin of Kubernetes apply to records and incidents as well.

use cluster::{DEADLINE, wait_for};

use crate::TestResult;
use crate::fixture::Installation;

#[tokio::test(flavor = "multi_thread")]
async fn namespace_roles_apply_to_custom_resources() -> TestResult {
    let setup = Installation::shared().await;
    let (namespace, elsewhere) = (setup.namespace("roles").await?, setup.namespace("elsewhere").await?);
    for role in ["view", "edit", "admin"] {
        setup.kubectl(["--namespace", &namespace, "create", "serviceaccount", role]).await?;
        let (account, role) = (format!("--serviceaccount={namespace}:{role}"), format!("--clusterrole={role}"));
        setup.kubectl(["--namespace", &namespace, "create", "rolebinding", &role[14..], &role, &account]).await?;
    }
    let can = async |role: &str, verb: &str, resource: &str, target: &str| {
        setup.can((&namespace, role), verb, &format!("{resource}.dora.port.io"), target).await
    };
    // The controller manager aggregates the roles.
    let will_be_allowed = async |role: &str, verb: &str, resource: &str| {
        wait_for(format!("role {role} to allow {verb} {resource}"), DEADLINE, async || {
            Ok(can(role, verb, resource, &namespace).await?.then_some(()))
        })
        .await
    };
    for resource in ["doraincidents", "doradeployments"] {
        for verb in ["get", "list", "watch"] {
            for role in ["view", "edit", "admin"] {
                will_be_allowed(role, verb, resource).await?;
            }
        }
        for verb in ["create", "update", "patch", "delete"] {
            for role in ["edit", "admin"] {
                will_be_allowed(role, verb, resource).await?;
                assert!(
                    !can(role, verb, resource, &elsewhere).await?,
                    "in another namespace: {role} {verb} {resource}"
                );
            }
            assert!(!can("view", verb, resource, &namespace).await?, "view {verb} {resource}");
        }
        for role in ["view", "edit", "admin"] {
            for verb in ["update", "patch"] {
                let resource = format!("{resource}.dora.port.io/status");
                assert!(!setup.can((&namespace, role), verb, &resource, &namespace).await?, "{role} {verb} {resource}");
            }
        }
    }
    Ok(())
}
