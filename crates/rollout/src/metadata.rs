//! Annotations and labels that describe a rollout.

use std::fmt;

use jiff::Timestamp;

use crate::{Metadata, Revision, Workload, is_supported_time};

/// Prefix of the keys of all annotations and labels that the controller reads, without the slash.
pub const KEY_PREFIX: &str = "dora.port.io";

/// Keys of annotations and labels, without [`KEY_PREFIX`].
pub mod keys {
    /// Environment of the rollout.
    pub const ENVIRONMENT: &str = "environment";
    /// Identifier of the group (team) in Port.
    pub const GROUP: &str = "group";
    /// Identifier of the service in Port.
    pub const SERVICE: &str = "service";
    /// Time of the deployed commit.
    pub const COMMIT_TIME: &str = "commit-time";
    /// SHA of the deployed commit.
    pub const COMMIT_SHA: &str = "commit-sha";
    /// Repository of the deployed commit.
    pub const REPOSITORY: &str = "repository";
    /// What deploys the workload.
    pub const DEPLOYMENT_TYPE: &str = "deployment-type";
    /// With the value `true`, rollouts aren't recorded.
    pub const IGNORE: &str = "ignore";
}

/// Most characters of a value that a warning quotes.
const MAX_QUOTED_CHARACTERS: usize = 64;

/// Most characters of each value. The fields of a `DoraDeployment` have the same limits.
mod limits {
    pub const ENVIRONMENT: usize = 253;
    pub const GROUP: usize = 1000;
    pub const SERVICE: usize = 1000;
    pub const DEPLOYMENT_TYPE: usize = 253;
    pub const COMMIT_SHA: usize = 253;
    pub const REPOSITORY: usize = 2000;
}

/// The annotations and labels that describe a rollout.
///
/// The pod template takes precedence over the Deployment, and the Deployment over the namespace. On the same object, annotations take
/// precedence over labels. The same rule applies to workloads of other kinds.
#[derive(Clone, Copy, Debug)]
pub struct MetadataSources<'a> {
    workload: &'a Workload,
    revision: &'a Revision,
    namespace_annotations: &'a Metadata,
    namespace_labels: &'a Metadata,
    has_workload_annotations: bool,
}

/// Where a value comes from.
#[derive(Clone, Copy)]
struct Origin {
    /// `annotation` or `label`.
    field: &'static str,
    /// The object that has the annotation or label.
    object: &'static str,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} of the {}", self.field, self.object)
    }
}

impl<'a> MetadataSources<'a> {
    /// The sources for a rollout of `revision`.
    ///
    /// The annotations of the workload come from the revision, which keeps those of its time. A later change of the annotations has no
    /// effect on the record.
    #[must_use]
    pub fn new(
        workload: &'a Workload,
        revision: &'a Revision,
        namespace_annotations: &'a Metadata,
        namespace_labels: &'a Metadata,
    ) -> Self {
        Self { workload, revision, namespace_annotations, namespace_labels, has_workload_annotations: true }
    }

    /// The same sources without the annotations of the workload, for a revision that keeps those of a later rollout.
    #[must_use]
    pub fn without_workload_annotations(self) -> Self {
        Self { has_workload_annotations: false, ..self }
    }

    /// All sources, in the order of their precedence.
    fn by_precedence(&self) -> impl Iterator<Item = (Origin, &'a Metadata)> {
        let Self { workload, revision, namespace_annotations, namespace_labels, has_workload_annotations } = *self;
        let workload_annotations = has_workload_annotations.then_some(&revision.annotations);
        let (annotation, label, kind) = ("annotation", "label", workload.kind.as_str());
        let sources = [
            (annotation, "pod template", Some(&revision.template_annotations)),
            (label, "pod template", Some(&revision.template_labels)),
            (annotation, kind, workload_annotations),
            (label, kind, Some(&workload.labels)),
            (annotation, "namespace", Some(namespace_annotations)),
            (label, "namespace", Some(namespace_labels)),
        ];
        sources.into_iter().filter_map(|(field, object, metadata)| Some((Origin { field, object }, metadata?)))
    }

