//! Types and reasons of the conditions in the status of our resources.

/// Whether the entity in Port is up to date.
pub const SYNCED: &str = "Synced";
/// Present and False when a part of the resource could not be used.
pub const VALID: &str = "Valid";

/// Reason of `Synced`: nothing is sent, since this is a dry run.
pub const DRY_RUN: &str = "DryRun";
/// Reason of `Synced`: the deployment has not ended yet.
pub const IN_PROGRESS: &str = "InProgress";
/// Reason of `Synced`: the settings exclude the deployment.
pub const NOT_PUBLISHED: &str = "NotPublished";
/// Reasons with which nothing is left to do until the resource or the settings change.
pub const HELD_REASONS: [&str; 3] = [IN_PROGRESS, NOT_PUBLISHED, DRY_RUN];
