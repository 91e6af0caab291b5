//! When the records of a workload are written again.

use std::time::Duration;

use rollout::Uid;

use crate::runtime::Backoff;

/// Bounds of the first and the longest delay after an error that may pass.
const AFTER_ERROR: (Duration, Duration) = (Duration::from_millis(200), Duration::from_mins(1));

/// Bounds of the first and the longest delay after the API server refused a write. Somebody has to change something.
const AFTER_REFUSAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// Why the records of a workload are written again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cause {
    /// The decision was made from an old state.
    Outdated,
    /// The API server didn't answer, or it can't handle the request now.
    Error,
    /// The API server, or an admission webhook, refuses the write.
    Refusal,
}

impl Cause {
    /// What `error` means for the next attempt.
    ///
    /// 401 and 404 are temporary: a token expires, and during an upgrade the custom resource definition may be missing.
    pub fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if matches!(status.code, 400..500) => match status.code {
                401 | 404 | 408 | 409 | 429 => Self::Error,
                _ => Self::Refusal,
            },
            _ => Self::Error,
        }
    }
}

/// The delays before the records of a workload are written again, by UID of the workload and by cause.
#[derive(Debug)]
pub(super) struct Retries {
    outdated: Backoff<Uid>,
    error: Backoff<Uid>,
    refusal: Backoff<Uid>,
}

impl Default for Retries {
    fn default() -> Self {
        let [outdated, error, refusal] =
            [AFTER_ERROR, AFTER_ERROR, AFTER_REFUSAL].map(|(first, longest)| Backoff::new(first, longest));
        Self { outdated, error, refusal }
    }
}

impl Retries {
    /// The delay before the next attempt, and whether this is the first one in a row that ended because of `cause`.
    pub fn next(&self, uid: &Uid, cause: Cause) -> (Duration, bool) {
        let backoff = self.backoff(cause);
        let is_first = !backoff.is_failing(uid);
        (backoff.next_delay(uid), is_first)
    }

    /// Forgets a workload: its records are written, or can't be written any more.
    pub fn forget(&self, uid: &Uid) {
        for cause in [Cause::Outdated, Cause::Error, Cause::Refusal] {
            self.backoff(cause).forget(uid);
        }
    }

    fn backoff(&self, cause: Cause) -> &Backoff<Uid> {
        match cause {
            Cause::Outdated => &self.outdated,
            Cause::Error => &self.error,
            Cause::Refusal => &self.refusal,
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn cause(code: u16) -> Cause {
        Cause::of(&kube::Error::Api(Status { code, ..Status::default() }.boxed()))
    }

    #[test]
    fn refused_writes_wait_longer_than_others() {
        for code in [400, 403, 405, 413, 422] {
            assert_eq!(cause(code), Cause::Refusal, "{code}");
        }
        for code in [401, 404, 408, 409, 429, 500, 503, 504] {
            assert_eq!(cause(code), Cause::Error, "{code}");
        }
        assert_eq!(Cause::of(&kube::Error::LinesCodecMaxLineLengthExceeded), Cause::Error);
    }

    #[test]
    fn only_the_first_failure_in_a_row_is_new() {
        let (retries, uid): (_, Uid) = (Retries::default(), "d".into());
        assert!(retries.next(&uid, Cause::Error).1 && !retries.next(&uid, Cause::Error).1);
        assert!(retries.next(&uid, Cause::Refusal).1, "another cause is new");
        retries.forget(&uid);
        assert!(retries.next(&uid, Cause::Error).1 && retries.next(&uid, Cause::Refusal).1);
    }
}
