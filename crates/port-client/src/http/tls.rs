//! Whom the client believes to be Port: the TLS configuration with its trusted authorities.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};

use crate::options::OptionsError;

/// Mozilla's whole list has a quarter of this. What is longer is another file, perhaps one without an end.
const LONGEST_FILE: u64 = 1024 * 1024;

/// Mozilla's roots, compiled in, since an image made `FROM scratch` has no certificates, and those of `extra_ca`; and ring named
/// explicitly, so that this works whichever provider the process installs as its default, or none.
pub(crate) fn tls(extra_ca: Option<&Path>) -> Result<ClientConfig, OptionsError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = extra_ca {
        add(&mut roots, path).map_err(|problem| OptionsError::ExtraCa { path: path.to_owned(), problem })?;
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

/// Adds every certificate of the file, or says what is wrong with it: to trust only some of them would fail later, and far from the cause.
fn add(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(LONGEST_FILE + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(format!("it is longer than {LONGEST_FILE} bytes"));
    }
    let mut count = 0_usize;
    for section in CertificateDer::pem_slice_iter(&bytes) {
        count += 1;
        let certificate = section.map_err(|error| format!("its certificate {count} is {}", pem_problem(&error)))?;
        roots.add(certificate).map_err(|error| format!("its certificate {count} is none ({error})"))?;
    }
    if count == 0 {
        return Err("it has no certificate in PEM format (\"-----BEGIN CERTIFICATE-----\")".to_owned());
    }
    Ok(())
}

/// In words: the library shows the lines of the file as numbers, and some of them may be of a private key.
fn pem_problem(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "cut off: its \"-----END\" line is missing",
        pem::Error::IllegalSectionStart { .. } => "broken: its \"-----BEGIN\" line is malformed",
        pem::Error::Base64Decode(_) => "broken: it is not base64",
        _ => "not readable as PEM",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots_with(text: &[u8]) -> Result<usize, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, text).unwrap();
        let mut roots = RootCertStore::empty();
        add(&mut roots, &path).map(|()| roots.len())
    }

    fn certificate(name: &str) -> String {
        rcgen::generate_simple_self_signed([name.to_owned()]).unwrap().cert.pem()
    }

    #[test]
    fn each_certificate_of_a_bundle_is_trusted_and_all_else_in_it_is_skipped() {
        assert_eq!(roots_with(certificate("one").as_bytes()), Ok(1));
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let bundle = format!("# ours\n{}\n{key}\n# and theirs\n{}", certificate("one"), certificate("two"));
        assert_eq!(roots_with(bundle.as_bytes()), Ok(2));
        let windows = certificate("one").replace('\n', "\r\n");
        assert_eq!(roots_with(windows.as_bytes()), Ok(1));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let good = certificate("one");
        let half = &good[..good.len() / 2];
        let not_der = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        let not_base64 = "-----BEGIN CERTIFICATE-----\n?????\n-----END CERTIFICATE-----\n";
        for (text, part) in [
            (String::new(), "no certificate in PEM format"),
            ("hello\n".to_owned(), "no certificate in PEM format"),
            (rcgen::KeyPair::generate().unwrap().serialize_pem(), "no certificate in PEM format"),
            (half.to_owned(), "certificate 1 is cut off"),
            (format!("{good}{half}"), "certificate 2 is cut off"),
            (format!("{good}{not_der}"), "certificate 2 is none"),
            (not_base64.to_owned(), "certificate 1 is broken: it is not base64"),
            (" ".repeat(2 * 1024 * 1024), "longer than"),
        ] {
            let problem = roots_with(text.as_bytes()).unwrap_err();
            assert!(problem.contains(part), "{part}: {problem}");
        }
        assert!(roots_with(&[0x30, 0x82, 0xff, 0xfe]).unwrap_err().contains("no certificate in PEM format"), "DER");
    }

    #[test]
    fn the_error_names_the_file() {
        for path in ["/does/not/exist.pem", "/"] {
            let error = tls(Some(Path::new(path))).unwrap_err();
            assert!(matches!(error, OptionsError::ExtraCa { .. }));
            assert!(error.to_string().contains(path), "{error}");
        }
    }
}
