//! Errors of the API server that several parts of the controller handle alike.

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

#[cfg(test)]
mod tests {
    use kube::core::Status;
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
    fn other_errors_say_nothing_about_the_namespace() {
        let forbidden = json!({"status": "Failure", "message": "no access", "reason": "Forbidden", "code": 403});
        assert!(!is_namespace_terminating(&api_error(forbidden)));
        assert!(!is_namespace_terminating(&kube::Error::LinesCodecMaxLineLengthExceeded));
    }
}
