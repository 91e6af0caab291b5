//! Workloads of any kind as objects of the API server: targets of Events, and whether they exist.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{ApiResource, DynamicObject, ObjectMeta};
use kube::core::DynamicResourceScope;
use kube::{Api, Client, Resource};
use rollout::WorkloadKind;

/// The identity of a workload of any kind, such as the target of an Event.
#[derive(Clone, Debug)]
pub struct WorkloadObject {
    kind: WorkloadKind,
    metadata: ObjectMeta,
}

impl WorkloadObject {
    /// The workload of this kind with this namespace, name and UID.
    #[must_use]
    pub fn new(kind: WorkloadKind, namespace: &str, name: &str, uid: &str) -> Self {
        let metadata = ObjectMeta {
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            uid: Some(uid.to_owned()),
            ..ObjectMeta::default()
        };
        Self { kind, metadata }
    }
}

impl Resource for WorkloadObject {
    type DynamicType = WorkloadKind;
    type Scope = DynamicResourceScope;

    fn kind(kind: &WorkloadKind) -> Cow<'_, str> {
        kind.as_str().into()
    }

    fn group(kind: &WorkloadKind) -> Cow<'_, str> {
        kind.api_version().split_once('/').map_or("", |(group, _)| group).into()
    }

    fn version(kind: &WorkloadKind) -> Cow<'_, str> {
        kind.api_version().split_once('/').map_or(kind.api_version(), |(_, version)| version).into()
    }

    /// The plurals of all kinds are regular.
    fn plural(kind: &WorkloadKind) -> Cow<'_, str> {
        format!("{}s", kind.as_str().to_ascii_lowercase()).into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    /// The reference has the kind of this workload. The argument is ignored, because the event recorder passes the default kind.
    fn object_ref(&self, _: &WorkloadKind) -> ObjectReference {
        let ObjectMeta { namespace, name, uid, .. } = self.metadata.clone();
        ObjectReference {
            api_version: Some(self.kind.api_version().to_owned()),
            kind: Some(self.kind.as_str().to_owned()),
            namespace,
            name,
            uid,
            ..ObjectReference::default()
        }
    }
}

/// Whether a workload exists, from its metadata alone.
///
/// # Errors
/// If the API server can't be reached or refuses the request.
pub async fn workload_exists(
    client: &Client,
    namespace: &str,
    kind: WorkloadKind,
    name: &str,
) -> Result<bool, kube::Error> {
    let resource = ApiResource::erase::<WorkloadObject>(&kind);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    Ok(api.get_metadata_opt(name).await?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_has_the_kind_of_the_workload() {
        let object = WorkloadObject::new(WorkloadKind::StatefulSet, "shop", "db", "u");
        let reference = object.object_ref(&WorkloadKind::default());
        let text = |text: &str| Some(text.to_owned());
        assert_eq!((reference.api_version, reference.kind), (text("apps/v1"), text("StatefulSet")));
        assert_eq!((reference.namespace, reference.name, reference.uid), (text("shop"), text("db"), text("u")));
    }

    #[test]
    fn each_kind_has_the_path_of_the_api_server() {
        for (kind, path) in [
            (WorkloadKind::Deployment, "/apis/apps/v1/namespaces/shop/deployments"),
            (WorkloadKind::StatefulSet, "/apis/apps/v1/namespaces/shop/statefulsets"),
            (WorkloadKind::DaemonSet, "/apis/apps/v1/namespaces/shop/daemonsets"),
        ] {
            assert_eq!(WorkloadObject::url_path(&kind, Some("shop")), path);
        }
    }
}
