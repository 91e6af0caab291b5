//! The search rules of Port that the stand-in supports.
//!
//! These are the combinators `and` and `or`, nested, and rules on a `property` (or a meta-property such as
//! `$identifier`, `$title`, `$blueprint`, `$datasource`) or a `relation`, with the operators in [`Operator`].
//! Everything else is refused, so that no search has a wrong result.

use serde::Deserialize;
use serde_json::Value;

use crate::entity::Entity;
use crate::errors::ApiError;

/// A search: all or at least one of its rules must match.
#[derive(Debug, Deserialize)]
pub(crate) struct Query {
    combinator: Combinator,
    rules: Vec<Node>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Combinator {
    And,
    Or,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Node {
    Nested(Query),
    Rule(Rule),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    property: Option<String>,
    relation: Option<String>,
    operator: Operator,
    #[serde(default)]
    value: Value,
}

/// The operator of a rule, with the name of Port.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Operator {
    #[serde(rename = "=")]
    Equal,
    #[serde(rename = "!=")]
    NotEqual,
    #[serde(rename = ">")]
    Greater,
    #[serde(rename = ">=")]
    GreaterOrEqual,
    #[serde(rename = "<")]
    Less,
    #[serde(rename = "<=")]
    LessOrEqual,
    In,
    NotIn,
    Contains,
    DoesNotContains,
    ContainsAny,
    BeginsWith,
    DoesNotBeginsWith,
    EndsWith,
    DoesNotEndsWith,
    IsEmpty,
    IsNotEmpty,
}

impl Query {
    pub(crate) fn parse(query: &Value) -> Result<Self, ApiError> {
        Self::deserialize(query).map_err(|error| {
            ApiError::invalid(format!("query: the stand-in does not support this search ({error}): {query}"))
        })
    }

    pub(crate) fn matches(&self, entity: &Entity) -> bool {
        let holds = |node: &Node| match node {
            Node::Nested(query) => query.matches(entity),
            Node::Rule(rule) => rule.holds(entity),
        };
        match self.combinator {
            Combinator::And => self.rules.iter().all(holds),
            Combinator::Or => self.rules.iter().any(holds),
        }
    }
}

impl Rule {
    fn holds(&self, entity: &Entity) -> bool {
        let actual = match (&self.property, &self.relation) {
            (Some(property), _) => entity.value(property),
            (None, Some(relation)) => entity.relations.get(relation).cloned().unwrap_or(Value::Null),
            (None, None) => Value::Null,
        };
        self.operator.holds(&actual, &self.value)
    }
}

impl Operator {
    fn holds(self, actual: &Value, wanted: &Value) -> bool {
        match self {
            Self::Equal => actual == wanted,
            Self::NotEqual => actual != wanted,
            Self::Greater => compare(actual, wanted).is_some_and(std::cmp::Ordering::is_gt),
            Self::GreaterOrEqual => compare(actual, wanted).is_some_and(std::cmp::Ordering::is_ge),
            Self::Less => compare(actual, wanted).is_some_and(std::cmp::Ordering::is_lt),
            Self::LessOrEqual => compare(actual, wanted).is_some_and(std::cmp::Ordering::is_le),
            Self::In => is_in(actual, wanted),
            Self::NotIn => !is_in(actual, wanted),
            Self::Contains => contains(actual, wanted),
            Self::DoesNotContains => !contains(actual, wanted),
            Self::ContainsAny => wanted.as_array().is_some_and(|any| any.iter().any(|one| contains(actual, one))),
            Self::BeginsWith => texts(actual, wanted).is_some_and(|(a, w)| a.starts_with(w)),
            Self::DoesNotBeginsWith => !texts(actual, wanted).is_some_and(|(a, w)| a.starts_with(w)),
            Self::EndsWith => texts(actual, wanted).is_some_and(|(a, w)| a.ends_with(w)),
            Self::DoesNotEndsWith => !texts(actual, wanted).is_some_and(|(a, w)| a.ends_with(w)),
            Self::IsEmpty => is_empty(actual),
            Self::IsNotEmpty => !is_empty(actual),
        }
    }
}

fn texts<'a>(actual: &'a Value, wanted: &'a Value) -> Option<(&'a str, &'a str)> {
    actual.as_str().zip(wanted.as_str())
}

fn is_in(actual: &Value, wanted: &Value) -> bool {
    wanted.as_array().is_some_and(|any| any.contains(actual))
}

/// Whether a text contains a text, or an array contains an element or all elements of an array.
fn contains(actual: &Value, wanted: &Value) -> bool {
    match (actual, wanted) {
        (Value::String(actual), Value::String(wanted)) => actual.contains(wanted.as_str()),
        (Value::Array(actual), Value::Array(wanted)) => wanted.iter().all(|one| actual.contains(one)),
        (Value::Array(actual), wanted) => actual.contains(wanted),
        _ => false,
    }
}

/// Compares numbers or times. Other values can't be compared.
fn compare(actual: &Value, wanted: &Value) -> Option<std::cmp::Ordering> {
    if let (Some(actual), Some(wanted)) = (actual.as_f64(), wanted.as_f64()) {
        return actual.partial_cmp(&wanted);
    }
    let (actual, wanted) = texts(actual, wanted)?;
    let actual: jiff::Timestamp = actual.parse().ok()?;
    Some(actual.cmp(&wanted.parse().ok()?))
}

fn is_empty(actual: &Value) -> bool {
    match actual {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        _ => false,
    }
}
