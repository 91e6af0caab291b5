//! Faults: rules that make requests fail.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::Method;
use parking_lot::Mutex;
use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;

/// A rule: which requests it applies to, and what happens to them.
///
/// ```
/// use port_sim::{Effect, Fault};
///
/// let twice_unavailable = Fault::new(Effect::status(503))
///     .method("POST")
///     .path_prefix("/v1/blueprints/dora_deployment/")
///     .times(2);
/// ```
///
/// The same as JSON, for the control API:
///
/// ```json
/// {"method": "POST", "pathPrefix": "/v1/blueprints/dora_deployment/", "times": 2,
///  "effect": {"kind": "answer", "status": 503}}
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// Its name in the request log. Default: the kind of its effect.
    #[serde(default)]
    pub name: Option<String>,
    /// Applies only to requests with this method.
    #[serde(default)]
    pub method: Option<String>,
    /// Applies only to requests whose path, percent-encoded as it was sent, starts with this text.
    #[serde(default)]
    pub path_prefix: Option<String>,
    /// Applies only to requests whose path contains a match of this regular expression.
    #[serde(default)]
    pub path_regex: Option<String>,
    /// Applies only to requests whose body contains this text, byte for byte.
    #[serde(default)]
    pub body_contains: Option<String>,
    /// The number of requests that it applies to. Default: until it is cleared.
    #[serde(default)]
    pub times: Option<u32>,
    /// The delay before anything else happens. In JSON: `delaySeconds`.
    #[serde(default, rename = "delaySeconds", with = "crate::seconds")]
    pub delay: Duration,
    /// Headers of the answer. They replace existing headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// What happens to the request.
    pub effect: Effect,
}

/// What happens to a request that a [`Fault`] applies to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Effect {
    /// The request is handled normally, with the delay and the headers of the fault.
    Handle,
    /// The request is handled normally when the fault is cleared.
    HandleOnceCleared,
    /// The request is not handled. The answer has this status and a JSON body.
    Answer {
        /// From 200 to 599.
        status: u16,
        /// The body. Default: the error body of Port, `{"ok":false,"error","message"}`.
        #[serde(default)]
        body: Option<Value>,
    },
    /// The request is not handled. The answer is this text, like that of a proxy.
    AnswerText {
        /// From 200 to 599.
        status: u16,
        /// The media type, such as `text/html`.
        content_type: String,
        /// The text.
        body: String,
    },
    /// The request is not handled, and the connection is closed without an answer.
    DropBeforeHandling,
    /// The request is handled (a write is stored), and the connection is closed without an answer.
    DropAfterHandling,
    /// The request is handled (a write is stored), and no answer is sent until the connection ends.
    NeverAnswer,
    /// The request is handled, and the connection is closed after the head and half of the body of the answer.
    HalfAnswer,
}

impl Effect {
    /// An answer with this status and the error body of Port.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::Answer { status, body: None }
    }

    /// An answer with this status and JSON body.
    #[must_use]
    pub fn answer(status: u16, body: Value) -> Self {
        Self::Answer { status, body: Some(body) }
    }

    /// An answer with an HTML page, like that of a proxy or load balancer.
    #[must_use]
    pub fn html(status: u16) -> Self {
        Self::AnswerText {
            status,
            content_type: "text/html".to_owned(),
            body: "<html><body><h1>Not the answer that you are looking for</h1></body></html>".to_owned(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Handle => "handle",
            Self::HandleOnceCleared => "handleOnceCleared",
            Self::Answer { .. } => "answer",
            Self::AnswerText { .. } => "answerText",
            Self::DropBeforeHandling => "dropBeforeHandling",
            Self::DropAfterHandling => "dropAfterHandling",
            Self::NeverAnswer => "neverAnswer",
            Self::HalfAnswer => "halfAnswer",
        }
    }
}

impl Fault {
    /// A fault for all requests, until it is cleared.
    #[must_use]
    pub fn new(effect: Effect) -> Self {
        Self {
            name: None,
            method: None,
            path_prefix: None,
            path_regex: None,
            body_contains: None,
            times: None,
            delay: Duration::ZERO,
            headers: BTreeMap::new(),
            effect,
        }
    }

    /// A fault that only delays requests.
    #[must_use]
    pub fn delayed(delay: Duration) -> Self {
        Self::new(Effect::Handle).delay(delay)
    }

