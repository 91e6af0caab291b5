//! The real API server accepts the incidents in the documentation and in the examples.

use std::path::Path;

use crate::TestResult;
use crate::fixture::Installation;

const DOCUMENT: &str = include_str!("../../docs/incidents.md");

/// The fenced YAML blocks of a document.
fn blocks(document: &str) -> Vec<String> {
    let fences = document.split("```yaml\n").skip(1);
    fences.map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn documented_incidents_are_accepted() -> TestResult {
    let setup = Installation::shared().await;
    let namespace = setup.namespace("documents").await?;
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
        let answer = setup.apply_in(&namespace, &manifest).await;
        assert!(answer.is_ok(), "{manifest}{answer:?}");
    }
    // The change that resolves the incident of the GitOps example.
    let opened = include_str!("../../examples/incident-gitops.yaml");
    let resolved = opened.replace("# status: resolved", "status: resolved");
    assert_ne!(opened, resolved);
    setup.apply_in(&namespace, &resolved).await?;
    setup.incident(&namespace, "checkout-down-2026-01-31", "resolved").await?;
    Ok(())
}
