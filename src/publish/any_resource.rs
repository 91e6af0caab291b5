//! Random resources, near the bounds of the schema and beyond them, go through everything that handles a resource without I/O.
//!
//! The resources are those that the API server may have: what the present rules accept, and what older rules accepted. None of them may
//! end the process, and the present rules accept none that can't be decoded.

use jiff::Timestamp;
use kube::{CustomResourceExt, Resource as _};
use kube_cel::{Validator, compile_schema};
use port_client::Blueprint;
use rollout::{Metadata, MetadataSources, is_supported_time, read_metadata, test_support};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::finalizer::Terminating;
use super::{BuildInput, CommonStatus, Publishable, build};
use crate::incidents::IncidentTimes;
use crate::incidents::automatic::IncidentIndex;
use crate::records::{RecordState, Records};
use crate::resources::{DoraDeployment, DoraIncident, Guarded, ResourceKey, SlimDoraDeployment, SlimDoraIncident};
use crate::settings::{ActiveSettings, FileSettings};

/// Random resources of each kind. The number of a resource is its seed.
const RESOURCES: u64 = 600;

/// Times that the API server stores in a field with the format `date-time`.
const TIMES: [&str; 16] = [
    "2026-01-31T12:00:00Z",
    "2026-01-31T12:00:01Z",
    "2026-02-28T12:00:00+05:30",
    "1970-01-01T00:00:00Z",
    "2199-12-31T23:59:59.999999999Z",
    "2026-01-31T12:00:00.1234567890123456789Z",
    "2026-01-31T12:00:00+24:00",
    "2026-01-31t12:00:00z",
    "1969-12-31T23:59:59Z",
    "0000-01-01T00:00:00Z",
    "2200-01-01T00:00:00Z",
    "9999-12-30T22:00:00Z",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-23:59",
    "2026-01-31T12:00:00+26:00",
    "2026-01-31T12:00:00-99:99",
];

/// How many of [`TIMES`] the present rules accept: they come first.
const ACCEPTED_TIMES: usize = 7;

const TEXTS: [&str; 14] = [
    "web",
    "a",
    "9223372036854775808",
    "-1",
    "",
    " ",
    "ü/\u{0}\"\\",
    "{}",
    "null",
    "..",
    "a:b@c",
    "Payments API",
    "0x1",
    "\u{10ffff}",
];

const NUMBERS: [i64; 9] = [0, 1, 2, 60, -1, i64::MIN, i64::MAX, 2_147_483_647, 4_294_967_296];

/// The current times of the controller, whose clock may be wrong.
fn clocks() -> [Timestamp; 4] {
    ["2026-02-01T00:00:00Z", "1970-01-01T00:00:00Z", "2199-12-31T23:59:59Z", "-009999-01-02T01:59:59Z"]
        .map(|time| time.parse().unwrap())
}

/// Makes resources from the schema of their CustomResourceDefinition.
struct Generator {
    random: fastrand::Rng,
    /// Whether also what the present rules refuse is generated.
    is_wild: bool,
}

