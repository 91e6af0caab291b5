//! The manifest of a Deployment, as a user writes it.

use serde_json::{Value, json};

/// The manifest of a Deployment, as a user writes it.
#[derive(Clone)]
pub struct Web {
    pub name: &'static str,
    pub image: &'static str,
    pub replicas: i32,
    /// `progressDeadlineSeconds`. The default is so long that no rollout exceeds it on a slow machine.
    pub deadline: i32,
    /// The time until a pod is ready, as a Go duration. Empty means at once. Part of the pod template.
    pub ready_after: &'static str,
    /// Whether the strategy is Recreate, which removes the old pods before it creates new ones.
    pub recreate: bool,
    pub paused: bool,
    /// Further fields of the `spec` of the pod.
    pub pod: Value,
    /// Further fields of the container `app`.
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

    /// An image that can't be pulled, with a deadline of 2 s. Times are whole seconds, so a deadline of 1 s can pass at
    /// once.
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
