//! Names of objects in Kubernetes.

/// Longest name of an object (a DNS subdomain, RFC 1123), in characters.
pub const MAX_NAME_LENGTH: usize = 253;

/// Whether an object can have this name: `IsDNS1123Subdomain` in `k8s.io/apimachinery/pkg/util/validation`.
///
/// Check it before a name that comes from a user is part of a request: another text would change the path of the request.
#[must_use]
pub fn is_object_name(name: &str) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().is_some_and(|byte| is_alphanumeric(*byte))
            && bytes.last().is_some_and(|byte| is_alphanumeric(*byte))
            && bytes.iter().all(|byte| is_alphanumeric(*byte) || *byte == b'-')
    };
    name.len() <= MAX_NAME_LENGTH && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dns_subdomains_are_object_names() {
        for name in ["web", "a", "web-2.example.com", "0", &"a".repeat(MAX_NAME_LENGTH)] {
            assert!(is_object_name(name), "{name}");
        }
        for name in
            ["", "Payments API", "shop/checkout", "web?x", "..", "a..b", "-a", "a-", "a.-b", "Web", "ü", "a%2Fb"]
        {
            assert!(!is_object_name(name), "{name}");
        }
        assert!(!is_object_name(&"a".repeat(MAX_NAME_LENGTH + 1)));
    }
}
