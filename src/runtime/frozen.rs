//! Parts of the process that make no progress.

use std::sync::Arc;
use std::time::Duration;

/// How long a part may work on one thing before it counts as frozen. Every request has a timeout, so that only a fault lasts longer.
pub const FROZEN_AFTER: Duration = Duration::from_mins(5);

/// A part of the process that makes no progress.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FrozenPart {
    /// Name of the part in the metrics.
    pub part: &'static str,
    /// What it does, and for how long: `the publisher of DoraIncident has worked on shop/down for 312 s`.
    pub text: String,
}

/// Returns the parts that are frozen now.
pub type FrozenFn = Arc<dyn Fn() -> Vec<FrozenPart> + Send + Sync>;

/// The part that works on a queue, if it has worked on the same key for [`FROZEN_AFTER`]. `longest` is that key and the time
/// ([`WorkQueue::longest_in_process`](super::WorkQueue::longest_in_process)), `subject` names the part, and `key` the key in the text.
pub fn frozen_worker<K>(
    longest: Option<(K, Duration)>,
    part: &'static str,
    subject: &str,
    key: impl Fn(&K) -> String,
) -> Option<FrozenPart> {
    let (longest, duration) = longest?;
    let text = || format!("{subject} has worked on {} for {} s", key(&longest), duration.as_secs());
    (duration >= FROZEN_AFTER).then(|| FrozenPart { part, text: text() })
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::runtime::WorkQueue;

    #[tokio::test(start_paused = true)]
    async fn worker_is_frozen_after_five_minutes_on_one_key() {
        let (queue, stop) = (WorkQueue::default(), CancellationToken::new());
        let frozen = || {
            frozen_worker(queue.longest_in_process(), "publisher", "the publisher", |key: &&str| format!("shop/{key}"))
        };
        queue.add("down");
        let work = queue.run(1, 1, &stop, async |_| std::future::pending().await);
        let observed = async {
            tokio::time::sleep(Duration::from_secs(299)).await;
            let before = frozen();
            tokio::time::sleep(Duration::from_secs(13)).await;
            (before, frozen())
        };
        tokio::select! {
            () = work => unreachable!(),
            (before, after) = observed => {
                assert_eq!(before, None);
                let text = "the publisher has worked on shop/down for 312 s".to_owned();
                assert_eq!(after, Some(FrozenPart { part: "publisher", text }));
            }
        }
        assert_eq!(frozen(), None, "the work was dropped");
    }
}
