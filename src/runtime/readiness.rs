//! What has to be there before the process is ready, by name.

use tokio::sync::watch;

/// Named conditions of readiness. Each opens once.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Vec<(&'static str, watch::Receiver<bool>)>);

impl Readiness {
    /// Adds a gate; it opens when `true` is sent.
    pub fn add(&mut self, name: &'static str) -> watch::Sender<bool> {
        let (sender, receiver) = watch::channel(false);
        self.0.push((name, receiver));
        sender
    }

    /// The readiness that are still closed.
    #[must_use]
    pub fn closed(&self) -> Vec<&'static str> {
        self.0.iter().filter(|(_, open)| !*open.borrow()).map(|(name, _)| *name).collect()
    }

    /// Backoff until all readiness are open. A gate whose sender is gone stays closed, and this waits for ever.
    pub async fn opened(&self) {
        for (_, open) in &self.0 {
            if open.clone().wait_for(|open| *open).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
