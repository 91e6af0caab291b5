//! Where Port is: an address that was checked once, so that nothing later has to doubt it.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;

/// Port's API for organisations hosted in the EU. Those hosted in the US use `https://api.us.port.io`.
pub const DEFAULT_BASE_URL: &str = "https://api.port.io";

/// All but RFC 3986's unreserved characters, as `encodeURIComponent` does it: an identifier such as `a/b:1` must stay one path segment.
const PATH_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The checked address of Port's API: scheme, host and perhaps a port number, nothing else.
///
/// `https` is required, since the client secret travels over it; `http` is accepted for loopback hosts only
/// (`localhost`, `127.0.0.0/8`, `::1`), or everywhere with [`BaseUrl::parse_allowing_http`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    url: Url,
    loopback: bool,
}

/// Why a text can't be the address of Port. Its text says what to write instead, and never repeats a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BaseUrlError {
    /// Nothing was given.
    #[error(
        "the base URL of Port is empty: write {DEFAULT_BASE_URL}, or https://api.us.port.io for an organisation in the US"
    )]
    Empty,
    /// The text is no URL with a host.
    #[error("the base URL of Port is not a URL ({problem}): write it as {DEFAULT_BASE_URL}")]
    NotAUrl {
        /// What the parser said.
        problem: String,
    },
    /// The scheme is neither `https` nor `http`.
    #[error("the base URL of Port begins with \"{scheme}:\": write it as {DEFAULT_BASE_URL}")]
    Scheme {
        /// The scheme that was given.
        scheme: String,
    },
    /// Plain `http` to a host that is not this machine.
    #[error(
        "the base URL of Port is http://{host}, over which the client secret would travel unencrypted: \
         write https://{host}, or allow plain http with PORT_ALLOW_HTTP=true"
    )]
    PlainHttp {
        /// Host and port number that were given.
        host: String,
    },
    /// A user name or a password in the URL.
    #[error(
        "the base URL of Port contains a user name or a password: write {instead}, and give the client ID and the \
         client secret by their own settings"
    )]
    Credentials {
        /// The same address without them.
        instead: String,
    },
    /// A path, a query or a fragment.
    #[error(
        "the base URL of Port contains more than a host: write {instead}, since the client adds the path (/v1/…) itself"
    )]
    MoreThanHost {
        /// The same address without it.
        instead: String,
    },
}

impl BaseUrl {
    /// Reads an address and accepts plain `http` for every host. Meant for a proxy in the same pod or a test network.
    ///
    /// # Errors
    /// As for [`BaseUrl::from_str`], except [`BaseUrlError::PlainHttp`].
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
        // `host_str` is there for every http(s) URL; the parser refuses those without a host.
        let bare_host = url.host_str().unwrap_or_default();
        let host = match url.port() {
            Some(port) => format!("{bare_host}:{port}"),
            None => bare_host.to_owned(),
        };
        let instead = format!("{}://{host}", url.scheme());
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BaseUrlError::Credentials { instead });
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(BaseUrlError::MoreThanHost { instead });
        }
        let loopback = is_loopback(bare_host);
        if url.scheme() == "http" && !loopback && !allow_http {
            return Err(BaseUrlError::PlainHttp { host });
        }
        Ok(Self { url, loopback })
    }

    /// Host and, where one was given, port number: what error texts call Port by.
    #[must_use]
    pub fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// Whether the host is this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// The address of a route: each segment percent-encoded, so that none can leave its place.
    ///
    /// `.` and `..` have a meaning of their own in paths that no encoding takes away; callers refuse them beforehand.
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

    /// Reads an address. White space around it and a trailing slash are ignored.
    fn from_str(text: &str) -> Result<Self, BaseUrlError> {
        Self::parse(text, false)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.url.as_str().trim_end_matches('/'))
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_addresses_of_port_and_of_this_machine() {
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
    fn refuses_what_can_not_be_meant_and_says_what_to_write() {
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
    fn plain_http_elsewhere_needs_to_be_allowed() {
        let url = BaseUrl::parse_allowing_http("http://port.test:8080").unwrap();
        assert_eq!(url.to_string(), "http://port.test:8080");
        assert!(!url.is_loopback());
    }

    #[test]
    fn identifiers_stay_one_segment_of_the_path() {
        let base: BaseUrl = DEFAULT_BASE_URL.parse().unwrap();
        let url = base.route(&["v1", "a/b:c", "dé+%2F\\?#"], &[("upsert", "true")]);
        assert_eq!(url.as_str(), "https://api.port.io/v1/a%2Fb%3Ac/d%C3%A9%2B%252F%5C%3F%23?upsert=true");
    }
}
