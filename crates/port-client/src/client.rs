//! The calls of Port's API.

use std::fmt;
use std::sync::Arc;

use reqwest::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use crate::auth::token::{AccessToken, Tokens};
use crate::base_url::BaseUrl;
use crate::error::Error;
use crate::http::bulk_response::{BulkAnswer, MAX_BULK_ENTITIES, sort_results};
use crate::http::exchange::{MAX_BODY_BYTES, Reply, Request, Wire};
use crate::model::blueprint::{Blueprint, NewBlueprint};
use crate::model::entity::{Entity, StoredEntity, UpsertOptions, Upserted};
use crate::observer::Route;
use crate::options::{ClientOptions, OptionsError};

/// A client of Port's API. Clones are cheap and share the access token, the connections and the budget.
///
/// Nothing is repeated, except that a call which is answered with 401 is sent once more with a new token; if Port does not accept that one
/// either, none is asked for during the next minute. When to try again is up to the caller; [`Error::is_temporary`] says whether it can help.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    base_url: BaseUrl,
    tokens: Tokens,
    wire: Wire,
}

impl Client {
    /// Makes a client. Nothing is sent yet, and no credentials are needed yet.
    ///
    /// # Errors
    /// If the User-Agent is unusable, or TLS can't be set up.
    pub fn new(options: ClientOptions) -> Result<Self, OptionsError> {
        options.check()?;
        let wire = Wire::new(&options)?;
        let ClientOptions { base_url, credentials, .. } = options;
        Ok(Self { inner: Arc::new(Inner { tokens: Tokens::new(credentials, base_url.clone()), base_url, wire }) })
    }

    /// When the pause that Port asked for with a 429 ends; `None` if there is none.
    #[must_use]
    pub fn paused_until(&self) -> Option<Instant> {
        self.inner.wire.budget.paused_until()
    }

    /// Creates an entity, or changes it if it exists.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the blueprint or a related entity does not exist, [`Error::Refused`] if the entity does not fit the blueprint,
    /// and all that can happen to any call.
    pub async fn upsert(&self, blueprint: &str, entity: &Entity, options: UpsertOptions) -> Result<Upserted, Error> {
        check_name("a blueprint", blueprint)?;
        let request = Request {
            route: Route::Upsert,
            method: Method::POST,
            url: self.inner.base_url.route(&["v1", "blueprints", blueprint, "entities"], &options.query()),
            body: Some(json(entity)?),
        };
        let (reply, _) = self.call::<EntityAnswer<Value>>(&request).await?;
        let stored = reply.value.entity.as_ref();
        let identifier = stored.and_then(|entity| entity.get("identifier")?.as_str());
        Ok(Upserted {
            identifier: identifier.unwrap_or(&entity.identifier).to_owned(),
            created: None,
            trace_id: reply.answer.trace_id,
        })
    }

    /// Creates or changes up to [`MAX_BULK_ENTITIES`] entities of one blueprint in one request.
    ///
    /// Each has its own result, in the order of `entities`: one that is refused does not hold back the others. If they are too large together,
    /// they are sent in halves; if Port refuses the request as a whole, each is sent by itself. Without entities nothing is sent.
    ///
    /// # Errors
    /// As a whole: [`Error::TooManyEntities`], and what can happen to any call. For a single entity: what [`Client::upsert`] can return for it,
    /// and [`Error::NotAnswered`].
    pub async fn upsert_bulk(
        &self,
        blueprint: &str,
        entities: &[Entity],
        options: UpsertOptions,
    ) -> Result<Vec<Result<Upserted, Error>>, Error> {
        check_name("a blueprint", blueprint)?;
        if entities.is_empty() {
            return Ok(Vec::new());
        }
        if entities.len() > MAX_BULK_ENTITIES {
            return Err(Error::TooManyEntities { count: entities.len() });
        }
        let mut results = Vec::with_capacity(entities.len());
        // The next part is the last.
        let mut parts = vec![entities];
        while let Some(part) = parts.pop() {
            match self.upsert_part(blueprint, part, options).await {
                Ok(part_results) => results.extend(part_results),
                Err(Error::TooLarge(_) | Error::BodyTooLarge { .. }) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                Err(Error::Refused(_)) if part.len() > 1 => parts.extend(part.chunks(1).rev()),
                Err(error @ (Error::TooLarge(_) | Error::BodyTooLarge { .. } | Error::Refused(_))) => {
                    results.push(Err(error));
                }
                Err(error) if results.is_empty() => return Err(error),
                // What is stored is stored; the others would meet the same error.
                Err(error) => results.resize(entities.len(), Err(error)),
            }
            if results.len() == entities.len() {
                break;
            }
        }
        Ok(results)
    }

