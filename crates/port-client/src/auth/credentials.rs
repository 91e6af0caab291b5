//! Client ID and client secret: inline or from files that may change while the process runs.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

/// A credential is a few dozen characters. What is longer than this is another file, perhaps one without an end.
const LONGEST_CREDENTIAL: u64 = 64 * 1024;

/// What Port calls client credentials: an ID and the secret that belongs to it.
///
/// Neither appears in `Debug`.
#[derive(Clone)]
pub struct Credentials {
    /// The client ID.
    pub client_id: String,
    /// The client secret.
    pub client_secret: SecretString,
}

impl Credentials {
    /// Makes credentials of two plain values.
    pub fn new(client_id: impl Into<String>, client_secret: impl Into<String>) -> Self {
        Self { client_id: client_id.into(), client_secret: client_secret.into().into() }
    }

    /// Whether both values are the same, so that a token got with one is good for the other.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.client_id == other.client_id && self.client_secret.expose_secret() == other.client_secret.expose_secret()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// Where one of the two values comes from.
#[derive(Clone, Default)]
pub enum CredentialValue {
    /// Nothing was set.
    #[default]
    Unset,
    /// The value itself.
    Inline(SecretString),
    /// A file with the value and nothing else, such as a mounted Kubernetes Secret. It is read anew for each use.
    File(PathBuf),
}

impl CredentialValue {
    /// The value, without the white space around it (a Secret made with `echo` ends in a newline); `None` if there is none.
    fn read(&self, name: &'static str) -> Result<Option<SecretString>, CredentialError> {
        let text = match self {
            Self::Unset => return Ok(None),
            Self::Inline(value) => Zeroizing::new(value.expose_secret().to_owned()),
            Self::File(path) => match read_file(path, name)? {
                Some(text) => text,
                None => return Ok(None),
            },
        };
        let value = text.trim();
        if value.is_empty() {
            return Ok(None);
        }
        if value.chars().any(char::is_control) {
            return Err(CredentialError::Malformed { name, place: self.place() });
        }
        Ok(Some(SecretString::from(value)))
    }

    fn place(&self) -> String {
        match self {
            Self::Unset => "not set".to_owned(),
            Self::Inline(_) => "set directly".to_owned(),
            Self::File(path) => format!("from the file {}", path.display()),
        }
    }
}

impl fmt::Debug for CredentialValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.place())
    }
}

/// Where the credentials come from; each of the two values has a source of its own.
#[derive(Debug, Clone, Default)]
pub struct CredentialSource {
    /// Source of the client ID.
    pub client_id: CredentialValue,
    /// Source of the client secret.
    pub client_secret: CredentialValue,
}

impl CredentialSource {
    /// Credentials that stay the same for the life of the client.
    #[must_use]
    pub fn fixed(credentials: Credentials) -> Self {
        Self {
            client_id: CredentialValue::Inline(credentials.client_id.into()),
            client_secret: CredentialValue::Inline(credentials.client_secret),
        }
    }

    /// Two files, which may appear, change and vanish at any time.
    pub fn files(client_id: impl Into<PathBuf>, client_secret: impl Into<PathBuf>) -> Self {
        Self {
            client_id: CredentialValue::File(client_id.into()),
            client_secret: CredentialValue::File(client_secret.into()),
        }
    }

    /// The credentials as they are now. Files are read, so this may block for as long as the file system does.
    ///
    /// `None` means that neither value is there (not set, no such file, or empty): nothing is configured yet.
    ///
    /// # Errors
    /// If only one of the two values is there, or a file is there but can't be read or holds something else.
    pub fn current(&self) -> Result<Option<Credentials>, CredentialError> {
        let client_id = self.client_id.read(CLIENT_ID)?;
        let client_secret = self.client_secret.read(CLIENT_SECRET)?;
        match (client_id, client_secret) {
            (Some(client_id), Some(client_secret)) => {
                Ok(Some(Credentials { client_id: client_id.expose_secret().to_owned(), client_secret }))
            }
            (None, None) => Ok(None),
            (None, Some(_)) => Err(CredentialError::Incomplete { name: CLIENT_ID, place: self.client_id.place() }),
            (Some(_), None) => {
                Err(CredentialError::Incomplete { name: CLIENT_SECRET, place: self.client_secret.place() })
            }
        }
    }

    /// Whether reading them touches the file system.
    pub(crate) fn has_files(&self) -> bool {
        [&self.client_id, &self.client_secret].iter().any(|value| matches!(value, CredentialValue::File(_)))
    }
}

