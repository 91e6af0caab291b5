//! The entities that Port has received, as tables and lines.

use comfy_table::{Table, presets};
use jiff::SignedDuration;
use port_sim::Entity;
use serde_json::Value;

/// One line for a deployment or an incident.
pub(crate) fn line(entity: &Entity) -> String {
    let measured = [("lead_time_hours", "lead time"), ("time_to_resolve", "time to resolve")]
        .into_iter()
        .find_map(|(property, name)| Some(format!(" · {name} {}", hours(entity, property)?)))
        .unwrap_or_default();
    format!("→ Port has received: {} · {}{measured}", title(entity), property(entity, "status"))
}

/// The deployments, in the order of their arrival.
pub(crate) fn deployments(entities: &[Entity]) -> Table {
    let mut table = table(["Workload", "Revision", "Environment", "Status", "Deployment time", "Lead time"]);
    for entity in entities {
        let (workload, revision) = workload_and_revision(entity);
        table.add_row([
            workload,
            revision,
            property(entity, "environment"),
            property(entity, "status"),
            property(entity, "deployment_time"),
            hours(entity, "lead_time_hours").unwrap_or_default(),
        ]);
    }
    table
}

/// The incidents, in the order of their arrival.
pub(crate) fn incidents(entities: &[Entity]) -> Table {
    let mut table = table(["Incident", "Priority", "Status", "Created at", "Time to resolve"]);
    for entity in entities {
        table.add_row([
            title(entity).to_owned(),
            property(entity, "priority"),
            property(entity, "status"),
            property(entity, "created_at"),
            hours(entity, "time_to_resolve").unwrap_or_default(),
        ]);
    }
    table
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
    table
}

fn title(entity: &Entity) -> &str {
    entity.title.as_deref().unwrap_or(&entity.identifier)
}

/// Workload and revision from the identifier `<cluster>:<namespace>:<name>:<revision>:<UID>`.
fn workload_and_revision(entity: &Entity) -> (String, String) {
    match entity.identifier.split(':').collect::<Vec<_>>().as_slice() {
        [_, namespace, name, revision, _] => (format!("{namespace}/{name}"), (*revision).to_owned()),
        _ => (entity.identifier.clone(), String::new()),
    }
}

fn property(entity: &Entity, name: &str) -> String {
    match entity.properties.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// The hours in Port, followed by the same duration in hours, minutes and seconds.
fn hours(entity: &Entity, property: &str) -> Option<String> {
    let hours = entity.properties.get(property)?.as_f64()?;
    let duration = SignedDuration::try_from_secs_f64((hours * 3600.0).round()).ok()?;
    Some(format!("{hours} h ({duration:#})"))
}

#[cfg(test)]
mod tests {
    use port_sim::{Options, PortSim};
    use serde_json::json;

    use super::*;

    fn entity(identifier: &str, properties: &Value) -> Entity {
        let mut entity = PortSim::start(Options::default()).unwrap().entity("group", "all_teams").unwrap();
        entity.identifier = identifier.to_owned();
        entity.title = None;
        entity.properties = properties.as_object().unwrap().clone();
        entity
    }

    #[test]
    fn hours_are_shown_as_number_and_as_duration() {
        let lead_time = |value| hours(&entity("a", &json!({ "lead_time_hours": value })), "lead_time_hours");
        assert_eq!(lead_time(json!(1.5)).as_deref(), Some("1.5 h (1h 30m)"));
        assert_eq!(lead_time(json!(0.0033)).as_deref(), Some("0.0033 h (12s)"));
        assert_eq!(lead_time(json!(null)), None, "an unknown duration must not be 0");
    }

    #[test]
    fn table_leaves_unknown_cells_empty() {
        let shown = deployments(&[
            entity("demo:shop:web:3:01234567", &json!({ "status": "failed", "environment": "production" })),
            entity("invoices", &json!({ "status": "success" })),
        ])
        .to_string();
        let rows: Vec<Vec<&str>> = shown
            .lines()
            .filter(|line| line.contains("failed") || line.contains("success"))
            .map(|line| line.trim_matches('│').split('┆').map(str::trim).collect())
            .collect();
        assert_eq!(
            rows,
            [["shop/web", "3", "production", "failed", "", ""], ["invoices", "", "", "success", "", ""]],
            "{shown}"
        );
    }
}
