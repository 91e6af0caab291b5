//! Resources that Port refuses, by the cause: one of each cause is retried, and the others wait for it.
//!
//! If the group of 1,000 records doesn't exist in Port, one of them is sent again and again, and not 1,000.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use indexmap::IndexSet;
use parking_lot::Mutex;
use port_client::{Error, ErrorKind, MissingResource};

use super::condition;

/// Delay before the first retry of a cause. Each further delay is twice as long.
const FIRST_DELAY: Duration = Duration::from_mins(1);

/// The longest delay, unless a change of the blueprint, the credentials or the resource ends it.
const LONGEST_DELAY: Duration = Duration::from_mins(30);

/// The longest delay if a related entity, such as the group, doesn't exist: it may be created at any time.
const LONGEST_DELAY_OF_MISSING: Duration = Duration::from_mins(5);

/// Causes that are distinguished. Further ones of a kind count as one cause, in case that each message of Port is different.
const MAX_CAUSES: usize = 100;

/// Why Port refuses a resource, or why nothing can be sent to Port.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Cause {
    kind: ErrorKind,
    /// Hash of the message; `None` for all causes of the kind that are not distinguished.
    message: Option<u64>,
    longest_delay: Duration,
}

impl Cause {
    /// The cause of `error`, if only a change in Port or of the resource can end it. `identifier` is that of the refused entity: messages
    /// that differ only in it have the same cause.
    #[must_use]
    pub fn of(error: &Error, identifier: &str) -> Option<Self> {
        let kind = error.kind();
        let is_permanent = match kind {
            ErrorKind::NotFound
            | ErrorKind::Forbidden
            | ErrorKind::Conflict
            | ErrorKind::TooLarge
            | ErrorKind::Refused
            | ErrorKind::NoCredentials => true,
            ErrorKind::Unreachable
            | ErrorKind::TimedOut
            | ErrorKind::Unauthorized
            | ErrorKind::WrongCredentials
            | ErrorKind::RateLimited
            | ErrorKind::ServerError
            | ErrorKind::UnexpectedResponse => false,
        };
        let longest_delay = match (kind, error.missing_resource()) {
            (_, Some(MissingResource::Blueprint { .. })) => LONGEST_DELAY,
            (ErrorKind::NotFound, _) => LONGEST_DELAY_OF_MISSING,
            _ => LONGEST_DELAY,
        };
        let mut hasher = DefaultHasher::new();
        condition::explain(error).replace(identifier, "").hash(&mut hasher);
        is_permanent.then(|| Self { kind, message: Some(hasher.finish()), longest_delay })
    }
}

/// The refused resources of one kind.
#[derive(Debug)]
pub struct Parking<K>(Mutex<State<K>>);

#[derive(Debug)]
struct State<K> {
    causes: HashMap<Cause, Group<K>>,
    by_key: HashMap<K, Cause>,
}

/// The resources with one cause.
#[derive(Debug)]
struct Group<K> {
    /// The resource that is retried.
    representative: K,
    others: IndexSet<K>,
    delay: Duration,
}

/// What to do after a refusal.
#[derive(Debug, Eq, PartialEq)]
pub struct Refusal<K> {
    /// When the refused resource is retried; `None` if it waits for another one with the same cause.
    pub retry_after: Option<Duration>,
    /// The resources whose cause may be gone, because their representative was refused for another one.
    pub released: Vec<K>,
}

impl<K> Default for Parking<K> {
    fn default() -> Self {
        Self(Mutex::new(State { causes: HashMap::new(), by_key: HashMap::new() }))
    }
}

impl<K: Clone + Eq + Hash> Parking<K> {
    /// Port has refused the resource `key`.
    pub fn refused(&self, key: &K, cause: Cause) -> Refusal<K> {
        let state = &mut *self.0.lock();
        let is_known = state.causes.contains_key(&cause) || state.causes.len() < MAX_CAUSES;
        let cause = if is_known { cause } else { Cause { message: None, ..cause } };
        let before = state.by_key.insert(key.clone(), cause);
        let released = match before {
            Some(before) if before != cause => state.leave_for_other_cause(key, before),
            _ => Vec::new(),
        };
        Refusal { retry_after: state.enter(key, cause), released }
    }