impl From<Credentials> for CredentialSource {
    fn from(credentials: Credentials) -> Self {
        Self::fixed(credentials)
    }
}

const CLIENT_ID: &str = "client ID";
const CLIENT_SECRET: &str = "client secret";

/// Why the credentials can't be used, without any part of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// One of the two values is there and the other is not.
    #[error("Port's {name} is missing or empty ({place}), while the other of the two credentials is set")]
    Incomplete {
        /// Which of the two.
        name: &'static str,
        /// Where it was looked for.
        place: String,
    },
    /// The file is there and can't be read.
    #[error("Port's {name} can't be read from the file {}: {problem}", .path.display())]
    Unreadable {
        /// Which of the two.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        problem: String,
    },
    /// Reading the files was broken off, which happens when the process ends.
    #[error("reading Port's credentials was broken off: {problem}")]
    Interrupted {
        /// What the runtime said.
        problem: String,
    },
    /// The value has several lines or other characters that no credential has.
    #[error(
        "Port's {name} ({place}) contains a line break or another control character: it must be one line with the value alone"
    )]
    Malformed {
        /// Which of the two.
        name: &'static str,
        /// Where it came from.
        place: String,
    },
}

fn read_file(path: &Path, name: &'static str) -> Result<Option<Zeroizing<String>>, CredentialError> {
    let unreadable = |problem: String| CredentialError::Unreadable { name, path: path.to_owned(), problem };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error.to_string())),
    };
    let mut text = Zeroizing::new(String::new());
    file.take(LONGEST_CREDENTIAL + 1).read_to_string(&mut text).map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > LONGEST_CREDENTIAL {
        return Err(unreadable(format!("it is longer than {LONGEST_CREDENTIAL} bytes")));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(source: &CredentialSource) -> Option<(String, String)> {
        let credentials = source.current().unwrap()?;
        Some((credentials.client_id, credentials.client_secret.expose_secret().to_owned()))
    }

    #[test]
    fn files_are_read_anew_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let (id, secret) = (folder.path().join("id"), folder.path().join("secret"));
        let source = CredentialSource::files(&id, &secret);
        assert_eq!(values(&source), None, "no files: nothing is configured");

        std::fs::write(&id, "").unwrap();
        std::fs::write(&secret, "\n").unwrap();
        assert_eq!(values(&source), None, "empty files: nothing is configured");

        std::fs::write(&id, "one\n").unwrap();
        std::fs::write(&secret, "two\r\n").unwrap();
        assert_eq!(values(&source), Some(("one".into(), "two".into())));

        std::fs::write(&secret, "three").unwrap();
        assert_eq!(values(&source), Some(("one".into(), "three".into())));
    }

    #[test]
    fn the_two_values_may_come_from_different_places() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "from-file\n").unwrap();
        let source = CredentialSource {
            client_id: CredentialValue::Inline(" inline\n".into()),
            client_secret: CredentialValue::File(path),
        };
        assert_eq!(values(&source), Some(("inline".into(), "from-file".into())));
    }

    #[test]
    fn half_of_the_credentials_is_an_error_that_names_the_other_half() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("absent");
        let source = CredentialSource {
            client_id: CredentialValue::Inline("id".into()),
            client_secret: CredentialValue::File(path.clone()),
        };
        let error = source.current().unwrap_err().to_string();
        assert!(error.contains("client secret is missing or empty"), "{error}");
        assert!(error.contains(&path.display().to_string()), "{error}");
    }

    #[test]
    fn what_is_no_credential_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let is_folder = folder.path().to_owned();
        let not_text = folder.path().join("not-text");
        let two_lines = folder.path().join("two-lines");
        let endless = folder.path().join("endless");
        std::fs::write(&not_text, [0xff, 0xfe]).unwrap();
        std::fs::write(&two_lines, "hunter2\nhunter3").unwrap();
        std::fs::write(&endless, "hunter2".repeat(10_000)).unwrap();
        for path in [is_folder, not_text, two_lines, endless] {
            let source = CredentialSource::files(&path, &path);
            let error = source.current().unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains(&path.display().to_string()), "{text}");
            assert!(!text.contains("hunter"), "{text}");
        }
    }

    #[test]
    fn debug_shows_where_but_not_what() {
        let credentials = Credentials::new("my-id", "hunter2");
        let source = CredentialSource::fixed(credentials.clone());
        let text = format!("{credentials:?} {source:?}");
        assert!(!text.contains("hunter2") && !text.contains("my-id"), "{text}");
    }
}
