//! Which resource owns which identifier in Port: two resources must not write the same entity.
//!
//! The identifiers that the controller gives begin with `<cluster>:<namespace>:`, so they belong to one namespace. `spec.identifier` can
//! be any text. The first resource that asks for an identifier owns it, and no resource gets one that begins with another namespace.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use kube::api::ObjectMeta;
use parking_lot::Mutex;

use super::{Publishable, Publisher};
use crate::resources::conditions::{FOREIGN_IDENTIFIER, IDENTIFIER_TAKEN};
use crate::resources::{IdentifierClaim, ResourceKey};
use crate::runtime::{ListMark, Listing};
use crate::settings::ActiveSettings;

/// The kinds of resources that are published.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum PublishedKind {
    /// `DoraDeployment`.
    Deployment,
    /// `DoraIncident`.
    Incident,
}

impl PublishedKind {
    /// The kind in the Kubernetes API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "DoraDeployment",
            Self::Incident => "DoraIncident",
        }
    }
}

/// A resource that may ask for an identifier.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Claimant {
    /// Kind of the resource.
    pub kind: PublishedKind,
    /// Namespace and name of the resource.
    pub key: ResourceKey,
}

/// Why the controller doesn't send a resource, or doesn't delete an entity. The text is for conditions and Events.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Another resource owns the identifier.
    #[error(
        "spec.identifier is the identifier of the {} {}/{}, which had it first, so the controller leaves that entity alone: create the \
         resource again with another identifier, or delete the other resource",
        owner.kind.as_str(), owner.key.namespace, owner.key.name
    )]
    Taken {
        /// The resource that owns it.
        owner: Claimant,
    },
    /// The identifier begins with the cluster and the namespace of other resources.
    #[error(
        "spec.identifier begins with {prefix}, which is for resources of that namespace, so the controller leaves that entity alone: \
         create the resource again with another identifier, or in that namespace"
    )]
    Foreign {
        /// The beginning of the identifier: `<cluster>:<namespace>:`.
        prefix: String,
    },
    /// The status names an entity that is not that of the resource. Only the controller writes it, unless somebody has forged it.
    #[error("status.entity does not name the entity of this resource, so the controller leaves that entity alone")]
    OtherEntity,
}

impl Refusal {
    /// Reason of the conditions and the Event, one of [`REFUSED_REASONS`](crate::resources::conditions::REFUSED_REASONS).
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Taken { .. } => IDENTIFIER_TAKEN,
            Self::Foreign { .. } | Self::OtherEntity => FOREIGN_IDENTIFIER,
        }
    }
}

/// The resources with `spec.identifier`, by identifier. The watches on both kinds keep them current, before they add a resource to a
/// queue: so the leader, which begins when all lists are complete, knows all of them.
#[derive(Debug)]
pub struct IdentifierClaims {
    cluster: String,
    /// Whether both kinds have the same blueprint, and so the same identifiers.
    is_one_blueprint: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The claims to each identifier, the owner first.
    claims: HashMap<Identifier, Vec<Claim>>,
    identifiers: HashMap<Claimant, (Identifier, ListMark)>,
    deployments: Listing,
    incidents: Listing,
}

/// An identifier, with the kind if each kind has a blueprint of its own.
type Identifier = (Option<PublishedKind>, Arc<str>);

#[derive(Debug)]
struct Claim {
    claimant: Claimant,
    seniority: Seniority,
}

/// Orders the claims to one identifier: the least owns it.
///
/// Creation times have an accuracy of a second only. So the one whose entity was sent comes first, and keeps it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Seniority {
    is_unsent: bool,
    created: Timestamp,
    uid: Box<str>,
}

impl Seniority {
    fn of(metadata: &ObjectMeta, claim: &IdentifierClaim<'_>) -> Self {
        let created = metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0);
        let uid = metadata.uid.as_deref().unwrap_or_default().into();
        Self { is_unsent: !claim.is_established, created, uid }
    }
}

impl IdentifierClaims {
    /// Without claims, for the cluster and the blueprints of these settings.
    #[must_use]
    pub fn new(settings: &ActiveSettings) -> Self {
        let blueprints = &settings.file.blueprints;
        Self {
            cluster: settings.cluster.clone(),
            is_one_blueprint: blueprints.deployment == blueprints.incident,
            state: Mutex::default(),
        }
    }

