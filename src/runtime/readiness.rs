//! Readiness of the process: gates that open once each.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::Synced;

/// The process is ready when all gates are open. A gate opens once and stays open.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    gates: Vec<(&'static str, watch::Receiver<bool>)>,
    notice: Arc<Mutex<Option<String>>>,
}

impl Readiness {
    /// Adds a gate called `name`. It opens when its sender sends `true`.
    pub fn gate(&mut self, name: &'static str) -> Synced {
        let (sender, receiver) = watch::channel(false);
        self.gates.push((name, receiver));
        sender
    }

    /// The names of the gates that are still closed.
    #[must_use]
    pub fn closed_gates(&self) -> Vec<&'static str> {
        self.gates.iter().filter(|(_, is_open)| !*is_open.borrow()).map(|(name, _)| *name).collect()
    }

    /// Sets a line that `/readyz` shows, for a ready process that nevertheless does nothing. Clones share it.
    pub fn set_notice(&self, notice: Option<String>) {
        *self.notice.lock() = notice;
    }

    /// The line to show.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        self.notice.lock().clone()
    }

    /// Waits until all gates are open. A gate whose sender was dropped never opens, and this never returns.
    pub async fn ready(&self) {
        for (_, is_open) in &self.gates {
            if is_open.clone().wait_for(|is_open| *is_open).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn ready_when_all_gates_are_open() {
        let mut readiness = Readiness::default();
        let (deployments, namespaces) = (readiness.gate("Deployments"), readiness.gate("Namespaces"));
        assert_eq!(readiness.closed_gates(), ["Deployments", "Namespaces"]);
        deployments.send_replace(true);
        assert_eq!((readiness.closed_gates(), readiness.ready().now_or_never()), (vec!["Namespaces"], None));
        namespaces.send_replace(true);
        assert_eq!((readiness.closed_gates(), readiness.ready().now_or_never()), (vec![], Some(())));
    }

    #[test]
    fn gate_without_its_sender_never_opens() {
        let mut readiness = Readiness::default();
        drop(readiness.gate("Deployments"));
        assert_eq!((readiness.closed_gates(), readiness.ready().now_or_never()), (vec!["Deployments"], None));
    }
}
