//! What annotations and labels say of a rollout.

use jiff::Timestamp;

use crate::{Metadata, PREFIX, Revision, Workload};

/// The keys that are read, without their prefix `dora.port.io/`.
pub mod keys {
    /// Where it was deployed to.
    pub const ENVIRONMENT: &str = "environment";
    /// The group (team) that it belongs to.
    pub const PREFIX: &str = "group";
    /// The service that was deployed.
    pub const SERVICE: &str = "service";
    /// When the deployed commit was made.
    pub const COMMIT_TIME: &str = "commit-time";
    /// The deployed commit.
    pub const COMMIT_SHA: &str = "commit-sha";
    /// The repository of that commit.
    pub const REPOSITORY: &str = "repository";
    /// What deployed it.
    pub const DEPLOYMENT_TYPE: &str = "deployment-type";
    /// `true`: it is not reported.
    pub const IGNORE: &str = "ignore";
}

/// The metadata that speaks of a rollout, from the nearest to the pod to the farthest.
///
/// The annotations of the Deployment are those that its ReplicaSet keeps, so that they are those of the
/// revision and not those of a change that came after.
#[derive(Clone, Copy, Debug)]
pub struct MetadataSources<'a>([(&'static str, &'a Metadata); 6]);

impl<'a> MetadataSources<'a> {
    /// The layers of a rollout. A label of the same object comes after an annotation.
    #[must_use]
    pub fn new(
        deployment: &'a Workload,
        replica_set: &'a Revision,
        namespace_annotations: &'a Metadata,
        namespace_labels: &'a Metadata,
    ) -> Self {
        Self([
            ("annotation of the pod template", &replica_set.template_annotations),
            ("label of the pod template", &replica_set.template_labels),
            ("annotation of the Deployment", &replica_set.annotations),
            ("label of the Deployment", &deployment.labels),
            ("annotation of the namespace", namespace_annotations),
            ("label of the namespace", namespace_labels),
        ])
    }

    /// The same without the annotations of the Deployment, where the ReplicaSet keeps those of another revision.
    #[must_use]
    pub fn without_snapshot(mut self, none: &'a Metadata) -> Self {
        self.0[2].1 = none;
        self
    }

    fn nearest(&self, key: &str) -> Option<(&'static str, &'a str)> {
        self.0.iter().find_map(|(layer, metadata)| {
            let value = metadata.get(key)?.trim();
            (!value.is_empty()).then_some((*layer, value))
        })
    }
}

/// Whether `dora.port.io/ignore` says that the rollout is not to be reported. Any other value than `true` does not.
#[must_use]
pub fn is_ignored(layers: &MetadataSources<'_>) -> bool {
    layers.nearest(keys::IGNORE).is_some_and(|(_, value)| value == "true")
}

/// What the metadata says. What it does not say is `None`, never guessed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RolloutMetadata {
    /// Where it was deployed to.
    pub environment: Option<String>,
    /// Identifier of the group in Port.
    pub group: Option<String>,
    /// Identifier of the service in Port.
    pub service: Option<String>,
    /// What deployed it.
    pub deployment_type: Option<String>,
    /// When the deployed commit was made.
    pub commit_time: Option<Timestamp>,
    /// The deployed commit.
    pub commit_sha: Option<String>,
    /// The repository of that commit.
    pub repository: Option<String>,
    /// What could not be used, in sentences that say what to write instead.
    pub warnings: Vec<String>,
}

/// Longest value that is quoted in a warning.
const QUOTED_CHARACTERS: usize = 64;

