//! A Deployment as a user's manifest has it.

use serde_json::{Value, json};

/// A Deployment as a user's manifest has it.
#[derive(Clone)]
pub struct Web {
    pub name: &'static str,
    pub image: &'static str,
    pub replicas: i32,
    /// `progressDeadlineSeconds`. By default so long that a slow machine doesn't fail a rollout.
    pub deadline: i32,
    /// When a pod gets ready, as a Go duration; empty: at once. Part of the pod template.
    pub ready_after: &'static str,
    /// Whether the old pods go before the new ones come.
    pub recreate: bool,
    pub paused: bool,
    /// Further fields of the pod's `spec`, and others of the container `app`.
    pub pod: Value,
    pub container: Value,
}

impl Default for Web {
    fn default() -> Self {
        Self {
            name: "web",
            image: "app:v1",
            replicas: 1,
            deadline: 600,
            ready_after: "",
            recreate: false,
            paused: false,
            pod: json!({}),
            container: json!({}),
        }
    }
}

impl Web {
    pub fn image(image: &'static str) -> Self {
        Self { image, ..Self::default() }
    }

    /// An image that can't be pulled, with a deadline of 2 s: as times are whole seconds, one of 1 s can be over at once.
    pub fn broken() -> Self {
        Self { image: "app:broken", deadline: 2, ..Self::default() }
    }

    pub fn manifest(&self) -> String {
        let Self { name, image, replicas, deadline, ready_after, recreate, paused, pod, container } = self;
        let mut app = json!({"name": "app", "image": image});
        extend(&mut app, container);
        let mut spec = json!({"terminationGracePeriodSeconds": 0, "containers": [app]});
        extend(&mut spec, pod);
        let annotations = if ready_after.is_empty() { json!({}) } else { json!({"test/ready-after": ready_after}) };
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                "replicas": replicas,
                "progressDeadlineSeconds": deadline,
                "paused": paused,
                "strategy": {"type": if *recreate { "Recreate" } else { "RollingUpdate" }},
                "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": {"app": name}, "annotations": annotations}, "spec": spec},
            },
        })
        .to_string()
    }
}

/// Sets these fields of an object.
fn extend(object: &mut Value, fields: &Value) {
    for (name, value) in fields.as_object().into_iter().flatten() {
        object[name] = value.clone();
    }
}
