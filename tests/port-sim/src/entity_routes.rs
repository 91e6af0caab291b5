//! The routes that read, write, delete and search entities.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query as Parameters, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::catalog::WriteOptions;
use crate::entity::Entity;
use crate::errors::ApiError;
use crate::search::Query;
use crate::server::App;
use crate::validation::{JsonBody, RouteSchema};

/// The default number of entities on a page of a search.
const DEFAULT_PAGE: usize = 200;

/// Query parameters. Invalid ones are answered with 422 as in Port, and not with the 400 of axum.
type Checked<T> = Result<Parameters<T>, QueryRejection>;

fn parameters<T>(checked: Checked<T>) -> Result<T, ApiError> {
    checked
        .map(|Parameters(parameters)| parameters)
        .map_err(|rejection| ApiError::invalid(format!("querystring: {}", rejection.body_text())))
}

/// `POST /v1/blueprints/{blueprint}/entities`
pub(crate) async fn write(
    State(app): State<App>,
    Path(blueprint): Path<String>,
    options: Checked<WriteOptions>,
    headers: HeaderMap,
    Extension(body): Extension<JsonBody>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let options = parameters(options)?;
    let given = body.checked(&app.schemas, RouteSchema::Entity)?;
    let written = app.catalog.lock().write(&blueprint, &given, &options, user_agent(&headers))?;
    Ok((StatusCode::CREATED, Json(json!({"ok": true, "entity": written.entity.port_view()}))))
}

/// `POST /v1/blueprints/{blueprint}/entities/bulk` and `…/entities/search`
pub(crate) async fn write_bulk_or_search(
    State(app): State<App>,
    Path((blueprint, operation)): Path<(String, String)>,
    options: Checked<WriteOptions>,
    uri: Uri,
    headers: HeaderMap,
    Extension(body): Extension<JsonBody>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    match operation.as_str() {
        "bulk" => write_bulk(&app, &blueprint, &parameters(options)?, user_agent(&headers), &body),
        "search" => search_blueprint(&app, &blueprint, &body),
        _ => Err(ApiError::route_not_found("POST", uri.path())),
    }
}

/// A bulk write. If the body doesn't match the schema of the route, or the blueprint doesn't exist, the whole request
/// fails. An entity that doesn't match its blueprint fails alone.
fn write_bulk(
    app: &App,
    blueprint: &str,
    options: &WriteOptions,
    user_agent: &str,
    body: &JsonBody,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let given = body.checked(&app.schemas, RouteSchema::Entities)?;
    let mut catalog = app.catalog.lock();
    catalog.blueprint(blueprint)?;
    let (mut entities, mut errors) = (Vec::new(), Vec::new());
    for (index, one) in given["entities"].as_array().into_iter().flatten().enumerate() {
        match catalog.write(blueprint, one, options, user_agent) {
            Ok(written) => entities.push(json!({
                "identifier": written.entity.identifier,
                "index": index,
                "created": written.created,
            })),
            Err(error) => errors.push(json!({
                "identifier": one["identifier"].as_str().unwrap_or_default(),
                "index": index,
                "statusCode": error.status.as_u16(),
                "error": error.code,
                "message": error.message,
            })),
        }
    }
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::MULTI_STATUS };
    Ok((status, Json(json!({"ok": errors.is_empty(), "entities": entities, "errors": errors}))))
}

