//! What it is that Port does not find.

use std::fmt;

use serde_json::Value;

use crate::error::Answer;

/// What a 404 of Port says does not exist.
///
/// A write of an entity is answered so for its blueprint as well as for an entity that it relates to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// A blueprint.
    Blueprint {
        /// Its identifier.
        identifier: String,
    },
    /// An entity: the one asked for or, if the request was to write one, an entity that it relates to.
    Entity {
        /// Its identifier.
        identifier: String,
        /// Its blueprint, if Port says which.
        blueprint: Option<String>,
    },
}

impl Missing {
    /// Reads it from Port's words, such as `Entity with identifier "checkout" of blueprint "service" was not found`. They are not documented:
    /// `None` if no single kind of thing stands before the first name in quotes.
    pub(crate) fn of(answer: &Answer) -> Option<Self> {
        let message = answer.message.as_deref()?;
        let mut quoted = quoted(message);
        let (before, identifier) = quoted.next()?;
        let mut kinds = before.split_whitespace().filter_map(kind_of);
        let kind = kinds.next()?;
        if kinds.any(|other| other != kind) {
            return None;
        }
        let identifier = identifier.to_owned();
        Some(match kind {
            Kind::Blueprint => Self::Blueprint { identifier },
            Kind::Entity => {
                let blueprint = quoted
                    .find(|(before, _)| before.split_whitespace().last().and_then(kind_of) == Some(Kind::Blueprint));
                Self::Entity { identifier, blueprint: blueprint.map(|(_, name)| name.to_owned()) }
            }
        })
    }
}

impl fmt::Display for Missing {
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

/// Port's message, with what `details` of the same answer add to it: there Port names the resource even if the message does not.
pub(crate) fn with_details(message: Option<&str>, details: Option<&Value>) -> Option<String> {
    let detail = |name: &str| details?.get(name)?.as_str().filter(|text| !text.is_empty());
    match (message, detail("resource"), detail("withValue")) {
        (message, Some(resource), Some(identifier)) if !message.unwrap_or_default().contains(identifier) => {
            let said = message.map(|message| format!(" ({message})")).unwrap_or_default();
            Some(format!("{resource} with identifier \"{identifier}\" was not found{said}"))
        }
        (message, ..) => message.map(str::to_owned),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Blueprint,
    Entity,
}

fn kind_of(word: &str) -> Option<Kind> {
    if word.eq_ignore_ascii_case("blueprint") {
        Some(Kind::Blueprint)
    } else if word.eq_ignore_ascii_case("entity") {
        Some(Kind::Entity)
    } else {
        None
    }
}

/// Each text in double quotes, with what stands before it.
fn quoted(message: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut pieces = message.split('"');
    std::iter::from_fn(move || Some((pieces.next()?, pieces.next()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn missing(message: &str) -> Option<Missing> {
        Missing::of(&Answer { status: 404, message: Some(message.into()), ..Answer::default() })
    }

    #[test]
    fn blueprints_and_entities_are_told_apart() {
        let blueprint = |identifier: &str| Some(Missing::Blueprint { identifier: identifier.into() });
        let entity = |identifier: &str, blueprint: Option<&str>| {
            Some(Missing::Entity { identifier: identifier.into(), blueprint: blueprint.map(str::to_owned) })
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
        assert_eq!(Missing::of(&Answer::default()), None);
    }

    #[test]
    fn details_name_what_the_message_does_not() {
        let details = json!({"resource": "Blueprint", "byField": "identifier", "withValue": "service"});
        let named = "Blueprint with identifier \"service\" was not found";
        assert_eq!(with_details(Some(named), Some(&details)).as_deref(), Some(named));
        let completed = with_details(Some("Not found"), Some(&details)).unwrap();
        assert_eq!(completed, "Blueprint with identifier \"service\" was not found (Not found)");
        assert_eq!(missing(&completed), Some(Missing::Blueprint { identifier: "service".into() }));
        assert_eq!(with_details(None, Some(&details)).as_deref(), Some(named));
        assert_eq!(with_details(Some("words"), Some(&json!([1]))).as_deref(), Some("words"));
        assert_eq!(with_details(None, None), None);
    }
}
