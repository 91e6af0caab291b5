use std::future::Future;

use axum::body::Bytes;
use axum::routing::post;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;

/// How long a test waits for what must happen.
const DEADLINE: Duration = Duration::from_secs(60);

/// Limits that end nothing during a test.
const GENEROUS: HttpLimits = HttpLimits {
    header: Duration::from_hours(1),
    request: Duration::from_hours(1),
    connection: Duration::from_hours(1),
    connections: 256,
};

/// A server, until it is dropped.
struct Server {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(limits: HttpLimits, frozen: Vec<FrozenPart>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Arc::new(Metrics::default());
        let probes = Probes {
            readiness: Readiness::default(),
            metrics: Arc::clone(&metrics),
            pending: Arc::new(Vec::new),
            frozen: Arc::new(move || frozen.clone()),
            activity: Arc::default(),
        };
        let echo = Router::new().route("/echo", post(|body: Bytes| async move { body }));
        Self { address, metrics, task: tokio::spawn(serve_on(listener, limits, probes, echo)) }
    }

    /// A connection on which `text` was sent.
    async fn connect(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    async fn get(&self, path: &str) -> String {
        received(self.connect(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await).await
    }

    fn closed(&self, reason: &str) -> Option<u64> {
        let name = format!("port_dora_http_connections_closed_total{{reason=\"{reason}\"}} ");
        self.metrics.text().unwrap().lines().find_map(|line| line.strip_prefix(&name)?.parse().ok())
    }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("it did not happen in time")
}

/// Everything that the server sends until it closes the connection. A reset closes it too.
async fn received(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = in_time(stream.read_to_end(&mut bytes)).await;
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn silent_and_slow_clients_are_closed() {
    let server = Server::start(HttpLimits { header: Duration::from_millis(200), ..GENEROUS }, Vec::new()).await;
    let silent = server.connect("").await;
    let after_a_request = server.connect("GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut slow = server.connect("GET /livez HTTP/1.1\r\nx: ").await;
    assert!(server.get("/livez").await.starts_with("HTTP/1.1 200 OK"));
    // It sends a byte of its header again and again, until the server closes the connection.
    in_time(async {
        let mut answer = [0];
        while timeout(Duration::from_millis(10), slow.read(&mut answer)).await.is_err() {
            let _ = slow.write_all(b"a").await;
        }
    })
    .await;
    assert_eq!(received(silent).await, "");
    assert!(received(after_a_request).await.ends_with("ok\n"));
    assert!(server.get("/livez").await.starts_with("HTTP/1.1 200 OK"));
    in_time(async {
        while server.closed("idle") != Some(3) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn slow_body_is_answered_with_503() {
    let server = Server::start(HttpLimits { request: Duration::from_millis(200), ..GENEROUS }, Vec::new()).await;
    let request = |body| format!("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n{body}");
    let slow = received(server.connect(&request("ab")).await).await;
    assert!(slow.starts_with("HTTP/1.1 503") && slow.contains("connection: close"), "{slow}");
    assert!(slow.ends_with("send it again\n"), "{slow}");
    assert_eq!(server.closed("slow_request"), Some(1));
}

#[tokio::test]
async fn probes_are_answered_beside_many_connections() {
    let server = Server::start(HttpLimits { connections: 3, ..GENEROUS }, Vec::new()).await;
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(server.connect("").await);
    }
    for _ in 0..3 {
        assert!(server.get("/livez").await.starts_with("HTTP/1.1 200 OK"));
    }
    assert_eq!(received(silent.remove(0)).await, "", "the oldest is closed");
    assert!(server.closed("too_many") >= Some(3));
}

#[tokio::test]
async fn connection_ends_after_its_lifetime() {
    let limits = HttpLimits { connection: Duration::from_millis(200), request: Duration::from_millis(200), ..GENEROUS };
    let server = Server::start(limits, Vec::new()).await;
    assert_eq!(received(server.connect("").await).await, "");
}

#[tokio::test]
async fn frozen_part_shows_in_readyz_and_metrics() {
    let text = "the recorder has worked on a for 312 s".to_owned();
    let server = Server::start(GENEROUS, vec![FrozenPart { part: "recorder", text }]).await;
    let ready = server.get("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("\r\n\r\nthe recorder has worked on a for 312 s\n"));
    let metrics = server.get("/metrics").await;
    assert!(metrics.contains("port_dora_frozen_parts{part=\"recorder\"} 1\n"), "{metrics}");
    assert!(metrics.contains("port_dora_frozen_parts{part=\"watch\"} 0\n"), "{metrics}");
    assert!(server.get("/livez").await.starts_with("HTTP/1.1 200 OK"));
}
