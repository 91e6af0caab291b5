//! The cluster's own roles view, edit and admin let the people of a namespace read and write both resources there.

use cluster::wait_for;

use crate::TestResult;
use crate::fixture::{DEADLINE, Installation};

#[tokio::test(flavor = "multi_thread")]
async fn who_may_view_or_edit_a_namespace_may_do_so_with_incidents() -> TestResult {
    let on = Installation::shared().await;
    let (namespace, elsewhere) = (on.namespace("roles").await?, on.namespace("elsewhere").await?);
    for role in ["view", "edit", "admin"] {
        on.kubectl(["--namespace", &namespace, "create", "serviceaccount", role]).await?;
        let (account, role) = (format!("--serviceaccount={namespace}:{role}"), format!("--clusterrole={role}"));
        on.kubectl(["--namespace", &namespace, "create", "rolebinding", &role[14..], &role, &account]).await?;
    }
    let can = async |role: &str, verb: &str, resource: &str, place: &str| {
        on.may((&namespace, role), verb, &format!("{resource}.dora.port.io"), place).await
    };
    // The controller manager puts the roles together.
    let comes_to = async |role: &str, verb: &str, resource: &str| {
        wait_for(format!("{role} to {verb} {resource}"), DEADLINE, async || {
            Ok(can(role, verb, resource, &namespace).await?.then_some(()))
        })
        .await
    };
    for resource in ["doraincidents", "doradeployments"] {
        for verb in ["get", "list", "watch"] {
            for role in ["view", "edit", "admin"] {
                comes_to(role, verb, resource).await?;
            }
        }
        for verb in ["create", "update", "patch", "delete"] {
            for role in ["edit", "admin"] {
                comes_to(role, verb, resource).await?;
                assert!(!can(role, verb, resource, &elsewhere).await?, "elsewhere: {role} {verb} {resource}");
            }
            assert!(!can("view", verb, resource, &namespace).await?, "view {verb} {resource}");
        }
        for role in ["view", "edit", "admin"] {
            for verb in ["update", "patch"] {
                let resource = format!("{resource}.dora.port.io/status");
                assert!(!on.may((&namespace, role), verb, &resource, &namespace).await?, "{role} {verb} {resource}");
            }
        }
    }
    Ok(())
}
