//! Waits for a condition with a deadline, so that no test has to sleep.

use std::fmt::{self, Display};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// How long tests wait for a condition. It is long, for machines that run other things as well. No test asserts it.
pub const DEADLINE: Duration = Duration::from_mins(4);

/// Bounds of the interval between two checks of [`wait_for`], which is an eighth of the time waited so far. Checks cost
/// the cluster time, and a long wait needs no frequent checks.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(250));

/// Why a condition isn't met yet. It is converted from every type that implements [`Display`], so that `?` works on all
/// errors inside a condition, and `Err("2 of 3 are ready".into())` states what is missing.
///
/// It doesn't implement [`Display`] itself, since that would conflict with the conversion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotYet(String);

impl<E: Display> From<E> for NotYet {
    fn from(reason: E) -> Self {
        // In the alternate form, errors of anyhow print their causes.
        Self(format!("{reason:#}"))
    }
}

/// A condition that wasn't met before its deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitError {
    what: String,
    deadline: Duration,
    last: Option<String>,
}

impl Display for WaitError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "timed out after {:?} waiting for {}", self.deadline, self.what)?;
        match &self.last {
            Some(reason) => write!(formatter, "; last state: {reason}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for WaitError {}

/// Calls `check` until it returns `Ok(Some(value))`, and returns that value. Checks are frequent at first, and then
/// come every quarter of a second.
///
/// `Ok(None)` and `Err(reason)` both mean "not yet"; the newest reason becomes part of the error. A check is cancelled
/// at the deadline, so a request that hangs can't block the test.
///
/// # Errors
/// When `deadline` has passed. The error contains `what` and the newest reason.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// use std::time::Duration;
/// let mut checks = 0;
/// let third = cluster::wait_for("the third check", Duration::from_secs(5), async || {
///     checks += 1;
///     if checks < 3 { Err(format!("check {checks}"))? }
///     Ok(Some(checks))
/// })
/// .await?;
/// assert_eq!(third, 3);
/// # Ok::<(), cluster::WaitError>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn wait_for<T>(
    what: impl Display,
    deadline: Duration,
    mut check: impl AsyncFnMut() -> Result<Option<T>, NotYet>,
) -> Result<T, WaitError> {
    let mut wait = Wait::new(what.to_string(), deadline);
    loop {
        if let Some(value) = wait.poll(check()).await? {
            return Ok(value);
        }
    }
}

/// One wait, check by check: [`wait_for`] is a loop over [`Wait::poll`].
///
/// The compiler can't prove that a future which calls an async closure is `Send` (rust-lang/rust issue 110338), so
/// methods whose futures must be `Send` have a loop of their own.
#[derive(Debug)]
pub(crate) struct Wait {
    what: String,
    deadline: Duration,
    start: Instant,
    end: Instant,
    last: Option<String>,
}

impl Wait {
    pub(crate) fn new(what: String, deadline: Duration) -> Self {
        let start = Instant::now();
        Self { what, deadline, start, end: start + deadline, last: None }
    }

    /// Awaits one check. If the condition isn't met, sleeps for the interval and returns `None`.
    pub(crate) async fn poll<T>(
        &mut self,
        check: impl Future<Output = Result<Option<T>, NotYet>>,
    ) -> Result<Option<T>, WaitError> {
        match timeout_at(self.end, check).await {
            Ok(Ok(Some(value))) => return Ok(Some(value)),
            Ok(Ok(None)) => {}
            Ok(Err(NotYet(reason))) => self.last = Some(reason),
            Err(_) => {
                self.last.get_or_insert_with(|| "the check did not finish".to_owned());
            }
        }
        if Instant::now() >= self.end {
            return Err(WaitError { what: self.what.clone(), deadline: self.deadline, last: self.last.take() });
        }
        let interval = (self.start.elapsed() / 8).clamp(INTERVALS.0, INTERVALS.1);
        sleep(interval.min(self.end.saturating_duration_since(Instant::now()))).await;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn error_contains_the_condition_and_the_newest_reason() {
        let mut checks = 0;
        let error = wait_for("the moon", Duration::from_secs(2), async || {
            checks += 1;
            if checks % 2 == 0 { Ok(None::<()>) } else { Err(NotYet::from(format!("cloud {checks}"))) }
        })
        .await
        .unwrap_err();
        let cloud = if checks % 2 == 0 { checks - 1 } else { checks };
        assert_eq!(error.to_string(), format!("timed out after 2s waiting for the moon; last state: cloud {cloud}"));
    }

    #[tokio::test(start_paused = true)]
    async fn hanging_check_ends_at_the_deadline() {
        let error = wait_for("an answer", Duration::from_secs(2), async || {
            std::future::pending::<()>().await;
            Ok(Some(()))
        })
        .await
        .unwrap_err();
        assert!(error.to_string().ends_with("last state: the check did not finish"), "{error}");
    }

    #[tokio::test]
    async fn condition_is_checked_once_without_time() {
        assert_eq!(wait_for("now", Duration::ZERO, async || Ok(Some(1))).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn causes_of_an_error_are_part_of_the_reason() {
        let error = wait_for("the file", Duration::from_millis(1), async || -> Result<Option<()>, NotYet> {
            Err(anyhow::anyhow!("no such file").context("cannot read it"))?
        })
        .await
        .unwrap_err();
        assert!(error.to_string().ends_with("cannot read it: no such file"), "{error}");
    }
}
