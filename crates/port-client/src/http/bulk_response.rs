//! The response to a bulk write, matched to the entities that were sent.

use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use crate::error::missing_resource::message_with_details;
use crate::error::{Error, ErrorResponse};
use crate::http::response::{Response, ResponseReader};
use crate::model::{Entity, Upserted};

/// The most entities that Port accepts in one bulk write (`maxItems` of `entities` in Port's API reference).
pub const MAX_BULK_ENTITIES: usize = 20;

/// The body of a 200 or 207 response. Both lists are optional, since one of them is still useful without the other. Their entries are
/// unchecked, so that one malformed entry does not hide the results of the others.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct BulkResponse {
    #[serde(default)]
    entities: Option<Vec<Value>>,
    #[serde(default)]
    errors: Option<Vec<Value>>,
}

/// One result per entity, in the order in which the entities were sent.
///
/// Results are matched by `index`. An entity in both lists counts as refused. An entity in neither list, or one whose entry is ambiguous,
/// is [`Error::MissingResult`]. In each of these cases it is harmless to write the entity again.
pub(crate) fn match_results(
    sent: &[Entity],
    response: Response<BulkResponse>,
    reader: &ResponseReader<'_>,
) -> Result<Vec<Result<Upserted, Error>>, Error> {
    let Response { value: BulkResponse { entities, errors }, details, headers } = response;
    if entities.is_none() && errors.is_none() {
        let problem = "the body has neither \"entities\" nor \"errors\"".to_owned();
        return Err(reader.unexpected(problem, details));
    }
    let missing = |entity: &Entity| {
        Err(Error::MissingResult { identifier: entity.identifier.clone(), response: Box::new(details.clone()) })
    };
    let mut results: Vec<_> = sent.iter().map(missing).collect();
    let mut unmatched = 0_usize;
    for entry in entities.unwrap_or_default() {
        match position(sent, &entry) {
            Some(position) => results[position] = Ok(upserted(&entry, &sent[position], &details)),
            None => unmatched += 1,
        }
    }
    for entry in errors.unwrap_or_default() {
        match position(sent, &entry) {
            Some(position) => results[position] = Err(refusal(&entry, &details, &headers, reader)),
            None => unmatched += 1,
        }
    }
    if unmatched > 0 {
        tracing::warn!(
            unmatched,
            sent = sent.len(),
            trace_id = details.trace_id,
            "Port's response to a bulk write has entries that match no entity of the request; ignoring them"
        );
    }
    Ok(results)
}

/// The entity that an entry belongs to. `None` without a valid `index`, or if the entry names another entity of the same request.
fn position(sent: &[Entity], entry: &Value) -> Option<usize> {
    let position = whole_number(entry.get("index")?)?;
    let entity = sent.get(position)?;
    match entry.get("identifier").and_then(Value::as_str) {
        Some(named) if named != entity.identifier && sent.iter().any(|other| other.identifier == named) => None,
        _ => Some(position),
    }
}

fn upserted(entry: &Value, entity: &Entity, details: &ErrorResponse) -> Upserted {
    Upserted {
        identifier: entry.get("identifier").and_then(Value::as_str).unwrap_or(&entity.identifier).to_owned(),
        created: entry.get("created").and_then(Value::as_bool),
        trace_id: details.trace_id.clone(),
    }
}

fn refusal(entry: &Value, details: &ErrorResponse, headers: &HeaderMap, reader: &ResponseReader<'_>) -> Error {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let status = entry.get("statusCode").and_then(whole_number).and_then(|status| u16::try_from(status).ok());
    let own = ErrorResponse {
        status: status.unwrap_or_default(),
        code: text("error").map(|code| reader.label(code)),
        message: message_with_details(text("message"), entry.get("details")).map(|message| reader.message(&message)),
        trace_id: details.trace_id.clone(),
        excerpt: None,
    };
    reader.entity_error(own, headers)
}

