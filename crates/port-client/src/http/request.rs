//! A request to Port.

use bytes::Bytes;
use reqwest::{Method, Url};
use serde::Serialize;

use crate::error::Error;
use crate::http::Route;

/// The largest request body that Port accepts, in bytes (the 413 response in Port's API reference: "limit is 1MiB").
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// A request, which may be sent several times.
pub(crate) struct Request {
    pub(crate) route: Route,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) body: Option<Bytes>,
}

/// The value as a JSON body.
///
/// # Errors
/// [`Error::NotSerializable`], and [`Error::BodyTooLarge`] if the body is larger than [`MAX_BODY_BYTES`].
pub(crate) fn json_body(value: &impl Serialize) -> Result<Bytes, Error> {
    let body = serde_json::to_vec(value).map_err(|error| Error::NotSerializable(error.to_string()))?;
    if body.len() > MAX_BODY_BYTES {
        return Err(Error::BodyTooLarge { bytes: body.len() });
    }
    Ok(body.into())
}
