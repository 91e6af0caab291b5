//! Checks of JSON against schemas: the bodies of Port's routes and the properties of a blueprint.

use std::io;
use std::sync::Arc;

use jsonschema::{Draft, ValidationOptions, Validator};
use serde_json::{Map, Value, json};
use url::Url;

use crate::errors::ApiError;

/// More complaints than this about one body help nobody.
const MAXIMUM_COMPLAINTS: usize = 5;

/// The request bodies that have a schema of their own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RouteSchema {
    AccessToken,
    Blueprint,
    Entity,
    Entities,
    Search,
    BlueprintSearch,
}

/// The compiled schemas of Port's routes.
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
        complain(validator, body, "body")
    }
}

/// The body of a request, read once for the handlers and the request log.
#[derive(Debug, Clone)]
pub(crate) enum JsonBody {
    /// There is none.
    Empty,
    /// It is larger than Port accepts.
    TooLarge,
    /// Its content type is another one (or none).
    OtherType(Option<String>),
    /// It can't be parsed.
    Malformed(String),
    /// It is JSON.
    Json(Arc<Value>),
}

impl JsonBody {
    /// The body, if it is what the route's schema wants.
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

/// Checks the properties of entities against the schema that their blueprint gives.
#[derive(Debug)]
pub(crate) struct PropertiesValidator {
    validator: Validator,
    required: Vec<String>,
}

impl PropertiesValidator {
    /// From `schema` of a blueprint: its `properties` and `required`.
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

    /// Checks type, enum and format of what a request gives; what it leaves out is not looked at.
    pub(crate) fn check_given(&self, properties: &Map<String, Value>) -> Result<(), ApiError> {
        complain(&self.validator, &Value::Object(properties.clone()), "properties")
    }

    /// Checks that an entity, as it would be stored, has all that its blueprint requires.
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

/// Port validates with Ajv, whose default is draft 7, and has formats of its own.
fn options() -> ValidationOptions<'static> {
    jsonschema::options()
        .with_draft(Draft::Draft7)
        .should_validate_formats(true)
        .with_format("url", |value: &str| Url::parse(value).is_ok_and(|url| url.has_host()))
}

fn complain(validator: &Validator, value: &Value, root: &str) -> Result<(), ApiError> {
    let complaints: Vec<_> = validator
        .iter_errors(value)
        .take(MAXIMUM_COMPLAINTS)
        .map(|error| format!("{root}{}: {error}", error.instance_path()))
        .collect();
    if complaints.is_empty() { Ok(()) } else { Err(ApiError::invalid(complaints.join("; "))) }
}
