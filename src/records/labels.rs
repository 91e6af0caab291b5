//! The labels of records, by which `kubectl get ddep -l …` selects them.

use std::collections::BTreeMap;

use rollout::ChangeKind;

use crate::resources::{DoraDeploymentSpec, FIELD_MANAGER, MANAGED_BY, digest};

/// Label with the name of the workload.
pub const WORKLOAD: &str = "dora.port.io/workload";
/// Label with the kind of the workload.
pub const WORKLOAD_KIND: &str = "dora.port.io/workload-kind";
/// Label with the environment.
pub const ENVIRONMENT: &str = "dora.port.io/environment";
/// Label with the group.
pub const GROUP: &str = "dora.port.io/group";
/// Label with the outcome.
pub const OUTCOME: &str = "dora.port.io/outcome";
/// Label with the kind of change.
pub const CHANGE: &str = "dora.port.io/change";

/// Longest value of a label in Kubernetes (`k8s.io/apimachinery/pkg/util/validation`).
const MAX_VALUE_LENGTH: usize = 63;

/// Characters of the hash at the end of a value that was too long.
const HASH_CHARACTERS: usize = 8;

/// The labels of a record with this spec. An absent field has no label.
#[must_use]
pub fn of(spec: &DoraDeploymentSpec) -> BTreeMap<String, String> {
    let workload = spec.workload.as_ref();
    collect([
        (WORKLOAD, workload.map(|workload| workload.name.as_str())),
        (WORKLOAD_KIND, workload.map(|workload| workload.kind.as_str())),
        (ENVIRONMENT, spec.environment.as_deref()),
        (GROUP, spec.group.as_deref()),
        (OUTCOME, Some(spec.outcome.as_str())),
        (CHANGE, spec.change.map(ChangeKind::as_str)),
        (MANAGED_BY, Some(FIELD_MANAGER)),
    ])
}

/// The labels with these texts, each made safe with [`value`]. A label without a text is left out.
pub(super) fn collect<'a>(
    texts: impl IntoIterator<Item = (&'static str, Option<&'a str>)>,
) -> BTreeMap<String, String> {
    texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), value(text?)))).collect()
}

/// `text` as the value of a label.
///
/// Kubernetes allows up to 63 letters, digits and the characters `- _ .`, with a letter or digit at both ends. Every
/// other character becomes `-`. A longer text is cut and gets a hash, so that two long texts stay two values.
#[must_use]
pub fn value(text: &str) -> String {
    let is_allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.');
    let safe: String = text.chars().map(|char| if is_allowed(char) { char } else { '-' }).collect();
    let safe = safe.trim_matches(['-', '_', '.']);
    if safe.len() <= MAX_VALUE_LENGTH {
        return safe.to_owned();
    }
    let hash: String = digest(&text).chars().take(HASH_CHARACTERS).collect();
    let prefix: String = safe.chars().take(MAX_VALUE_LENGTH - HASH_CHARACTERS - 1).collect();
    format!("{}-{hash}", prefix.trim_end_matches(['-', '_', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_characters_become_dashes() {
        for (text, expected) in [
            ("production", "production"),
            ("Team Checkout/EU", "Team-Checkout-EU"),
            ("ünïcode", "n-code"),
            ("@all_teams.", "all_teams"),
            ("", ""),
            ("--", ""),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn long_values_are_cut_and_stay_different() {
        let long = |end: &str| value(&format!("{}{end}", "a".repeat(80)));
        assert_eq!(long("1").len(), MAX_VALUE_LENGTH);
        assert_ne!(long("1"), long("2"));
        assert_eq!(value(&"a".repeat(63)), "a".repeat(63));
    }
}
