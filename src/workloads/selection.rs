//! Which Deployments are reported, by namespace and by label.

use std::collections::BTreeMap;

use kube::core::{Selector, SelectorExt};

/// Which Deployments are reported.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only these; all if it names nothing.
    pub include: Group,
    /// But not these.
    pub exclude: Group,
}

/// Deployments by namespace and by label.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Names of namespaces. A `*` at the end stands for any rest.
    pub namespaces: Vec<String>,
    /// By the labels of the Deployment.
    pub labels: Option<Selector>,
}

impl Selection {
    /// Whether a Deployment in `namespace` with these labels is to be reported.
    #[must_use]
    pub fn selects(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        let Self { include, exclude } = self;
        let is_included = (include.namespaces.is_empty() || include.names(namespace))
            && include.labels.as_ref().is_none_or(|selector| selector.matches(labels));
        let is_excluded =
            exclude.names(namespace) || exclude.labels.as_ref().is_some_and(|selector| selector.matches(labels));
        is_included && !is_excluded
    }
}

impl Group {
    fn names(&self, namespace: &str) -> bool {
        self.namespaces.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => namespace.starts_with(start),
            None => namespace == pattern,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(namespaces: &[&str], labels: &[(&'static str, &'static str)]) -> Group {
        Group {
            namespaces: namespaces.iter().map(ToString::to_string).collect(),
            labels: (!labels.is_empty()).then(|| labels.iter().copied().collect()),
        }
    }

    #[test]
    fn a_deployment_is_selected_if_it_is_included_and_not_excluded() {
        let selection = Selection {
            include: group(&["shop", "team-*"], &[("tier", "web")]),
            exclude: group(&["team-test"], &[("preview", "true")]),
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
            assert_eq!(selection.selects(namespace, &labels), expected, "{namespace} {labels:?}");
        }
        assert!(Selection::default().selects("any", &BTreeMap::new()));
    }
}
