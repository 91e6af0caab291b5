//! Which workloads are recorded, by namespace and by label.

use std::collections::BTreeMap;

use globset::{Glob, GlobSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{ParseExpressionError, Selector, SelectorExt};
use serde::{Deserialize, Serialize};

/// Which workloads are recorded.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only these workloads; all of them if it has neither namespaces nor labels.
    pub include: WorkloadSelector,
    /// Not these workloads, even if `include` matches them.
    pub exclude: WorkloadSelector,
}

impl Selection {
    /// Whether a workload in `namespace` with these labels is recorded.
    #[must_use]
    pub fn matches(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        let Self { include, exclude } = self;
        let is_included = (include.namespaces.is_empty() || include.matches_namespace(namespace))
            && include.labels.as_ref().is_none_or(|selector| selector.matches(labels));
        let is_excluded = exclude.matches_namespace(namespace)
            || exclude.labels.as_ref().is_some_and(|selector| selector.matches(labels));
        is_included && !is_excluded
    }
}

/// Workloads by namespace and by label.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct WorkloadSelector {
    /// Glob patterns of namespaces, such as `shop`, `team-*`, `team-?`, `team-[a-c]` or `{shop,checkout}`.
    pub namespaces: Vec<NamespacePattern>,
    /// Label selector (`matchLabels`, `matchExpressions`) for the labels of the workload.
    pub labels: Option<WorkloadLabels>,
}

impl WorkloadSelector {
    fn matches_namespace(&self, namespace: &str) -> bool {
        self.namespaces.iter().any(|pattern| pattern.matches(namespace))
    }
}

/// A glob pattern of namespaces: `*` stands for any characters, `?` for one, `[a-z]` for one of a range, `{a,b}` for alternatives.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamespacePattern {
    pattern: String,
    /// Empty if the pattern is the name of a namespace.
    glob: GlobSet,
}

impl NamespacePattern {
    /// The pattern that only the namespace with this name matches.
    #[must_use]
    pub fn exact(name: &str) -> Self {
        Self { pattern: name.to_owned(), glob: GlobSet::empty() }
    }

    fn matches(&self, namespace: &str) -> bool {
        self.pattern == namespace || self.glob.is_match(namespace)
    }
}

impl PartialEq for NamespacePattern {
    fn eq(&self, other: &Self) -> bool {
        self.pattern == other.pattern
    }
}

impl TryFrom<String> for NamespacePattern {
    type Error = NamespacePatternError;

    fn try_from(pattern: String) -> Result<Self, Self::Error> {
        if pattern.is_empty() {
            return Err(NamespacePatternError::Empty);
        }
        if let Some(character) =
            pattern.chars().find(|character| !is_allowed(*character)).or_else(|| misplaced(&pattern))
        {
            return Err(NamespacePatternError::Character { pattern, character });
        }
        if !pattern.contains(GLOB_CHARACTERS) {
            return Ok(Self::exact(&pattern));
        }
        match Glob::new(&pattern).and_then(|glob| GlobSet::new([glob])) {
            Ok(glob) => Ok(Self { pattern, glob }),
            Err(source) => Err(NamespacePatternError::Glob { pattern, source }),
        }
    }
}

impl From<NamespacePattern> for String {
    fn from(pattern: NamespacePattern) -> Self {
        pattern.pattern
    }
}

/// Characters with a meaning in glob patterns; `!` negates a range.
const GLOB_CHARACTERS: &[char] = &['*', '?', '[', ']', '{', '}', ',', '!'];

/// Whether a pattern of namespaces can contain `character`. Names of namespaces are DNS labels (RFC 1123).
fn is_allowed(character: char) -> bool {
    character.is_ascii_lowercase()
        || character.is_ascii_digit()
        || character == '-'
        || GLOB_CHARACTERS.contains(&character)
}

/// The first `,` outside braces, `!` that negates no range, or `]` that closes none. To a glob they are ordinary characters there, which no
/// namespace has.
fn misplaced(pattern: &str) -> Option<char> {
    let (mut braces, mut in_range, mut before) = (0_usize, false, None);
    for character in pattern.chars() {
        match character {
            '{' if !in_range => braces += 1,
            '}' if !in_range => braces = braces.saturating_sub(1),
            ',' if !in_range && braces == 0 => return Some(character),
            '!' if before != Some('[') => return Some(character),
            ']' if !in_range => return Some(character),
            ']' => in_range = false,
            '[' => in_range = true,
            _ => {}
        }
        before = Some(character);
    }
    None
}

/// Why a pattern of namespaces is invalid.
#[derive(Debug, thiserror::Error)]
pub enum NamespacePatternError {
    /// It is empty.
    #[error("empty namespace: expected a name such as shop, or a pattern such as team-*")]
    Empty,
    /// No namespace has such a character.
    #[error(
        "invalid namespace {pattern:?}: {character:?} is not allowed there; expected a name of lower-case letters, digits and hyphens, such as \
         shop, or a pattern such as team-*, team-?, team-[a-c] or {{shop,checkout}}"
    )]
    Character {
        /// The pattern.
        pattern: String,
        /// The first character that is not allowed.
        character: char,
    },
    /// It is not a glob pattern.
    #[error("invalid namespace pattern {pattern:?}: {}; expected one such as team-*, team-?, team-[a-c] or {{shop,checkout}}", .source.kind())]
    Glob {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        source: globset::Error,
    },
}

