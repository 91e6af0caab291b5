//! The sources of the credentials: given values, or files that may change while the process runs.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

use crate::auth::Credentials;

/// The largest file that is read. A credential has a few dozen bytes; a larger file is another file, or one without an end.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The source of one of the two values.
#[derive(Clone, Default)]
pub enum CredentialValue {
    /// No value is set.
    #[default]
    Unset,
    /// The value itself.
    Inline(SecretString),
    /// A file that contains the value and nothing else. The client reads it again for each call.
    File(PathBuf),
}

impl CredentialValue {
    /// The value without surrounding white space, since files often end in a newline; `None` if there is no value.
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

/// The source of the credentials. Each of the two values has its own.
#[derive(Debug, Clone, Default)]
pub struct CredentialSource {
    /// The source of the client ID.
    pub client_id: CredentialValue,
    /// The source of the client secret.
    pub client_secret: CredentialValue,
}

impl CredentialSource {
    /// Credentials that never change.
    #[must_use]
    pub fn fixed(credentials: Credentials) -> Self {
        Self {
            client_id: CredentialValue::Inline(credentials.client_id.into()),
            client_secret: CredentialValue::Inline(credentials.client_secret),
        }
    }

    /// Two files, which may be created, changed and removed at any time.
    pub fn files(client_id: impl Into<PathBuf>, client_secret: impl Into<PathBuf>) -> Self {
        Self {
            client_id: CredentialValue::File(client_id.into()),
            client_secret: CredentialValue::File(client_secret.into()),
        }
    }

    /// Reads the current credentials. This blocks while the file system does.
    ///
    /// `None` means that both values are missing: not set, no such file, or an empty file.
    ///
    /// # Errors
    /// If only one of the two values is missing, or if a file can't be read or does not contain a credential.
    pub fn current(&self) -> Result<Option<Credentials>, CredentialError> {
        let client_id = self.client_id.read(CLIENT_ID)?;
        let client_secret = self.client_secret.read(CLIENT_SECRET)?;
        match (client_id, client_secret) {
            (Some(client_id), Some(client_secret)) => {
                Ok(Some(Credentials { client_id: client_id.expose_secret().to_owned(), client_secret }))
            }
            (None, None) => Ok(None),
            (None, Some(_)) => Err(CredentialError::Incomplete {
                name: CLIENT_ID,
                other: CLIENT_SECRET,
                place: self.client_id.place(),
            }),
            (Some(_), None) => Err(CredentialError::Incomplete {
                name: CLIENT_SECRET,
                other: CLIENT_ID,
                place: self.client_secret.place(),
            }),
        }
    }

    /// Whether reading the credentials accesses the file system.
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

/// Why the credentials can't be used. The text contains no part of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// One of the two values is set and the other is missing.
    #[error("the Port {name} is missing or empty ({place}), but the {other} is set")]
    Incomplete {
        /// The missing value: `client ID` or `client secret`.
        name: &'static str,
        /// The value that is set.
        other: &'static str,
        /// The source that has no value.
        place: String,
    },
    /// The file exists but can't be read.
    #[error("the Port {name} can't be read from the file {}: {problem}", .path.display())]
    Unreadable {
        /// The value: `client ID` or `client secret`.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the operating system, or the limit that the file exceeds.
        problem: String,
    },
    /// The file system did not respond.
    #[error(
        "the files with the Port credentials could not be read within {} s; check the volume on which they are",
        .after.as_secs()
    )]
    TimedOut {
        /// How long the client waited.
        after: Duration,
    },
    /// The read was interrupted, which happens while the process ends.
    #[error("reading the Port credentials was interrupted: {problem}")]
    Interrupted {
        /// The error of the runtime.
        problem: String,
    },
    /// The value has several lines, or contains other control characters.
    #[error(
        "the Port {name} ({place}) contains a line break or another control character: write the value alone, on one line"
    )]
    Malformed {
        /// The value: `client ID` or `client secret`.
        name: &'static str,
        /// The source of the value.
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
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(unreadable(format!("the file is larger than {MAX_FILE_BYTES} bytes")));
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
    fn files_are_read_again_for_each_call() {
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
    fn each_value_has_its_own_source() {
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
    fn half_of_the_credentials_names_the_missing_half() {
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
    fn unusable_file_is_named() {
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
    fn debug_shows_the_source_but_no_value() {
        let credentials = Credentials::new("my-id", "hunter2");
        let source = CredentialSource::fixed(credentials.clone());
        let text = format!("{credentials:?} {source:?}");
        assert!(!text.contains("hunter2") && !text.contains("my-id"), "{text}");
    }
}