/// Reads the read_metadata from `layers`. A value that can't be used is left out and explained in `warnings`.
#[must_use]
pub fn read_metadata(layers: &MetadataSources<'_>) -> RolloutMetadata {
    let mut warnings = Vec::new();
    if let Some((layer, value)) = layers.nearest(keys::IGNORE).filter(|(_, value)| !["true", "false"].contains(value)) {
        let quoted: String = value.chars().take(QUOTED_CHARACTERS).collect();
        warnings.push(format!(
            "{PREFIX}/{} ({layer}) is {quoted:?}: write \"true\" if its rollouts are not to be reported. They are reported",
            keys::IGNORE,
        ));
    }
    let commit_time = layers.nearest(keys::COMMIT_TIME).and_then(|(layer, value)| {
        value
            .parse::<Timestamp>()
            .inspect_err(|_| {
                let quoted: String = value.chars().take(QUOTED_CHARACTERS).collect();
                warnings.push(format!(
                    "{PREFIX}/{} ({layer}) is {quoted:?}, which is no time in RFC 3339 with a zone: write it like \
                     2026-01-31T12:00:00Z, as git log -1 --format=%cI prints it. The lead time is left out",
                    keys::COMMIT_TIME,
                ));
            })
            .ok()
    });
    let mut bounded = |key: &str, longest: usize| {
        let (layer, value) = layers.nearest(key)?;
        if value.chars().count() <= longest {
            return Some(value.to_owned());
        }
        warnings.push(format!("{PREFIX}/{key} ({layer}) is longer than {longest} characters and is left out"));
        None
    };
    RolloutMetadata {
        environment: bounded(keys::ENVIRONMENT, 253),
        group: bounded(keys::PREFIX, 1000),
        service: bounded(keys::SERVICE, 1000),
        deployment_type: bounded(keys::DEPLOYMENT_TYPE, 253),
        commit_sha: bounded(keys::COMMIT_SHA, 253),
        repository: bounded(keys::REPOSITORY, 2000),
        commit_time,
        warnings,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support;

    fn rows(template: &[(&str, &str)], snapshot: &[(&str, &str)], labels: &[(&str, &str)]) -> (Workload, Revision) {
        let metadata = |entries: &[(&str, &str)]| entries.iter().copied().collect::<Metadata>();
        let deployment = Workload { labels: metadata(labels), ..test_support::deployment(1) };
        let replica_set = Revision {
            annotations: metadata(snapshot),
            template_annotations: metadata(template),
            template_labels: metadata(&[("group", "of the template's labels")]),
            ..test_support::replica_set("web-1", 1, 0)
        };
        (deployment, replica_set)
    }

    fn read(template: &[(&str, &str)], snapshot: &[(&str, &str)], labels: &[(&str, &str)]) -> RolloutMetadata {
        let (deployment, replica_set) = rows(template, snapshot, labels);
        let namespace = [("environment", "of the namespace"), ("service", "of the namespace")];
        let (annotations, none) = (namespace.into_iter().collect(), Metadata::default());
        read_metadata(&MetadataSources::new(&deployment, &replica_set, &annotations, &none))
    }

    #[test]
    fn the_nearest_to_the_pod_wins() {
        let all = read(
            &[("environment", "of the template")],
            &[("environment", "of the Deployment"), ("group", "of the Deployment")],
            &[("service", "of the Deployment's labels")],
        );
        assert_eq!(all.environment.as_deref(), Some("of the template"));
        assert_eq!(all.group.as_deref(), Some("of the template's labels"));
        assert_eq!(all.service.as_deref(), Some("of the Deployment's labels"));
        let fewer = read(&[("environment", " ")], &[("environment", "of the Deployment")], &[]);
        assert_eq!(fewer.environment.as_deref(), Some("of the Deployment"), "an empty value says nothing");
        assert_eq!(read(&[], &[], &[]).environment.as_deref(), Some("of the namespace"));
        assert_eq!(read(&[], &[], &[]).commit_sha, None);
    }

    #[test]
    fn only_true_ignores_and_the_nearest_to_the_pod_wins() {
        let ignored = |template: &[(&str, &str)], snapshot: &[(&str, &str)], namespace: &[(&str, &str)]| {
            let (deployment, replica_set) = rows(template, snapshot, &[]);
            let (annotations, none) = (namespace.iter().copied().collect(), Metadata::default());
            let layers = MetadataSources::new(&deployment, &replica_set, &annotations, &none);
            (is_ignored(&layers), read_metadata(&layers).warnings.len())
        };
        assert_eq!(ignored(&[], &[("ignore", "true")], &[]), (true, 0));
        assert_eq!(ignored(&[], &[], &[("ignore", "true")]), (true, 0));
        assert_eq!(ignored(&[], &[("ignore", "false")], &[("ignore", "true")]), (false, 0));
        assert_eq!(ignored(&[], &[], &[]), (false, 0));
        assert_eq!(ignored(&[("ignore", "yes")], &[], &[]), (false, 1), "explained");
    }

    #[test]
    fn a_commit_time_is_read_with_any_offset() {
        for text in ["2026-01-31T12:00:00Z", "2026-01-31T13:00:00+01:00", " 2026-01-31T12:00:00.000Z "] {
            let read_metadata = read(&[("commit-time", text)], &[], &[]);
            assert_eq!(read_metadata.commit_time, "2026-01-31T12:00:00Z".parse().ok(), "{text}");
            assert!(read_metadata.warnings.is_empty());
        }
    }

    #[test]
    fn what_can_not_be_used_is_left_out_and_explained() {
        for text in ["yesterday", "2026-01-31", "2026-01-31T12:00:00", "1767225600"] {
            let read_metadata = read(&[], &[("commit-time", text)], &[]);
            assert_eq!(read_metadata.commit_time, None, "{text}");
            assert!(read_metadata.warnings[0].contains(text), "{:?}", read_metadata.warnings);
            assert!(read_metadata.warnings[0].contains("annotation of the Deployment"), "{:?}", read_metadata.warnings);
        }
        let long = "x".repeat(300);
        let read_metadata = read(&[("environment", &long)], &[], &[]);
        assert_eq!((read_metadata.environment, read_metadata.warnings.len()), (None, 1));
    }
}
