//! The HTTP layer: requests, responses, TLS, and the errors of a request.

pub(crate) mod bulk_response;
pub(crate) mod redact;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod route;
pub(crate) mod status_class;
pub(crate) mod tls;
pub(crate) mod transport;
mod transport_error;

pub use bulk_response::MAX_BULK_ENTITIES;
pub use request::MAX_BODY_BYTES;
pub use response::MAX_RESPONSE_BYTES;
pub use route::Route;
pub use status_class::StatusClass;
pub use tls::CaFileError;
