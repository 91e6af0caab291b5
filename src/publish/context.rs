//! What the mapping to entities needs to know besides the resource.

use super::digest;
use crate::settings::FileSettings;

/// What the mapping to entities needs to know besides the resource.
#[derive(Clone, Debug)]
pub struct Context {
    /// Name of the cluster, the first part of every identifier.
    pub cluster: String,
    /// The settings.
    pub settings: FileSettings,
    digest: String,
}

impl Context {
    /// A context with these settings.
    #[must_use]
    pub fn new(cluster: String, settings: FileSettings) -> Self {
        let digest = digest(&(&cluster, &settings));
        Self { cluster, settings, digest }
    }

    /// Digest of all of it: a resource whose status was made with another has to be looked at again.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
}
