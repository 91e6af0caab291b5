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
        // What says which rollouts are recorded and how long they are kept makes no entity another one.
        let FileSettings { defaults, blueprints, statuses, publish, rollouts: _, deployments: _, retention: _ } =
            &settings;
        let digest = digest(&(&cluster, defaults, blueprints, statuses, publish));
        Self { cluster, settings, digest }
    }

    /// Digest of all of it: a resource whose status was made with another has to be looked at again.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
}
