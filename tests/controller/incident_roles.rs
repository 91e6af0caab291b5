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
    let ask = async |role: &str, verb: &str, resource: &str, place: &str, further: &[&str]| {
        let account = format!("--as=system:serviceaccount:{namespace}:{role}");
        let resource = format!("{resource}.dora.port.io");
        let arguments = ["--namespace", place, "auth", "can-i", verb, &resource, &account];
        let arguments: Vec<&str> = arguments.into_iter().chain(further.iter().copied()).collect();
        on.kubectl(arguments).await.is_ok_and(|answer| answer.trim() == "yes")
    };
    let can = async |role: &str, verb: &str, resource: &str, place: &str| ask(role, verb, resource, place, &[]).await;
    // The controller manager puts the roles together.
    wait_for("the roles to be put together", DEADLINE, async || {
        let view = can("view", "list", "doraincidents", &namespace).await;
        Ok((view
            && can("edit", "create", "doraincidents", &namespace).await
            && can("admin", "create", "doraincidents", &namespace).await)
            .then_some(()))
    })
    .await?;
    for resource in ["doraincidents", "doradeployments"] {
        for verb in ["get", "list", "watch"] {
            for role in ["view", "edit", "admin"] {
                assert!(can(role, verb, resource, &namespace).await, "{role} {verb} {resource}");
            }
        }
        for verb in ["create", "update", "patch", "delete"] {
            assert!(!can("view", verb, resource, &namespace).await, "view {verb} {resource}");
            for role in ["edit", "admin"] {
                assert!(can(role, verb, resource, &namespace).await, "{role} {verb} {resource}");
                assert!(!can(role, verb, resource, &elsewhere).await, "elsewhere: {role} {verb} {resource}");
            }
        }
        for role in ["view", "edit", "admin"] {
            for verb in ["update", "patch"] {
                let status = ["--subresource=status"];
                assert!(!ask(role, verb, resource, &namespace, &status).await, "{role} {verb} {resource}/status");
            }
        }
    }
    Ok(())
}
