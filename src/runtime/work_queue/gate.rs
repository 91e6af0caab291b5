//! Gates: when a consumer may take keys from a queue.

/// Decides when [`WorkQueue::run_gated`](super::WorkQueue::run_gated) may take keys, and how many.
pub trait Gate {
    /// The permission to process keys. The queue keeps it until they are processed.
    type Permit<'a>
    where
        Self: 'a;

    /// The permission to process keys, and how many: at most `max`. `None` while the gate is closed.
    fn admit(&self, max: usize) -> Option<(usize, Self::Permit<'_>)>;

    /// Waits until a gate that was closed may admit keys again.
    fn reopened(&self) -> impl Future<Output = ()>;
}

/// A gate that is always open.
#[derive(Clone, Copy, Debug)]
pub struct OpenGate;

impl Gate for OpenGate {
    type Permit<'a> = ();

    fn admit(&self, max: usize) -> Option<(usize, ())> {
        Some((max, ()))
    }

    async fn reopened(&self) {}
}