    /// The value of `key` that takes precedence. An empty value counts as missing.
    fn get(&self, key: &str) -> Option<(Origin, &'a str)> {
        self.by_precedence().find_map(|(origin, metadata)| {
            let value = metadata.get(key)?.trim();
            (!value.is_empty()).then_some((origin, value))
        })
    }
}

/// Whether `dora.port.io/ignore` excludes the rollout. Only the value `true` does.
#[must_use]
pub fn is_ignored(sources: &MetadataSources<'_>) -> bool {
    sources.get(keys::IGNORE).is_some_and(|(_, value)| value == "true")
}

/// The metadata of a rollout. A missing or invalid value is `None`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RolloutMetadata {
    /// Environment of the rollout.
    pub environment: Option<String>,
    /// Identifier of the group in Port.
    pub group: Option<String>,
    /// Identifier of the service in Port.
    pub service: Option<String>,
    /// What deploys the workload.
    pub deployment_type: Option<String>,
    /// Time of the deployed commit.
    pub commit_time: Option<Timestamp>,
    /// SHA of the deployed commit.
    pub commit_sha: Option<String>,
    /// Repository of the deployed commit.
    pub repository: Option<String>,
    /// One sentence for each invalid value, which says what to write instead.
    pub warnings: Vec<String>,
}

/// Reads the metadata of a rollout. An invalid value is omitted and explained in [`RolloutMetadata::warnings`].
#[must_use]
pub fn read_metadata(sources: &MetadataSources<'_>) -> RolloutMetadata {
    let mut warnings = Vec::new();
    check_ignore(sources, &mut warnings);
    let commit_time = commit_time(sources, &mut warnings);
    let mut bounded = |key: &str, limit: usize| {
        let (origin, value) = sources.get(key)?;
        if value.chars().count() <= limit {
            return Some(value.to_owned());
        }
        warnings.push(format!(
            "{KEY_PREFIX}/{key} ({origin}) is longer than {limit} characters: write a shorter value. The controller omits it"
        ));
        None
    };
    RolloutMetadata {
        environment: bounded(keys::ENVIRONMENT, limits::ENVIRONMENT),
        group: bounded(keys::GROUP, limits::GROUP),
        service: bounded(keys::SERVICE, limits::SERVICE),
        deployment_type: bounded(keys::DEPLOYMENT_TYPE, limits::DEPLOYMENT_TYPE),
        commit_sha: bounded(keys::COMMIT_SHA, limits::COMMIT_SHA),
        repository: bounded(keys::REPOSITORY, limits::REPOSITORY),
        commit_time,
        warnings,
    }
}

fn check_ignore(sources: &MetadataSources<'_>, warnings: &mut Vec<String>) {
    if let Some((origin, value)) = sources.get(keys::IGNORE)
        && !["true", "false"].contains(&value)
    {
        warnings.push(format!(
            "{KEY_PREFIX}/{} ({origin}) is {:?}: write \"true\" to exclude the rollouts, or \"false\" to record them. The controller \
             records them",
            keys::IGNORE,
            quoted(value),
        ));
    }
}

fn commit_time(sources: &MetadataSources<'_>, warnings: &mut Vec<String>) -> Option<Timestamp> {
    let (origin, value) = sources.get(keys::COMMIT_TIME)?;
    let time = value.parse().ok().filter(|time| is_supported_time(*time));
    if time.is_none() {
        warnings.push(format!(
            "{KEY_PREFIX}/{} ({origin}) is {:?}, which is not an RFC 3339 time with a time zone, in the years 1970 to 2199: write \
             it like 2026-01-31T12:00:00Z, as git log -1 --format=%cI prints it. The controller omits the lead time",
            keys::COMMIT_TIME,
            quoted(value),
        ));
    }
    time
}

