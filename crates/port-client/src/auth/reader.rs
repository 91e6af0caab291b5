//! Reads the credentials without blocking the runtime.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::auth::{CredentialError, CredentialSource, Credentials};

/// How long the file system may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the credentials, in a thread of their own if they are in files: a file system may hang.
///
/// Only one thread reads at a time. So a file system that hangs holds one thread, however often the credentials are needed.
pub(crate) struct CredentialReader {
    source: Arc<CredentialSource>,
    reading: Arc<Semaphore>,
}

impl CredentialReader {
    pub(crate) fn new(source: CredentialSource) -> Self {
        Self { source: Arc::new(source), reading: Arc::new(Semaphore::new(1)) }
    }

    /// The current credentials; `None` if both values are missing.
    ///
    /// # Errors
    /// As [`CredentialSource::current`], and if the file system doesn't respond.
    pub(crate) async fn current(&self) -> Result<Option<Credentials>, CredentialError> {
        if !self.source.has_files() {
            return self.source.current();
        }
        let read = async {
            let permit = Arc::clone(&self.reading).acquire_owned().await.map_err(interrupted)?;
            let source = Arc::clone(&self.source);
            let read = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                source.current()
            });
            read.await.map_err(interrupted)?
        };
        timeout(READ_TIMEOUT, read).await.unwrap_or(Err(CredentialError::TimedOut { after: READ_TIMEOUT }))
    }
}

fn interrupted(error: impl std::fmt::Display) -> CredentialError {
    CredentialError::Interrupted { problem: error.to_string() }
}
