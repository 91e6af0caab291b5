//! From rollouts to `DoraDeployment` resources: what has happened is written down before anybody is told.

mod keeper;
mod records;
mod write;

pub use keeper::{Keeper, watch_records};
pub use records::Records;
