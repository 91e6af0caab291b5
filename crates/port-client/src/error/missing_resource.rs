//! The resource that a 404 response names.

use std::fmt;

use serde_json::Value;

use crate::error::ErrorResponse;

/// The resource that does not exist, according to a 404 response of Port.
///
/// For a write of an entity, this is its blueprint or an entity that it relates to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MissingResource {
    /// A blueprint.
    Blueprint {
        /// Its identifier.
        identifier: String,
    },
    /// An entity: the requested one, or an entity that the written one relates to.
    Entity {
        /// Its identifier.
        identifier: String,
        /// Its blueprint, if Port names it.
        blueprint: Option<String>,
    },
}

impl MissingResource {
    /// Parses Port's message, such as `Entity with identifier "checkout" of blueprint "service" was not found`. Port does not document its
    /// messages, so the result is `None` unless exactly one kind of resource precedes the first quoted name.
    pub(crate) fn parse(response: &ErrorResponse) -> Option<Self> {
        let message = response.message.as_deref()?;
        let mut quoted = quoted(message);
        let (before, identifier) = quoted.next()?;
        let mut kinds = before.split_whitespace().filter_map(kind_of);
        let kind = kinds.next()?;
        if kinds.any(|other| other != kind) {
            return None;
        }
        let identifier = identifier.to_owned();
        Some(match kind {
            ResourceKind::Blueprint => Self::Blueprint { identifier },
            ResourceKind::Entity => {
                let is_blueprint =
                    |before: &str| before.split_whitespace().last().and_then(kind_of) == Some(ResourceKind::Blueprint);
                let blueprint = quoted.find(|(before, _)| is_blueprint(before)).map(|(_, name)| name.to_owned());
                Self::Entity { identifier, blueprint }
            }
        })
    }
}

impl fmt::Display for MissingResource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blueprint { identifier } => write!(formatter, "the blueprint \"{identifier}\""),
            Self::Entity { identifier, blueprint: None } => write!(formatter, "the entity \"{identifier}\""),
            Self::Entity { identifier, blueprint: Some(blueprint) } => {
                write!(formatter, "the entity \"{identifier}\" of the blueprint \"{blueprint}\"")
            }
        }
    }
}

/// Port's message, with the resource from the `details` of the same response if the message does not name it.
pub(crate) fn message_with_details(message: Option<&str>, details: Option<&Value>) -> Option<String> {
    let detail = |name: &str| details?.get(name)?.as_str().filter(|text| !text.is_empty());
    match (message, detail("resource"), detail("withValue")) {
        (message, Some(resource), Some(identifier)) if !message.unwrap_or_default().contains(identifier) => {
            let original = message.map(|message| format!(" ({message})")).unwrap_or_default();
            Some(format!("{resource} with identifier \"{identifier}\" was not found{original}"))
        }
        (message, ..) => message.map(str::to_owned),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ResourceKind {
    Blueprint,
    Entity,
}

fn kind_of(word: &str) -> Option<ResourceKind> {
    if word.eq_ignore_ascii_case("blueprint") {
        Some(ResourceKind::Blueprint)
    } else if word.eq_ignore_ascii_case("entity") {
        Some(ResourceKind::Entity)
    } else {
        None
    }
}

/// Each text in double quotes, with the text before it.
fn quoted(message: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut pieces = message.split('"');
    std::iter::from_fn(move || Some((pieces.next()?, pieces.next()?)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn missing(message: &str) -> Option<MissingResource> {
        MissingResource::parse(&ErrorResponse {
            status: 404,
            message: Some(message.into()),
            ..ErrorResponse::default()
        })
    }

    #[test]
    fn message_names_a_blueprint_or_an_entity() {
        let blueprint = |identifier: &str| Some(MissingResource::Blueprint { identifier: identifier.into() });
        let entity = |identifier: &str, blueprint: Option<&str>| {
            Some(MissingResource::Entity { identifier: identifier.into(), blueprint: blueprint.map(str::to_owned) })
        };
        for (message, expected) in [
            ("Blueprint with identifier \"service\" was not found", blueprint("service")),
            ("Entity with identifier \"a b\" of blueprint \"service\" was not found", entity("a b", Some("service"))),
            ("Entity with identifier \"a\" was not found", entity("a", None)),
            ("entity \"a\" was not found in blueprint \"b\"", entity("a", Some("b"))),
            ("The entity \"blueprint\" was not found", entity("blueprint", None)),
            ("Entity with identifier a was not found", None),
            ("No entity of blueprint \"b\" matches the query {\"combinator\":\"and\"}", None),
            ("Route GET:/v1/x not found", None),
            ("\"", None),
            ("", None),
        ] {
            assert_eq!(missing(message), expected, "{message}");
        }
        assert_eq!(MissingResource::parse(&ErrorResponse::default()), None);
    }

    #[test]
    fn details_name_the_resource() {
        let details = json!({"resource": "Blueprint", "byField": "identifier", "withValue": "service"});
        let named = "Blueprint with identifier \"service\" was not found";
        assert_eq!(message_with_details(Some(named), Some(&details)).as_deref(), Some(named));
        let completed = message_with_details(Some("Not found"), Some(&details)).unwrap();
        assert_eq!(completed, "Blueprint with identifier \"service\" was not found (Not found)");
        assert_eq!(missing(&completed), Some(MissingResource::Blueprint { identifier: "service".into() }));
        assert_eq!(message_with_details(None, Some(&details)).as_deref(), Some(named));
        assert_eq!(message_with_details(Some("words"), Some(&json!([1]))).as_deref(), Some("words"));
        assert_eq!(message_with_details(None, None), None);
    }
}
