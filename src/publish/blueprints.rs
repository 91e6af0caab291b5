//! The blueprints as Port has them: read at the start, every 30 minutes, and after a refusal.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::fit::{Lacking, lacking};
use crate::operate::Waits;
use crate::port::{self, Blueprint, BlueprintCreation, NewBlueprint};
use crate::settings::{Naming, Vocabulary};

/// How often the blueprints are read without a reason.
const PERIOD: Duration = Duration::from_mins(30);

/// Shortest time between two readings: a backlog of refusals asks for one reading, not for one each.
const SHORTEST_PERIOD: Duration = Duration::from_secs(10);

/// First and longest wait after a blueprint could not be created.
const CREATE_WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(150));

/// The blueprints, as they were last read.
#[derive(Debug, Default)]
pub struct Blueprints {
    known: Mutex<HashMap<String, Arc<Blueprint>>>,
    doubted: Notify,
}

/// A blueprint that entities are made of.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its identifier.
    pub identifier: &'a str,
    /// The names in it.
    pub naming: &'a Naming,
    /// What there is to say.
    pub vocabulary: &'static Vocabulary,
}

impl Blueprints {
    /// A poisoned lock still guards whole blueprints.
    fn known(&self) -> MutexGuard<'_, HashMap<String, Arc<Blueprint>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The blueprint, if it could be read.
    #[must_use]
    pub fn get(&self, identifier: &str) -> Option<Arc<Blueprint>> {
        self.known().get(identifier).cloned()
    }

    /// Port has refused an entity: the blueprint may be another by now.
    pub fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Makes those of `blueprints` that Port doesn't have, in this order, and changes none that it has; tries until it could.
    pub async fn create(&self, port: &port::Client, blueprints: &[NewBlueprint]) {
        let waits = Waits::new(CREATE_WAITS.0, CREATE_WAITS.1);
        for blueprint in blueprints {
            let identifier = &blueprint.identifier;
            loop {
                match port.create_blueprint(blueprint).await {
                    Ok(BlueprintCreation::Created) => {
                        info!(blueprint = identifier, "created the blueprint in Port");
                        self.doubt();
                        break;
                    }
                    Ok(BlueprintCreation::ExistsAlready) => {
                        debug!(blueprint = identifier, "Port has the blueprint, and it stays as it is");
                        break;
                    }
                    Err(error) if waits.is_failing(&()) => {
                        debug!(blueprint = identifier, %error, "the blueprint still can't be created");
                    }
                    Err(error) => warn!(
                        blueprint = identifier,
                        reason = error.reason(),
                        advice = error.advice(),
                        "the blueprint can't be created and is tried again: {error}",
                    ),
                }
                tokio::time::sleep_until(waits.failed(&())).await;
            }
            waits.forget(&());
        }
    }

    /// Reads `wanted` once; those that have changed.
    pub async fn read(&self, port: &port::Client, wanted: &[Wanted<'_>]) -> Vec<Change> {
        let mut changes = Vec::new();
        for Wanted { identifier, naming, vocabulary } in wanted {
            match port.get_blueprint(identifier).await {
                Ok(blueprint) => {
                    let before = self.known().insert((*identifier).to_owned(), Arc::new(blueprint.clone()));
                    if before.as_deref() != Some(&blueprint) {
                        let lacking = lacking(&blueprint, naming, vocabulary);
                        changes.push(Change {
                            identifier: (*identifier).to_owned(),
                            lacking,
                            is_first: before.is_none(),
                        });
                    }
                }
                Err(error) if error.is_temporary() => {
                    debug!(blueprint = identifier, %error, "the blueprint can't be read");
                }
                Err(error) => {
                    // What it was like is not known any more; entities say what Port thinks of them.
                    let was_known = self.known().remove(*identifier).is_some();
                    if was_known {
                        warn!(blueprint = identifier, "the blueprint can't be read any more: {error}");
                    } else {
                        debug!(blueprint = identifier, %error, "the blueprint can't be read");
                    }
                }
            }
        }
        changes
    }

    /// Reads `wanted` again every 30 minutes, and soon after a refusal, for ever; tells what has changed.
    pub async fn keep<F: Future<Output = ()>>(
        &self,
        port: &port::Client,
        wanted: &[Wanted<'_>],
        tell: impl Fn(Vec<Change>) -> F,
    ) {
        loop {
            let read = Instant::now();
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = self.doubted.notified() => tokio::time::sleep_until(read + SHORTEST_PERIOD).await,
            }
            let changes = self.read(port, wanted).await;
            if !changes.is_empty() {
                tell(changes).await;
            }
        }
    }
}

/// A blueprint that was read for the first time, or is another than before.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Its identifier.
    pub identifier: String,
    /// What it lacks.
    pub lacking: Lacking,
    /// Whether it was not known before.
    pub is_first: bool,
}

impl Change {
    /// Says it in the log, and returns what an Event is to say of it.
    #[must_use]
    pub fn told(&self) -> Option<String> {
        let Self { identifier, lacking, is_first } = self;
        if !is_first {
            info!(blueprint = identifier, "the blueprint has changed: what was refused is sent once more");
        }
        if lacking.is_empty() {
            return None;
        }
        let explained = lacking.explained(identifier);
        warn!(blueprint = identifier, "{explained}");
        Some(explained)
    }
}