impl Generator {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let is_wild = random.bool();
        Self { random, is_wild }
    }

    fn chance(&mut self, in_ten: u8) -> bool {
        self.random.u8(0..10) < in_ten
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.random.usize(0..of.len())]
    }

    /// A value with this schema.
    fn value(&mut self, schema: &Value) -> Value {
        if schema["nullable"] == true && self.chance(1) {
            return Value::Null;
        }
        if let Some(values) = schema["enum"].as_array() {
            return self.pick(values).clone();
        }
        if schema["x-kubernetes-preserve-unknown-fields"] == true {
            return self.free_form(0);
        }
        match schema["type"].as_str() {
            Some("object") => self.object(schema),
            Some("array") => (0..self.random.usize(0..3)).map(|_| self.value(&schema["items"])).collect(),
            Some("integer") => self.integer(schema).into(),
            Some("boolean") => self.random.bool().into(),
            _ if schema["format"] == "date-time" => self.time().into(),
            _ => self.text(schema).into(),
        }
    }

    fn object(&mut self, schema: &Value) -> Value {
        let mut object = Map::new();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            if required.contains(&name.as_str().into()) || self.chance(5) {
                let is_of_kubernetes = name == "lastTransitionTime";
                let value = if is_of_kubernetes { self.kubernetes_time().into() } else { self.value(field) };
                object.insert(name.clone(), value);
            }
        }
        if schema["additionalProperties"].is_object() {
            for _ in 0..self.random.usize(0..3) {
                let name = self.pick(&["status", "started_at", "x", "", "$title"]).to_string();
                object.insert(name, self.value(&schema["additionalProperties"]));
            }
        }
        object.into()
    }

    fn integer(&mut self, schema: &Value) -> i64 {
        let bounds = match schema["format"].as_str() {
            Some("int32") => i64::from(i32::MIN)..=i64::from(i32::MAX),
            _ => i64::MIN..=i64::MAX,
        };
        let minimum = schema["minimum"].as_f64().unwrap_or(f64::NEG_INFINITY);
        #[expect(clippy::cast_precision_loss, reason = "a minimum is a small number")]
        let is_valid = |number: &i64| bounds.contains(number) && *number as f64 >= minimum;
        let valid: Vec<i64> = NUMBERS.into_iter().filter(is_valid).collect();
        *self.pick(&valid)
    }

    fn time(&mut self) -> &'static str {
        let times = if self.is_wild { TIMES.len() } else { ACCEPTED_TIMES };
        TIMES[self.random.usize(0..times)]
    }

    /// A time in a type of Kubernetes, which our rules don't bound.
    fn kubernetes_time(&mut self) -> &'static str {
        if self.is_wild { self.time() } else { TIMES[0] }
    }

    fn text(&mut self, schema: &Value) -> String {
        let length = |name: &str| schema[name].as_u64().and_then(|length| usize::try_from(length).ok());
        if self.chance(7) {
            return "web".to_owned();
        }
        let text = match length("maxLength") {
            Some(length) if self.chance(3) => "x".repeat(length),
            _ => self.pick(&TEXTS).to_string(),
        };
        if text.len() < length("minLength").unwrap_or_default() { "x".to_owned() } else { text }
    }

    /// Any JSON that the API server may have below `properties` and `relations`.
    fn free_form(&mut self, depth: usize) -> Value {
        match self.random.u8(0..8) {
            0 => Value::Null,
            1 => (*self.pick(&NUMBERS)).into(),
            2 => json!(self.pick(&[1e300, -1e-300, 0.5, 9.223_372_036_854_776e18])),
            3 => self.pick(&TIMES).to_string().into(),
            4 => self.random.bool().into(),
            5 if depth < 4 => vec![self.free_form(depth + 1)].into(),
            6 if depth < 4 => json!({ self.pick(&TEXTS).to_string(): self.free_form(depth + 1) }),
            _ => self.pick(&TEXTS).to_string().into(),
        }
    }

    fn metadata(&mut self) -> Value {
        let mut metadata = json!({
            "name": "web-7-01234567", "namespace": "shop", "uid": "4b1c3d52", "resourceVersion": "1",
            "generation": self.pick(&[1, 2, i64::MAX]), "creationTimestamp": "2026-01-31T10:00:00Z",
            "annotations": {
                "dora.port.io/commit-time": self.pick(&TIMES), "dora.port.io/uid": self.pick(&TEXTS), "other": self.pick(&TEXTS),
                "deployment.kubernetes.io/revision": self.pick(&TEXTS),
            },
            "labels": {"dora.port.io/opened-by": self.pick(&["FailedRollout", "x", ""]), "dora.port.io/workload": "web"},
        });
        let time = self.kubernetes_time();
        if self.chance(5) {
            metadata["managedFields"] = json!([{
                "manager": "m", "operation": "Update", "time": time, "fieldsV1": {"f:spec": {"f:status": {}}},
            }]);
        }
        if self.chance(1) {
            metadata["deletionTimestamp"] = "2026-02-01T00:00:00Z".into();
            metadata["finalizers"] = json!(["dora.port.io/entity"]);
        }
        metadata
    }

    fn resource(&mut self, crd: &Value) -> Value {
        let properties = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        let (spec, status) = (self.value(&properties["spec"]), self.value(&properties["status"]));
        json!({
            "apiVersion": "dora.port.io/v1alpha1", "kind": crd["spec"]["names"]["kind"],
            "metadata": self.metadata(), "spec": spec, "status": if self.chance(2) { Value::Null } else { status },
        })
    }
}

