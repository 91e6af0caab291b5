//! Types and reasons of the conditions in the status of the custom resources.

/// Condition: whether the entity in Port is up to date.
pub const SYNCED: &str = "Synced";
/// Condition: present and False if the controller could not use a part of the resource.
pub const VALID: &str = "Valid";

/// Reason of `Synced`: the controller sends nothing, because it runs in dry-run mode.
pub const DRY_RUN: &str = "DryRun";
/// Reason of `Synced`: the deployment has not ended.
pub const IN_PROGRESS: &str = "InProgress";
/// Reason of `Synced`: the settings exclude the deployment.
pub const NOT_PUBLISHED: &str = "NotPublished";
/// Reason of `Synced` and `Valid`: the controller can't read the resource.
pub const UNDECODABLE: &str = "Undecodable";
/// Reason of an Event: the API server refuses to update the resource, so no condition can say it.
pub const UPDATE_REFUSED: &str = "UpdateRefused";
/// Reasons of `Synced` with which the controller does nothing until the resource or the settings change.
pub const HELD_REASONS: [&str; 3] = [IN_PROGRESS, NOT_PUBLISHED, DRY_RUN];

/// Reason of `Synced` and of `Valid`: another resource owns the identifier.
pub const IDENTIFIER_TAKEN: &str = "IdentifierTaken";
/// Reason of `Synced` and of `Valid`: the identifier is one of another namespace.
pub const FOREIGN_IDENTIFIER: &str = "ForeignIdentifier";
/// Reasons of `Synced` and of `Valid` with which the controller refuses a resource, until the owner of its identifier is gone.
pub const REFUSED_REASONS: [&str; 2] = [IDENTIFIER_TAKEN, FOREIGN_IDENTIFIER];
