//! From rollouts to `DoraDeployment` resources: what has happened is written down before anybody is told.

mod keeper;
#[cfg(test)]
mod random_histories;
mod records;
mod retention;
mod write;

pub use keeper::Keeper;
pub use records::{RecordedDeployment, Records};
pub use write::record_name;
