//! Requests without a complete response.

use std::sync::Arc;
use std::time::Duration;

use port_client::{BaseUrl, Client, ClientOptions, Error, ErrorKind, TransportProblem, UpsertOptions};
use port_sim::Effect;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

#[track_caller]
pub fn assert_transport(error: &Error, expected: TransportProblem, kind: ErrorKind, host: &str) {
    let Error::Transport { problem, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(*problem, expected, "{error}");
    assert_eq!(error.kind(), kind);
    assert!(error.is_temporary());
    assert!(error.to_string().contains(host), "{error}");
}

pub fn options_of(base_url: &str) -> ClientOptions {
    with_long_timeouts(BaseUrl::parse_allowing_http(base_url).unwrap())
}

fn client_of(base_url: &str) -> Client {
    Client::new(options_of(base_url)).unwrap()
}

#[tokio::test]
async fn connection_closed_too_early_is_dropped() {
    let (port, client) = start_with_client();
    let host = port.address().to_string();
    for effect in [Effect::DropBeforeHandling, Effect::DropAfterHandling, Effect::HalfAnswer] {
        port.clear_faults();
        fail(&port, effect, BLUEPRINT_PATH);
        let error = failed(client.upsert("dora_deployment", &deployment("a"), UpsertOptions::default()).await);
        assert_transport(&error, TransportProblem::Dropped, ErrorKind::Unreachable, &host);
    }
    // Port has stored the entity, which the client could not know. It is harmless to write it again.
    let before = port.entity("dora_deployment", "a").unwrap();
    port.clear_faults();
    client.upsert("dora_deployment", &deployment("a"), UpsertOptions::default()).await.unwrap();
    let after = port.entity("dora_deployment", "a").unwrap();
    assert_eq!(after.properties, before.properties);
    assert_eq!(port.entities("dora_deployment").len(), 1);

    fail(&port, Effect::HalfAnswer, TOKEN_PATH);
    port.revoke_tokens();
    let error = failed(client.get_blueprint("group").await);
    assert_transport(&error, TransportProblem::Dropped, ErrorKind::Unreachable, &host);
}

#[tokio::test]
async fn closed_port_refuses_the_connection() {
    let (port, client) = start_with_client();
    port.set_reachable(false).await.unwrap();
    let error = failed(client.get_blueprint("group").await);
    assert_transport(&error, TransportProblem::ConnectionRefused, ErrorKind::Unreachable, &port.address().to_string());
    assert!(error.advice().unwrap().contains("PORT_BASE_URL"));
    port.set_reachable(true).await.unwrap();
    client.get_blueprint("group").await.unwrap();
}

#[tokio::test]
async fn reset_connection_is_dropped() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            // Reset after the request has begun, so that the connection is established first.
            let _ = connection.read_u8().await;
            connection.set_zero_linger().unwrap();
        }
    });
    let error = failed(client_of(&format!("http://{host}")).get_blueprint("group").await);
    assert_transport(&error, TransportProblem::Dropped, ErrorKind::Unreachable, &host);
}

#[tokio::test]
async fn unfinished_tls_handshake_times_out() {
    // The connection is accepted, but the server never responds to the TLS handshake.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let connect_timeout = Duration::from_millis(200);
    let options = ClientOptions { connect_timeout, ..options_of(&format!("https://{host}")) };
    let error = failed(Client::new(options).unwrap().get_blueprint("group").await);
    assert_transport(&error, TransportProblem::ConnectTimedOut, ErrorKind::TimedOut, &host);
}

#[tokio::test]
async fn unknown_host_is_named() {
    // RFC 6761 reserves .invalid: it never has an address.
    for base_url in ["http://port.invalid", "https://port.invalid"] {
        let error = failed(client_of(base_url).get_blueprint("group").await);
        assert_transport(&error, TransportProblem::NameNotFound, ErrorKind::Unreachable, "port.invalid");
        assert!(error.advice().unwrap().contains("port.invalid"));
    }
}

#[tokio::test]
async fn late_response_times_out() {
    let clock = StoppedClock::stop();
    let port = start();
    let request_timeout = Duration::from_secs(30);
    let client = Client::new(ClientOptions { request_timeout, ..options(&port) }).unwrap();
    client.get_blueprint("group").await.unwrap();
    fail(&port, Effect::NeverAnswer, BLUEPRINT_PATH);
    let call = tokio::spawn(async move { client.get_blueprint("group").await });
    wait_until("the request arrives", || calls(&port).len() == 2).await;
    clock.advance(Duration::from_secs(29)).await;
    tokio::task::yield_now().await;
    assert!(!call.is_finished(), "the timeout has not passed yet");
    clock.advance(Duration::from_secs(2)).await;
    let error = failed(call.await.unwrap());
    assert_transport(&error, TransportProblem::ResponseTimedOut, ErrorKind::TimedOut, &port.address().to_string());
}

#[tokio::test]
async fn server_without_tls_is_a_tls_problem() {
    let port = start();
    let host = port.address().to_string();
    let error = failed(client_of(&format!("https://{host}")).get_blueprint("group").await);
    assert_transport(&error, TransportProblem::Tls, ErrorKind::Unreachable, &host);
    assert!(error.advice().unwrap().contains("https"));
    assert_eq!(port.requests().len(), 0);
}

#[tokio::test]
async fn self_signed_certificate_is_not_trusted() {
    let untrusted = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(untrusted.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![untrusted.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("localhost:{}", listener.local_addr().unwrap().port());
    let server = tokio::spawn(async move {
        let (connection, _) = listener.accept().await.unwrap();
        acceptor.accept(connection).await.map(drop)
    });
    let error = failed(client_of(&format!("https://{host}")).get_blueprint("group").await);
    assert_transport(&error, TransportProblem::Tls, ErrorKind::Unreachable, &host);
    assert!(error.to_string().contains("certificate"), "{error}");
    assert!(server.await.unwrap().is_err(), "the client ends the handshake before it sends anything");
}

#[tokio::test]
async fn server_of_another_protocol_is_not_http() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let _ = connection.read_u8().await;
            let _ = connection.write_all(b"220 mail.example.com ESMTP\r\n\r\n").await;
        }
    });
    let error = failed(client_of(&format!("http://{host}")).get_blueprint("group").await);
    assert_transport(&error, TransportProblem::NotHttp, ErrorKind::UnexpectedResponse, &host);
}
