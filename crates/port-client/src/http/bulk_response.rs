//! The answer to a bulk write, sorted back to the entities that were sent.

use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use crate::error::missing::with_details;
use crate::error::{Answer, Error};
use crate::http::response::Reader;
use crate::model::entity::{Entity, Upserted};

/// Most entities that Port takes in one bulk write (its specification: `maxItems` of the request's `entities`).
pub const MAX_BULK_ENTITIES: usize = 20;

/// The body of a 200 or 207. Both lists are optional here, since one without the other still says something, and their entries may be
/// anything: one that is odd must not cost the results of the others.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct BulkAnswer {
    #[serde(default)]
    entities: Option<Vec<Value>>,
    #[serde(default)]
    errors: Option<Vec<Value>>,
}

/// One result per entity, in the order in which they were sent.
///
/// They are matched by `index`. One that is refused and stored at once counts as refused, since writing it again is harmless; one that
/// is in neither list is [`Error::NotAnswered`], as is one whose entry can't be told from another's: to write it again is harmless as well.
pub(crate) fn sort_results(
    sent: &[Entity],
    body: BulkAnswer,
    answer: &Answer,
    headers: &HeaderMap,
    reader: &Reader<'_>,
) -> Result<Vec<Result<Upserted, Error>>, Error> {
    let (stored, refused) = match (body.entities, body.errors) {
        (None, None) => {
            return Err(reader.unexpected("which has neither \"entities\" nor \"errors\"".to_owned(), answer.clone()));
        }
        (stored, refused) => (stored.unwrap_or_default(), refused.unwrap_or_default()),
    };
    let mut results: Vec<_> = sent
        .iter()
        .map(|entity| {
            Err(Error::NotAnswered { identifier: entity.identifier.clone(), answer: Box::new(answer.clone()) })
        })
        .collect();
    let mut strays = 0_usize;
    for entry in stored {
        match position(sent, &entry) {
            Some(position) => {
                let named = entry.get("identifier").and_then(Value::as_str);
                results[position] = Ok(Upserted {
                    identifier: named.unwrap_or(&sent[position].identifier).to_owned(),
                    created: entry.get("created").and_then(Value::as_bool),
                    trace_id: answer.trace_id.clone(),
                });
            }
            None => strays += 1,
        }
    }
    for entry in refused {
        match position(sent, &entry) {
            Some(position) => results[position] = Err(refusal(&entry, answer, headers, reader)),
            None => strays += 1,
        }
    }
    if strays > 0 {
        tracing::warn!(
            strays,
            sent = sent.len(),
            trace_id = answer.trace_id,
            "Port's answer to a bulk write has entries of which it is not clear which entity they are of"
        );
    }
    Ok(results)
}

/// Which of the entities an entry is of. `None` without a fitting `index`, and if the entry names another entity of the same request.
fn position(sent: &[Entity], entry: &Value) -> Option<usize> {
    let position = whole_number(entry.get("index")?)?;
    let entity = sent.get(position)?;
    match entry.get("identifier").and_then(Value::as_str) {
        Some(named) if named != entity.identifier && sent.iter().any(|other| other.identifier == named) => None,
        _ => Some(position),
    }
}

fn refusal(entry: &Value, answer: &Answer, headers: &HeaderMap, reader: &Reader<'_>) -> Error {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let status = entry.get("statusCode").and_then(whole_number).and_then(|status| u16::try_from(status).ok());
    let own = Answer {
        status: status.unwrap_or_default(),
        code: text("error").map(|code| reader.label(code)),
        message: with_details(text("message"), entry.get("details")).map(|message| reader.message(&message)),
        trace_id: answer.trace_id.clone(),
        excerpt: None,
    };
    reader.entity_error(own, headers)
}