    /// Handles a resource that was created, changed or listed. Returns the others that gained or lost their identifier by it.
    #[must_use]
    pub fn applied(
        &self,
        claimant: &Claimant,
        metadata: &ObjectMeta,
        claim: Option<IdentifierClaim<'_>>,
    ) -> Vec<Claimant> {
        let new =
            claim.map(|claim| (self.identifier(claimant.kind, claim.identifier), Seniority::of(metadata, &claim)));
        let mut state = self.state.lock();
        let old = state.identifiers.get(claimant).map(|(identifier, _)| identifier.clone());
        let touched = new.iter().map(|(identifier, _)| identifier.clone()).chain(old).collect();
        let mut affected = state.affected_by(&touched, |state| {
            state.remove(claimant);
            if let Some((identifier, seniority)) = new {
                state.insert(claimant, identifier, seniority);
            }
        });
        affected.retain(|other| other != claimant);
        affected
    }

    /// Handles a resource that was deleted. Returns the resource that gained its identifier.
    #[must_use]
    pub fn deleted(&self, claimant: &Claimant) -> Vec<Claimant> {
        let mut state = self.state.lock();
        let touched = state.identifiers.get(claimant).map(|(identifier, _)| identifier.clone()).into_iter().collect();
        state.affected_by(&touched, |state| state.remove(claimant))
    }

    /// Handles a listed resource that can't be decoded: it still exists, so it keeps its identifier.
    pub fn listed(&self, claimant: &Claimant) {
        let mut state = self.state.lock();
        let current = state.listing(claimant.kind).mark();
        if let Some((_, mark)) = state.identifiers.get_mut(claimant) {
            *mark = current;
        }
    }

    /// A list of all resources of this kind starts.
    pub fn list_started(&self, kind: PublishedKind) {
        self.state.lock().listing(kind).begin();
    }

    /// The list of all resources of this kind is complete. Returns the resources that gained the identifier of one that is gone.
    #[must_use]
    pub fn list_finished(&self, kind: PublishedKind) -> Vec<Claimant> {
        let mut state = self.state.lock();
        let current = state.listing(kind).mark();
        let is_gone =
            |(claimant, (_, mark)): &(&Claimant, &(Identifier, ListMark))| claimant.kind == kind && *mark != current;
        let gone: Vec<(Claimant, Identifier)> = state
            .identifiers
            .iter()
            .filter(is_gone)
            .map(|(claimant, (identifier, _))| (claimant.clone(), identifier.clone()))
            .collect();
        let touched = gone.iter().map(|(_, identifier)| identifier.clone()).collect();
        state.affected_by(&touched, |state| {
            for (claimant, _) in &gone {
                state.remove(claimant);
            }
        })
    }

    /// Why the resource must not have the identifier that it asks for, if it must not.
    ///
    /// The resource may be newer than the one that the watch has brought.
    #[must_use]
    pub fn refusal(&self, claimant: &Claimant, metadata: &ObjectMeta, claim: &IdentifierClaim<'_>) -> Option<Refusal> {
        if let Some(prefix) = foreign_prefix(claim.identifier, &self.cluster, &claimant.key.namespace) {
            return Some(Refusal::Foreign { prefix: prefix.to_owned() });
        }
        let state = self.state.lock();
        let owner = state.claims.get(&self.identifier(claimant.kind, claim.identifier))?.first()?;
        let is_taken = owner.claimant != *claimant && owner.seniority < Seniority::of(metadata, claim);
        is_taken.then(|| Refusal::Taken { owner: owner.claimant.clone() })
    }

    fn identifier(&self, kind: PublishedKind, identifier: &str) -> Identifier {
        ((!self.is_one_blueprint).then_some(kind), identifier.into())
    }
}

impl State {
    fn listing(&mut self, kind: PublishedKind) -> &mut Listing {
        match kind {
            PublishedKind::Deployment => &mut self.deployments,
            PublishedKind::Incident => &mut self.incidents,
        }
    }

    fn insert(&mut self, claimant: &Claimant, identifier: Identifier, seniority: Seniority) {
        let mark = self.listing(claimant.kind).mark();
        let claims = self.claims.entry(identifier.clone()).or_default();
        let position = claims.partition_point(|other| other.seniority < seniority);
        claims.insert(position, Claim { claimant: claimant.clone(), seniority });
        self.identifiers.insert(claimant.clone(), (identifier, mark));
    }

    fn remove(&mut self, claimant: &Claimant) {
        let Some((identifier, _)) = self.identifiers.remove(claimant) else {
            return;
        };
        if let Some(claims) = self.claims.get_mut(&identifier) {
            claims.retain(|claim| claim.claimant != *claimant);
            if claims.is_empty() {
                self.claims.remove(&identifier);
            }
        }
    }

