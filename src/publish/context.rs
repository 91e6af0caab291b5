//! What the publishers of both kinds share.

use std::sync::Arc;

use port_client::{Client, UpsertOptions};

use super::IdentifierClaims;
use super::blueprints::Blueprints;
use super::gate::PortGate;
use crate::incidents::AwaitedEntities;
use crate::records::Records;
use crate::runtime::Context;
use crate::settings::ActiveSettings;

/// What the publishers of both kinds share.
pub struct PublishContext {
    /// The client of the API server, Events and metrics.
    pub runtime: Context,
    /// The client that all requests to Port go through.
    pub port: Client,
    /// How entities are upserted.
    pub options: UpsertOptions,
    /// The settings.
    pub settings: Arc<ActiveSettings>,
    /// The records of rollouts, in which the cause of an incident is looked up.
    pub records: Arc<Records>,
    /// The incidents that wait for the entity of their cause.
    pub awaited: AwaitedEntities,
    /// Which resource owns which identifier.
    pub claims: IdentifierClaims,
    /// The blueprints as they were last read from Port.
    pub blueprints: Blueprints,
    /// Whether Port can be used.
    pub gate: PortGate,
}
