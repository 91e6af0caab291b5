//! The server: a thread with its own runtime.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use axum::Router;
use axum::http::Uri;
use axum::middleware;
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::auth::{self, Auth};
use crate::blueprints;
use crate::catalog::Catalog;
use crate::control;
use crate::entity_routes as entities;
use crate::errors::ApiError;
use crate::faults::Faults;
use crate::page;
use crate::pipeline::{self, DropConnection};
use crate::rate_limit::RateLimiters;
use crate::request_log::RequestLog;
use crate::validation::RouteSchemas;

/// The state that all routes share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub schemas: RouteSchemas,
    pub auth: Auth,
    pub catalog: Mutex<Catalog>,
    pub faults: Faults,
    pub limiters: RateLimiters,
    pub log: RequestLog,
}

pub(crate) type App = Arc<Shared>;

/// The backlog of connections that wait to be accepted, as in the standard library.
const BACKLOG: u32 = 128;

pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/v1/auth/access_token", post(auth::access_token))
        .route("/v1/blueprints", get(blueprints::list).post(blueprints::create))
        .route("/v1/blueprints/{blueprint}", get(blueprints::get))
        .route("/v1/blueprints/{blueprint}/entities", get(entities::list).post(entities::write))
        .route(
            "/v1/blueprints/{blueprint}/entities/{identifier}",
            // An entity may have the identifier `bulk` or `search`. The method decides which one is meant.
            get(entities::get).delete(entities::delete).post(entities::write_bulk_or_search),
        )
        .route("/v1/entities/search", post(entities::search))
        .route("/", get(page::page))
        .merge(control::router())
        .fallback(no_route)
        .method_not_allowed_fallback(no_route)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), pipeline::run))
        .with_state(app)
}

/// The answer to an unknown route. Port answers an unknown method of a known path in the same way.
async fn no_route(method: axum::http::Method, uri: Uri) -> ApiError {
    ApiError::route_not_found(method.as_str(), uri.path())
}

/// A thread that serves requests until the handle is dropped.
///
/// It has its own runtime, so that it works after the runtime of a test has ended, and while the time of that runtime
/// is paused.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    commands: mpsc::UnboundedSender<Command>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
enum Command {
    /// Accept connections, or close the port and all connections.
    SetReachable(bool, oneshot::Sender<io::Result<()>>),
}

impl Server {
    /// Listens on `address`.
    ///
    /// # Errors
    /// When the address can't be bound, or the thread or its runtime can't be created.
    pub(crate) fn start(address: SocketAddr, router: Router) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (commands, received) = mpsc::unbounded_channel();
        // The runtime is created and dropped in the thread, since neither is allowed inside the runtime of the caller.
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = thread::Builder::new().name("port-sim".to_owned()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    // The caller waits for this message.
                    let _ = ready.send(Err(error));
                    return;
                }
            };
            let listener = {
                let _context = runtime.enter();
                TcpListener::from_std(listener)
            };
            match listener {
                Ok(listener) => {
                    let _ = ready.send(Ok(()));
                    serve(&runtime, address, listener, router, received);
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        })?;
        is_ready.recv().map_err(io::Error::other)??;
        Ok(Self { address, commands, thread: Some(thread) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn set_reachable(&self, reachable: bool) -> io::Result<()> {
        let stopped = || io::Error::other("the stand-in for Port has stopped");
        let (done, is_done) = oneshot::channel();
        self.commands.send(Command::SetReachable(reachable, done)).map_err(|_| stopped())?;
        is_done.await.map_err(|_| stopped())?
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The thread ends when the sender of commands is dropped.
        let (closed, _) = mpsc::unbounded_channel();
        self.commands = closed;
        if let Some(thread) = self.thread.take() {
            // If the thread has panicked, the message is already printed.
            let _ = thread.join();
        }
    }
}

fn serve(
    runtime: &Runtime,
    address: SocketAddr,
    listener: TcpListener,
    router: Router,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    runtime.block_on(async move {
        let mut listener = Some(listener);
        let mut reserved = None;
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    None => break,
                    Some(Command::SetReachable(true, done)) => {
                        let outcome = match reserved.take() {
                            Some(socket) => TcpSocket::listen(socket, BACKLOG).map(|bound| listener = Some(bound)),
                            None => Ok(()),
                        };
                        // The caller may have stopped waiting.
                        let _ = done.send(outcome);
                    }
                    Some(Command::SetReachable(false, done)) => {
                        let outcome = match listener.take() {
                            Some(listener) => {
                                drop(listener);
                                reserve(address).map(|socket| reserved = Some(socket))
                            }
                            None => Ok(()),
                        };
                        connections.shutdown().await;
                        let _ = done.send(outcome);
                    }
                },
                stream = accept(listener.as_ref()) => {
                    connections.spawn(converse(stream, router.clone()));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    });
}

/// Binds an address without listening, so that no other process gets its port.
fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Accepts the next connection. Waits forever if there is no listener.
async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Send small answers at once. An error only makes them slower.
                let _ = stream.set_nodelay(true);
                return stream;
            }
            // Too many open files, or a connection that was closed before it was accepted.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    }
}

/// Why a connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("a fault closes the connection")]
struct Dropped;

async fn converse(stream: TcpStream, router: Router) {
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let router = router.clone();
        async move {
            let response = match router.oneshot(request.map(axum::body::Body::new)).await {
                Ok(response) => response,
                Err(infallible) => match infallible {},
            };
            if response.extensions().get::<DropConnection>().is_some() { Err(Dropped) } else { Ok(response) }
        }
    });
    // An error means that the client has closed the connection, or that a fault has.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
