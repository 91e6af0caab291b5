//! What the loop needs of a kind of resource.

use std::fmt::Debug;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::PublishContext;
use super::blueprints::Wanted;
use super::conform::{Draft, Fitted, conform};
use crate::incidents::{CauseContext, Lookup};
use crate::resources::{DeletionPolicy, DeliveredEntity};
use port_client::Entity;

/// A custom resource that becomes an entity in Port.
pub trait Record:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    /// Its status.
    type Status: Serialize + Clone + PartialEq + Send + Sync;

    /// The blueprint that its entities are made of, and what there is to say.
    fn wanted(context: &PublishContext) -> Wanted<'_>;

    /// The identifier of that blueprint.
    fn blueprint(context: &PublishContext) -> &str {
        Self::wanted(context).identifier
    }

    /// `draft` as an entity of that blueprint.
    fn fitted(draft: Draft, context: &PublishContext) -> Fitted {
        let Wanted { identifier, naming, vocabulary: _ } = Self::wanted(context);
        conform(draft, naming, context.blueprints.get(identifier).as_deref())
    }

    /// The resource with what its status says of the rest of the cluster.
    ///
    /// # Errors
    /// If the API server does not answer.
    fn look_up(self, _around: &CauseContext<'_>) -> impl Future<Output = Result<Lookup<Self>, kube::Error>> + Send {
        std::future::ready(Ok(Lookup::unchanged(self)))
    }

    /// What becomes of the entity when the resource is deleted.
    fn deletion_policy(&self) -> DeletionPolicy {
        DeletionPolicy::Retain
    }

    /// What Port is to be told. Pure.
    fn assess(&self, context: &PublishContext, now: Timestamp) -> Assessment;

    /// Whether a later version of it may lack something that this one says. Then what Port is given is written down first.
    fn may_say_less(&self) -> bool;

    /// The status as it is.
    fn delivery(&self) -> Delivery;

    /// The status with this delivery, and all else that it says.
    fn with_delivery(&self, delivery: Delivery, now: Timestamp) -> Self::Status;

    /// The status as the API server has it.
    fn status(&self) -> Option<&Self::Status>;
}

/// The part of a status that speaks of the delivery.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delivery {
    /// The generation that the status speaks of.
    pub observed_generation: Option<i64>,
    /// Digest of the settings that the status was made with.
    pub observed_settings: Option<String>,
    /// The conditions.
    pub conditions: Vec<Condition>,
    /// The entity as Port has it, or may have it.
    pub entity: Option<DeliveredEntity>,
}

/// What a resource means to Port.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// The entity, or why there is none.
    pub mapped: Mapped,
    /// What could not be used, in sentences.
    pub warnings: Vec<String>,
}

/// The entity of a resource, or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub enum Mapped {
    /// This is to be in Port.
    Entity(Entity),
    /// Nothing is to be in Port (yet).
    Held {
        /// Reason for the condition, CamelCase.
        reason: &'static str,
        /// The same as a sentence.
        message: String,
    },
}

/// A time as Port's documentation writes it: RFC 3339 in UTC with milliseconds.
#[must_use]
pub fn port_time(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// The properties that have a value.
#[must_use]
pub fn said<const N: usize>(properties: [(&str, Option<Value>); N]) -> Map<String, Value> {
    properties.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