    async fn upsert_part(
        &self,
        blueprint: &str,
        entities: &[Entity],
        options: UpsertOptions,
    ) -> Result<Vec<Result<Upserted, Error>>, Error> {
        let request = Request {
            route: Route::UpsertBulk,
            method: Method::POST,
            url: self.inner.base_url.route(&["v1", "blueprints", blueprint, "entities", "bulk"], &options.query()),
            body: Some(json(&BulkRequest { entities })?),
        };
        let (reply, token) = self.call::<BulkAnswer>(&request).await?;
        let reader = self.inner.wire.reader(request.route, &token.redactor);
        let results = sort_results(entities, reply.value, &reply.answer, &reply.headers, &reader)?;
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            self.inner.wire.pause_if_asked(error);
        }
        Ok(results)
    }

    /// Reads a blueprint.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it does not exist, and all that can happen to any call.
    pub async fn get_blueprint(&self, blueprint: &str) -> Result<Blueprint, Error> {
        check_name("a blueprint", blueprint)?;
        let request = Request {
            route: Route::GetBlueprint,
            method: Method::GET,
            url: self.inner.base_url.route(&["v1", "blueprints", blueprint], &[]),
            body: None,
        };
        let (reply, _) = self.call::<BlueprintAnswer>(&request).await?;
        Ok(reply.value.blueprint)
    }

    /// Creates a blueprint. One that exists is left as it is, whatever it looks like.
    ///
    /// Port adds a page for it to its software catalog, as it does for a blueprint that a person creates.
    ///
    /// # Errors
    /// [`Error::NotFound`] if a relation leads to a blueprint that does not exist, [`Error::Refused`] if Port does not accept it, and all that
    /// can happen to any call; never [`Error::Conflict`].
    pub async fn create_blueprint(&self, blueprint: &NewBlueprint) -> Result<BlueprintCreation, Error> {
        let request = Request {
            route: Route::CreateBlueprint,
            method: Method::POST,
            url: self.inner.base_url.route(&["v1", "blueprints"], &[]),
            body: Some(json(blueprint)?),
        };
        match self.call::<Value>(&request).await {
            Ok(_) => Ok(BlueprintCreation::Created),
            Err(Error::Conflict(_)) => Ok(BlueprintCreation::ExistsAlready),
            Err(error) => Err(error),
        }
    }

    /// Reads an entity.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it or its blueprint does not exist, and all that can happen to any call.
    pub async fn get_entity(&self, blueprint: &str, identifier: &str) -> Result<StoredEntity, Error> {
        let request = self.entity_request(Route::GetEntity, Method::GET, blueprint, identifier, &[])?;
        let (reply, token) = self.call::<EntityAnswer<StoredEntity>>(&request).await?;
        let Reply { value, answer, .. } = reply;
        value.entity.ok_or_else(|| {
            let reader = self.inner.wire.reader(request.route, &token.redactor);
            reader.unexpected("which lacks \"entity\"".to_owned(), answer)
        })
    }

    /// Deletes an entity, but none that relates to it. One that does not exist is deleted already.
    ///
    /// # Errors
    /// All that can happen to any call; never [`Error::NotFound`].
    pub async fn delete_entity(&self, blueprint: &str, identifier: &str) -> Result<(), Error> {
        let query = [("delete_dependents", "false")];
        let request = self.entity_request(Route::DeleteEntity, Method::DELETE, blueprint, identifier, &query)?;
        match self.call::<Value>(&request).await {
            Ok(_) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn entity_request(
        &self,
        route: Route,
        method: Method,
        blueprint: &str,
        identifier: &str,
        query: &[(&str, &str)],
    ) -> Result<Request, Error> {
        check_name("a blueprint", blueprint)?;
        check_name("an identifier", identifier)?;
        Ok(Request {
            route,
            method,
            url: self.inner.base_url.route(&["v1", "blueprints", blueprint, "entities", identifier], query),
            body: None,
        })
    }

    async fn call<T: DeserializeOwned>(&self, request: &Request) -> Result<(Reply<T>, AccessToken), Error> {
        let Inner { tokens, wire, .. } = &*self.inner;
        let mut token = tokens.get(wire, None).await?;
        let send = async |token: &AccessToken| {
            wire.exchange(request, Some(token.authorization.clone()), &token.redactor).await
        };
        let mut outcome = send(&token).await;
        if matches!(outcome, Err(Error::Unauthorized(_))) && tokens.may_renew(&token) {
            token = tokens.get(wire, Some(&token)).await?;
            outcome = send(&token).await;
            if matches!(outcome, Err(Error::Unauthorized(_))) {
                tokens.is_of_no_use(&token);
            }
        }
        if matches!(outcome, Ok(_) | Err(Error::NotFound(_) | Error::Refused(_) | Error::Conflict(_))) {
            tokens.is_of_use(&token);
        }
        Ok((outcome?, token))
    }
}

/// What became of a blueprint that was to be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlueprintCreation {
    /// It is new.
    Created,
    /// There is one of this identifier, which was not changed.
    ExistsAlready,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("base_url", &self.inner.base_url).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct BulkRequest<'a> {
    entities: &'a [Entity],
}

#[derive(Deserialize)]
struct BlueprintAnswer {
    blueprint: Blueprint,
}

#[derive(Deserialize)]
struct EntityAnswer<T> {
    entity: Option<T>,
}

fn json(value: &impl Serialize) -> Result<bytes::Bytes, Error> {
    let body = serde_json::to_vec(value).map_err(|error| Error::NotSerializable(error.to_string()))?;
    if body.len() > MAX_BODY_BYTES {
        return Err(Error::BodyTooLarge { bytes: body.len() });
    }
    Ok(body.into())
}

/// Dots alone would move to another path, however they are encoded; an empty name would be another route.
fn check_name(what: &'static str, value: &str) -> Result<(), Error> {
    if matches!(value, "" | "." | "..") {
        return Err(Error::InvalidName { what, value: value.to_owned() });
    }
    Ok(())
}
