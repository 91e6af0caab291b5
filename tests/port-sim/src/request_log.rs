//! The log of all requests to the routes of Port, with their times and answers.

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
    /// The number of the request, in the order of arrival, starting with 1.
    pub id: u64,
    /// When its head arrived.
    pub received_at: Timestamp,
    /// The same on a monotonic clock, since [`PortSim::started_at`](crate::PortSim::started_at). In JSON:
    /// `receivedAfterSeconds`.
    #[serde(rename = "receivedAfterSeconds", with = "crate::seconds")]
    pub received_after: Duration,
    /// The method, such as `GET`.
    pub method: String,
    /// The path, percent-encoded as it was sent.
    pub path: String,
    /// The query without its question mark, as it was sent.
    pub query: Option<String>,
    /// The header User-Agent.
    pub user_agent: Option<String>,
    /// The body, if it is JSON and not too large for Port.
    pub body: Option<Arc<Value>>,
    /// The size of the body in bytes.
    pub body_bytes: usize,
    /// The status of the answer. `None` while there is no answer, or if the connection was closed without one.
    pub status: Option<u16>,
    /// When the answer started, on the clock of `received_after`. In JSON: `answeredAfterSeconds`.
    #[serde(rename = "answeredAfterSeconds", with = "crate::seconds::optional")]
    pub answered_after: Option<Duration>,
    /// The `X-Trace-Id` of the answer.
    pub trace_id: String,
    /// The name of the fault that applied to it.
    pub fault: Option<String>,
}

impl Request {
    /// Whether this is a request for an access token.
    #[must_use]
    pub fn is_token_request(&self) -> bool {
        self.path == "/v1/auth/access_token"
    }
}

/// The newest requests, up to the capacity.
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

    /// Adds a request, and returns its id.
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

    /// Changes a request, if it is still in the log.
    pub(crate) fn update(&self, id: u64, change: impl FnOnce(&mut Request)) {
        let mut inner = self.inner.lock();
        // The ids are sorted, and most often the newest request is searched.
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
