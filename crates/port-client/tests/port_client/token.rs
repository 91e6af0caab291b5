//! The access token: requested once, renewed in time, and the errors of a token request.

use std::time::Duration;

use futures::future::join_all;
use port_client::{Client, ClientOptions, CredentialSource, CredentialValue, Error, ErrorKind, UpsertOptions};
use port_sim::{Effect, Fault, PortSim};

use super::*;

fn with_credentials(port: &PortSim, credentials: CredentialSource) -> Client {
    Client::new(ClientOptions { credentials, ..options(port) }).unwrap()
}

#[tokio::test]
async fn one_token_serves_all_clones() {
    let (port, client) = start_with_client();
    port.set_fault(Fault::delayed(Duration::from_millis(100)).path_prefix(TOKEN_PATH)).unwrap();
    let clones = vec![client.clone(); 30];
    let results = join_all(clones.iter().map(|client| client.get_blueprint("dora_deployment"))).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    client.get_blueprint("dora_incident").await.unwrap();
    assert_eq!(calls(&port).len(), 31);
    assert_eq!(token_requests(&port), 1);
}

#[tokio::test]
async fn token_is_renewed_before_it_expires() {
    let clock = StoppedClock::stop();
    let (port, client) = start_with_client();
    client.get_blueprint("group").await.unwrap();
    clock.advance(Duration::from_mins(174)).await;
    client.get_blueprint("group").await.unwrap();
    assert_eq!(token_requests(&port), 1);
    clock.advance(Duration::from_mins(2)).await;
    client.get_blueprint("group").await.unwrap();
    assert_eq!(token_requests(&port), 2);
    assert!(calls(&port).iter().all(|request| request.status == Some(200)));
}

#[tokio::test]
async fn valid_token_is_used_while_renewal_fails() {
    let clock = StoppedClock::stop();
    let (port, client) = start_with_client();
    client.get_blueprint("group").await.unwrap();
    clock.advance(Duration::from_mins(176)).await;
    fail(&port, Effect::status(503), TOKEN_PATH);
    client.get_blueprint("group").await.unwrap();
    client.get_blueprint("group").await.unwrap();
    assert_eq!(token_requests(&port), 2, "a failed renewal is not repeated for each call");
    clock.advance(Duration::from_secs(11)).await;
    client.get_blueprint("group").await.unwrap();
    assert_eq!(token_requests(&port), 3);

    clock.advance(Duration::from_mins(5)).await;
    let error = failed(client.get_blueprint("group").await);
    assert_eq!(error.kind(), ErrorKind::ServerError, "an expired token is not used");
}

#[tokio::test]
async fn a_401_renews_the_token_once_for_all_calls() {
    let (port, client) = start_with_client();
    client.get_blueprint("group").await.unwrap();
    port.revoke_tokens();
    // Fewer than Port allows without a valid token (a burst of 10), so that none is answered with 429.
    let results = join_all((0..6).map(|_| client.get_blueprint("group"))).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(token_requests(&port), 2);
}

/// The path and the status of each request, in the order of arrival.
fn sequence(port: &PortSim) -> Vec<(String, Option<u16>)> {
    port.requests().into_iter().map(|request| (request.path, request.status)).collect()
}

#[tokio::test]
async fn repeated_401_is_an_error_after_one_renewal() {
    let (port, client) = start_with_client();
    fail(&port, Effect::status(401), BLUEPRINT_PATH);
    let error = failed(client.get_blueprint("group").await);
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(!error.is_temporary());
    assert!(error.advice().unwrap().contains("PORT_BASE_URL"));
    let (token, group) = ("/v1/auth/access_token", "/v1/blueprints/group");
    let expected = [(token, 200), (group, 401), (token, 200), (group, 401)];
    assert_eq!(sequence(&port), expected.map(|(path, status)| (path.to_owned(), Some(status))));
}

#[tokio::test]
async fn no_renewal_after_a_rejected_new_token() {
    let clock = StoppedClock::stop();
    let (port, client) = start_with_client();
    fail(&port, Effect::status(401), BLUEPRINT_PATH);
    failed(client.get_blueprint("group").await);
    for _ in 0..20 {
        assert_eq!(failed(client.get_blueprint("group").await).kind(), ErrorKind::Unauthorized);
    }
    assert_eq!(token_requests(&port), 2);
    assert_eq!(calls(&port).len(), 2 + 20);

    // A minute later the client tries another token.
    clock.advance(Duration::from_secs(60)).await;
    failed(client.get_blueprint("group").await);
    assert_eq!(token_requests(&port), 3);
    assert_eq!(calls(&port).len(), 2 + 20 + 2);

    // After Port has accepted a token, a revoked token is renewed at once.
    port.clear_faults();
    client.get_blueprint("group").await.unwrap();
    port.revoke_tokens();
    client.get_blueprint("group").await.unwrap();
    assert_eq!(token_requests(&port), 4);
}

