//! The blueprints as Port has them: read at the start, every 30 minutes, and after Port refused an entity.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use port_client::{self as port, Blueprint, BlueprintCreation, NewBlueprint};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::missing_fields::MissingFields;
use crate::runtime::{Backoff, later};
use crate::settings::{Naming, Vocabulary};

/// How often the blueprints are read again.
const PERIOD: Duration = Duration::from_mins(30);

/// The shortest time between two reads, so that a backlog of refusals causes one read and not one each.
const MIN_PERIOD: Duration = Duration::from_secs(2);

/// How often the blueprints are read during the [`PERIOD`] after a refusal, when somebody may be correcting the blueprint.
const PERIOD_AFTER_REFUSAL: Duration = Duration::from_secs(20);

/// The first and the longest wait after the creation of a blueprint failed.
const CREATE_WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// The blueprints, as they were last read.
#[derive(Debug, Default)]
pub struct Blueprints {
    states: Mutex<HashMap<String, BlueprintState>>,
    /// Locked during a read, so that there is one at a time. It contains the time and the error of the last read if that failed.
    last_failure: tokio::sync::Mutex<Option<(Instant, port::Error)>>,
    invalidated: Notify,
    /// Changes that have not been reported yet.
    unreported: Mutex<Vec<BlueprintChange>>,
    changed: Notify,
}

/// The result of the last read of a blueprint.
#[derive(Clone, Debug)]
enum BlueprintState {
    /// The blueprint.
    Read(Arc<Blueprint>),
    /// The blueprint does not exist, or the credentials may not read it. Entities get the fields of Port's own DORA blueprints, and Port
    /// decides whether it accepts them.
    Unreadable,
}

/// A blueprint of the entities that the controller sends.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The identifier of the blueprint.
    pub identifier: &'a str,
    /// The names of fields and values in Port.
    pub naming: &'a Naming,
    /// The fields that the controller can send.
    pub vocabulary: &'static Vocabulary,
}

impl Blueprints {
    /// The blueprint, if it could be read.
    #[must_use]
    pub fn get(&self, identifier: &str) -> Option<Arc<Blueprint>> {
        match self.states.lock().get(identifier) {
            Some(BlueprintState::Read(blueprint)) => Some(Arc::clone(blueprint)),
            Some(BlueprintState::Unreadable) | None => None,
        }
    }

    /// Reads a blueprint, unless it was read before or is known to be unreadable.
    ///
    /// # Errors
    /// If the read failed. An entity that is sent before a successful read might lack properties that the blueprint defines.
    pub async fn ensure(&self, port: &port::Client, wanted: Wanted<'_>) -> Result<(), port::Error> {
        let is_known = || self.states.lock().contains_key(wanted.identifier);
        if is_known() {
            return Ok(());
        }
        let called_at = Instant::now();
        let mut last_failure = self.last_failure.lock().await;
        if is_known() {
            return Ok(());
        }
        // A read that failed while this call waited for the lock has failed for this call as well. Otherwise each waiting call would wait
        // for a read of its own while Port does not respond.
        if let Some((failed_at, error)) = last_failure.as_ref()
            && *failed_at >= called_at
        {
            return Err(error.clone());
        }
        let result = self.read(port, wanted).await;
        *last_failure = result.as_ref().err().map(|error| (Instant::now(), error.clone()));
        result
    }

    /// Has the blueprints read again soon, for example after Port refused an entity.
    pub fn invalidate(&self) {
        self.invalidated.notify_one();
    }

    /// Creates the blueprints that do not exist in Port, in this order, and never changes an existing one. Retries until Port has
    /// responded for each of them.
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
                        debug!(blueprint = identifier, "the blueprint already exists in Port; leaving it unchanged");
                        break;
                    }
                    Err(error) if waits.is_failing(&()) => {
                        debug!(blueprint = identifier, %error, "failed to create the blueprint again; retrying");
                    }
                    Err(error) => warn!(
                        blueprint = identifier,
                        reason = error.reason(),
                        advice = error.advice(),
                        %error,
                        "failed to create the blueprint; retrying",
                    ),
                }
                tokio::time::sleep(waits.next_delay(&())).await;
            }
            waits.forget(&());
        }
    }

    async fn read(&self, port: &port::Client, wanted: Wanted<'_>) -> Result<(), port::Error> {
        let Wanted { identifier, naming, vocabulary } = wanted;
        match port.get_blueprint(identifier).await {
            Ok(blueprint) => {
                let previous = self.get(identifier);
                if previous.as_deref() != Some(&blueprint) {
                    let change = BlueprintChange {
                        identifier: identifier.to_owned(),
                        missing_fields: MissingFields::of(&blueprint, naming, vocabulary),
                        is_first: previous.is_none(),
                    };
                    self.states.lock().insert(identifier.to_owned(), BlueprintState::Read(Arc::new(blueprint)));
                    self.unreported.lock().push(change);
                    self.changed.notify_one();
                }
                Ok(())
            }
            Err(error @ (port::Error::NotFound(_) | port::Error::Forbidden(_))) => {
                let previous = self.states.lock().insert(identifier.to_owned(), BlueprintState::Unreadable);
                if !matches!(previous, Some(BlueprintState::Unreadable)) {
                    warn!(
                        blueprint = identifier, %error,
                        "failed to read the blueprint; sending the properties and relations of Port's DORA blueprints",
                    );
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the blueprints every 30 minutes, soon after [`Blueprints::invalidate`], and more often for a while after that. Passes changes
    /// to `report`. Never returns.
    pub async fn refresh<F: Future<Output = ()>>(
        &self,
        port: &port::Client,
        wanted: &[Wanted<'_>],
        report: impl Fn(Vec<BlueprintChange>) -> F,
    ) {
        let mut last_read = Instant::now();
        let mut next_read = last_read;
        let mut last_refusal: Option<Instant> = None;
        loop {
            tokio::select! {
                () = self.changed.notified() => {
                    let changes = std::mem::take(&mut *self.unreported.lock());
                    if !changes.is_empty() {
                        report(changes).await;
                    }
                    continue;
                }
                () = self.invalidated.notified() => {
                    last_refusal = Some(Instant::now());
                    next_read = next_read.min(later(last_read, MIN_PERIOD));
                    continue;
                }
                () = tokio::time::sleep_until(next_read) => {}
            }
            for wanted in wanted {
                if let Err(error) = self.read(port, *wanted).await {
                    debug!(blueprint = wanted.identifier, %error, "failed to read the blueprint; retrying later");
                }
            }
            last_read = Instant::now();
            let is_recent = last_refusal.is_some_and(|refusal| refusal.elapsed() < PERIOD);
            next_read = later(last_read, if is_recent { PERIOD_AFTER_REFUSAL } else { PERIOD });
        }
    }
}

/// A blueprint that was read for the first time, or has changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BlueprintChange {
    /// The identifier of the blueprint.
    pub identifier: String,
    /// The differences between the blueprint and the fields that the controller sends.
    pub missing_fields: MissingFields,
    /// Whether the blueprint was read for the first time.
    pub is_first: bool,
}

impl BlueprintChange {
    /// Logs the change, and returns the note for the Event `BlueprintIncomplete`; `None` if the blueprint is complete.
    #[must_use]
    pub fn log(&self) -> Option<String> {
        let Self { identifier, missing_fields, is_first } = self;
        if !is_first {
            info!(blueprint = identifier, "the blueprint has changed; retrying the deliveries that failed");
        }
        let note = missing_fields.explain(identifier)?;
        warn!(blueprint = identifier, "{note}");
        Some(note)
    }
}
