use std::time::{Duration, Instant};

use port_sim::{Limit, Options, RateLimits, ResetFormat};
use serde_json::json;

use crate::client::{Answer, Port, answer};

fn number(answer: &Answer, header: &str) -> u64 {
    answer.header(header).unwrap().parse().unwrap()
}

async fn start(rate_limits: RateLimits) -> Port {
    Port::start_with(Options { rate_limits, ..Options::default() }).await
}

async fn write(port: &Port) -> Answer {
    port.write("dora_deployment", "?upsert=true", &json!({"identifier": "one"})).await
}

#[tokio::test]
async fn answers_have_rate_limit_headers() {
    let port = Port::start().await;
    let first = write(&port).await;
    assert_eq!(number(&first, "x-ratelimit-limit"), 10_000);
    assert_eq!(number(&first, "x-ratelimit-remaining"), 9_999);
    assert_eq!(number(&first, "x-ratelimit-period"), 300);
    assert_eq!(number(&write(&port).await, "x-ratelimit-remaining"), 9_998);
    // Each family of routes has its own limit.
    let bulk =
        port.write_bulk("dora_deployment", "?upsert=true", &json!([{"identifier": "a"}, {"identifier": "b"}])).await;
    assert_eq!(number(&bulk, "x-ratelimit-limit"), 35_000);
    assert_eq!(number(&bulk, "x-ratelimit-remaining"), 34_999);
    let blueprints = port.get("/v1/blueprints").await;
    assert_eq!(number(&blueprints, "x-ratelimit-limit"), 15_000);
    let refused = port.write("dora_deployment", "", &json!({"identifier": "?"})).await;
    assert_eq!(refused.status, 422);
    assert!(refused.header("x-ratelimit-remaining").is_some());
}

#[tokio::test]
async fn requests_beyond_the_limit_are_refused() {
    let port = start(RateLimits {
        single_upsert: Limit { requests: 2, burst: 2 },
        reset: ResetFormat::Seconds,
        ..RateLimits::default()
    })
    .await;
    assert_eq!(write(&port).await.status, 201);
    assert_eq!(write(&port).await.status, 201);
    let refused = write(&port).await;
    refused.refusal(429, "too_many_requests");
    assert_eq!(number(&refused, "x-ratelimit-remaining"), 0);
    let reset = number(&refused, "x-ratelimit-reset");
    assert!((1..=300).contains(&reset), "{reset}");
    assert_eq!(refused.header("retry-after"), None);
    assert_eq!(port.sim.entity("dora_deployment", "one").unwrap().writes, 2);
    // The limits of other families are not affected.
    assert_eq!(port.get("/v1/blueprints").await.status, 200);

    port.sim.set_rate_limits(RateLimits::unlimited());
    assert_eq!(write(&port).await.status, 201);
}

#[tokio::test]
async fn requests_are_accepted_after_the_window() {
    let port = Port::start().await;
    let deadline = Instant::now() + Duration::from_mins(4);
    let mut period = Duration::from_millis(500);
    loop {
        port.sim.set_rate_limits(RateLimits {
            period,
            single_upsert: Limit { requests: 1, burst: 1 },
            ..RateLimits::default()
        });
        assert_eq!(write(&port).await.status, 201);
        if write(&port).await.status == 429 {
            break;
        }
        // The window ended before the second request arrived. Try a longer one.
        period *= 2;
    }
    while write(&port).await.status != 201 {
        assert!(Instant::now() < deadline, "the window doesn't end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn burst_is_refused_within_the_window() {
    let port = start(RateLimits {
        // One request in six minutes, and two more at once.
        period: Duration::from_hours(1),
        single_upsert: Limit { requests: 10, burst: 2 },
        reset: ResetFormat::Seconds,
        retry_after: true,
        ..RateLimits::default()
    })
    .await;
    for _ in 0..3 {
        assert_eq!(write(&port).await.status, 201);
    }
    let refused = write(&port).await;
    refused.refusal(429, "too_many_requests");
    assert_eq!(number(&refused, "x-ratelimit-reset"), 360);
    assert_eq!(number(&refused, "retry-after"), 360);
}

#[tokio::test]
async fn reset_is_given_in_seconds_since_the_epoch() {
    let port = Port::start().await;
    let now = || u64::try_from(jiff::Timestamp::now().as_second()).unwrap();
    let before = now();
    let reset = number(&write(&port).await, "x-ratelimit-reset");
    let after = now();
    assert!((before + 300..=after + 301).contains(&reset), "{reset} between {before} and {after}");
}

#[tokio::test]
async fn requests_without_a_token_have_their_own_limit() {
    let port = start(RateLimits { unauthenticated: Limit { requests: 3, burst: 10 }, ..RateLimits::default() }).await;
    // The first request was the request for the token.
    let anonymous = || answer(port.http.get(format!("{}/v1/blueprints", port.sim.base_url())));
    assert_eq!(anonymous().await.status, 401);
    assert_eq!(anonymous().await.status, 401);
    anonymous().await.refusal(429, "too_many_requests");
    assert_eq!(port.get("/v1/blueprints").await.status, 200);
}
