//! What kind of request it is. Pure.

use std::time::Duration;

use hyper::{Method, Uri};

/// Time after which the API server ends a watch that doesn't ask for a time: the longest that kube allows.
const DEFAULT_WATCH_TIMEOUT: Duration = Duration::from_secs(295);

/// The method of a request, as a label of metrics. A watch is a method of its own, since it lasts.
pub fn label(method: &Method, uri: &Uri) -> &'static str {
    if watch(uri).is_some() {
        return "WATCH";
    }
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// All labels.
pub const LABELS: [&str; 7] = ["GET", "WATCH", "POST", "PUT", "PATCH", "DELETE", "other"];

/// A watch: a request whose response goes on until the API server ends it.
#[derive(Debug, Eq, PartialEq)]
pub struct WatchRequest<'a> {
    /// The resource in the plural: `deployments`.
    pub resource: &'a str,
    /// Time after which the API server ends the watch.
    pub timeout: Duration,
}

/// The watch that `uri` asks for, if it asks for one.
pub fn watch(uri: &Uri) -> Option<WatchRequest<'_>> {
    let parameters = || uri.query().unwrap_or_default().split('&').filter_map(|parameter| parameter.split_once('='));
    if !parameters().any(|(name, value)| name == "watch" && matches!(value, "true" | "1")) {
        return None;
    }
    let seconds = parameters().find(|(name, _)| *name == "timeoutSeconds").and_then(|(_, value)| value.parse().ok());
    let timeout = seconds.map_or(DEFAULT_WATCH_TIMEOUT, Duration::from_secs).min(DEFAULT_WATCH_TIMEOUT);
    Some(WatchRequest { resource: uri.path().rsplit('/').next().unwrap_or_default(), timeout })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_are_recognized_by_their_query() {
        let cases = [
            ("/apis/apps/v1/deployments?&watch=true&timeoutSeconds=290&resourceVersion=7", Some(("deployments", 290))),
            ("/api/v1/namespaces?timeoutSeconds=5&watch=1", Some(("namespaces", 5))),
            ("/api/v1/namespaces?watch=true", Some(("namespaces", 295))),
            ("/api/v1/namespaces?watch=true&timeoutSeconds=86400", Some(("namespaces", 295))),
            ("/api/v1/namespaces?watch=false&timeoutSeconds=5", None),
            ("/api/v1/namespaces/watch=true", None),
            ("/apis/apps/v1/deployments?limit=50", None),
        ];
        for (uri, expected) in cases {
            let uri: Uri = uri.parse().unwrap();
            let expected =
                expected.map(|(resource, seconds)| WatchRequest { resource, timeout: Duration::from_secs(seconds) });
            assert_eq!(watch(&uri), expected, "{uri}");
            assert_eq!(label(&Method::GET, &uri), if expected.is_some() { "WATCH" } else { "GET" }, "{uri}");
        }
    }

    #[test]
    fn every_label_is_registered() {
        let uri = Uri::from_static("/apis/apps/v1/deployments");
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD] {
            assert!(LABELS.contains(&label(&method, &uri)), "{method}");
        }
    }
}
