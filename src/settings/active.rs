//! The settings that all parts of the controller share.

use super::FileSettings;
use crate::resources::digest;

/// The settings that all parts of the controller share.
#[derive(Debug)]
pub struct ActiveSettings {
    /// Name of the cluster, the first part of every entity identifier.
    pub cluster: String,
    /// The settings file.
    pub file: FileSettings,
    /// Whether nothing is sent to Port.
    pub dry_run: bool,
    digest: String,
}

impl ActiveSettings {
    /// The settings of a cluster of this name.
    #[must_use]
    pub fn new(cluster: String, file: FileSettings, dry_run: bool) -> Self {
        // The ignored settings say which rollouts are recorded and how long they are kept. They don't change entities.
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
        let digest = digest(&(&cluster, defaults, blueprints, statuses, naming, publish));
        Self { cluster, file, dry_run, digest }
    }

    /// Digest of the settings that entities are built from. A resource whose status has another digest is assessed again: it is sent only
    /// if its entity is another one with these settings.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
}
