//! Validation of JSON: the bodies of requests, and the properties of entities.

use std::io;
use std::sync::Arc;

use jsonschema::{Draft, ValidationOptions, Validator};
use serde_json::{Map, Value, json};
use url::Url;

use crate::errors::ApiError;

/// The maximum number of errors that are reported for one body.
const MAXIMUM_ERRORS: usize = 5;

/// The request bodies, each with its own schema.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RouteSchema {
    AccessToken,
    Blueprint,
    Entity,
    Entities,
    Search,
    BlueprintSearch,
}

/// The compiled schemas of the routes.
#[derive(Debug)]
pub(crate) struct RouteSchemas {
    access_token: Validator,
    blueprint: Validator,
    entity: Validator,
    entities: Validator,
    search: Validator,
    blueprint_search: Validator,
}

impl RouteSchemas {
    pub(crate) fn compile() -> io::Result<Self> {
        let document: Value = serde_json::from_str(include_str!("../schemas/requests.json"))?;
        let compile = |definition: &str| {
            let mut schema = document.clone();
            schema["allOf"] = json!([{"$ref": format!("#/definitions/{definition}")}]);
            options()
                .build(&schema)
                .map_err(|error| io::Error::other(format!("schema of request body {definition}: {error}")))
        };
        Ok(Self {
            access_token: compile("accessToken")?,
            blueprint: compile("blueprint")?,
            entity: compile("entity")?,
            entities: compile("entities")?,
            search: compile("query")?,
            blueprint_search: compile("blueprintSearch")?,
        })
    }

    pub(crate) fn check(&self, schema: RouteSchema, body: &Value) -> Result<(), ApiError> {
        let validator = match schema {
            RouteSchema::AccessToken => &self.access_token,
            RouteSchema::Blueprint => &self.blueprint,
            RouteSchema::Entity => &self.entity,
            RouteSchema::Entities => &self.entities,
            RouteSchema::Search => &self.search,
            RouteSchema::BlueprintSearch => &self.blueprint_search,
        };
        validate(validator, body, "body")
    }
}

/// The body of a request, parsed for the handlers and the request log.
#[derive(Debug, Clone)]
pub(crate) enum JsonBody {
    /// There is no body.
    Empty,
    /// It is too large for Port.
    TooLarge,
    /// It has another content type, or none.
    OtherType(Option<String>),
    /// It is not valid JSON.
    Malformed(String),
    /// It is JSON.
    Json(Arc<Value>),
}

impl JsonBody {
    /// The body, if it matches the schema of the route.
    pub(crate) fn checked(&self, schemas: &RouteSchemas, schema: RouteSchema) -> Result<Arc<Value>, ApiError> {
        match self {
            Self::Json(value) => {
                schemas.check(schema, value)?;
                Ok(Arc::clone(value))
            }
            Self::Empty => Err(ApiError::invalid("body: must not be empty")),
            Self::TooLarge => Err(ApiError::too_large()),
            Self::OtherType(content_type) => Err(ApiError::not_json(content_type.as_deref())),
            Self::Malformed(reason) => Err(ApiError::invalid(format!("body: not JSON: {reason}"))),
        }
    }
}

/// Validates the properties of entities against the schema of their blueprint.
#[derive(Debug)]
pub(crate) struct PropertiesValidator {
    validator: Validator,
    required: Vec<String>,
}

impl PropertiesValidator {
    /// Compiles the `schema` of a blueprint, with its `properties` and `required`.
    pub(crate) fn compile(schema: &Value) -> Result<Self, ApiError> {
        let validator = options()
            .build(&json!({
                "type": "object",
                "properties": schema["properties"],
                "additionalProperties": false,
            }))
            .map_err(|error| ApiError::invalid(format!("schema/properties: {error}")))?;
        let required = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect();
        Ok(Self { validator, required })
    }

    /// Validates type, enum and format of the given properties.
    pub(crate) fn check_given(&self, properties: &Map<String, Value>) -> Result<(), ApiError> {
        validate(&self.validator, &Value::Object(properties.clone()), "properties")
    }

    /// Checks that the resulting entity has all required properties.
    pub(crate) fn check_required(&self, properties: &Map<String, Value>) -> Result<(), ApiError> {
        let missing: Vec<_> = self
            .required
            .iter()
            .filter(|name| !properties.contains_key(*name))
            .map(|name| format!("properties: {name:?} is a required property"))
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(ApiError::invalid(missing.join("; "))) }
    }
}

/// Port validates with Ajv, whose default is draft 7, and has its own formats.
fn options() -> ValidationOptions<'static> {
    jsonschema::options()
        .with_draft(Draft::Draft7)
        .should_validate_formats(true)
        .with_format("url", |value: &str| Url::parse(value).is_ok_and(|url| url.has_host()))
}

/// Validates a value. `root` is the name of the value in error messages.
fn validate(validator: &Validator, value: &Value, root: &str) -> Result<(), ApiError> {
    let errors: Vec<_> = validator
        .iter_errors(value)
        .take(MAXIMUM_ERRORS)
        .map(|error| format!("{root}{}: {error}", error.instance_path()))
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(errors.join("; "))) }
}
