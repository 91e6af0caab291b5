//! Calls for single entities.

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::client::{BLUEPRINT_IDENTIFIER, Client, ENTITY_IDENTIFIER, check_identifier};
use crate::error::Error;
use crate::http::Route;
use crate::http::request::{Request, json_body};
use crate::http::response::Response;
use crate::model::{Entity, StoredEntity, UpsertOptions, Upserted};

#[derive(Deserialize)]
struct EntityResponse<T> {
    entity: Option<T>,
}

impl Client {
    /// Creates an entity, or updates it if it exists.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the blueprint or a related entity does not exist, [`Error::Refused`] if the entity does not match the
    /// blueprint, and the errors of every call.
    pub async fn upsert(&self, blueprint: &str, entity: &Entity, options: UpsertOptions) -> Result<Upserted, Error> {
        check_identifier(BLUEPRINT_IDENTIFIER, blueprint)?;
        let request = Request {
            route: Route::Upsert,
            method: Method::POST,
            url: self.inner.base_url.route(&["v1", "blueprints", blueprint, "entities"], &options.query()),
            body: Some(json_body(entity)?),
        };
        let (response, _) = self.call::<EntityResponse<Value>>(&request).await?;
        let stored = response.value.entity.as_ref();
        let identifier = stored.and_then(|entity| entity.get("identifier")?.as_str());
        Ok(Upserted {
            identifier: identifier.unwrap_or(&entity.identifier).to_owned(),
            created: None,
            trace_id: response.details.trace_id,
        })
    }

    /// Reads an entity.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the entity or its blueprint does not exist, and the errors of every call.
    pub async fn get_entity(&self, blueprint: &str, identifier: &str) -> Result<StoredEntity, Error> {
        let request = self.entity_request(Route::GetEntity, Method::GET, blueprint, identifier, &[])?;
        let (response, token) = self.call::<EntityResponse<StoredEntity>>(&request).await?;
        let Response { value, details, .. } = response;
        value.entity.ok_or_else(|| {
            let reader = self.inner.transport.reader(request.route, &token.redactor);
            reader.unexpected("the body has no \"entity\"".to_owned(), details)
        })
    }

    /// Deletes an entity, but not the entities that relate to it. The call also succeeds if the entity does not exist.
    ///
    /// # Errors
    /// The errors of every call, but never [`Error::NotFound`].
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
        check_identifier(BLUEPRINT_IDENTIFIER, blueprint)?;
        check_identifier(ENTITY_IDENTIFIER, identifier)?;
        let url = self.inner.base_url.route(&["v1", "blueprints", blueprint, "entities", identifier], query);
        Ok(Request { route, method, url, body: None })
    }
}
