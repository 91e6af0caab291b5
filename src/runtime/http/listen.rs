//! The socket on which the HTTP server listens: IPv4 and IPv6 together, if the host has both.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tracing::info;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 1024;

/// Listens on `address`.
///
/// On `[::]`, the socket accepts IPv4 as well, whatever `net.ipv6.bindv6only` says. On a host without IPv6, it is `0.0.0.0` instead. Any
/// other address is used as it is.
///
/// # Errors
/// If the process can't listen on the address.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    with_fallback(address, bind)
}

/// Calls `bind` with `address`, and on a host without IPv6 with `0.0.0.0` instead of `[::]`.
fn with_fallback<L>(address: SocketAddr, bind: impl Fn(SocketAddr) -> io::Result<L>) -> io::Result<L> {
    bind(address).or_else(|error| {
        let has_address = matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied);
        if has_address || !is_any_ipv6(address) {
            return Err(error);
        }
        let ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
        let listener = bind(ipv4).map_err(|_| error)?;
        info!(%ipv4, "this host has no IPv6; listening on IPv4 only");
        Ok(listener)
    })
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if is_any_ipv6(address) {
        socket.set_only_v6(false)?;
    }
    // As tokio does: connections that have just ended must not keep the next process from listening.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn is_any_ipv6(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::net::Ipv6Addr;

    use tokio::net::TcpStream;

    use super::*;

    /// The addresses that are tried, if those with IPv6 fail with this error.
    fn tried(address: &str, error: io::ErrorKind) -> (Vec<String>, bool) {
        let tried = RefCell::new(Vec::new());
        let result = with_fallback(address.parse().unwrap(), |address| {
            tried.borrow_mut().push(address.to_string());
            if address.is_ipv6() { Err(io::Error::from(error)) } else { Ok(()) }
        });
        (tried.into_inner(), result.is_ok())
    }

    #[test]
    fn host_without_ipv6_listens_on_ipv4() {
        let both = vec!["[::]:8080".to_owned(), "0.0.0.0:8080".to_owned()];
        assert_eq!(tried("[::]:8080", io::ErrorKind::AddrNotAvailable), (both.clone(), true));
        assert_eq!(tried("[::]:8080", io::ErrorKind::Unsupported), (both, true));
    }

    #[test]
    fn chosen_address_is_not_replaced() {
        assert_eq!(tried("[::1]:8080", io::ErrorKind::AddrNotAvailable), (vec!["[::1]:8080".to_owned()], false));
        assert_eq!(tried("[::]:8080", io::ErrorKind::AddrInUse), (vec!["[::]:8080".to_owned()], false));
        assert_eq!(tried("0.0.0.0:80", io::ErrorKind::AddrNotAvailable), (vec!["0.0.0.0:80".to_owned()], true));
    }

    #[tokio::test]
    async fn ipv4_and_ipv6_clients_connect() {
        let any = "[::]:0".parse().unwrap();
        let listener = listen(any).unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        // A host without IPv6 has no IPv6 clients.
        if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.unwrap();
        }
    }
}
