//! What annotations and labels say of a rollout.

use jiff::Timestamp;

use crate::resources::GROUP;
use crate::rollout::{DeploymentRow, Metadata, ReplicaSetRow};

/// The keys that are read, without their prefix `dora.port.io/`.
pub mod keys {
    /// Where it was deployed to.
    pub const ENVIRONMENT: &str = "environment";
    /// The group (team) that it belongs to.
    pub const GROUP: &str = "group";
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
}

/// The metadata that speaks of a rollout, from the nearest to the pod to the farthest.
///
/// The annotations of the Deployment are those that its ReplicaSet keeps, so that they are those of the
/// revision and not those of a change that came after.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a>([(&'static str, &'a Metadata); 6]);

impl<'a> Layers<'a> {
    /// The layers of a rollout. A label of the same object comes after an annotation.
    #[must_use]
    pub fn new(
        deployment: &'a DeploymentRow,
        replica_set: &'a ReplicaSetRow,
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

    fn nearest(&self, key: &str) -> Option<(&'static str, &'a str)> {
        self.0.iter().find_map(|(layer, metadata)| {
            let value = metadata.get(key)?.trim();
            (!value.is_empty()).then_some((*layer, value))
        })
    }
}

/// What the metadata says. What it does not say is `None`, never guessed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Facts {
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

/// Reads the facts from `layers`. A value that can't be used is left out and explained in `warnings`.
#[must_use]
pub fn facts(layers: &Layers<'_>) -> Facts {
    let mut warnings = Vec::new();
    let commit_time = layers.nearest(keys::COMMIT_TIME).and_then(|(layer, value)| {
        value
            .parse::<Timestamp>()
            .inspect_err(|_| {
                let quoted: String = value.chars().take(QUOTED_CHARACTERS).collect();
                warnings.push(format!(
                    "the {layer} {GROUP}/{}: {quoted:?} is not a time in RFC 3339 with a zone; write it like \
                     2026-01-31T12:00:00Z (git log -1 --format=%cI prints it so). The lead time is left out",
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
        warnings.push(format!("the {layer} {GROUP}/{key} is longer than {longest} characters and is left out"));
        None
    };
    Facts {
        environment: bounded(keys::ENVIRONMENT, 253),
        group: bounded(keys::GROUP, 1000),
        service: bounded(keys::SERVICE, 1000),
        deployment_type: bounded(keys::DEPLOYMENT_TYPE, 253),
        commit_sha: bounded(keys::COMMIT_SHA, 253),
        repository: bounded(keys::REPOSITORY, 2000),
        commit_time,
        warnings,
    }
}
