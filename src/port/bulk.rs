//! The answer to a bulk write, sorted back to the entities that were sent.

use reqwest::header::HeaderMap;
use serde::Deserialize;

use super::answer::Reader;
use super::entity::{Entity, Upserted};
use super::error::{Answer, Error};

/// Most entities that Port takes in one bulk write (its specification: `maxItems` of the request's `entities`).
pub const MAX_BULK_ENTITIES: usize = 20;

/// The body of a 200 or 207. Both lists are optional here, since one without the other still says something.
#[derive(Debug, Default, Deserialize)]
pub(super) struct BulkAnswer {
    #[serde(default)]
    entities: Option<Vec<Stored>>,
    #[serde(default)]
    errors: Option<Vec<Refusal>>,
}

#[derive(Debug, Deserialize)]
struct Stored {
    index: f64,
    #[serde(default)]
    identifier: Option<String>,
    #[serde(default)]
    created: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    index: f64,
    #[serde(rename = "statusCode")]
    status_code: f64,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

/// One result per entity, in the order in which they were sent.
///
/// They are matched by `index`. One that is refused and stored at once counts as refused, since writing it again is harmless; one that
/// is in neither list is [`Error::NotAnswered`].
pub(super) fn sort_results(
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
        match results.get_mut(whole_number(entry.index)) {
            Some(result) => {
                *result = Ok(Upserted {
                    identifier: entry.identifier.unwrap_or_else(|| identifier_at(sent, entry.index)),
                    created: entry.created,
                    trace_id: answer.trace_id.clone(),
                });
            }
            None => strays += 1,
        }
    }
    for entry in refused {
        match results.get_mut(whole_number(entry.index)) {
            Some(result) => {
                let own = Answer {
                    status: u16::try_from(whole_number(entry.status_code)).unwrap_or_default(),
                    code: entry.error.map(|code| reader.label(&code)),
                    message: entry.message.map(|message| reader.message(&message)),
                    trace_id: answer.trace_id.clone(),
                    excerpt: None,
                };
                *result = Err(reader.entity_error(own, headers));
            }
            None => strays += 1,
        }
    }
    if strays > 0 {
        tracing::warn!(
            strays,
            sent = sent.len(),
            trace_id = answer.trace_id,
            "Port's answer to a bulk write mentions entities that were not part of it"
        );
    }
    Ok(results)
}

/// Port's specification has `number` where only whole ones make sense; what is none is no index of ours.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "both are checked")]
fn whole_number(number: f64) -> usize {
    if number.fract() == 0.0 && (0.0..=65_535.0).contains(&number) { number as usize } else { usize::MAX }
}

fn identifier_at(sent: &[Entity], index: f64) -> String {
    sent.get(whole_number(index)).map(|entity| entity.identifier.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;
    use crate::port::kind::Kind;
    use crate::port::observe::Route;
    use crate::port::redact::Redactor;

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
                "entities": [{"index": 1}, {"index": -1}, {"index": 0.5}, {"index": 1e300}],
                "errors": [{"index": 7, "statusCode": 422}]
            }),
        )
        .unwrap();
        assert!(matches!(results[..], [Err(Error::NotAnswered { .. })]));
    }

    #[test]
    fn an_answer_without_lists_is_no_answer() {
        let error = sort(1, json!({"ok": true})).unwrap_err();
        assert_eq!(error.kind(), Kind::UnexpectedAnswer);
    }

    #[test]
    fn an_odd_status_of_an_entity_is_still_an_error() {
        for status in [0.0, -5.0, 200.0, 70_000.0, 422.5] {
            let body = json!({"errors": [{"index": 0, "statusCode": status}]});
            let results = sort(1, body).unwrap();
            assert_eq!(results[0].as_ref().unwrap_err().kind(), Kind::UnexpectedAnswer);
        }
    }
}
