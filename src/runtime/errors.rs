//! Errors of the API server that several parts of the controller handle alike.

use kube::core::Status;

/// The cause that the API server states when it refuses to create an object in a namespace that is being deleted:
/// `NamespaceTerminatingCause` in `k8s.io/api/core/v1`, set by the admission plugin `NamespaceLifecycle`.
const NAMESPACE_TERMINATING: &str = "NamespaceTerminating";

/// Whether the API server refused to create an object because its namespace is being deleted.
///
/// A retry can't succeed, and the objects that already exist in the namespace are deleted too.
#[must_use]
pub fn is_namespace_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == NAMESPACE_TERMINATING)
}

/// Whether the API server refused to create an object because its namespace is being deleted or doesn't exist.
///
/// What belongs to such a namespace can't be written any more. A namespace that is created again under the same name is another one.
#[must_use]
pub fn is_namespace_gone(error: &kube::Error) -> bool {
    let is_missing = |status: &Status| {
        status.is_not_found() && status.details.as_ref().is_some_and(|details| details.kind == "namespaces")
    };
    is_namespace_terminating(error) || matches!(error, kube::Error::Api(status) if is_missing(status))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn api_error(status: Value) -> kube::Error {
        kube::Error::Api(serde_json::from_value::<Status>(status).unwrap().boxed())
    }

    #[test]
    fn terminating_namespace_is_recognized_by_its_cause() {
        let error = api_error(json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": "doradeployments.dora.port.io \"web-1-01234567\" is forbidden: unable to create new content in \
                        namespace shop because it is being terminated",
            "reason": "Forbidden",
            "details": {
                "name": "web-1-01234567",
                "group": "dora.port.io",
                "kind": "doradeployments",
                "causes": [{
                    "reason": "NamespaceTerminating",
                    "message": "namespace shop is being terminated",
                    "field": "metadata.namespace",
                }],
            },
            "code": 403,
        }));
        assert!(is_namespace_terminating(&error));
    }

    #[test]
    fn missing_namespace_is_recognized_by_its_kind() {
        let not_found = |kind: &str| {
            api_error(json!({
                "status": "Failure", "message": "namespaces \"shop\" not found", "reason": "NotFound", "code": 404,
                "details": {"name": "shop", "kind": kind},
            }))
        };
        assert!(is_namespace_gone(&not_found("namespaces")));
        assert!(!is_namespace_gone(&not_found("doradeployments")));
        assert!(!is_namespace_gone(&kube::Error::LinesCodecMaxLineLengthExceeded));
    }

    #[test]
    fn other_errors_say_nothing_about_the_namespace() {
        let forbidden = json!({"status": "Failure", "message": "no access", "reason": "Forbidden", "code": 403});
        assert!(!is_namespace_terminating(&api_error(forbidden)));
        assert!(!is_namespace_terminating(&kube::Error::LinesCodecMaxLineLengthExceeded));
    }
}
