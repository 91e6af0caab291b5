//! Notifications of Alertmanager become incidents.

mod decide;
mod notification;
mod receiver;
mod store;
mod token;

pub use decide::{Decision, GROUP_ANNOTATION, GROUP_LABEL, NAMESPACE_ANNOTATION, TargetNamespace, decide, group_hash};
pub use notification::{Alert, AlertStatus, Notification};
pub use receiver::router;
pub use store::Store;
pub use token::TokenFile;