/// `value` without fields that are null: for the rules of the API server, they are absent.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let present = fields.iter().filter(|(_, value)| !value.is_null());
            present.map(|(name, value)| (name.clone(), without_nulls(value))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

fn decoded<K: DeserializeOwned>(resource: &Value) -> Guarded<K> {
    serde_json::from_str(&resource.to_string()).unwrap()
}

/// Passes a resource through the stages of the publisher that have no I/O.
fn publish<R: Publishable>(resource: &R, settings: &ActiveSettings) {
    let blueprint: Blueprint = serde_json::from_value(json!({
        "identifier": "b", "relations": {"deployment": {"target": "dora_deployment"}},
        "schema": {"properties": {"status": {"type": "string", "enum": ["open"]}, "revision": {"type": "number"}}},
    }))
    .unwrap();
    let _ = (resource.hold(&settings.file), Terminating::of(resource));
    for now in clocks() {
        for blueprint in [None, Some(&blueprint)] {
            let built = build(resource, &BuildInput { settings, blueprint, now });
            serde_json::to_string(&built.entity).unwrap();
        }
        for common in [resource.common_status(), CommonStatus::default()] {
            let status = serde_json::to_value(resource.with_common_status(common, now)).unwrap();
            let stored = decoded::<R>(&json!({"metadata": {}, "spec": {"outcome": "InProgress"}, "status": status}));
            assert!(stored.0.is_ok(), "the controller can't read its own status: {status}");
        }
    }
}

/// Generates resources of one kind, and passes those that can be decoded to `handle`. Returns how many of them the present rules accept.
fn check<R: Publishable + CustomResourceExt>(handle: impl Fn(&Value, Option<&R>)) -> usize {
    let crd = serde_json::to_value(R::crd()).unwrap();
    let schema = compile_schema(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]);
    assert!(!schema.has_errors(), "{:?}", schema.compilation_errors());
    let settings = ActiveSettings::new("prod".to_owned(), FileSettings::default(), false);
    let (validator, mut accepted) = (Validator::new(), 0);
    for seed in 0..RESOURCES {
        let mut generator = Generator::new(seed);
        let resource = generator.resource(&crd);
        let is_accepted =
            !generator.is_wild && validator.validate_compiled(&schema, &without_nulls(&resource), None).is_ok();
        accepted += usize::from(is_accepted);
        let Guarded(decoded) = decoded::<R>(&resource);
        match &decoded {
            Ok(decoded) => publish(decoded, &settings),
            Err(undecodable) => {
                assert!(!is_accepted, "{seed}: {undecodable}: {resource:#}");
                let _ = (undecodable.delivery_state(), Terminating::<R>::of_undecodable(undecodable));
            }
        }
        handle(&resource, decoded.as_ref().ok());
    }
    accepted
}

#[test]
fn any_incident_is_handled() {
    let accepted = check(|resource, incident: Option<&DoraIncident>| {
        let Guarded(slim) = decoded::<SlimDoraIncident>(resource);
        let (slim, index) = (slim.unwrap(), IncidentIndex::default());
        let _ = slim.delivery_state("settings", false);
        for now in clocks() {
            index.applied(&slim, now);
            if let Some(incident) = incident {
                let times = IncidentTimes::of(incident, now);
                assert!(times.resolved.is_none_or(|time| is_supported_time(time) || time == now), "{times:?}");
            }
        }
        index.deleted(&ResourceKey::of(slim.meta()).unwrap());
    });
    assert!(accepted > 30, "only {accepted} resources are accepted by the rules");
}

#[test]
fn any_deployment_is_handled() {
    let settings = ActiveSettings::new("prod".to_owned(), FileSettings::default(), false);
    let accepted = check(|resource, _: Option<&DoraDeployment>| {
        let Guarded(slim) = decoded::<SlimDoraDeployment>(resource);
        let (slim, records) = (slim.unwrap(), Records::default());
        if let Some((key, uid)) = records.apply(&slim, RecordState::of(&slim, &settings)) {
            let durations = records.revisions(&key, &uid).into_iter().map(|revision| revision.duration_seconds());
            assert!(durations.flatten().all(|seconds| seconds >= 0));
            assert!(records.in_namespace("shop", |_, _| true).len() <= 1);
        }
        records.delete(&slim);
    });
    assert!(accepted > 30, "only {accepted} resources are accepted by the rules");
}

#[test]
fn any_annotation_is_read_or_omitted_with_a_warning() {
    for text in TIMES.iter().chain(&TEXTS).chain(&["-000001-01-01T00:00:00Z", "253402207200", "9".repeat(400).as_str()])
    {
        let keys =
            ["commit-time", "environment", "group", "service", "commit-sha", "repository", "deployment-type", "ignore"];
        let annotations: Metadata = keys.into_iter().map(|key| (key, *text)).collect();
        let workload = test_support::deployment(1);
        let revision = rollout::Revision { annotations, ..test_support::replica_set("web-1", 1, 0) };
        let none = Metadata::default();
        let metadata = read_metadata(&MetadataSources::new(&workload, &revision, &none, &none));
        assert!(metadata.commit_time.is_none_or(is_supported_time), "{text}");
        let is_empty = text.trim().is_empty();
        let has_warning = metadata.warnings.iter().any(|warning| warning.contains("commit-time"));
        assert_eq!(metadata.commit_time.is_none() && !is_empty, has_warning, "{text}");
    }
}
