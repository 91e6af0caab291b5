//! The receiver of Alertmanager's notifications: each episode of a group of alerts becomes one incident.
//!
//! [`router`] authenticates and parses a notification. [`IncidentStore`] asks the [`AlertIndex`] which incidents of its group matter, reads
//! them, decides what to write, and writes it.

mod decide;
mod index;
mod locks;
mod manifest;
mod notification;
mod receiver;
mod store;
mod token;

pub use index::AlertIndex;
pub use receiver::router;
pub use store::IncidentStore;
pub use token::TokenFile;
