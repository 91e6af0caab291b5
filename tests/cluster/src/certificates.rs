//! The keys, certificates and kubeconfigs of one cluster.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use programs::create_folder;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

use crate::cache::write_private;
use crate::error::{Error, Result};

/// A client certificate with its key, both as PEM.
#[derive(Debug)]
pub(crate) struct Identity {
    certificate: String,
    key: String,
}

/// The certificates by which the components of one cluster trust each other. Programs that accept only files get files.
#[derive(Debug)]
pub(crate) struct Certificates {
    folder: PathBuf,
    authority: String,
    pub(crate) admin: Identity,
    pub(crate) controller_manager: Identity,
    pub(crate) scheduler: Identity,
}

impl Certificates {
    /// Creates new keys and certificates, and writes those that are needed as files to `folder`.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        create_folder(folder)?;
        let mut parameters = named("port-dora-cluster", None);
        // The key usages of an authority limit those of the certificates that it signs.
        parameters.extended_key_usages.clear();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().map_err(Error::Certificates)?)
            .map_err(Error::Certificates)?;
        let sign = |parameters: CertificateParams| -> Result<Identity, rcgen::Error> {
            let key = KeyPair::generate()?;
            let certificate = parameters.signed_by(&key, &issuer)?;
            Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
        };
        // Kubernetes reads the common name as the user, and the organization as the group.
        let user = |name, group| sign(named(name, group)).map_err(Error::Certificates);

        let created = Self {
            folder: folder.to_path_buf(),
            authority: issuer.pem(),
            admin: user("admin", Some("system:masters"))?,
            controller_manager: user("system:kube-controller-manager", None)?,
            scheduler: user("system:kube-scheduler", None)?,
        };
        write_private(&created.file("ca.crt"), &created.authority)?;
        created.write("etcd-client", &user("kube-apiserver", None)?)?;
        for (name, hosts) in [
            ("etcd", &["127.0.0.1", "localhost"][..]),
            ("apiserver", &["127.0.0.1", "localhost", "kubernetes.default.svc", "10.96.0.1"][..]),
        ] {
            let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
            let mut parameters = CertificateParams::new(hosts).map_err(Error::Certificates)?;
            parameters.distinguished_name = named(name, None).distinguished_name;
            // On its peer port, etcd is both server and client.
            parameters.extended_key_usages =
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            created.write(name, &sign(parameters).map_err(Error::Certificates)?)?;
        }
        let key = KeyPair::generate().map_err(Error::Certificates)?;
        write_private(&created.file("service-accounts.key"), key.serialize_pem())?;
        write_private(&created.file("service-accounts.pub"), key.public_key_pem())?;
        Ok(created)
    }

    /// The path of one of the files that [`Certificates::create`] wrote.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write(&self, name: &str, identity: &Identity) -> Result<()> {
        write_private(&self.file(&format!("{name}.crt")), &identity.certificate)?;
        write_private(&self.file(&format!("{name}.key")), &identity.key)
    }

    /// A kubeconfig for a user with a client certificate.
    pub(crate) fn kubeconfig(&self, port: u16, identity: &Identity) -> String {
        let user = json!({
            "client-certificate-data": BASE64_STANDARD.encode(&identity.certificate),
            "client-key-data": BASE64_STANDARD.encode(&identity.key),
        });
        self.kubeconfig_for(port, "default", &user)
    }

    /// A kubeconfig for a user with a token, such as a service account.
    pub(crate) fn token_kubeconfig(&self, port: u16, namespace: &str, token: &str) -> String {
        self.kubeconfig_for(port, namespace, &json!({ "token": token }))
    }

    /// The file contains all certificates, so that it can be copied. JSON is valid YAML.
    fn kubeconfig_for(&self, port: u16, namespace: &str, user: &serde_json::Value) -> String {
        let server = format!("https://127.0.0.1:{port}");
        let authority = BASE64_STANDARD.encode(&self.authority);
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "local",
            "clusters": [{
                "name": "local",
                "cluster": { "server": server, "certificate-authority-data": authority },
            }],
            "users": [{ "name": "local", "user": user }],
            "contexts": [{
                "name": "local",
                "context": { "cluster": "local", "user": "local", "namespace": namespace },
            }],
        });
        format!("{kubeconfig:#}\n")
    }
}

/// The parameters of a client certificate.
fn named(common_name: &str, organization: Option<&str>) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    if let Some(organization) = organization {
        parameters.distinguished_name.push(DnType::OrganizationName, organization);
    }
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    parameters
}
