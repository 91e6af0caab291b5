//! The TLS configuration and its trusted certificate authorities.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};

use crate::options::OptionsError;

/// The largest file that is read, in bytes. Mozilla's whole list has a quarter of it; a larger file is another file, or one without an
/// end.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The TLS configuration, which trusts Mozilla's roots and the certificates in the file `extra_ca`.
///
/// The roots are compiled in, so that the client works in an image without certificates. The provider is ring, whichever one the process
/// installs as its default.
pub(crate) fn tls_config(extra_ca: Option<&Path>) -> Result<ClientConfig, OptionsError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = extra_ca {
        add_certificates(&mut roots, path)
            .map_err(|problem| OptionsError::ExtraCa { path: path.to_owned(), problem })?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| OptionsError::Http(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Why a file of certificate authorities can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaFileError {
    /// The file can't be opened or read.
    #[error("{0}")]
    Unreadable(String),
    /// The file is too large for a list of certificates.
    #[error("the file is larger than {max} bytes")]
    TooLarge {
        /// The largest size that is accepted, in bytes.
        max: u64,
    },
    /// The file contains no certificate.
    #[error("the file has no certificate in PEM format (\"-----BEGIN CERTIFICATE-----\")")]
    NoCertificate,
    /// A certificate is not valid PEM.
    #[error("certificate {number} {problem}")]
    InvalidPem {
        /// The position of the certificate in the file, counted from 1.
        number: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A certificate is valid PEM, but not a certificate of an authority.
    #[error("certificate {number} is invalid: {problem}")]
    InvalidCertificate {
        /// The position of the certificate in the file, counted from 1.
        number: usize,
        /// What is wrong with it.
        problem: String,
    },
}

/// Adds every certificate of the file. An invalid one is an error: if it were skipped, connections would fail later without a visible
/// cause.
fn add_certificates(roots: &mut RootCertStore, path: &Path) -> Result<(), CaFileError> {
    let unreadable = |error: io::Error| CaFileError::Unreadable(error.to_string());
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(CaFileError::TooLarge { max: MAX_FILE_BYTES });
    }
    let mut number = 0_usize;
    for section in CertificateDer::pem_slice_iter(&bytes) {
        number += 1;
        let certificate = section.map_err(|error| CaFileError::InvalidPem { number, problem: pem_problem(&error) })?;
        roots
            .add(certificate)
            .map_err(|error| CaFileError::InvalidCertificate { number, problem: error.to_string() })?;
    }
    if number == 0 { Err(CaFileError::NoCertificate) } else { Ok(()) }
}

/// A text of our own, since that of the library contains lines of the file, which may belong to a private key.
fn pem_problem(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "is incomplete: its \"-----END\" line is missing",
        pem::Error::IllegalSectionStart { .. } => "is invalid: its \"-----BEGIN\" line is malformed",
        pem::Error::Base64Decode(_) => "is invalid: it is not base64",
        _ => "is not readable as PEM",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots_with(text: &[u8]) -> Result<usize, CaFileError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, text).unwrap();
        let mut roots = RootCertStore::empty();
        add_certificates(&mut roots, &path).map(|()| roots.len())
    }

    fn certificate(name: &str) -> String {
        rcgen::generate_simple_self_signed([name.to_owned()]).unwrap().cert.pem()
    }

    #[test]
    fn each_certificate_of_a_bundle_is_trusted() {
        assert_eq!(roots_with(certificate("one").as_bytes()), Ok(1));
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let bundle = format!("# ours\n{}\n{key}\n# and theirs\n{}", certificate("one"), certificate("two"));
        assert_eq!(roots_with(bundle.as_bytes()), Ok(2));
        let windows = certificate("one").replace('\n', "\r\n");
        assert_eq!(roots_with(windows.as_bytes()), Ok(1));
    }

    #[test]
    fn invalid_file_is_explained() {
        let good = certificate("one");
        let half = &good[..good.len() / 2];
        let not_der = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        let not_base64 = "-----BEGIN CERTIFICATE-----\n?????\n-----END CERTIFICATE-----\n";
        for (text, part) in [
            (String::new(), "no certificate in PEM format"),
            ("hello\n".to_owned(), "no certificate in PEM format"),
            (rcgen::KeyPair::generate().unwrap().serialize_pem(), "no certificate in PEM format"),
            (half.to_owned(), "certificate 1 is incomplete"),
            (format!("{good}{half}"), "certificate 2 is incomplete"),
            (format!("{good}{not_der}"), "certificate 2 is invalid"),
            (not_base64.to_owned(), "certificate 1 is invalid: it is not base64"),
            (" ".repeat(2 * 1024 * 1024), "larger than"),
        ] {
            let problem = roots_with(text.as_bytes()).unwrap_err().to_string();
            assert!(problem.contains(part), "{part}: {problem}");
        }
        assert_eq!(roots_with(&[0x30, 0x82, 0xff, 0xfe]), Err(CaFileError::NoCertificate), "DER");
    }

    #[test]
    fn error_names_the_file() {
        for path in ["/does/not/exist.pem", "/"] {
            let error = tls_config(Some(Path::new(path))).unwrap_err();
            assert!(matches!(error, OptionsError::ExtraCa { .. }));
            assert!(error.to_string().contains(path), "{error}");
        }
    }
}
