//! The settings that the parts of the controller share.

use super::FileSettings;
use crate::resources::digest;

/// The settings that the parts of the controller share.
#[derive(Debug)]
pub struct ActiveSettings {
    /// Name of the cluster, the first part of every identifier.
    pub cluster: String,
    /// What the settings file says.
    pub file: FileSettings,
    /// Whether nothing is sent.
    pub dry_run: bool,
    digest: String,
}

impl ActiveSettings {
    /// The settings of a cluster of this name.
    #[must_use]
    pub fn new(cluster: String, file: FileSettings, dry_run: bool) -> Self {
        // What says which rollouts are recorded and how long they are kept makes no entity another one.
        let FileSettings {
            defaults,
            blueprints,
            statuses,
            naming,
            publish,
            limits: _,
            rollouts: _,
            workloads: _,
            retention: _,
            incidents: _,
            alertmanager: _,
        } = &file;
        let digest = digest(&(&cluster, defaults, blueprints, statuses, naming, publish, dry_run));
        Self { cluster, file, dry_run, digest }
    }

    /// Digest of what makes an entity: a resource whose status was written with another one has to be looked at again.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
}
