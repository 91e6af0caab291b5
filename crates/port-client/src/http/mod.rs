//! Requests and answers: what goes over the wire, and what comes back.

pub mod bulk_response;
pub mod exchange;
pub mod redact;
pub mod response;
pub mod tls;
pub mod transport;

pub use bulk_response::MAX_BULK_ENTITIES;
pub use exchange::{MAX_ANSWER_BYTES, MAX_BODY_BYTES};
