//! The incidents that the controller opens and resolves.

mod controller;
pub mod decide;
mod index;
mod input;
mod manifest;
mod writer;

pub use controller::AutoIncidentController;
pub use decide::OpenedBy;
pub use index::IncidentIndex;
pub use manifest::OPENED_BY;
