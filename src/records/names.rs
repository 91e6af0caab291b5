//! Names of records in Kubernetes, and identifiers of their entities in Port.

use rollout::{RecordedRevision, WorkloadKind};

use crate::resources::MAX_NAME_LENGTH;

/// Characters of the workload's UID in a name or an identifier.
const UID_CHARACTERS: usize = 8;

/// Name of the record of a revision: workload, number of the revision, and the start of the workload's UID.
///
/// The UID tells a workload from earlier and later ones of the same name. If another revision of the workload had the
/// same number before, the start of the ReplicaSet's UID follows.
#[must_use]
pub fn record_name(kind: WorkloadKind, name: &str, uid: &str, record: &RecordedRevision) -> String {
    let mut suffix = format!("-{}-{}", record.revision, short_uid(uid));
    if record.repeated {
        suffix = format!("{suffix}-{:08x}", record.id.uid);
    }
    object_name(kind, name, &suffix)
}

/// Name of an object that belongs to the workload `name`, such as its record. `suffix` begins with a dash.
///
/// The name of the workload is cut if the whole would be too long.
#[must_use]
pub fn object_name(kind: WorkloadKind, name: &str, suffix: &str) -> String {
    let prefix: String = kind.qualified(name).chars().take(MAX_NAME_LENGTH.saturating_sub(suffix.len())).collect();
    // A DNS subdomain has no dot before a dash.
    format!("{}{suffix}", prefix.trim_end_matches(['.', '-']))
}

/// Identifier of the entity of a revision in Port.
///
/// The start of the UID tells a workload from earlier and later ones of the same name. The kind tells it from a
/// workload of another kind with the same name; Deployments, the usual kind, have none in the identifier.
#[must_use]
pub fn entity_identifier(
    cluster: &str,
    namespace: &str,
    kind: WorkloadKind,
    name: &str,
    revision: i64,
    uid: &str,
) -> String {
    let name = kind.unless_default().map_or_else(|| name.to_owned(), |kind| format!("{kind}/{name}"));
    format!("{cluster}:{namespace}:{name}:{revision}:{}", short_uid(uid))
}

fn short_uid(uid: &str) -> String {
    uid.chars().take(UID_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use rollout::Outcome;

    use super::*;
    use crate::records::store::tests::revision;

    const UID: &str = "0123456789ab";

    fn name(kind: WorkloadKind, name: &str, number: i64, repeated: bool) -> String {
        record_name(kind, name, UID, &RecordedRevision { repeated, ..revision(number, Outcome::InProgress) })
    }

    #[test]
    fn record_name_has_workload_revision_and_uid() {
        assert_eq!(name(WorkloadKind::Deployment, "web", 7, false), "web-7-01234567");
    }

    #[test]
    fn repeated_number_adds_uid_of_replica_set() {
        assert_eq!(name(WorkloadKind::Deployment, "web", 7, true), "web-7-01234567-00abcdef");
    }

    #[test]
    fn kinds_of_the_same_name_have_separate_records() {
        assert_eq!(name(WorkloadKind::StatefulSet, "web", 7, false), "statefulset-web-7-01234567");
    }

    #[test]
    fn kinds_of_the_same_name_have_separate_entities() {
        let identifier = |kind| entity_identifier("test", "shop", kind, "web", 7, UID);
        assert_eq!(identifier(WorkloadKind::Deployment), "test:shop:web:7:01234567");
        assert_eq!(identifier(WorkloadKind::StatefulSet), "test:shop:StatefulSet/web:7:01234567");
    }

    #[test]
    fn long_name_is_cut_and_stays_valid() {
        let cut = |length: usize, rest: &str| {
            name(WorkloadKind::Deployment, &format!("{}.{rest}", "a".repeat(length)), 1234, false)
        };
        assert_eq!(cut(240, "b"), format!("{}-1234-01234567", "a".repeat(239)));
        assert_eq!(cut(238, &"b".repeat(14)), format!("{}-1234-01234567", "a".repeat(238)), "no dot before a dash");
    }
}
