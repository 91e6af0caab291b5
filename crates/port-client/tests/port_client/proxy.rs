//! Proxies. The client finds them in the environment of its process, so each case is one call in a process of its own.

use std::io::Write;
use std::net::SocketAddr;
use std::process::Output;
use std::sync::Arc;

use parking_lot::Mutex;
use port_client::{Client, ClientOptions};
use port_sim::PortSim;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use super::tls_front::Authority;
use super::transport::options_of;
use super::*;

const PASSWORD: &str = "p4ssword-of-the-proxy";
const VARIABLES: [&str; 4] = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"];

/// The result that the process reports.
#[derive(Debug, PartialEq)]
enum Outcome {
    Read,
    Failed(String),
}

/// One call with the settings in the environment. The other tests run it in a process of their own; without their variables it uses no
/// proxy.
#[tokio::test]
async fn one_call_in_its_own_process() {
    let own = std::env::var("TEST_BASE_URL").is_err().then(start);
    let base_url = own.as_ref().map_or_else(|| std::env::var("TEST_BASE_URL").unwrap(), PortSim::base_url);
    let extra_ca = std::env::var_os("TEST_CA").map(Into::into);
    let client = Client::new(ClientOptions { extra_ca, ..options_of(&base_url) }).unwrap();
    let outcome = match client.get_blueprint("group").await {
        Ok(_) => "read".to_owned(),
        Err(error) => format!("{:?} {error} {error:?}", error.kind()),
    };
    writeln!(std::io::stdout(), "\nOUTCOME {outcome}").unwrap();
    assert!(own.is_none() || outcome == "read", "{outcome}");
}

async fn call(base_url: &str, authority: &Authority, variables: &[(&str, &str)]) -> Outcome {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["proxy::one_call_in_its_own_process", "--exact", "--nocapture"]);
    for name in VARIABLES {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command.env("TEST_BASE_URL", base_url).env("TEST_CA", authority.file()).envs(variables.iter().copied());
    let Output { stdout, stderr, .. } = command.output().await.unwrap();
    let text = String::from_utf8(stdout).unwrap();
    let outcome = text.lines().find_map(|line| line.strip_prefix("OUTCOME "));
    let outcome = outcome.unwrap_or_else(|| panic!("{text}\n{}", String::from_utf8_lossy(&stderr)));
    assert!(!outcome.contains(CLIENT_SECRET) && !outcome.contains(PASSWORD), "{outcome}");
    if outcome == "read" { Outcome::Read } else { Outcome::Failed(outcome.to_owned()) }
}

/// A proxy that connects every request to the same server, or responds with an error. It records the heads of the requests.
struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start(target: Result<SocketAddr, &'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let log = Arc::clone(&log);
                tokio::spawn(async move { serve(connection, target, &log).await });
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().clone()
    }
}

async fn serve(
    mut connection: TcpStream,
    target: Result<SocketAddr, &'static str>,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await?);
    }
    log.lock().push(String::from_utf8_lossy(&head).into_owned());
    match target {
        Ok(target) => {
            connection.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
            let mut server = TcpStream::connect(target).await?;
            tokio::io::copy_bidirectional(&mut connection, &mut server).await.map(drop)
        }
        Err(status) => connection.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await,
    }
}

/// The stand-in behind TLS, at a name that only the proxy can reach.
async fn port_behind_a_proxy() -> (PortSim, Authority, Proxy) {
    let port = start();
    let authority = Authority::new();
    let server = authority.serve("port.invalid", port.address()).await;
    let proxy = Proxy::start(Ok(server)).await;
    (port, authority, proxy)
}

#[tokio::test]
async fn proxy_of_the_environment_is_used() {
    let (port, authority, proxy) = port_behind_a_proxy().await;
    let address = format!("http://{}", proxy.address);
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let before = proxy.heads().len();
        assert_eq!(call("https://port.invalid", &authority, &[(name, &address)]).await, Outcome::Read, "{name}");
        let heads = proxy.heads();
        assert!(heads.len() > before);
        assert!(heads.iter().all(|head| head.starts_with("CONNECT port.invalid:443 ")), "{heads:?}");
        assert!(!heads.concat().contains(CLIENT_SECRET), "the traffic through the proxy is encrypted");
    }
    assert_eq!(calls(&port).len(), 3);
}

#[tokio::test]
async fn password_of_the_proxy_is_not_shown() {
    let (_port, authority, proxy) = port_behind_a_proxy().await;
    let address = format!("http://me:{PASSWORD}@{}", proxy.address);
    assert_eq!(call("https://port.invalid", &authority, &[("HTTPS_PROXY", &address)]).await, Outcome::Read);
    let heads = proxy.heads().concat();
    let sent = heads
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("proxy-authorization"));
    assert_eq!(sent.unwrap().1, "Basic bWU6cDRzc3dvcmQtb2YtdGhlLXByb3h5", "user name and password in Base64");

    for status in ["403 Forbidden", "407 Proxy Authentication Required", "502 Bad Gateway"] {
        let refusing = Proxy::start(Err(status)).await;
        let address = format!("http://me:{PASSWORD}@{}", refusing.address);
        let Outcome::Failed(text) = call("https://port.invalid", &authority, &[("HTTPS_PROXY", &address)]).await else {
            panic!("{status}");
        };
        assert!(text.starts_with("Unreachable") && text.contains("problem: Proxy"), "{status}: {text}");
        assert!(text.contains("the proxy refused the connection"), "{text}");
    }
}

#[tokio::test]
async fn hosts_in_no_proxy_are_reached_directly() {
    let (port, authority, proxy) = port_behind_a_proxy().await;
    let address = format!("http://{}", proxy.address);
    for exception in ["port.invalid", ".invalid", "*"] {
        let variables = [("HTTPS_PROXY", address.as_str()), ("NO_PROXY", exception)];
        let Outcome::Failed(text) = call("https://port.invalid", &authority, &variables).await else {
            panic!("{exception}");
        };
        assert!(text.contains("problem: NameNotFound"), "without the proxy, the name has no address: {text}");
    }
    let others = [("HTTPS_PROXY", address.as_str()), ("NO_PROXY", "other.invalid,localhost")];
    assert_eq!(call("https://port.invalid", &authority, &others).await, Outcome::Read);
    assert_eq!(calls(&port).len(), 1);
}

#[tokio::test]
async fn loopback_hosts_use_no_proxy() {
    let port = start();
    let refusing = Proxy::start(Err("403 Forbidden")).await;
    let address = format!("http://{}", refusing.address);
    let variables = VARIABLES[..3].iter().map(|name| (*name, address.as_str())).collect::<Vec<_>>();
    assert_eq!(call(&port.base_url(), &Authority::new(), &variables).await, Outcome::Read);
    assert_eq!(refusing.heads(), Vec::<String>::new());
}
