//! What the documentation of incidents shows is accepted by the real API server.

use std::path::Path;

use crate::TestResult;
use crate::fixture::Installation;

const DOCUMENT: &str = include_str!("../../docs/incidents.md");

/// The fenced blocks of YAML of a document.
fn blocks(document: &str) -> Vec<String> {
    let fences = document.split("```yaml\n").skip(1);
    fences.map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_block_of_the_documentation_and_every_example_is_accepted() -> TestResult {
    let on = Installation::shared().await;
    let namespace = on.namespace("documents").await?;
    let mut incidents: Vec<String> =
        blocks(DOCUMENT).into_iter().filter(|block| block.contains("kind: DoraIncident")).collect();
    assert!(incidents.len() >= 4, "{} blocks were found", incidents.len());
    let readme = include_str!("../../README.md");
    for example in Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).read_dir()? {
        let path = example?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        assert!(readme.contains(&format!("examples/{name}")), "the README doesn't name examples/{name}");
        if name.starts_with("incident") {
            incidents.push(std::fs::read_to_string(path)?);
        }
    }
    for manifest in incidents {
        let answer = on.apply_in(&namespace, &manifest).await;
        assert!(answer.is_ok(), "{manifest}{answer:?}");
    }
    // The commit that resolves the incident of the example for GitOps.
    let opened = include_str!("../../examples/incident-gitops.yaml");
    let resolved = opened.replace("# status: resolved", "status: resolved");
    assert_ne!(opened, resolved);
    on.apply_in(&namespace, &resolved).await?;
    on.incident(&namespace, "checkout-down-2026-01-31", "resolved").await?;
    Ok(())
}
