//! The process around it: a thread with a runtime of its own that listens and serves.

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

/// Everything that the routes share.
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

/// Connections that may wait to be accepted: as many as the standard library asks for.
const BACKLOG: u32 = 128;

pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/v1/auth/access_token", post(auth::access_token))
        .route("/v1/blueprints", get(blueprints::list).post(blueprints::create))
        .route("/v1/blueprints/{blueprint}", get(blueprints::get))
        .route("/v1/blueprints/{blueprint}/entities", get(entities::list).post(entities::write))
        .route(
            "/v1/blueprints/{blueprint}/entities/{identifier}",
            // An entity may be called `bulk` or `search`: the method tells which is meant.
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

/// Port answers an unknown method of a known path as an unknown route.
async fn no_route(method: axum::http::Method, uri: Uri) -> ApiError {
    ApiError::route_not_found(method.as_str(), uri.path())
}

/// A thread that serves, until it is told to stop or the handle is dropped.
///
/// The runtime is its own, so that the stand-in outlives the runtime of the test that started it, and
/// is not slowed down by one whose time is paused.
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
    /// When the address can't be bound, or no thread or runtime can be had.
    pub(crate) fn start(address: SocketAddr, router: Router) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (commands, received) = mpsc::unbounded_channel();
        // The runtime is made where it is dropped: a caller's runtime allows neither.
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = thread::Builder::new().name("port-sim".to_owned()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    // Whoever starts it waits for this.
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
        // The thread ends when there is nobody left to command it.
        let (closed, _) = mpsc::unbounded_channel();
        self.commands = closed;
        if let Some(thread) = self.thread.take() {
            // Its panic, if it had one, has been printed by then.
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
                        // Nobody waits for it any more: fine.
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

/// Keeps an address for itself on which nobody listens, so that no connection of another process gets its port meanwhile.
fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// The next connection. Never, while there is no listener.
async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are small and must not wait for more; without it they are only slower.
                let _ = stream.set_nodelay(true);
                return stream;
            }
            // Too many open files, or a connection that was gone before it was accepted.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    }
}

/// Why a connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is dropped by a fault")]
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
    // An error is a client that went away, or a fault that does what it should.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
