//! Bulk writes.

use reqwest::Method;
use serde::Serialize;

use crate::client::{BLUEPRINT_IDENTIFIER, Client, check_identifier};
use crate::error::Error;
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
    /// large, the client sends it in halves; if Port refuses it as a whole, the client sends each entity alone. Without entities it sends
    /// nothing.
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
                Err(Error::TooLarge(_) | Error::BodyTooLarge { .. }) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                Err(Error::Refused(_)) if part.len() > 1 => parts.extend(part.chunks(1).rev()),
                Err(error @ (Error::TooLarge(_) | Error::BodyTooLarge { .. } | Error::Refused(_))) => {
                    results.push(Err(error));
                }
                Err(error) if results.is_empty() => return Err(error),
                // Some entities already have a result. The remaining ones would fail with the same error.
                Err(error) => {
                    results.resize(entities.len(), Err(error));
                    break;
                }
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
