//! The certificates that the client trusts.

use port_client::{Client, ClientOptions, ErrorKind, OptionsError, TransportProblem};

use super::tls_front::Authority;
use super::transport::{assert_transport, options_of};
use super::*;

#[tokio::test]
async fn certificate_of_the_extra_authority_is_trusted() {
    let port = start();
    let authority = Authority::new();
    let address = authority.serve("localhost", port.address()).await;
    let base_url = format!("https://localhost:{}", address.port());

    let options = ClientOptions { extra_ca: Some(authority.file()), ..options_of(&base_url) };
    let client = Client::new(options.clone()).unwrap();
    client.get_blueprint("group").await.unwrap();
    assert_eq!(calls(&port).len(), 1);
    port.clear_requests();

    let another = Authority::new();
    for extra_ca in [None, Some(another.file())] {
        let client = Client::new(ClientOptions { extra_ca, ..options.clone() }).unwrap();
        let error = failed(client.get_blueprint("group").await);
        assert_transport(&error, TransportProblem::Tls, ErrorKind::Unreachable, "localhost");
        assert!(error.to_string().contains("certificate"), "{error}");
        assert!(error.advice().unwrap().contains("PORT_CA_FILE"));
    }
    assert_eq!(port.requests().len(), 0, "nothing was sent");
}

#[tokio::test]
async fn certificate_for_another_name_is_not_trusted() {
    let port = start();
    let authority = Authority::new();
    let address = authority.serve("other.test", port.address()).await;
    let base_url = format!("https://localhost:{}", address.port());
    let options = ClientOptions { extra_ca: Some(authority.file()), ..options_of(&base_url) };
    let error = failed(Client::new(options).unwrap().get_blueprint("group").await);
    assert_transport(&error, TransportProblem::Tls, ErrorKind::Unreachable, "localhost");
    assert!(error.to_string().contains("not valid for name"), "{error}");
    assert_eq!(port.requests().len(), 0);
}

#[test]
fn invalid_ca_file_is_named_when_client_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let create = || Client::new(ClientOptions { extra_ca: Some(path.clone()), ..options_of("https://api.port.io") });
    let absent = create().unwrap_err();
    std::fs::write(&path, "hello").unwrap();
    let no_certificate = create().unwrap_err();
    for error in [absent, no_certificate] {
        assert!(matches!(error, OptionsError::ExtraCa { .. }), "{error:?}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}
