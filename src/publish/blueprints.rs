//! The blueprints as Port has them: read at the start, every 30 minutes, and after a refusal.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::conform::{Lacking, missing_fields};
use crate::runtime::Backoff;
use crate::settings::{Naming, Vocabulary};
use port_client::{self as port, Blueprint, BlueprintCreation, NewBlueprint};

/// How often the blueprints are read without a reason.
const PERIOD: Duration = Duration::from_mins(30);

/// Shortest time between two readings: a backlog of refusals asks for one reading, not for one each.
const SHORTEST_PERIOD: Duration = Duration::from_secs(2);

/// How often they are read for half an hour after a refusal: somebody is about to mend the blueprint.
const PERIOD_AFTER_REFUSAL: Duration = Duration::from_secs(20);

/// Bounds of the first and the longest wait after a blueprint could not be created.
const CREATE_WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// The blueprints, as they were last read.
#[derive(Debug, Default)]
pub struct Blueprints {
    known: Mutex<HashMap<String, BlueprintState>>,
    /// One reading at a time. Inside: when the last one failed, and why.
    reading: tokio::sync::Mutex<Option<(Instant, port::Error)>>,
    doubted: Notify,
    /// What has changed and nobody has been told yet.
    untold: Mutex<Vec<Change>>,
    changed: Notify,
}

/// What is known of a blueprint that was asked for.
#[derive(Clone, Debug)]
enum BlueprintState {
    /// This is it.
    Read(Arc<Blueprint>),
    /// Port doesn't have it, or doesn't show it: what Port's own DORA blueprints have is sent, and Port says what it thinks of it.
    Unreadable,
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
    fn known(&self) -> MutexGuard<'_, HashMap<String, BlueprintState>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The blueprint, if it could be read.
    #[must_use]
    pub fn get(&self, identifier: &str) -> Option<Arc<Blueprint>> {
        match self.known().get(identifier) {
            Some(BlueprintState::Read(blueprint)) => Some(Arc::clone(blueprint)),
            Some(BlueprintState::Unreadable) | None => None,
        }
    }

    /// Reads `wanted` unless it is known, or known not to be readable.
    ///
    /// # Errors
    /// If it can't be known yet: an entity that was sent now might lack what the blueprint has.
    pub async fn ensure(&self, port: &port::Client, wanted: Wanted<'_>) -> Result<(), port::Error> {
        let is_known = || self.known().contains_key(wanted.identifier);
        if is_known() {
            return Ok(());
        }
        let asked = Instant::now();
        let mut failure = self.reading.lock().await;
        if is_known() {
            return Ok(());
        }
        // A reading that failed while this call waited for its turn has failed for this call as well: one after the other, calls
        // would wait ever longer for a Port that doesn't answer.
        if let Some((failed, error)) = failure.as_ref()
            && *failed >= asked
        {
            return Err(error.clone());
        }
        let outcome = self.read(port, wanted).await;
        *failure = outcome.as_ref().err().map(|error| (Instant::now(), error.clone()));
        outcome
    }

    /// Port has refused an entity: the blueprint may be another by now.
    pub fn invalidate(&self) {
        self.doubted.notify_one();
    }

    /// Makes those of `blueprints` that Port doesn't have, in this order, and changes none that it has; tries until it could.
    pub async fn create(&self, port: &port::Client, blueprints: &[NewBlueprint]) {
        let waits = Backoff::new(CREATE_WAITS.0, CREATE_WAITS.1);
        for blueprint in blueprints {
            let identifier = &blueprint.identifier;
            loop {
                match port.create_blueprint(blueprint).await {
                    Ok(BlueprintCreation::Created) => {
                        info!(blueprint = identifier, "created the blueprint in Port");
                        self.invalidate();
                        break;
                    }
                    Ok(BlueprintCreation::AlreadyExists) => {
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

    async fn read(&self, port: &port::Client, wanted: Wanted<'_>) -> Result<(), port::Error> {
        let Wanted { identifier, naming, vocabulary } = wanted;
        match port.get_blueprint(identifier).await {
            Ok(blueprint) => {
                let before = self.get(identifier);
                if before.as_deref() != Some(&blueprint) {
                    let missing_fields = missing_fields(&blueprint, naming, vocabulary);
                    let change =
                        Change { identifier: identifier.to_owned(), missing_fields, is_first: before.is_none() };
                    self.known().insert(identifier.to_owned(), BlueprintState::Read(Arc::new(blueprint)));
                    self.untold().push(change);
                    self.changed.notify_one();
                }
                Ok(())
            }
            Err(error @ (port::Error::NotFound(_) | port::Error::Forbidden(_))) => {
                let before = self.known().insert(identifier.to_owned(), BlueprintState::Unreadable);
                if !matches!(before, Some(BlueprintState::Unreadable)) {
                    warn!(blueprint = identifier, "the blueprint can't be read: {error}");
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// A poisoned lock still guards whole changes.
    fn untold(&self) -> MutexGuard<'_, Vec<Change>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads `wanted` every 30 minutes, soon after a refusal, and more often for a while after that, for ever; tells what has
    /// changed.
    pub async fn refresh<F: Future<Output = ()>>(
        &self,
        port: &port::Client,
        wanted: &[Wanted<'_>],
        tell: impl Fn(Vec<Change>) -> F,
    ) {
        let mut last_read = Instant::now();
        let mut next_read = last_read;
        let mut last_refusal: Option<Instant> = None;
        loop {
            tokio::select! {
                () = self.changed.notified() => {
                    let changes = std::mem::take(&mut *self.untold());
                    if !changes.is_empty() {
                        tell(changes).await;
                    }
                    continue;
                }
                () = self.doubted.notified() => {
                    last_refusal = Some(Instant::now());
                    next_read = next_read.min(last_read + SHORTEST_PERIOD);
                    continue;
                }
                () = tokio::time::sleep_until(next_read) => {}
            }
            for wanted in wanted {
                if let Err(error) = self.read(port, *wanted).await {
                    debug!(blueprint = wanted.identifier, %error, "the blueprint can't be read now");
                }
            }
            last_read = Instant::now();
            let is_recent = last_refusal.is_some_and(|refusal| refusal.elapsed() < PERIOD);
            next_read = last_read + if is_recent { PERIOD_AFTER_REFUSAL } else { PERIOD };
        }
    }
}

/// A blueprint that was read for the first time, or is another than before.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Its identifier.
    pub identifier: String,
    /// What it lacks.
    pub missing_fields: Lacking,
    /// Whether it was not known before.
    pub is_first: bool,
}

impl Change {
    /// Says it in the log, and returns what an Event is to say of it.
    #[must_use]
    pub fn told(&self) -> Option<String> {
        let Self { identifier, missing_fields, is_first } = self;
        if !is_first {
            info!(blueprint = identifier, "the blueprint has changed: what was refused is sent once more");
        }
        if missing_fields.is_empty() {
            return None;
        }
        let explained = missing_fields.explained(identifier);
        warn!(blueprint = identifier, "{explained}");
        Some(explained)
    }
}
