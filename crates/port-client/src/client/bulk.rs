//! Bulk writes.

use reqwest::Method;
use serde::Serialize;

use crate::client::{BLUEPRINT_IDENTIFIER, Client, check_identifier};
use crate::error::{Error, MissingResource};
use crate::http::bulk_response::{BulkResponse, match_results};
use crate::http::request::{Request, json_body};
use crate::http::{MAX_BULK_ENTITIES, Route};
use crate::model::{Entity, UpsertOptions, Upserted};

#[derive(Serialize)]
struct BulkRequest<'a> {
    entities: &'a [Entity],
}

impl Client {
    /// Creates or updates up to [`MAX_BULK_ENTITIES`] entities of one blueprint in one request.
    ///
    /// Each entity has its own result, in the order of `entities`, so a refused one does not affect the others. If the request is too
    /// large, or Port refuses it as a whole and one of the entities may be the reason, the client sends it in halves. Without entities it
    /// sends nothing.
    ///
    /// # Errors
    /// For the whole call: [`Error::TooManyEntities`], and the errors of every call. For one entity: the errors of [`Client::upsert`], and
    /// [`Error::MissingResult`].
    pub async fn upsert_bulk(
        &self,
        blueprint: &str,
        entities: &[Entity],
        options: UpsertOptions,
    ) -> Result<Vec<Result<Upserted, Error>>, Error> {
        check_identifier(BLUEPRINT_IDENTIFIER, blueprint)?;
        if entities.len() > MAX_BULK_ENTITIES {
            return Err(Error::TooManyEntities { count: entities.len() });
        }
        let mut results = Vec::with_capacity(entities.len());
        // A stack of the parts that are still to be sent, the next one on top.
        let mut parts = if entities.is_empty() { Vec::new() } else { vec![entities] };
        while let Some(part) = parts.pop() {
            match self.upsert_part(blueprint, part, options).await {
                Ok(part_results) => results.extend(part_results),
                Err(error) if !may_concern_one_entity(&error, blueprint) => {
                    if results.is_empty() {
                        return Err(error);
                    }
                    // Some entities already have a result. The remaining ones would fail with the same error.
                    results.resize(entities.len(), Err(error));
                    break;
                }
                Err(_) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                Err(error) => results.push(Err(error)),
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
            body: Some(json_body(&BulkRequest { entities })?),
        };
        let (response, token) = self.call::<BulkResponse>(&request).await?;
        let reader = self.inner.transport.reader(request.route, &token.redactor);
        let results = match_results(entities, response, &reader)?;
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            self.inner.transport.pause_if_requested(error);
        }
        Ok(results)
    }
}

/// Whether Port may have refused a whole request because of one of its entities, so that it accepts the others without it.
fn may_concern_one_entity(error: &Error, blueprint: &str) -> bool {
    match error {
        Error::TooLarge(_) | Error::BodyTooLarge { .. } | Error::Refused(_) | Error::Conflict(_) => true,
        // The blueprint of the request concerns all entities; a related entity, or the blueprint of one, concerns those that relate to it.
        Error::NotFound(_) => !matches!(
            error.missing_resource(),
            Some(MissingResource::Blueprint { identifier }) if identifier == blueprint
        ),
        _ => false,
    }
}