/// `GET /v1/blueprints/{blueprint}/entities/{identifier}`
pub(crate) async fn get(
    State(app): State<App>,
    Path((blueprint, identifier)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let catalog = app.catalog.lock();
    let entity = catalog.get(&blueprint, &identifier)?;
    Ok(Json(json!({"ok": true, "entity": entity.port_view()})))
}

/// `GET /v1/blueprints/{blueprint}/entities`
pub(crate) async fn list(State(app): State<App>, Path(blueprint): Path<String>) -> Result<Json<Value>, ApiError> {
    let catalog = app.catalog.lock();
    catalog.blueprint(&blueprint)?;
    let entities: Vec<_> = catalog.entities_of(&blueprint).into_iter().map(Entity::port_view).collect();
    Ok(Json(json!({"ok": true, "entities": entities})))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct DeleteOptions {
    delete_dependents: bool,
}

/// `DELETE /v1/blueprints/{blueprint}/entities/{identifier}`
pub(crate) async fn delete(
    State(app): State<App>,
    Path((blueprint, identifier)): Path<(String, String)>,
    options: Checked<DeleteOptions>,
) -> Result<Json<Value>, ApiError> {
    let options = parameters(options)?;
    app.catalog.lock().delete(&blueprint, &identifier, options.delete_dependents)?;
    Ok(Json(json!({"ok": true})))
}

/// A search in one blueprint. The result is paged, in the order of creation.
fn search_blueprint(app: &App, blueprint: &str, body: &JsonBody) -> Result<(StatusCode, Json<Value>), ApiError> {
    let body = body.checked(&app.schemas, RouteSchema::BlueprintSearch)?;
    let query = match &body["query"] {
        Value::Null => None,
        query => Some(Query::parse(query)?),
    };
    let after: u64 = match body["from"].as_str() {
        None => 0,
        Some(from) => from.parse().map_err(|_| ApiError::invalid("from: must be the \"next\" of an earlier answer"))?,
    };
    let limit = body["limit"].as_u64().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(DEFAULT_PAGE);
    let catalog = app.catalog.lock();
    catalog.blueprint(blueprint)?;
    let mut found = catalog
        .entities_of(blueprint)
        .into_iter()
        .filter(|entity| entity.sequence > after)
        .filter(|entity| query.as_ref().is_none_or(|query| query.matches(entity)));
    let page: Vec<_> = found.by_ref().take(limit).collect();
    let entities: Vec<_> =
        page.iter().map(|entity| selected(entity.port_view(), &body["include"], &body["exclude"])).collect();
    let mut answer = json!({"ok": true, "entities": entities});
    if let (Some(last), Some(_)) = (page.last(), found.next()) {
        answer["next"] = json!(last.sequence.to_string());
    }
    Ok((StatusCode::OK, Json(answer)))
}

/// `POST /v1/entities/search`: a search in all blueprints, without pages.
pub(crate) async fn search(
    State(app): State<App>,
    Extension(body): Extension<JsonBody>,
) -> Result<Json<Value>, ApiError> {
    let body = body.checked(&app.schemas, RouteSchema::Search)?;
    let query = Query::parse(&body)?;
    let catalog = app.catalog.lock();
    let found: Vec<_> = catalog.entities().into_iter().filter(|entity| query.matches(entity)).collect();
    let mut blueprints: Vec<_> = found.iter().map(|entity| &entity.blueprint).collect();
    blueprints.sort_unstable();
    blueprints.dedup();
    let entities: Vec<_> = found.iter().map(|entity| entity.port_view()).collect();
    Ok(Json(json!({"ok": true, "matchingBlueprints": blueprints, "entities": entities})))
}

/// Keeps only the fields in `include`, if it is given, and removes the fields in `exclude`. A field is given as
/// `identifier` or `properties.<name>`.
fn selected(view: Map<String, Value>, include: &Value, exclude: &Value) -> Map<String, Value> {
    let names = |list: &Value, name: &str| list.as_array().is_some_and(|list| list.iter().any(|one| one == name));
    let keeps = |name: &str, parent: Option<&str>| {
        let included = include.is_null() || names(include, name) || parent.is_some_and(|parent| names(include, parent));
        included && !names(exclude, name)
    };
    view.into_iter()
        .filter_map(|(name, value)| match value {
            Value::Object(inner) if !names(exclude, &name) => {
                let inner: Map<_, _> =
                    inner.into_iter().filter(|(key, _)| keeps(&format!("{name}.{key}"), Some(&name))).collect();
                (!inner.is_empty() || keeps(&name, None)).then_some((name, Value::Object(inner)))
            }
            value => keeps(&name, None).then_some((name, value)),
        })
        .collect()
}

fn user_agent(headers: &HeaderMap) -> &str {
    headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
