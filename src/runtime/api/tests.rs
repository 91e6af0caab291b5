use std::convert::Infallible;

use futures::stream::{self, BoxStream, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::{Request, Response};
use kube::client::Body;
use tokio::time::Instant;
use tower::{ServiceExt, service_fn};

use super::*;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Sends a GET request that gets this answer, and returns how it ended, and after how many seconds.
async fn get(
    uri: &str,
    answer: impl Future<Output = Answer> + Send + 'static,
    metrics: &Arc<Metrics>,
    activity: &Arc<WatchActivity>,
) -> (String, u64) {
    let started = Instant::now();
    let mut answer = Some(answer);
    let server = service_fn(move |_: Request<Body>| answer.take().unwrap());
    let deadlines = Deadlines { timeout: TIMEOUT, metrics: Arc::clone(metrics), activity: Arc::clone(activity) };
    let request = Request::get(uri).body(Body::empty()).unwrap();
    let answered = async {
        let response = Deadline { inner: Counted { inner: server, metrics: Arc::clone(metrics) }, deadlines }
            .oneshot(request)
            .await?;
        Ok::<_, BoxError>(response.into_body().collect().await?.to_bytes())
    };
    let text = match answered.await {
        Ok(body) => String::from_utf8(body.to_vec()).unwrap(),
        Err(error) => error.to_string(),
    };
    (text, started.elapsed().as_secs())
}

type FrameStream = BoxStream<'static, Result<Frame<Bytes>, Infallible>>;
type Answer = Result<Response<StreamBody<FrameStream>>, BoxError>;

/// An answer with this status, and with a frame every 10 s without end.
fn endless(status: u16) -> Answer {
    let frames = stream::repeat_with(|| Ok(Frame::data(Bytes::from("{}\n")))).then(|frame| async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        frame
    });
    Ok(Response::builder().status(status).body(StreamBody::new(frames.boxed()))?)
}

fn sample(metrics: &Metrics, name: &str) -> Option<u64> {
    metrics.text().unwrap().lines().find_map(|line| line.strip_prefix(&format!("{name} "))?.parse().ok())
}

#[tokio::test(start_paused = true)]
async fn request_without_an_answer_ends_in_time() {
    let (metrics, activity) = (Arc::new(Metrics::default()), Arc::default());
    let (text, seconds) = get("/api/v1/namespaces/shop", std::future::pending(), &metrics, &activity).await;
    assert_eq!(seconds, 30);
    assert!(text.starts_with("the API server did not answer completely within 30 s"), "{text}");
    assert_eq!(sample(&metrics, "port_dora_api_request_timeouts_total{method=\"GET\"}"), Some(1));
    assert_eq!(sample(&metrics, "port_dora_api_requests_total{method=\"GET\",status=\"none\"}"), Some(1));
}

#[tokio::test(start_paused = true)]
async fn answer_that_does_not_end_is_cut_off() {
    let (metrics, activity) = (Arc::new(Metrics::default()), Arc::default());
    let (text, seconds) = get("/api/v1/namespaces?limit=50", async { endless(200) }, &metrics, &activity).await;
    assert_eq!(seconds, 30);
    assert!(text.starts_with("the API server did not answer completely within 30 s"), "{text}");
    assert_eq!(sample(&metrics, "port_dora_api_request_timeouts_total{method=\"GET\"}"), Some(1));
    assert_eq!(sample(&metrics, "port_dora_api_requests_total{method=\"GET\",status=\"2xx\"}"), Some(1));
}

#[tokio::test(start_paused = true)]
async fn watch_ends_soon_after_its_own_time() {
    let (metrics, activity) = (Arc::new(Metrics::default()), Arc::new(WatchActivity::default()));
    activity.start("namespaces");
    let uri = "/api/v1/namespaces?watch=true&timeoutSeconds=290";
    let (_, seconds) = get(uri, async { endless(200) }, &metrics, &activity).await;
    assert_eq!(seconds, 293);
    assert_eq!(sample(&metrics, "port_dora_api_request_timeouts_total{method=\"WATCH\"}"), Some(1));
    assert_eq!(activity.ages(), [("namespaces".to_owned(), Duration::from_secs(3))], "each frame is noted");
}

#[tokio::test(start_paused = true)]
async fn refused_watch_is_no_activity() {
    let (metrics, activity) = (Arc::new(Metrics::default()), Arc::new(WatchActivity::default()));
    activity.start("namespaces");
    let uri = "/api/v1/namespaces?watch=true&timeoutSeconds=290";
    let (_, seconds) = get(uri, async { endless(403) }, &metrics, &activity).await;
    assert_eq!((seconds, activity.ages()[0].1.as_secs()), (30, 30));
    assert_eq!(sample(&metrics, "port_dora_api_requests_total{method=\"WATCH\",status=\"4xx\"}"), Some(1));
}
