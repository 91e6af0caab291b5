//! The page at `/`, which shows the received entities.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use crate::blueprints::Blueprint;
use crate::entity::{Entity, port_time};
use crate::server::App;

/// The maximum number of rows for each blueprint, so that the page stays small with thousands of entities.
const MAXIMUM_ROWS: usize = 200;

/// The interval at which the page reloads, in seconds.
const REFRESH: u32 = 2;

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8883; --soft: light-dark(#59636e, #9198a1);
  --good: light-dark(#1a7f37, #3fb950); --bad: light-dark(#cf222e, #f85149); }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
h2 small, p.note, footer { color: var(--soft); font-weight: normal; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
td.identifier { font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
td.good { color: var(--good); } td.bad { color: var(--bad); }
footer { margin-top: 2.5rem; font-size: .9rem; }
";

/// `GET /`
pub(crate) async fn page(State(app): State<App>) -> impl IntoResponse {
    let catalog = app.catalog.lock();
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content=(REFRESH);
                title { "Port stand-in" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Entities in the stand-in for Port" }
                p.note {
                    "The newest entities come first. The page reloads every " (REFRESH) " seconds. Last update: " time { (port_time(Timestamp::now())) } "."
                }
                @for blueprint in shown_first(catalog.blueprints().map(AsRef::as_ref).collect()) {
                    (section(blueprint, &catalog.entities_of(&blueprint.identifier)))
                }
                footer { "All entities as JSON: " a href="/control/entities" { "/control/entities" } }
            }
        }
    };
    ([(header::CACHE_CONTROL, "no-store")], markup_response(markup))
}

fn markup_response(markup: Markup) -> impl IntoResponse {
    axum::response::Html(markup.into_string())
}

/// The blueprints in the order of the page: those that the controller writes come first.
fn shown_first(mut blueprints: Vec<&Blueprint>) -> Vec<&Blueprint> {
    blueprints.sort_by_key(|blueprint| match blueprint.identifier.as_str() {
        "dora_deployment" => 0,
        "dora_incident" => 1,
        "group" => 3,
        _ => 2,
    });
    blueprints
}

fn section(blueprint: &Blueprint, entities: &[&Entity]) -> Markup {
    let columns = columns(blueprint);
    html! {
        section id=(blueprint.identifier) {
            h2 { (blueprint.title) " " small { code { (blueprint.identifier) } " · " (entities.len()) } }
            @if entities.is_empty() {
                p.note { "Nothing has arrived yet." }
            } @else {
                div.scroll { table {
                    thead { tr { th { "identifier" } @for column in &columns { th { (column) } } } }
                    tbody {
                        @for entity in entities.iter().rev().take(MAXIMUM_ROWS) {
                            tr {
                                td.identifier title=(entity.title()) { (entity.identifier) }
                                @for column in &columns { (cell(column, &value(entity, column))) }
                            }
                        }
                    }
                } }
                @if entities.len() > MAXIMUM_ROWS {
                    p.note { (entities.len() - MAXIMUM_ROWS) " older entities are not shown." }
                }
            }
        }
    }
}

/// The main properties of the DORA blueprints, or all properties and relations of other blueprints.
fn columns(blueprint: &Blueprint) -> Vec<&str> {
    match blueprint.identifier.as_str() {
        "dora_deployment" => vec!["environment", "status", "deployment_time", "lead_time_hours", "group"],
        "dora_incident" => vec!["status", "priority", "created_at", "resolved_at", "time_to_resolve"],
        _ => {
            let properties = blueprint.document()["schema"]["properties"].as_object();
            let mut columns = vec!["title"];
            columns.extend(properties.into_iter().flatten().map(|(name, _)| name.as_str()));
            columns.extend(blueprint.relations.keys().map(String::as_str));
            columns
        }
    }
}

fn value(entity: &Entity, column: &str) -> String {
    let value = match column {
        "title" => return entity.title().to_owned(),
        column => entity.properties.get(column).or_else(|| entity.relations.get(column)),
    };
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(many)) => many
            .iter()
            .map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(", "),
        Some(other) => other.to_string(),
    }
}

fn cell(column: &str, value: &str) -> Markup {
    let class = match (column, value.to_ascii_lowercase().as_str()) {
        ("status", "success" | "resolved") => Some("good"),
        ("status", "failed" | "failure" | "open" | "triggered") => Some("bad"),
        _ => None,
    };
    html! { td class=[class] { (value) } }
}