    fn owners(&self, identifiers: &HashSet<Identifier>) -> HashSet<Claimant> {
        let claims = identifiers.iter().filter_map(|identifier| self.claims.get(identifier)?.first());
        claims.map(|claim| claim.claimant.clone()).collect()
    }

    /// Makes a change that concerns these identifiers, and returns the resources that own one now but did not before, or the reverse.
    fn affected_by(&mut self, identifiers: &HashSet<Identifier>, change: impl FnOnce(&mut Self)) -> Vec<Claimant> {
        let before = self.owners(identifiers);
        change(self);
        let after = self.owners(identifiers);
        before.symmetric_difference(&after).filter(|it| self.identifiers.contains_key(*it)).cloned().collect()
    }
}

/// The beginning `<cluster>:<namespace>:` of `identifier`, if this is not the resource's own `namespace`.
fn foreign_prefix<'a>(identifier: &'a str, cluster: &str, namespace: &str) -> Option<&'a str> {
    let rest = identifier.strip_prefix(cluster)?.strip_prefix(':')?;
    let (of, rest) = rest.split_once(':')?;
    (of != namespace).then(|| identifier.strip_suffix(rest)).flatten()
}

impl<R: Publishable> Publisher<R> {
    /// Why the controller must not send the resource, if it must not.
    pub(super) fn refusal(&self, key: &ResourceKey, resource: &R) -> Option<Refusal> {
        let identifier = resource.claimed_identifier()?;
        let sent = resource.common_status().entity.map(|entity| entity.identifier);
        let claim = IdentifierClaim::new(identifier, sent.as_deref());
        self.context.claims.refusal(&Claimant { kind: R::KIND, key: key.clone() }, resource.meta(), &claim)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::settings::FileSettings;

    /// A resource such as `a/first`, with its age and whether it was sent.
    struct Resource {
        claimant: Claimant,
        metadata: ObjectMeta,
        identifier: &'static str,
        is_sent: bool,
    }

    fn resource(kind: PublishedKind, name: &str, created: i64, identifier: &'static str) -> Resource {
        let (namespace, name) = name.split_once('/').unwrap();
        let created = Timestamp::from_second(created).unwrap().to_string();
        let metadata = json!({"name": name, "namespace": namespace, "uid": name, "creationTimestamp": created});
        Resource {
            claimant: Claimant { kind, key: ResourceKey { namespace: namespace.into(), name: name.into() } },
            metadata: serde_json::from_value(metadata).unwrap(),
            identifier,
            is_sent: false,
        }
    }

    fn incident(name: &str, created: i64) -> Resource {
        resource(PublishedKind::Incident, name, created, "payroll")
    }

    impl Resource {
        fn claim(&self) -> IdentifierClaim<'_> {
            IdentifierClaim { identifier: self.identifier, is_established: self.is_sent }
        }
    }

    impl IdentifierClaims {
        fn of(settings: &str) -> Self {
            Self::new(&ActiveSettings::new("prod".to_owned(), FileSettings::parse(settings).unwrap(), false))
        }

        /// The names of the other resources that gained or lost their identifier.
        fn apply(&self, resource: &Resource) -> Vec<String> {
            names(&self.applied(&resource.claimant, &resource.metadata, Some(resource.claim())))
        }

