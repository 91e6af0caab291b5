//! The address of Port's API, checked once.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::{Host, Position, Url};

/// Port's API for organisations in the EU. Organisations in the US use `https://api.us.port.io`.
pub const DEFAULT_BASE_URL: &str = "https://api.port.io";

/// All characters except RFC 3986's unreserved ones, as in `encodeURIComponent`: an identifier such as `a/b:1` stays one path segment.
const PATH_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The checked address of Port's API: a scheme, a host and optionally a port number.
///
/// `https` is required, since the client sends the client secret there. `http` is accepted for loopback hosts only
/// (`localhost`, `127.0.0.0/8`, `::1`), or for every host with [`BaseUrl::parse_allowing_http`].
///
/// ```
/// use port_client::{BaseUrl, DEFAULT_BASE_URL};
///
/// let base_url: BaseUrl = DEFAULT_BASE_URL.parse()?;
/// assert_eq!(base_url.host(), "api.port.io");
/// assert!("http://api.port.io".parse::<BaseUrl>().is_err());
/// # Ok::<(), port_client::BaseUrlError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    url: Url,
}

/// Why a text can't be the base URL. The error text says what to write instead, and never repeats a password. It names the setting for
/// [`BaseUrl::parse_allowing_http`] `PORT_ALLOW_HTTP`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BaseUrlError {
    /// The text is empty.
    #[error(
        "the base URL of Port is empty: write {DEFAULT_BASE_URL}, or https://api.us.port.io for an organisation in the US"
    )]
    Empty,
    /// The text is not a URL with a host.
    #[error("the base URL of Port is not a URL ({problem}): write it as {DEFAULT_BASE_URL}")]
    NotAUrl {
        /// The error of the parser.
        problem: String,
    },
    /// The scheme is neither `https` nor `http`.
    #[error("the base URL of Port begins with \"{scheme}:\": write it as {DEFAULT_BASE_URL}")]
    Scheme {
        /// The scheme of the text.
        scheme: String,
    },
    /// Plain `http` to a host that is not a loopback host.
    #[error(
        "the base URL of Port is http://{host}, which would send the client secret unencrypted: write https://{host}, or allow plain \
         http with PORT_ALLOW_HTTP=true"
    )]
    PlainHttp {
        /// Host and port number of the text.
        host: String,
    },
    /// The URL contains a user name or a password.
    #[error(
        "the base URL of Port contains a user name or a password: write {instead}, and set the client ID and the client secret separately"
    )]
    Credentials {
        /// The same address without them.
        instead: String,
    },
    /// The URL contains a path, a query or a fragment.
    #[error(
        "the base URL of Port contains more than a host: write {instead}, since the client adds the path (/v1/…) itself"
    )]
    MoreThanHost {
        /// The same address without it.
        instead: String,
    },
}

impl BaseUrl {
    /// Parses an address and accepts plain `http` for every host, for example for a local proxy or a test network.
    ///
    /// # Errors
    /// The errors of [`BaseUrl::from_str`], except [`BaseUrlError::PlainHttp`].
    pub fn parse_allowing_http(text: &str) -> Result<Self, BaseUrlError> {
        Self::parse(text, true)
    }

    fn parse(text: &str, allow_http: bool) -> Result<Self, BaseUrlError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(BaseUrlError::Empty);
        }
        let url = Url::parse(text).map_err(|problem| BaseUrlError::NotAUrl { problem: problem.to_string() })?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(BaseUrlError::Scheme { scheme: url.scheme().to_owned() });
        }
        let instead = url.origin().ascii_serialization();
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BaseUrlError::Credentials { instead });
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(BaseUrlError::MoreThanHost { instead });
        }
        let base_url = Self { url };
        if base_url.url.scheme() == "http" && !base_url.is_loopback() && !allow_http {
            return Err(BaseUrlError::PlainHttp { host: base_url.host() });
        }
        Ok(base_url)
    }

    /// The host, with the port number unless it is the default of the scheme. Error texts name Port by it.
    #[must_use]
    pub fn host(&self) -> String {
        self.url[Position::BeforeHost..Position::AfterPort].to_owned()
    }

    /// Whether the host is a loopback host.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.url.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }

    /// The URL of a route. Each segment is percent-encoded, so that it stays one segment.
    ///
    /// No encoding keeps `.` and `..` from changing the path, so callers reject them first.
    pub(crate) fn route(&self, segments: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.url.clone();
        let mut path = String::new();
        for segment in segments {
            path.push('/');
            path.extend(utf8_percent_encode(segment, PATH_SEGMENT));
        }
        url.set_path(&path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }
}

impl FromStr for BaseUrl {
    type Err = BaseUrlError;

    /// Parses an address. Surrounding white space and a trailing slash are ignored.
    fn from_str(text: &str) -> Result<Self, BaseUrlError> {
        Self::parse(text, false)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.url.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_port_and_loopback_hosts() {
        for (text, shown) in [
            ("https://api.port.io", "https://api.port.io"),
            (" https://api.us.port.io/ \n", "https://api.us.port.io"),
            ("https://api.port.io:8443", "https://api.port.io:8443"),
            ("http://localhost:3000/", "http://localhost:3000"),
            ("http://127.0.0.2", "http://127.0.0.2"),
            ("http://[::1]:9", "http://[::1]:9"),
        ] {
            let url: BaseUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown, "{text}");
        }
        let default: BaseUrl = DEFAULT_BASE_URL.parse().unwrap();
        assert_eq!(default.host(), "api.port.io");
    }

    #[test]
    fn rejection_says_what_to_write() {
        for (text, part) in [
            ("", "write https://api.port.io"),
            ("api.port.io", "write it as https://api.port.io"),
            ("localhost:80", "begins with \"localhost:\""),
            ("https://", "not a URL"),
            ("ftp://api.port.io", "begins with \"ftp:\""),
            ("http://api.port.io", "write https://api.port.io"),
            ("http://127.0.0.1.example.com", "write https://127.0.0.1.example.com"),
            ("https://api.port.io/v1", "write https://api.port.io,"),
            ("https://api.port.io?a=1", "write https://api.port.io,"),
            ("https://api.port.io/#a", "write https://api.port.io,"),
            ("https://me:hunter2@api.port.io:1", "write https://api.port.io:1,"),
        ] {
            let error = text.parse::<BaseUrl>().unwrap_err();
            assert!(error.to_string().contains(part), "{text}: {error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn plain_http_must_be_allowed_explicitly() {
        let url = BaseUrl::parse_allowing_http("http://port.test:8080").unwrap();
        assert_eq!(url.to_string(), "http://port.test:8080");
        assert!(!url.is_loopback());
    }

    #[test]
    fn identifier_stays_one_path_segment() {
        let base: BaseUrl = DEFAULT_BASE_URL.parse().unwrap();
        let url = base.route(&["v1", "a/b:c", "dé+%2F\\?#"], &[("upsert", "true")]);
        assert_eq!(url.as_str(), "https://api.port.io/v1/a%2Fb%3Ac/d%C3%A9%2B%252F%5C%3F%23?upsert=true");
    }
}
