//! The control API: the methods of [`PortSim`](crate::PortSim), for other processes.
//!
//! | request | effect |
//! |---|---|
//! | `GET /control/entities` | all [entities](crate::Entity) in the order of their creation; `?blueprint=` for one blueprint |
//! | `DELETE /control/entities` | removes all entities, or those of `?blueprint=` |
//! | `GET /control/requests` | all [requests](crate::Request); `?after=<id>` for newer ones |
//! | `DELETE /control/requests` | removes them from the log |
//! | `GET /control/faults` | the active [faults](crate::FaultState) |
//! | `POST /control/faults` | sets a [fault](crate::Fault), and answers with its `id` |
//! | `DELETE /control/faults` | clears all faults; `/control/faults/{id}` clears one |
//! | `POST /control/revoke-tokens` | revokes the active access token |
//! | `PUT /control/credentials` | replaces the credentials by `{"clientId","clientSecret"}` |
//! | `PUT /control/rate-limits` | sets the [limits](crate::RateLimits); missing ones get their defaults |
//! | `POST /control/blueprints` | adds or replaces a blueprint, with the body of `POST /v1/blueprints` |
//! | `DELETE /control/blueprints/{identifier}` | removes a blueprint with its entities |
//!
//! These requests need no token. They don't count against a rate limit, meet no fault, and are not in the request log.
//! Answers are JSON with `"ok"`, and errors have the format of Port.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::blueprints::Blueprint;
use crate::entity::AUTHOR;
use crate::errors::ApiError;
use crate::faults::{Fault, FaultId};
use crate::rate_limit::RateLimits;
use crate::server::{App, Shared};
use crate::validation::RouteSchema;

type Body<T> = Result<Json<T>, JsonRejection>;

/// The parsed body, or the error of Port for an invalid one.
fn given<T>(body: Body<T>) -> Result<T, ApiError> {
    body.map(|Json(body)| body).map_err(|rejection| ApiError::invalid(rejection.body_text()))
}

fn done() -> Json<Value> {
    Json(json!({"ok": true}))
}

pub(crate) fn router() -> Router<App> {
    Router::new()
        .route("/control/entities", get(read_entities).delete(clear_entities))
        .route("/control/requests", get(read_requests).delete(clear_requests))
        .route("/control/faults", get(read_faults).post(set_fault).delete(clear_faults))
        .route("/control/faults/{id}", delete(clear_fault))
        .route("/control/revoke-tokens", post(revoke_tokens))
        .route("/control/credentials", put(set_credentials))
        .route("/control/rate-limits", put(set_rate_limits))
        .route("/control/blueprints", post(set_blueprint))
        .route("/control/blueprints/{identifier}", delete(remove_blueprint))
}

/// The query parameter that selects a blueprint.
#[derive(Debug, Deserialize)]
struct BlueprintFilter {
    blueprint: Option<String>,
}

async fn read_entities(State(app): State<App>, Query(filter): Query<BlueprintFilter>) -> Json<Value> {
    let catalog = app.catalog.lock();
    let entities = match &filter.blueprint {
        Some(blueprint) => catalog.entities_of(blueprint),
        None => catalog.entities(),
    };
    Json(json!({"ok": true, "entities": entities}))
}

async fn clear_entities(State(app): State<App>, Query(filter): Query<BlueprintFilter>) -> Json<Value> {
    app.catalog.lock().clear_entities(|blueprint| filter.blueprint.as_deref().is_none_or(|one| one == blueprint));
    done()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct After {
    after: u64,
}

async fn read_requests(State(app): State<App>, Query(After { after }): Query<After>) -> Json<Value> {
    Json(json!({"ok": true, "requests": app.log.requests_after(after)}))
}

async fn clear_requests(State(app): State<App>) -> Json<Value> {
    app.log.clear();
    done()
}

async fn read_faults(State(app): State<App>) -> Json<Value> {
    Json(json!({"ok": true, "faults": app.faults.states()}))
}

async fn set_fault(State(app): State<App>, body: Body<Fault>) -> Result<Json<Value>, ApiError> {
    let id = app.faults.set(given(body)?).map_err(|error| ApiError::invalid(error.to_string()))?;
    Ok(Json(json!({"ok": true, "id": id})))
}

async fn clear_faults(State(app): State<App>) -> Json<Value> {
    app.faults.clear();
    done()
}

async fn clear_fault(State(app): State<App>, Path(id): Path<u64>) -> Result<Json<Value>, ApiError> {
    if app.faults.clear_one(FaultId(id)) {
        Ok(done())
    } else {
        Err(ApiError::invalid(format!("fault {id} doesn't exist")))
    }
}

async fn revoke_tokens(State(app): State<App>) -> Json<Value> {
    app.auth.revoke();
    done()
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewCredentials {
    client_id: String,
    client_secret: String,
}

async fn set_credentials(State(app): State<App>, body: Body<NewCredentials>) -> Result<Json<Value>, ApiError> {
    let NewCredentials { client_id, client_secret } = given(body)?;
    app.auth.set_credentials(client_id, client_secret);
    Ok(done())
}

async fn set_rate_limits(State(app): State<App>, body: Body<RateLimits>) -> Result<Json<Value>, ApiError> {
    app.limiters.replace(given(body)?);
    Ok(done())
}

async fn set_blueprint(State(app): State<App>, body: Body<Value>) -> Result<Json<Value>, ApiError> {
    replace_blueprint(&app, &given(body)?)?;
    Ok(done())
}

/// Adds or replaces a blueprint, with the validation of Port.
pub(crate) fn replace_blueprint(app: &Arc<Shared>, body: &Value) -> Result<(), ApiError> {
    app.schemas.check(RouteSchema::Blueprint, body)?;
    let blueprint = Blueprint::parse(body, AUTHOR)?;
    app.catalog.lock().replace_blueprint(blueprint)
}

async fn remove_blueprint(State(app): State<App>, Path(identifier): Path<String>) -> Result<Json<Value>, ApiError> {
    if app.catalog.lock().remove_blueprint(&identifier) {
        Ok(done())
    } else {
        Err(ApiError::blueprint_not_found(&identifier))
    }
}
