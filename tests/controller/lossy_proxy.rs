//! A proxy in front of the API server that loses single connections without closing them, as a firewall or a broken route does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cluster::{DEADLINE, wait_for};
use kube::Config;
use kube::client::ConfigExt;
use kube::config::{KubeConfigOptions, Kubeconfig};
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::Error;
use crate::fixture::{Installation, RELEASE};

/// Size of the chunks in which bytes are passed on.
const CHUNK: usize = 16 * 1024;

/// The proxy. The controller connects to it without TLS, so that it sees the requests.
pub struct LossyProxy {
    /// Path of a kubeconfig with the rights of the controller.
    pub kubeconfig: String,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    connections: Mutex<Vec<Arc<Connection>>>,
    /// Parts of the first line of the request whose connection is lost next.
    next: Mutex<Option<Vec<String>>>,
    lost: AtomicUsize,
}

#[derive(Default)]
struct Connection {
    /// The first line of the latest request.
    request: Mutex<String>,
    is_lost: AtomicBool,
    is_closed: AtomicBool,
}

impl Drop for LossyProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl LossyProxy {
    /// Starts a proxy in front of the API server of an installation.
    pub async fn start(setup: &Installation) -> Result<Self, Error> {
        let direct = setup.service_account_kubeconfig(RELEASE, RELEASE).await?;
        let mut kubeconfig: Value = serde_json::from_slice(&std::fs::read(&direct)?)?;
        let server = kubeconfig["clusters"][0]["cluster"]["server"].as_str().ok_or("the kubeconfig has no server")?;
        let server = server.strip_prefix("https://").ok_or("the server has no TLS")?.to_owned();

        let contents = Kubeconfig::read_from(&direct)?;
        let config = Config::from_custom_kubeconfig(contents, &KubeConfigOptions::default()).await?;
        let tls = TlsConnector::from(Arc::new(config.rustls_client_config()?));

        let listener = TcpListener::bind("127.0.0.1:0").await?;
        kubeconfig["clusters"][0]["cluster"] = json!({"server": format!("http://{}", listener.local_addr()?)});
        let path = setup.file("proxy.kubeconfig");
        std::fs::write(&path, kubeconfig.to_string())?;

        let state = Arc::new(State::default());
        let task = tokio::spawn(accept(listener, server, tls, Arc::clone(&state)));
        Ok(Self { kubeconfig: path.to_string_lossy().into_owned(), state, task })
    }

    /// Loses the connection on which the next request comes whose first line has all these parts. The request doesn't arrive.
    pub fn lose_next(&self, parts: &[&str]) {
        *self.state.next.lock() = Some(parts.iter().map(|part| (*part).to_owned()).collect());
    }

    /// Waits until the connection for [`LossyProxy::lose_next`] is lost.
    pub async fn has_lost(&self) -> Result<(), Error> {
        let has_lost = async || Ok(self.state.next.lock().is_none().then_some(()));
        Ok(wait_for("the request whose connection is lost", DEADLINE, has_lost).await?)
    }

    /// Loses the open connection whose latest request has all these parts in its first line. The request has been answered in part.
    pub async fn lose_open(&self, parts: &[&str]) -> Result<(), Error> {
        let lose = async || {
            let connections = self.state.connections.lock();
            let is_it = |connection: &&Arc<Connection>| {
                let request = connection.request.lock();
                !connection.is_closed.load(Ordering::SeqCst) && parts.iter().all(|part| request.contains(part))
            };
            let connection = connections.iter().find(is_it).ok_or("there is no such connection")?;
            self.state.lose(connection);
            Ok(Some(()))
        };
        Ok(wait_for(format!("a connection with the request {parts:?}"), DEADLINE, lose).await?)
    }

    /// How many connections were lost.
    pub fn lost(&self) -> usize {
        self.state.lost.load(Ordering::SeqCst)
    }
}

impl State {
    fn lose(&self, connection: &Connection) {
        connection.is_lost.store(true, Ordering::SeqCst);
        self.lost.fetch_add(1, Ordering::SeqCst);
    }

    /// Notes a request, and loses its connection if that is asked for.
    fn requested(&self, connection: &Connection, chunk: &[u8]) {
        let methods = ["GET ", "POST ", "PUT ", "PATCH ", "DELETE "];
        let line = String::from_utf8_lossy(chunk.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned();
        if !methods.iter().any(|method| line.starts_with(method)) {
            return;
        }
        let next = self.next.lock().take_if(|parts| parts.iter().all(|part| line.contains(part.as_str())));
        *connection.request.lock() = line;
        if next.is_some() {
            self.lose(connection);
        }
    }
}

async fn accept(listener: TcpListener, server: String, tls: TlsConnector, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        let (server, tls, state) = (server.clone(), tls.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            // An API server that isn't reachable closes the connection, as without the proxy.
            let _ = serve(client, &server, &tls, &state).await;
        });
    }
}

async fn serve(client: TcpStream, server: &str, tls: &TlsConnector, state: &State) -> Result<(), Error> {
    let name = ServerName::try_from(server.split(':').next().unwrap_or_default().to_owned())?;
    let server = tls.connect(name, TcpStream::connect(server).await?).await?;
    let connection = Arc::new(Connection::default());
    state.connections.lock().push(Arc::clone(&connection));
    let ((from_client, to_client), (from_server, to_server)) = (split(client), split(server));
    let requests = pass(from_client, to_server, &connection, |chunk| state.requested(&connection, chunk));
    let responses = pass(from_server, to_client, &connection, |_| {});
    // A lost connection ends when the client closes it.
    tokio::select! {
        () = requests => {}
        () = async {
            responses.await;
            if connection.is_lost.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
        } => {}
    }
    connection.is_closed.store(true, Ordering::SeqCst);
    Ok(())
}

/// Passes bytes on until the sender closes. Those of a lost connection are dropped.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    connection: &Connection,
    seen: impl Fn(&[u8]),
) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        seen(&buffer[..length]);
        let is_lost = connection.is_lost.load(Ordering::SeqCst);
        if !is_lost && (to.write_all(&buffer[..length]).await.is_err() || to.flush().await.is_err()) {
            return;
        }
    }
}
