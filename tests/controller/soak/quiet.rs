//! Requests end: when everything is delivered, neither the API server nor Port gets further requests.

use std::time::{Duration, Instant};

use axum::http::Request;
use cluster::{DEADLINE, wait_for};

use crate::TestResult;
use crate::fixture::Installation;

/// How long no request may arrive.
const QUIET: Duration = Duration::from_secs(20);

/// Waits until no request about records or incidents arrives for a while: neither at the API server nor at Port.
pub async fn no_more_requests(setup: &Installation) -> TestResult {
    let client = setup.client().await?;
    let mut last = (String::new(), Instant::now());
    wait_for(format!("no request for {QUIET:?}"), DEADLINE, async || {
        let metrics = client.request_text(Request::get("/metrics").body(Vec::new())?).await?;
        let last_write =
            setup.port.requests().iter().rev().find(|request| request.method != "GET").map(|write| write.id);
        let counted = format!("{}\nlast write to Port: {last_write:?}", requests(&metrics));
        if counted != last.0 {
            let before = std::mem::replace(&mut last, (counted, Instant::now())).0;
            let (before, now): (Vec<&str>, Vec<&str>) = (before.lines().collect(), last.0.lines().collect());
            let changed: Vec<_> = now.iter().filter(|line| !before.contains(line)).collect();
            Err(format!("{changed:?}"))?;
        }
        Ok((last.1.elapsed() >= QUIET).then_some(()))
    })
    .await?;
    Ok(())
}

/// The counters of single requests about our resources, one line each.
fn requests(metrics: &str) -> String {
    let is_ours = |line: &&str| {
        line.starts_with("apiserver_request_total{")
            && line.contains("group=\"dora.port.io\"")
            && !line.contains("verb=\"WATCH\"")
            && !line.contains("verb=\"LIST\"")
    };
    metrics.lines().filter(is_ours).collect::<Vec<_>>().join("\n")
}
