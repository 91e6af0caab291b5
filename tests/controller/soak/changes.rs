//! People change incidents all the time.

use std::convert::Infallible;
use std::time::Duration;

use fastrand::Rng;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::population::Population;
use crate::Error;
use crate::fixture::Installation;

/// The pause between two changes.
const PAUSE: Duration = Duration::from_millis(50);

/// Resolves, reopens and edits incidents of the population until it is dropped.
pub async fn change_incidents(
    setup: &Installation,
    population: &Population,
    mut random: Rng,
) -> Result<Infallible, Error> {
    let client = setup.client().await?;
    loop {
        let number = random.u64(..population.incidents);
        if Population::is_static(number) {
            continue;
        }
        let spec = match random.u8(..4) {
            0 => json!({"status": "resolved"}),
            1 => json!({"status": "open"}),
            2 => json!({"priority": random.choice(["low", "high"])}),
            _ => json!({"description": format!("Change {}", random.u16(..))}),
        };
        let patch = Patch::Merge(json!({"spec": spec}));
        let api = population.incidents(client.clone(), number);
        api.patch(&Population::incident(number), &PatchParams::default(), &patch).await?;
        tokio::time::sleep(PAUSE).await;
    }
}
