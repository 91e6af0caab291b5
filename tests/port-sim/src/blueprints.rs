//! Blueprints: the schemas of entities.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::entity::port_time;
use crate::errors::ApiError;
use crate::server::App;
use crate::validation::{JsonBody, PropertiesValidator, RouteSchema};

/// The blueprints of a new stand-in. Each one comes after the blueprints that it relates to.
const PRELOADED: [&str; 3] = [
    include_str!("../blueprints/group.json"),
    include_str!("../blueprints/dora_deployment.json"),
    include_str!("../blueprints/dora_incident.json"),
];

/// A relation that entities of a blueprint can have.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct RelationModel {
    pub target: String,
    #[serde(default)]
    pub required: bool,
    #[serde(default)]
    pub many: bool,
}

/// A blueprint as Port stores it, and the validators of its entities.
#[derive(Debug)]
pub(crate) struct Blueprint {
    pub identifier: String,
    pub title: String,
    pub properties: PropertiesValidator,
    pub relations: BTreeMap<String, RelationModel>,
    document: Map<String, Value>,
}

impl Blueprint {
    /// Parses the body of `POST /v1/blueprints`, which must already match the schema of the route.
    pub(crate) fn parse(body: &Value, author: &str) -> Result<Self, ApiError> {
        let mut document = body.as_object().cloned().ok_or_else(|| ApiError::invalid("body: must be an object"))?;
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let relations = document.entry("relations").or_insert_with(|| json!({}));
        let relations = serde_json::from_value(relations.clone())
            .map_err(|error| ApiError::invalid(format!("relations: {error}")))?;
        let properties = PropertiesValidator::compile(&body["schema"])?;
        let now = port_time(Timestamp::now());
        document.insert("createdAt".to_owned(), json!(now));
        document.insert("createdBy".to_owned(), json!(author));
        document.insert("updatedAt".to_owned(), json!(now));
        document.insert("updatedBy".to_owned(), json!(author));
        Ok(Self { identifier: text("identifier"), title: text("title"), properties, relations, document })
    }

    pub(crate) fn document(&self) -> &Map<String, Value> {
        &self.document
    }
}

/// The bodies of the preloaded blueprints.
pub(crate) fn preloaded() -> impl Iterator<Item = serde_json::Result<Value>> {
    PRELOADED.into_iter().map(serde_json::from_str)
}

/// `GET /v1/blueprints`
pub(crate) async fn list(State(app): State<App>) -> Json<Value> {
    let catalog = app.catalog.lock();
    let blueprints: Vec<_> = catalog.blueprints().map(|found| found.document()).collect();
    Json(json!({"ok": true, "blueprints": blueprints}))
}

/// `GET /v1/blueprints/{identifier}`
pub(crate) async fn get(State(app): State<App>, Path(identifier): Path<String>) -> Result<Json<Value>, ApiError> {
    let blueprint = Arc::clone(app.catalog.lock().blueprint(&identifier)?);
    Ok(Json(json!({"ok": true, "blueprint": blueprint.document()})))
}

/// `POST /v1/blueprints`
pub(crate) async fn create(
    State(app): State<App>,
    Extension(body): Extension<JsonBody>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let body = body.checked(&app.schemas, RouteSchema::Blueprint)?;
    let blueprint = Blueprint::parse(&body, crate::entity::AUTHOR)?;
    let document = blueprint.document().clone();
    app.catalog.lock().add_blueprint(blueprint)?;
    Ok((StatusCode::CREATED, Json(json!({"ok": true, "blueprint": document}))))
}
