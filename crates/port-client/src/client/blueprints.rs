//! Calls for blueprints.

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::client::{BLUEPRINT_IDENTIFIER, Client, check_identifier};
use crate::error::Error;
use crate::http::Route;
use crate::http::request::{Request, json_body};
use crate::model::{Blueprint, NewBlueprint};

/// The result of the creation of a blueprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlueprintCreation {
    /// The blueprint is new.
    Created,
    /// A blueprint with this identifier already exists. It was not changed.
    AlreadyExists,
}

#[derive(Deserialize)]
struct BlueprintResponse {
    blueprint: Blueprint,
}

impl Client {
    /// Reads a blueprint.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it does not exist, and the errors of every call.
    pub async fn get_blueprint(&self, blueprint: &str) -> Result<Blueprint, Error> {
        check_identifier(BLUEPRINT_IDENTIFIER, blueprint)?;
        let request = Request {
            route: Route::GetBlueprint,
            method: Method::GET,
            url: self.inner.base_url.route(&["v1", "blueprints", blueprint], &[]),
            body: None,
        };
        let (response, _) = self.call::<BlueprintResponse>(&request).await?;
        Ok(response.value.blueprint)
    }

    /// Creates a blueprint. If one with this identifier exists, it is never changed, even if it is different.
    ///
    /// Port adds a page for a new blueprint to its software catalog.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the target of a relation does not exist, [`Error::Refused`] if the blueprint is invalid, and the errors of
    /// every call, but never [`Error::Conflict`].
    pub async fn create_blueprint(&self, blueprint: &NewBlueprint) -> Result<BlueprintCreation, Error> {
        let request = Request {
            route: Route::CreateBlueprint,
            method: Method::POST,
            url: self.inner.base_url.route(&["v1", "blueprints"], &[]),
            body: Some(json_body(blueprint)?),
        };
        match self.call::<Value>(&request).await {
            Ok(_) => Ok(BlueprintCreation::Created),
            Err(Error::Conflict(_)) => Ok(BlueprintCreation::AlreadyExists),
            Err(error) => Err(error),
        }
    }
}
