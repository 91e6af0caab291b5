//! What the mapping to entities needs to know besides the resource.

use super::blueprints::Blueprints;
use super::digest;
use crate::settings::FileSettings;

/// What the mapping to entities needs to know besides the resource.
#[derive(Debug)]
pub struct Context {
    /// Name of the cluster, the first part of every identifier.
    pub cluster: String,
    /// The settings.
    pub settings: FileSettings,
    /// The blueprints as Port has them.
    pub blueprints: Blueprints,
    /// Whether nothing is sent.
    pub dry_run: bool,
    digest: String,
}

impl Context {
    /// A context with these settings.
    #[must_use]
    pub fn new(cluster: String, settings: FileSettings, dry_run: bool) -> Self {
        // What says which rollouts are recorded and how long they are kept makes no entity another one.
        let FileSettings {
            defaults,
            blueprints,
            statuses,
            naming,
            publish,
            limits: _,
            rollouts: _,
            deployments: _,
            retention: _,
            incidents: _,
            alertmanager: _,
        } = &settings;
        let digest = digest(&(&cluster, defaults, blueprints, statuses, naming, publish, dry_run));
        Self { cluster, settings, blueprints: Blueprints::default(), dry_run, digest }
    }

    /// Digest of the settings: a resource whose status was made with others has to be looked at again.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
}
