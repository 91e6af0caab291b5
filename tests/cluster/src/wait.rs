//! Waiting for a stated condition with a deadline, in place of sleeping.

use std::fmt::{self, Display};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// How long [`wait_for`] rests between two looks: an eighth of the time that it has waited, within these bounds. Looks cost the
/// cluster time, and what takes long needs no close look.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(250));

/// Why a condition doesn't hold yet. Made from anything that can be displayed, so that `?` works on every
/// error inside a condition and `Err("2 of 3 are ready".into())` states what is missing.
///
/// It doesn't implement [`Display`] itself: that is what lets the conversion cover all types that do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotYet(String);

impl<E: Display> From<E> for NotYet {
    fn from(reason: E) -> Self {
        // The alternate form is the one in which anyhow's errors print their causes.
        Self(format!("{reason:#}"))
    }
}

/// A condition that didn't come true before its deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitError {
    what: String,
    deadline: Duration,
    last: Option<String>,
}

impl Display for WaitError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "waited {:?} in vain for {}", self.deadline, self.what)?;
        match &self.last {
            Some(reason) => write!(formatter, "; last seen: {reason}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for WaitError {}

/// Looks at `check`, often at first and then every quarter of a second, until it returns `Ok(Some(value))`, and returns that value.
///
/// `Ok(None)` and `Err(reason)` both mean "not yet"; the newest reason becomes part of the error. A check that
/// takes longer than what is left of the deadline is abandoned, so a request that hangs can't hang the test.
///
/// # Errors
/// When `deadline` has passed, with `what` was waited for and the last reason seen.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// use std::time::Duration;
/// let mut looks = 0;
/// let third = cluster::wait_for("the third look", Duration::from_secs(5), async || {
///     looks += 1;
///     if looks < 3 { Err(format!("look {looks}"))? }
///     Ok(Some(looks))
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
    let mut waiting = Waiting::new(what.to_string(), deadline);
    loop {
        if let Some(value) = waiting.look(check()).await? {
            return Ok(value);
        }
    }
}

/// One wait, look by look: what [`wait_for`] is made of.
///
/// The compiler can't prove that a future which calls an async closure can go to another thread
/// (rust-lang/rust issue 110338), so methods whose futures must be `Send` loop over [`Waiting::look`] themselves.
#[derive(Debug)]
pub(crate) struct Waiting {
    what: String,
    deadline: Duration,
    begun: Instant,
    end: Instant,
    last: Option<String>,
}

impl Waiting {
    pub(crate) fn new(what: String, deadline: Duration) -> Self {
        let begun = Instant::now();
        Self { what, deadline, begun, end: begun + deadline, last: None }
    }

    /// Awaits one check and, if it says "not yet", rests before it returns `None`.
    pub(crate) async fn look<T>(
        &mut self,
        check: impl Future<Output = Result<Option<T>, NotYet>>,
    ) -> Result<Option<T>, WaitError> {
        match timeout_at(self.end, check).await {
            Ok(Ok(Some(value))) => return Ok(Some(value)),
            Ok(Ok(None)) => {}
            Ok(Err(NotYet(reason))) => self.last = Some(reason),
            Err(_) => {
                self.last.get_or_insert_with(|| "the check itself gave no answer".to_owned());
            }
        }
        if Instant::now() >= self.end {
            return Err(WaitError { what: self.what.clone(), deadline: self.deadline, last: self.last.take() });
        }
        let interval = (self.begun.elapsed() / 8).clamp(INTERVALS.0, INTERVALS.1);
        sleep(interval.min(self.end.saturating_duration_since(Instant::now()))).await;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn error_names_what_was_waited_for_and_the_newest_reason() {
        let mut looks = 0;
        let error = wait_for("the moon", Duration::from_secs(2), async || {
            looks += 1;
            if looks % 2 == 0 { Ok(None::<()>) } else { Err(NotYet::from(format!("cloud {looks}"))) }
        })
        .await
        .unwrap_err();
        let cloud = if looks % 2 == 0 { looks - 1 } else { looks };
        assert_eq!(error.to_string(), format!("waited 2s in vain for the moon; last seen: cloud {cloud}"));
    }

    #[tokio::test(start_paused = true)]
    async fn check_that_hangs_ends_at_the_deadline() {
        let error = wait_for("an answer", Duration::from_secs(2), async || {
            std::future::pending::<()>().await;
            Ok(Some(()))
        })
        .await
        .unwrap_err();
        assert!(error.to_string().ends_with("last seen: the check itself gave no answer"), "{error}");
    }

    #[tokio::test]
    async fn one_look_is_granted_even_without_time() {
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