/// The beginning of `value`, for a warning.
fn quoted(value: &str) -> String {
    value.chars().take(MAX_QUOTED_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support;

    fn metadata(entries: &[(&str, &str)]) -> Metadata {
        entries.iter().copied().collect()
    }

    fn objects(
        template: &[(&str, &str)],
        annotations: &[(&str, &str)],
        labels: &[(&str, &str)],
    ) -> (Workload, Revision) {
        let workload = Workload { labels: metadata(labels), ..test_support::deployment(1) };
        let revision = Revision {
            annotations: metadata(annotations),
            template_annotations: metadata(template),
            template_labels: metadata(&[("group", "template label")]),
            ..test_support::replica_set("web-1", 1, 0)
        };
        (workload, revision)
    }

    fn read(template: &[(&str, &str)], annotations: &[(&str, &str)], labels: &[(&str, &str)]) -> RolloutMetadata {
        let (workload, revision) = objects(template, annotations, labels);
        let namespace = metadata(&[("environment", "namespace"), ("service", "namespace")]);
        read_metadata(&MetadataSources::new(&workload, &revision, &namespace, &Metadata::default()))
    }

    #[test]
    fn pod_template_takes_precedence() {
        let all = read(
            &[("environment", "template")],
            &[("environment", "Deployment"), ("group", "Deployment")],
            &[("service", "Deployment label")],
        );
        assert_eq!(all.environment.as_deref(), Some("template"));
        assert_eq!(all.group.as_deref(), Some("template label"));
        assert_eq!(all.service.as_deref(), Some("Deployment label"));
        let empty = read(&[("environment", " ")], &[("environment", "Deployment")], &[]);
        assert_eq!(empty.environment.as_deref(), Some("Deployment"), "an empty value counts as missing");
        assert_eq!(read(&[], &[], &[]).environment.as_deref(), Some("namespace"));
        assert_eq!(read(&[], &[], &[]).commit_sha, None);
    }

    #[test]
    fn annotations_of_a_later_rollout_are_left_out() {
        let (workload, revision) =
            objects(&[], &[("environment", "Deployment")], &[("environment", "Deployment label")]);
        let none = Metadata::default();
        let sources = MetadataSources::new(&workload, &revision, &none, &none);
        assert_eq!(read_metadata(&sources).environment.as_deref(), Some("Deployment"));
        let without = sources.without_workload_annotations();
        assert_eq!(read_metadata(&without).environment.as_deref(), Some("Deployment label"));
    }

    #[test]
    fn only_true_ignores_a_rollout() {
        let ignored = |template: &[(&str, &str)], annotations: &[(&str, &str)], namespace: &[(&str, &str)]| {
            let (workload, revision) = objects(template, annotations, &[]);
            let (namespace, none) = (metadata(namespace), Metadata::default());
            let sources = MetadataSources::new(&workload, &revision, &namespace, &none);
            (is_ignored(&sources), read_metadata(&sources).warnings.len())
        };
        assert_eq!(ignored(&[], &[("ignore", "true")], &[]), (true, 0));
        assert_eq!(ignored(&[], &[], &[("ignore", "true")]), (true, 0));
        assert_eq!(ignored(&[], &[("ignore", "false")], &[("ignore", "true")]), (false, 0));
        assert_eq!(ignored(&[], &[], &[]), (false, 0));
        assert_eq!(ignored(&[("ignore", "yes")], &[], &[]), (false, 1), "with a warning");
    }

    #[test]
    fn commit_time_may_have_any_offset() {
        for text in ["2026-01-31T12:00:00Z", "2026-01-31T13:00:00+01:00", " 2026-01-31T12:00:00.000Z "] {
            let metadata = read(&[("commit-time", text)], &[], &[]);
            assert_eq!(metadata.commit_time, "2026-01-31T12:00:00Z".parse().ok(), "{text}");
            assert!(metadata.warnings.is_empty());
        }
    }

    #[test]
    fn invalid_values_are_omitted_with_a_warning() {
        for text in [
            "yesterday",
            "2026-01-31",
            "2026-01-31T12:00:00",
            "1767225600",
            "-000001-01-31T12:00:00Z",
            "9999-12-30T22:00:00Z",
            "9999-12-31T23:59:59Z",
            "2026-01-31T12:00:00+99:99",
        ] {
            let metadata = read(&[], &[("commit-time", text)], &[]);
            assert_eq!(metadata.commit_time, None, "{text}");
            assert!(metadata.warnings[0].contains(text), "{:?}", metadata.warnings);
            assert!(metadata.warnings[0].contains("annotation of the Deployment"), "{:?}", metadata.warnings);
        }
        let metadata = read(&[("environment", &"x".repeat(300))], &[], &[]);
        assert_eq!((metadata.environment, metadata.warnings.len()), (None, 1));
    }
}