#[tokio::test]
async fn wrong_credentials_are_tried_once_by_all_calls() {
    let (port, client) = start_with_client();
    port.set_credentials(CLIENT_ID, "another-secret");
    port.set_fault(Fault::delayed(Duration::from_millis(100)).path_prefix(TOKEN_PATH)).unwrap();
    for result in join_all((0..20).map(|_| client.get_blueprint("group"))).await {
        let error = failed(result);
        assert_eq!(error.kind(), ErrorKind::WrongCredentials);
        assert!(error.advice().unwrap().contains("PORT_CLIENT_SECRET"));
        assert_eq!(error.response().unwrap().status, 401);
    }
    assert_eq!(token_requests(&port), 1);
    assert_eq!(calls(&port).len(), 0);

    // The credentials become valid in Port: the failure is not cached.
    port.set_credentials(CLIENT_ID, CLIENT_SECRET);
    client.get_blueprint("group").await.unwrap();
}

#[tokio::test]
async fn nothing_is_sent_without_credentials() {
    let port = start();
    let folder = tempfile::tempdir().unwrap();
    let (id, secret) = (folder.path().join("id"), folder.path().join("secret"));
    let client = with_credentials(&port, CredentialSource::files(&id, &secret));
    let error = failed(client.upsert("dora_deployment", &deployment("a"), UpsertOptions::default()).await);
    assert_eq!(error, Error::NoCredentials);

    std::fs::write(&id, CLIENT_ID).unwrap();
    let error = failed(client.get_blueprint("group").await);
    assert_eq!(error.kind(), ErrorKind::NoCredentials);
    assert!(error.to_string().contains(&secret.display().to_string()), "{error}");
    assert_eq!(port.requests().len(), 0);

    std::fs::write(&secret, format!("{CLIENT_SECRET}\n")).unwrap();
    client.get_blueprint("group").await.unwrap();

    let unset = with_credentials(&port, CredentialSource::default());
    assert_eq!(failed(unset.get_blueprint("group").await), Error::NoCredentials);
}

#[tokio::test]
async fn next_call_uses_rotated_credentials() {
    let port = start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, CLIENT_SECRET).unwrap();
    let source = CredentialSource {
        client_id: CredentialValue::Inline(CLIENT_ID.into()),
        client_secret: CredentialValue::File(path.clone()),
    };
    let client = with_credentials(&port, source);
    client.get_blueprint("group").await.unwrap();

    port.set_credentials(CLIENT_ID, "rotated");
    std::fs::write(&path, "rotated").unwrap();
    client.get_blueprint("group").await.unwrap();
    assert_eq!(token_requests(&port), 2);
    assert!(port.requests().iter().all(|request| request.status == Some(200)), "the old token is not used");
}

#[tokio::test]
async fn credentials_rotated_during_a_request_are_tried() {
    let port = start();
    let folder = tempfile::tempdir().unwrap();
    let (id, secret) = (folder.path().join("id"), folder.path().join("secret"));
    // The state between the two writes of a rotation: one file is new, the other is old.
    std::fs::write(&id, CLIENT_ID).unwrap();
    std::fs::write(&secret, "old").unwrap();
    let client = with_credentials(&port, CredentialSource::files(&id, &secret));
    port.set_fault(Fault::new(Effect::HandleOnceCleared).path_prefix(TOKEN_PATH).times(1)).unwrap();
    let call = tokio::spawn(async move { client.get_blueprint("group").await });
    wait_until("the first token request arrives", || token_requests(&port) == 1).await;
    std::fs::write(&secret, CLIENT_SECRET).unwrap();
    port.clear_faults();
    call.await.unwrap().unwrap();
    assert_eq!(token_requests(&port), 2);
}

#[tokio::test]
async fn invalid_token_response_is_unexpected() {
    let (port, client) = start_with_client();
    for body in [
        serde_json::json!({"ok": true, "expiresIn": 10800, "tokenType": "Bearer"}),
        serde_json::json!({"ok": true, "accessToken": "", "expiresIn": 10800, "tokenType": "Bearer"}),
        serde_json::json!({"ok": true, "accessToken": "port-sim.x\n", "expiresIn": 10800, "tokenType": "Bearer"}),
        serde_json::json!({"ok": true, "accessToken": "port-sim.x", "expiresIn": "port-sim.x", "tokenType": "Bearer"}),
    ] {
        port.clear_faults();
        fail(&port, Effect::answer(200, body.clone()), TOKEN_PATH);
        let error = failed(client.get_blueprint("group").await);
        assert_eq!(error.kind(), ErrorKind::UnexpectedResponse, "{body}: {error}");
    }
    assert_eq!(calls(&port).len(), 0);
}
