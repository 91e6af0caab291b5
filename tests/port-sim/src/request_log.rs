//! Every request that came to Port's routes, with its time and what was answered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A request to one of Port's routes (`/v1/…`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Counts up from 1, in the order in which the requests arrived.
    pub id: u64,
    /// When its head had arrived.
    pub received_at: Timestamp,
    /// The same, on a clock that never jumps: since [`PortSim::started_at`](crate::PortSim::started_at).
    /// As JSON, `receivedAfterSeconds`.
    #[serde(rename = "receivedAfterSeconds", with = "crate::seconds")]
    pub received_after: Duration,
    /// `GET`, `POST`, …
    pub method: String,
    /// The path, percent-encoded as it was sent.
    pub path: String,
    /// The query without its question mark, as it was sent.
    pub query: Option<String>,
    /// The header `User-Agent`.
    pub user_agent: Option<String>,
    /// The body, if it is JSON and not larger than Port accepts.
    pub body: Option<Arc<Value>>,
    /// The size of the body in bytes.
    pub body_bytes: usize,
    /// The status that was answered. `None` while there is no answer, if the connection was dropped
    /// instead, or if the client went away before.
    pub status: Option<u16>,
    /// When the answer began, on the clock of `received_after`. As JSON, `answeredAfterSeconds`.
    #[serde(rename = "answeredAfterSeconds", with = "crate::seconds::optional")]
    pub answered_after: Option<Duration>,
    /// The `X-Trace-Id` of the answer.
    pub trace_id: String,
    /// The name of the fault that it met.
    pub fault: Option<String>,
}

impl Request {
    /// Whether this is a request for an access token.
    #[must_use]
    pub fn is_token_request(&self) -> bool {
        self.path == "/v1/auth/access_token"
    }
}

/// The newest requests, as many as there is room for.
#[derive(Debug)]
pub(crate) struct RequestLog {
    started: Instant,
    capacity: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    last_id: u64,
    requests: VecDeque<Request>,
}

impl RequestLog {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { started: Instant::now(), capacity, inner: Mutex::default() }
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Records an arrival, and gives the id by which to add to it.
    pub(crate) fn arrived(&self, mut request: Request) -> u64 {
        let mut inner = self.inner.lock();
        inner.last_id += 1;
        request.id = inner.last_id;
        inner.requests.push_back(request);
        while inner.requests.len() > self.capacity {
            inner.requests.pop_front();
        }
        inner.last_id
    }

    /// Adds to a request, unless it was forgotten meanwhile.
    pub(crate) fn update(&self, id: u64, change: impl FnOnce(&mut Request)) {
        let mut inner = self.inner.lock();
        // Ids are in order, and the newest is most likely the one.
        let found = inner.requests.iter_mut().rev().find(|known| known.id <= id);
        if let Some(request) = found.filter(|known| known.id == id) {
            change(request);
        }
    }

    pub(crate) fn requests_after(&self, id: u64) -> Vec<Request> {
        let inner = self.inner.lock();
        inner.requests.iter().filter(|request| request.id > id).cloned().collect()
    }

    pub(crate) fn clear(&self) {
        self.inner.lock().requests.clear();
    }
}