/// A label selector that selects something.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(try_from = "LabelSelector", into = "LabelSelector")]
pub struct WorkloadLabels(Selector);

impl WorkloadLabels {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.matches(labels)
    }
}

impl TryFrom<LabelSelector> for WorkloadLabels {
    type Error = WorkloadLabelsError;

    fn try_from(selector: LabelSelector) -> Result<Self, Self::Error> {
        let selector = Selector::try_from(selector)?;
        // A misspelt key, such as matchlabels, is not an error to `LabelSelector`: it selects everything then.
        if selector.selects_all() { Err(WorkloadLabelsError::Empty) } else { Ok(Self(selector)) }
    }
}

impl From<WorkloadLabels> for LabelSelector {
    fn from(labels: WorkloadLabels) -> Self {
        labels.0.into()
    }
}

/// Why a label selector is invalid.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadLabelsError {
    /// It has no requirement.
    #[error(
        "empty label selector: expected {{matchLabels: {{tier: web}}}} or {{matchExpressions: [{{key: tier, operator: In, values: [web, \
         api]}}]}}; remove the key if labels don't matter"
    )]
    Empty,
    /// A requirement is invalid.
    #[error(
        "invalid label selector: {0}; expected the operators In or NotIn with values, or Exists or DoesNotExist without values"
    )]
    Requirement(#[from] ParseExpressionError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(pattern: &str) -> Result<NamespacePattern, NamespacePatternError> {
        pattern.to_owned().try_into()
    }

    fn selector(namespaces: &[&str], labels: &[(&'static str, &'static str)]) -> WorkloadSelector {
        WorkloadSelector {
            namespaces: namespaces.iter().map(|name| pattern(name).unwrap()).collect(),
            labels: (!labels.is_empty()).then(|| WorkloadLabels(labels.iter().copied().collect())),
        }
    }

    #[test]
    fn workload_is_recorded_if_included_and_not_excluded() {
        let selection = Selection {
            include: selector(&["shop", "team-*"], &[("tier", "web")]),
            exclude: selector(&["team-test"], &[("preview", "true")]),
        };
        for (namespace, labels, expected) in [
            ("shop", &[("tier", "web")][..], true),
            ("team-a", &[("tier", "web")], true),
            ("team-test", &[("tier", "web")], false),
            ("shop", &[("tier", "db")], false),
            ("shop", &[], false),
            ("shop-2", &[("tier", "web")], false),
            ("shop", &[("tier", "web"), ("preview", "true")], false),
            ("shop", &[("tier", "web"), ("preview", "false")], true),
        ] {
            let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            assert_eq!(selection.matches(namespace, &labels), expected, "{namespace} {labels:?}");
        }
        assert!(Selection::default().matches("any", &BTreeMap::new()));
    }

    #[test]
    fn namespace_patterns_are_globs() {
        let cases: [(&str, &[&str], &[&str]); 8] = [
            ("shop", &["shop"], &["shop-2", "my-shop", "sho"]),
            ("team-*", &["team-", "team-a", "team-a-b"], &["team", "my-team-a"]),
            ("*-test", &["a-test", "a-b-test"], &["test", "a-test-2"]),
            ("*", &["shop", "kube-system"], &[]),
            ("team-?", &["team-a", "team-7"], &["team-", "team-ab"]),
            ("team-[a-c]", &["team-a", "team-c"], &["team-d", "team-ab"]),
            ("team-[!a-c]", &["team-d", "team-7"], &["team-a"]),
            ("{shop,team-*}-prod", &["shop-prod", "team-a-prod"], &["shop", "other-prod"]),
        ];
        for (text, matching, others) in cases {
            let pattern = pattern(text).unwrap();
            for namespace in matching {
                assert!(pattern.matches(namespace), "{text} {namespace}");
            }
            for namespace in others {
                assert!(!pattern.matches(namespace), "{text} {namespace}");
            }
        }
    }

    #[test]
    fn impossible_namespaces_and_broken_globs_are_refused() {
        for (text, reason) in [
            ("", "empty namespace"),
            ("Shop", "'S' is not allowed there"),
            ("kube system", "' ' is not allowed there"),
            ("shop.example", "'.' is not allowed there"),
            ("shop/web", "'/' is not allowed there"),
            ("team-\\*", "'\\\\' is not allowed there"),
            ("shop,team", "',' is not allowed there"),
            ("!shop", "'!' is not allowed there"),
            ("shop]", "']' is not allowed there"),
            ("team-[a", "missing ']'"),
            ("team-[z-a]", "invalid range"),
            ("{shop,team", "missing '}'"),
        ] {
            let error = pattern(text).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("such as"), "{text:?}: {error}");
        }
    }

    #[test]
    fn label_selectors_must_select_something() {
        let parse = |selector: serde_json::Value| serde_json::from_value::<WorkloadLabels>(selector);
        assert!(parse(serde_json::json!({"matchLabels": {"tier": "web"}})).is_ok());
        for (selector, reason) in [
            (serde_json::json!({}), "empty label selector"),
            (serde_json::json!({"matchlabels": {"tier": "web"}}), "empty label selector"),
            (serde_json::json!({"matchExpressions": [{"key": "tier", "operator": "Is"}]}), "operators In or NotIn"),
        ] {
            let error = parse(selector.clone()).unwrap_err().to_string();
            assert!(error.contains(reason), "{selector}: {error}");
        }
    }
}
