//! The part of the settings file that says which workloads are recorded.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::Selector;
use rollout::WorkloadKind;
use serde::{Deserialize, Serialize};

use crate::workloads::{Group, RECORDED_KINDS, Selection};

/// Which workloads are recorded.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Workloads {
    /// The kinds of workloads.
    pub kinds: Vec<WorkloadKind>,
    /// Only these workloads; all if nothing is named.
    pub include: WorkloadGroup,
    /// Workloads that are not recorded, even if they are included.
    pub exclude: WorkloadGroup,
}

impl Default for Workloads {
    fn default() -> Self {
        let exclude = WorkloadGroup { namespaces: vec!["kube-system".to_owned()], labels: None };
        Self { kinds: RECORDED_KINDS.to_vec(), include: WorkloadGroup::default(), exclude }
    }
}

/// Workloads by namespace and by label.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct WorkloadGroup {
    /// Names of namespaces; a `*` at the end stands for any rest.
    pub namespaces: Vec<String>,
    /// Label selector (`matchLabels`, `matchExpressions`) for the labels of the workload.
    pub labels: Option<LabelSelector>,
}

impl Workloads {
    /// The same, ready for use.
    ///
    /// # Errors
    /// What is wrong, where, and what to write instead.
    pub fn selection(&self) -> Result<Selection, String> {
        let Self { kinds, include, exclude } = self;
        if kinds.is_empty() {
            return Err(
                "workloads.kinds is empty: name the kinds whose rollouts are recorded, such as [Deployment]".to_owned()
            );
        }
        if let Some(kind) = kinds.iter().find(|kind| !RECORDED_KINDS.contains(kind)) {
            let recorded: Vec<&str> = RECORDED_KINDS.iter().map(|kind| kind.as_str()).collect();
            return Err(format!(
                "workloads.kinds: this version of the controller does not record rollouts of {kind}; remove it. It records rollouts of \
                 these kinds: {}",
                recorded.join(", ")
            ));
        }
        Ok(Selection { include: include.group("workloads.include")?, exclude: exclude.group("workloads.exclude")? })
    }
}

impl WorkloadGroup {
    fn group(&self, place: &str) -> Result<Group, String> {
        let Self { namespaces, labels } = self;
        for pattern in namespaces {
            let name = pattern.strip_suffix('*').unwrap_or(pattern);
            let is_name = name.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-');
            if pattern.is_empty() || !is_name {
                return Err(format!(
                    "{place}.namespaces: {pattern:?} is no name of a namespace; write one such as shop, or the beginning of some with a * \
                     behind it, such as team-*"
                ));
            }
        }
        let labels = labels.clone().map(|labels| selector(labels, place)).transpose()?;
        Ok(Group { namespaces: namespaces.clone(), labels })
    }
}

fn selector(labels: LabelSelector, place: &str) -> Result<Selector, String> {
    let is_empty = labels.match_labels.as_ref().is_none_or(std::collections::BTreeMap::is_empty)
        && labels.match_expressions.as_ref().is_none_or(Vec::is_empty);
    if is_empty {
        return Err(format!(
            "{place}.labels selects nothing: write it like {{matchLabels: {{tier: web}}}} or {{matchExpressions: \
             [{{key: tier, operator: In, values: [web, api]}}]}}, or leave it out"
        ));
    }
    Selector::try_from(labels).map_err(|error| {
        format!("{place}.labels: {error}; operators are In and NotIn with values, Exists and DoesNotExist without")
    })
}
