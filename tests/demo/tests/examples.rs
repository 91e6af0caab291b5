//! Checks that the examples and the README match this version.

use std::path::Path;

use anyhow::{Context as _, Result};
use port_dora_controller::settings::FileSettings;

const README: &str = include_str!("../../../README.md");

fn example(name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
}

#[test]
fn settings_in_the_example_are_the_defaults() -> Result<()> {
    assert_eq!(FileSettings::parse(&example("settings.yaml")?)?, FileSettings::default());
    Ok(())
}

#[test]
fn settings_for_the_published_blueprint_are_accepted() -> Result<()> {
    let settings = FileSettings::parse(&example("deployment-blueprint.yaml")?)?;
    assert_eq!(settings.blueprints.deployment, "deployment");
    Ok(())
}

#[test]
fn readme_shows_the_example_incident() -> Result<()> {
    let incident = example("incident.yaml")?;
    assert!(README.contains(&format!("```yaml\n{incident}```")), "the README must show this incident: {incident}");
    assert_eq!(incident.lines().count(), 5);
    Ok(())
}

#[test]
fn every_example_is_named_in_the_readme() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().into_string().ok().context("the name of an example is not UTF-8")?;
        assert!(README.contains(&format!("examples/{name}")), "the README doesn't name {name}");
    }
    Ok(())
}