/// Port's API reference has the type `number` for whole numbers, so `3.0` is as valid as `3`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "both are checked")]
fn whole_number(value: &Value) -> Option<usize> {
    let number = value.as_f64()?;
    (number.fract() == 0.0 && (0.0..=65_535.0).contains(&number)).then_some(number as usize)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use serde_json::json;

    use super::*;
    use crate::error::ErrorKind;
    use crate::http::Route;
    use crate::http::redact::Redactor;

    fn results(count: usize, body: Value) -> Result<Vec<Result<Upserted, Error>>, Error> {
        let sent: Vec<_> = (0..count).map(|index| Entity::new(format!("entity-{index}"))).collect();
        let redactor = Redactor::default();
        let now = SystemTime::UNIX_EPOCH;
        let reader = ResponseReader { route: Route::UpsertBulk, host: "api.port.io", redactor: &redactor, now };
        let details = ErrorResponse { status: 207, trace_id: Some("trace-1".into()), ..ErrorResponse::default() };
        let value = serde_json::from_value(body).unwrap();
        match_results(&sent, Response { value, details, headers: HeaderMap::new() }, &reader)
    }

    #[test]
    fn results_are_matched_by_index() {
        let results = results(
            4,
            json!({
                "ok": false,
                "entities": [
                    {"identifier": "entity-3", "index": 3.0, "created": false},
                    {"identifier": "entity-0", "index": 0, "created": true}
                ],
                "errors": [{"identifier": "entity-1", "index": 1, "statusCode": 422, "error": "invalid_request", "message": "no such property"}]
            }),
        )
        .unwrap();
        assert_eq!(results[0].as_ref().unwrap().created, Some(true));
        assert_eq!(results[3].as_ref().unwrap().identifier, "entity-3");
        let refused = results[1].as_ref().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Refused);
        assert!(refused.to_string().contains("no such property"));
        assert_eq!(refused.trace_id(), Some("trace-1"));
        let missing = results[2].as_ref().unwrap_err();
        assert!(matches!(missing, Error::MissingResult { identifier, .. } if identifier == "entity-2"));
        assert!(missing.is_temporary());
    }

    #[test]
    fn entity_in_both_lists_is_refused() {
        let results =
            results(1, json!({"entities": [{"index": 0}], "errors": [{"index": 0, "statusCode": 500}]})).unwrap();
        assert_eq!(results[0].as_ref().unwrap_err().kind(), ErrorKind::ServerError);
    }

    #[test]
    fn invalid_index_is_ignored() {
        let results = results(
            1,
            json!({
                "entities": [{"index": 1}, {"index": -1}, {"index": 0.5}, {"index": 1e300}, {"index": "0"}, {"index": null},
                    {"identifier": "entity-0", "created": true}, {}, [], null, 0, "entity-0"],
                "errors": [{"index": 7, "statusCode": 422}, {"identifier": "entity-0", "statusCode": 422}, null]
            }),
        )
        .unwrap();
        assert!(matches!(results[..], [Err(Error::MissingResult { .. })]));
    }

    #[test]
    fn malformed_entry_does_not_hide_other_results() {
        let results = results(
            3,
            json!({"ok": true, "entities": [{"index": 0, "created": "yes", "identifier": 7}, {"created": true}, {"index": 2}], "errors": null}),
        )
        .unwrap();
        assert_eq!(results[0].as_ref().unwrap().identifier, "entity-0");
        assert!(matches!(results[1], Err(Error::MissingResult { .. })));
        assert!(results[2].is_ok());
    }

    #[test]
    fn duplicate_index_is_harmless() {
        let results = results(
            2,
            json!({
                "entities": [{"index": 0, "created": true}, {"index": 0, "created": false}],
                "errors": [{"index": 1, "statusCode": 422}, {"index": 1, "statusCode": 500}]
            }),
        )
        .unwrap();
        assert!(results[0].is_ok());
        assert!(results[1].is_err());
    }

    #[test]
    fn ambiguous_entry_is_ignored() {
        let swapped =
            json!({"entities": [{"index": 0, "identifier": "entity-1"}, {"index": 1, "identifier": "entity-0"}]});
        for result in results(2, swapped).unwrap() {
            assert!(matches!(result, Err(Error::MissingResult { .. })));
        }
        // Port may change the case of an identifier.
        let results = results(1, json!({"entities": [{"index": 0, "identifier": "ENTITY-0"}]})).unwrap();
        assert_eq!(results[0].as_ref().unwrap().identifier, "ENTITY-0");
    }

    #[test]
    fn response_without_lists_is_unexpected() {
        let error = results(1, json!({"ok": true})).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedResponse);
    }

    #[test]
    fn entity_error_with_invalid_status_is_unexpected() {
        for status in [json!(0.0), json!(-5), json!(200), json!(70_000), json!(422.5), json!("422"), Value::Null] {
            let body = json!({"errors": [{"index": 0, "statusCode": status}]});
            let results = results(1, body).unwrap();
            assert_eq!(results[0].as_ref().unwrap_err().kind(), ErrorKind::UnexpectedResponse);
        }
    }
}