    /// Port has accepted the resource `key`, which hasn't changed since it was refused. Returns the others with the same cause, which may
    /// be gone.
    pub fn accepted(&self, key: &K) -> Vec<K> {
        let state = &mut *self.0.lock();
        state.by_key.remove(key).map_or_else(Vec::new, |cause| state.release(cause, key))
    }

    /// Forgets the resource `key`, because it has changed or is gone. If it represented a cause, returns another resource with that cause,
    /// which is retried instead, and when.
    pub fn leave(&self, key: &K) -> Option<(K, Duration)> {
        let state = &mut *self.0.lock();
        let cause = state.by_key.remove(key)?;
        let group = state.causes.get_mut(&cause)?;
        if group.representative != *key {
            group.others.swap_remove(key);
            return None;
        }
        let Some(other) = group.others.pop() else {
            state.causes.remove(&cause);
            return None;
        };
        group.representative = other.clone();
        Some((other, group.delay))
    }

    /// Forgets and returns all resources.
    pub fn release_all(&self) -> Vec<K> {
        let state = &mut *self.0.lock();
        state.causes = HashMap::new();
        std::mem::take(&mut state.by_key).into_keys().collect()
    }

    /// Whether the resource `key` was refused.
    #[must_use]
    pub fn contains(&self, key: &K) -> bool {
        self.0.lock().by_key.contains_key(key)
    }

    /// How many resources were refused.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().by_key.len()
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    /// Adds `key` to the group of `cause`, and returns when it is retried.
    ///
    /// Resources whose causes are not distinguished don't wait for each other: the cause of one may be gone while that of another stays.
    fn enter(&mut self, key: &K, cause: Cause) -> Option<Duration> {
        if cause.message.is_none() {
            return Some(cause.longest_delay);
        }
        let Some(group) = self.causes.get_mut(&cause) else {
            let group = Group { representative: key.clone(), others: IndexSet::new(), delay: FIRST_DELAY };
            self.causes.insert(cause, group);
            return Some(FIRST_DELAY);
        };
        if group.representative == *key {
            group.delay = group.delay.saturating_mul(2).min(cause.longest_delay);
            return Some(group.delay);
        }
        group.others.insert(key.clone());
        None
    }

    /// The resource `key`, with the cause `before`, was refused for another one. If it represented the cause, releases the others.
    fn leave_for_other_cause(&mut self, key: &K, before: Cause) -> Vec<K> {
        match self.causes.get_mut(&before) {
            Some(group) if group.representative != *key => {
                group.others.swap_remove(key);
                Vec::new()
            }
            _ => self.release(before, key),
        }
    }