/// Port's specification has `number` where only whole ones make sense, so that 3.0 is as good as 3.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "both are checked")]
fn whole_number(value: &Value) -> Option<usize> {
    let number = value.as_f64()?;
    (number.fract() == 0.0 && (0.0..=65_535.0).contains(&number)).then_some(number as usize)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::error::Kind;
    use crate::http::redact::Redactor;
    use crate::observer::Route;

    fn sort(count: usize, body: Value) -> Result<Vec<Result<Upserted, Error>>, Error> {
        let sent: Vec<_> = (0..count).map(|index| Entity::new(format!("entity-{index}"))).collect();
        let redactor = Redactor::default();
        let reader =
            Reader { route: Route::UpsertBulk, host: "api.port.io", redactor: &redactor, now: Timestamp::UNIX_EPOCH };
        let answer = Answer { status: 207, trace_id: Some("trace-1".into()), ..Answer::default() };
        let body = serde_json::from_value(body).unwrap();
        sort_results(&sent, body, &answer, &HeaderMap::new(), &reader)
    }

    #[test]
    fn results_follow_the_index_and_not_the_order_of_the_answer() {
        let results = sort(
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
        assert_eq!(refused.kind(), Kind::Refused);
        assert!(refused.to_string().contains("no such property"));
        assert_eq!(refused.trace_id(), Some("trace-1"));
        let missing = results[2].as_ref().unwrap_err();
        assert!(matches!(missing, Error::NotAnswered { identifier, .. } if identifier == "entity-2"));
        assert!(missing.is_temporary());
    }

    #[test]
    fn an_entity_that_is_stored_and_refused_is_refused() {
        let results =
            sort(1, json!({"entities": [{"index": 0}], "errors": [{"index": 0, "statusCode": 500}]})).unwrap();
        assert_eq!(results[0].as_ref().unwrap_err().kind(), Kind::ServerError);
    }

    #[test]
    fn indexes_that_were_never_sent_change_nothing() {
        let results = sort(
            1,
            json!({
                "entities": [{"index": 1}, {"index": -1}, {"index": 0.5}, {"index": 1e300}, {"index": "0"}, {"index": null},
                    {"identifier": "entity-0", "created": true}, {}, [], null, 0, "entity-0"],
                "errors": [{"index": 7, "statusCode": 422}, {"identifier": "entity-0", "statusCode": 422}, null]
            }),
        )
        .unwrap();
        assert!(matches!(results[..], [Err(Error::NotAnswered { .. })]));
    }

    #[test]
    fn an_odd_entry_does_not_cost_the_results_of_the_others() {
        let results = sort(
            3,
            json!({"ok": true, "entities": [{"index": 0, "created": "yes", "identifier": 7}, {"created": true}, {"index": 2}], "errors": null}),
        )
        .unwrap();
        assert_eq!(results[0].as_ref().unwrap().identifier, "entity-0");
        assert!(matches!(results[1], Err(Error::NotAnswered { .. })));
        assert!(results[2].is_ok());
    }

    #[test]
    fn an_index_that_is_there_twice_is_harmless() {
        let results = sort(
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
    fn an_entry_that_names_another_entity_than_its_index_is_not_believed() {
        let swapped =
            json!({"entities": [{"index": 0, "identifier": "entity-1"}, {"index": 1, "identifier": "entity-0"}]});
        for result in sort(2, swapped).unwrap() {
            assert!(matches!(result, Err(Error::NotAnswered { .. })));
        }
        // Port may well write an identifier in another way than it was sent.
        let results = sort(1, json!({"entities": [{"index": 0, "identifier": "ENTITY-0"}]})).unwrap();
        assert_eq!(results[0].as_ref().unwrap().identifier, "ENTITY-0");
    }

    #[test]
    fn an_answer_without_lists_is_no_answer() {
        let error = sort(1, json!({"ok": true})).unwrap_err();
        assert_eq!(error.kind(), Kind::UnexpectedAnswer);
    }

    #[test]
    fn an_odd_status_of_an_entity_is_still_an_error() {
        for status in [json!(0.0), json!(-5), json!(200), json!(70_000), json!(422.5), json!("422"), Value::Null] {
            let body = json!({"errors": [{"index": 0, "statusCode": status}]});
            let results = sort(1, body).unwrap();
            assert_eq!(results[0].as_ref().unwrap_err().kind(), Kind::UnexpectedAnswer);
        }
    }
}
