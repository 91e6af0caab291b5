//! The receiver of Alertmanager's notifications: each episode of a group of alerts becomes one incident.
//!
//! [`router`] authenticates and parses a notification. [`IncidentStore`] reads the incidents of its group, decides what to write, and
//! writes it.

mod decide;
mod manifest;
mod notification;
mod receiver;
mod store;
mod token;

pub use receiver::router;
pub use store::IncidentStore;
pub use token::TokenFile;