    /// Sets the name in the request log.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Restricts the fault to requests with this method.
    #[must_use]
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.method = Some(method.into());
        self
    }

    /// Restricts the fault to requests whose path starts with this text.
    #[must_use]
    pub fn path_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.path_prefix = Some(prefix.into());
        self
    }

    /// Restricts the fault to requests whose path contains a match of this regular expression.
    #[must_use]
    pub fn path_regex(mut self, regex: impl Into<String>) -> Self {
        self.path_regex = Some(regex.into());
        self
    }

    /// Restricts the fault to requests whose body contains this text.
    #[must_use]
    pub fn body_contains(mut self, text: impl Into<String>) -> Self {
        self.body_contains = Some(text.into());
        self
    }

    /// Restricts the fault to this number of requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Sets the delay before anything else happens.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    pub(crate) fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.effect.kind().to_owned())
    }
}

/// Why a fault can't be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FaultError(String);

/// The id of a fault, to clear it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FaultId(pub u64);

/// An active fault, and how many requests have met it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultState {
    /// The id to clear it.
    pub id: FaultId,
    /// The number of requests that have met it.
    pub met: u64,
    /// The rule. Its `times` is the remaining number.
    pub fault: Fault,
}

/// The active faults, in the order in which they were set.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    inner: Mutex<Inner>,
    cleared: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    last_id: u64,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    state: FaultState,
    method: Option<Method>,
    regex: Option<Regex>,
}

impl Faults {
    pub(crate) fn set(&self, fault: Fault) -> Result<FaultId, FaultError> {
        let regex = fault
            .path_regex
            .as_deref()
            .map(Regex::new)
            .transpose()
            .map_err(|error| FaultError(format!("invalid path_regex of the fault: {error}")))?;
        let method = fault
            .method
            .as_deref()
            .map(|method| Method::from_bytes(method.to_ascii_uppercase().as_bytes()))
            .transpose()
            .map_err(|error| FaultError(format!("invalid method of the fault: {error}")))?;
        if let Effect::Answer { status, .. } | Effect::AnswerText { status, .. } = fault.effect
            && !(200..600).contains(&status)
        {
            return Err(FaultError(format!("invalid status {status} of the fault: expected a status from 200 to 599")));
        }
        let mut inner = self.inner.lock();
        inner.last_id += 1;
        let id = FaultId(inner.last_id);
        inner.rules.push(Rule { state: FaultState { id, met: 0, fault }, method, regex });
        Ok(id)
    }

    /// The first fault that applies to this request. Counts the request.
    pub(crate) fn meet(&self, method: &Method, path: &str, body: &[u8]) -> Option<(FaultId, Fault)> {
        let mut inner = self.inner.lock();
        let rule = inner.rules.iter_mut().find(|rule| rule.applies_to(method, path, body))?;
        rule.state.met += 1;
        if let Some(times) = &mut rule.state.fault.times {
            *times -= 1;
        }
        Some((rule.state.id, rule.state.fault.clone()))
    }

    /// Returns when this fault is cleared.
    pub(crate) async fn cleared(&self, id: FaultId) {
        loop {
            let cleared = self.cleared.notified();
            if self.inner.lock().rules.iter().all(|rule| rule.state.id != id) {
                return;
            }
            cleared.await;
        }
    }

    pub(crate) fn states(&self) -> Vec<FaultState> {
        let inner = self.inner.lock();
        inner.rules.iter().map(|rule| rule.state.clone()).collect()
    }

    pub(crate) fn clear(&self) {
        self.inner.lock().rules.clear();
        self.cleared.notify_waiters();
    }

    pub(crate) fn clear_one(&self, id: FaultId) -> bool {
        let mut inner = self.inner.lock();
        let before = inner.rules.len();
        inner.rules.retain(|rule| rule.state.id != id);
        self.cleared.notify_waiters();
        inner.rules.len() < before
    }
}

impl Rule {
    fn applies_to(&self, method: &Method, path: &str, body: &[u8]) -> bool {
        let fault = &self.state.fault;
        fault.times != Some(0)
            && self.method.as_ref().is_none_or(|wanted| wanted == method)
            && fault.path_prefix.as_ref().is_none_or(|prefix| path.starts_with(prefix.as_str()))
            && self.regex.as_ref().is_none_or(|regex| regex.is_match(path))
            && fault.body_contains.as_ref().is_none_or(|text| contains(body, text.as_bytes()))
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}