    /// Removes the group of `cause`, and returns its resources except `key`.
    fn release(&mut self, cause: Cause, key: &K) -> Vec<K> {
        let Some(Group { representative, mut others, .. }) = self.causes.remove(&cause) else {
            return Vec::new();
        };
        others.insert(representative);
        others.swap_remove(key);
        for other in &others {
            self.by_key.remove(other);
        }
        others.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use port_client::ErrorResponse;

    use super::*;

    fn error(status: u16, message: &str) -> Error {
        let message = Some(message.to_owned());
        let response = Box::new(ErrorResponse { status, code: None, message, trace_id: None, excerpt: None });
        match status {
            404 => Error::NotFound(response),
            403 => Error::Forbidden(response),
            _ => Error::Refused(response),
        }
    }

    fn cause(message: &str) -> Cause {
        Cause::of(&error(422, message), "entity").unwrap()
    }

    fn minutes(minutes: u64) -> Duration {
        Duration::from_mins(minutes)
    }

    #[test]
    fn cause_is_the_same_for_all_entities() {
        let of = |identifier: &str| Cause::of(&error(422, &format!("{identifier} has no cost_centre")), identifier);
        assert_eq!(of("prod:shop:one"), of("prod:shop:two"));
        assert_ne!(cause("one"), cause("another"));
        let without_credentials = |identifier| Cause::of(&Error::NoCredentials, identifier);
        assert!(without_credentials("prod:shop:one").is_some());
        assert_eq!(without_credentials("prod:shop:one"), without_credentials("prod:shop:two"));
        let limited = Error::RateLimited { retry_after: Duration::ZERO, response: None };
        assert_eq!(Cause::of(&limited, "a"), None);
        let longest = |error: &Error| Cause::of(error, "a").map(|cause| cause.longest_delay);
        assert_eq!(
            longest(&error(404, "Entity with identifier \"x\" of blueprint \"group\" was not found")),
            Some(minutes(5))
        );
        assert_eq!(longest(&error(404, "Blueprint with identifier \"x\" was not found")), Some(minutes(30)));
        assert_eq!(longest(&error(403, "no")), Some(minutes(30)));
    }

    #[test]
    fn one_of_many_with_the_same_cause_is_retried() {
        let (parking, cause) = (Parking::default(), cause("missing"));
        let retries: Vec<_> = (0..1_000).filter_map(|key| parking.refused(&key, cause).retry_after).collect();
        assert_eq!((retries, parking.len()), (vec![FIRST_DELAY], 1_000));
        for delay in [2, 4, 8, 16, 30, 30] {
            assert_eq!(parking.refused(&0, cause), Refusal { retry_after: Some(minutes(delay)), released: Vec::new() });
        }
        assert_eq!(parking.refused(&7, cause).retry_after, None);
        let mut released = parking.accepted(&0);
        released.sort_unstable();
        assert_eq!((released, parking.len()), ((1..1_000).collect(), 0));
    }

    #[test]
    fn other_error_of_the_retried_one_releases_the_others() {
        let parking = Parking::default();
        for key in ["a", "b", "c"] {
            parking.refused(&key, cause("old"));
        }
        let refusal = parking.refused(&"a", cause("new"));
        let mut released = refusal.released;
        released.sort_unstable();
        assert_eq!((refusal.retry_after, released), (Some(FIRST_DELAY), vec!["b", "c"]));
        assert_eq!((parking.len(), parking.contains(&"a")), (1, true));
        parking.refused(&"d", cause("new"));
        let refusal = parking.refused(&"d", cause("third"));
        assert_eq!(refusal, Refusal { retry_after: Some(FIRST_DELAY), released: vec![] }, "d did not represent a");
    }

    #[test]
    fn changed_resource_is_replaced_as_representative() {
        let (parking, cause) = (Parking::default(), cause("missing"));
        for key in ["a", "b"] {
            parking.refused(&key, cause);
        }
        parking.refused(&"a", cause);
        assert_eq!(parking.leave(&"a"), Some(("b", Duration::from_mins(2))));
        assert_eq!((parking.leave(&"a"), parking.leave(&"b"), parking.len()), (None, None, 0));
        assert_eq!(parking.refused(&"c", cause).retry_after, Some(FIRST_DELAY), "the cause was forgotten");
        parking.refused(&"d", cause);
        assert_eq!((parking.leave(&"d"), parking.release_all()), (None, vec!["c"]));
    }

    #[test]
    fn causes_beyond_the_bound_do_not_wait_for_each_other() {
        let parking = Parking::default();
        let retried = (0..1_000).filter(|key| parking.refused(key, cause(&key.to_string())).retry_after.is_some());
        assert_eq!((retried.count(), parking.len()), (1_000, 1_000));
        assert_eq!(parking.0.lock().causes.len(), MAX_CAUSES);
        for key in 0..1_000 {
            assert_eq!(parking.leave(&key), None);
        }
        assert_eq!(parking.len(), 0);
    }
}