        fn reason(&self, resource: &Resource) -> Option<&'static str> {
            let refusal = self.refusal(&resource.claimant, &resource.metadata, &resource.claim());
            refusal.map(|refusal| refusal.reason())
        }
    }

    fn names(claimants: &[Claimant]) -> Vec<String> {
        claimants.iter().map(|claimant| format!("{}/{}", claimant.key.namespace, claimant.key.name)).collect()
    }

    #[test]
    fn first_owner_keeps_its_identifier() {
        let (first, second) = (incident("a/first", 1), incident("b/second", 2));
        for order in [[&first, &second], [&second, &first]] {
            let claims = IdentifierClaims::of("");
            let affected: Vec<_> = order.iter().map(|resource| claims.apply(resource)).collect();
            assert_eq!(claims.reason(&first), None);
            assert_eq!(claims.reason(&second), Some(IDENTIFIER_TAKEN));
            let displaced: &[&str] = if order[0].claimant == second.claimant { &["b/second"] } else { &[] };
            assert_eq!(affected[1], displaced, "a resource that lost its identifier is handled again");
        }
    }

    #[test]
    fn next_resource_gets_a_free_identifier() {
        let resources = [incident("a/first", 1), incident("b/second", 2), incident("c/third", 3)];
        let claims = IdentifierClaims::of("");
        for resource in &resources {
            assert_eq!(claims.apply(resource), Vec::<String>::new());
        }
        assert_eq!(names(&claims.deleted(&resources[2].claimant)), Vec::<String>::new());
        assert_eq!(names(&claims.deleted(&resources[0].claimant)), ["b/second"]);
        assert_eq!(claims.reason(&resources[1]), None);
        assert_eq!(names(&claims.deleted(&resources[1].claimant)), Vec::<String>::new());
        let state = claims.state.lock();
        assert!(state.claims.is_empty() && state.identifiers.is_empty());
    }

    #[test]
    fn sent_resource_is_not_displaced_by_an_older_one() {
        let claims = IdentifierClaims::of("");
        let (mut first, second) = (incident("b/z", 1), incident("a/a", 1));
        claims.apply(&first);
        claims.apply(&second);
        assert_eq!(claims.reason(&first), Some(IDENTIFIER_TAKEN), "the same second: the UID decides");
        first.is_sent = true;
        assert_eq!(claims.apply(&first), ["a/a"]);
        assert_eq!((claims.reason(&first), claims.reason(&second)), (None, Some(IDENTIFIER_TAKEN)));
    }

    #[test]
    fn owner_missing_in_a_list_loses_its_identifier() {
        let (first, second) = (incident("a/first", 1), incident("b/second", 2));
        let claims = IdentifierClaims::of("");
        claims.apply(&first);
        claims.apply(&second);
        claims.list_started(PublishedKind::Incident);
        claims.apply(&second);
        assert_eq!(claims.reason(&second), Some(IDENTIFIER_TAKEN), "until the list is complete");
        claims.listed(&first.claimant);
        assert_eq!(claims.list_finished(PublishedKind::Incident), [], "it exists, but can't be decoded");
        claims.list_started(PublishedKind::Deployment);
        assert_eq!(claims.list_finished(PublishedKind::Deployment), [], "a list of the other kind");
        claims.list_started(PublishedKind::Incident);
        claims.apply(&second);
        assert_eq!(names(&claims.list_finished(PublishedKind::Incident)), ["b/second"]);
        assert_eq!(claims.reason(&second), None);
    }

    #[test]
    fn kinds_share_identifiers_of_one_blueprint_only() {
        let record = resource(PublishedKind::Deployment, "a/payroll", 1, "payroll");
        for (settings, expected) in
            [("", None), ("blueprints: {deployment: event, incident: event}", Some(IDENTIFIER_TAKEN))]
        {
            let claims = IdentifierClaims::of(settings);
            claims.apply(&record);
            claims.apply(&incident("b/payroll", 2));
            assert_eq!(claims.reason(&incident("b/payroll", 2)), expected, "{settings}");
        }
    }

    #[test]
    fn another_identifier_frees_the_earlier_one() {
        let claims = IdentifierClaims::of("");
        let (first, second) = (incident("a/first", 1), incident("b/second", 2));
        claims.apply(&first);
        claims.apply(&second);
        let changed = Resource { identifier: "other", ..incident("a/first", 1) };
        assert_eq!(claims.apply(&changed), ["b/second"]);
        let affected = claims.applied(&second.claimant, &second.metadata, None);
        assert_eq!((affected.len(), claims.state.lock().claims.len()), (0, 1));
    }

    #[test]
    fn unknown_resource_is_compared_with_the_owner() {
        let claims = IdentifierClaims::of("");
        claims.apply(&incident("a/first", 1));
        assert_eq!(claims.reason(&incident("b/late", 2)), Some(IDENTIFIER_TAKEN));
        assert_eq!(claims.reason(&incident("b/early", 0)), None);
        assert_eq!(claims.reason(&resource(PublishedKind::Incident, "b/other", 2, "other")), None);
    }

    #[test]
    fn identifiers_of_other_namespaces_are_refused() {
        for (identifier, expected) in [
            ("prod:shop:web:1", None),
            ("prod:other:web:1", Some("prod:other:")),
            ("prod:shop2:", Some("prod:shop2:")),
            ("prod::web", Some("prod::")),
            ("prod:web", None),
            ("prod", None),
            ("prod-eu:other:web", None),
            ("payroll-42", None),
            ("", None),
        ] {
            assert_eq!(foreign_prefix(identifier, "prod", "shop"), expected, "{identifier}");
        }
        let foreign = resource(PublishedKind::Deployment, "shop/web", 1, "prod:other:web:1");
        assert_eq!(IdentifierClaims::of("").reason(&foreign), Some(FOREIGN_IDENTIFIER));
    }
}
