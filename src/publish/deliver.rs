//! Stage `deliver`: sends entities to Port, one alone and several in bulk.

use port_client::{self as port, Blueprint, Entity, Upserted};

use super::resolve::Resolved;
use super::write_ahead::with_cleared_fields;
use super::{Publishable, Publisher};

/// A resource whose entity is to be sent.
pub struct Outgoing<R: Publishable> {
    /// The resource.
    pub resolved: Resolved<R>,
    /// Its entity.
    pub entity: Entity,
    /// Digest of the entity.
    pub digest: String,
}

impl<R: Publishable> Outgoing<R> {
    /// Whether Port has acknowledged this entity for this generation of the resource.
    ///
    /// An acknowledgement of an earlier generation does not count: of a version in between, which was changed back since, it is not known
    /// whether Port stored it.
    pub fn is_acknowledged(&self) -> bool {
        let resource = &self.resolved.resource;
        let status = resource.common_status();
        status.observed_generation == resource.meta().generation
            && status.entity.is_some_and(|delivered| delivered.digest == self.digest)
    }
}

impl<R: Publishable> Publisher<R> {
    /// Sends the entities, and returns the answer to each.
    pub(super) async fn deliver(
        &self,
        outgoing: &[Outgoing<R>],
        blueprint: Option<&Blueprint>,
    ) -> Vec<Result<Upserted, port::Error>> {
        let (port, options, identifier) = (&self.context.port, self.context.options, self.blueprint());
        let entity = |outgoing: &Outgoing<R>| {
            let delivered = outgoing.resolved.resource.common_status().entity;
            with_cleared_fields(&outgoing.entity, delivered, blueprint)
        };
        let entities: Vec<Entity> = outgoing.iter().map(entity).collect();
        match entities.as_slice() {
            [] => Vec::new(),
            [entity] => vec![port.upsert(identifier, entity, options).await],
            entities => match port.upsert_bulk(identifier, entities, options).await {
                Ok(answers) => answers,
                Err(error) => vec![Err(error); entities.len()],
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resources::{DoraIncident, ResourceKey};

    /// An incident of generation 2 with this status, whose entity has the digest `new`.
    fn outgoing(status: &Value) -> Outgoing<DoraIncident> {
        let resource: DoraIncident = serde_json::from_value(json!({
            "apiVersion": "dora.port.io/v1alpha1", "kind": "DoraIncident",
            "metadata": {"name": "down", "namespace": "shop", "generation": 2}, "spec": {}, "status": status,
        }))
        .unwrap();
        let key = ResourceKey { namespace: "shop".into(), name: "down".into() };
        let (warnings, refusal) = (Vec::new(), None);
        let resolved = Resolved { key, resource, stored: None, is_repeated: false, warnings, refusal };
        Outgoing { resolved, entity: Entity::new("prod:shop:down:01234567"), digest: "new".to_owned() }
    }

    #[test]
    fn only_the_present_generation_is_acknowledged() {
        let is_acknowledged = |generation: i64, digest: &str| {
            let entity = json!({"blueprint": "dora_incident", "identifier": "prod:shop:down", "digest": digest});
            outgoing(&json!({"observedGeneration": generation, "entity": entity})).is_acknowledged()
        };
        assert!(is_acknowledged(2, "new"));
        assert!(!is_acknowledged(2, "old"), "the entity has changed");
        assert!(!is_acknowledged(1, "new"), "Port may have stored a version in between");
        assert!(!is_acknowledged(2, ""), "it is unknown what Port has");
        assert!(!outgoing(&json!({"observedGeneration": 2})).is_acknowledged(), "nothing was delivered");
    }
}
