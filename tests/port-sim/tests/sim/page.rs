use serde_json::json;

use crate::client::Port;

async fn page(port: &Port) -> String {
    let response = port.http.get(port.sim.base_url()).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    response.text().await.unwrap()
}

/// The part of the page that is about one blueprint.
fn section<'a>(page: &'a str, blueprint: &str) -> &'a str {
    let start = page.find(&format!("<section id=\"{blueprint}\">")).unwrap();
    let length = page[start..].find("</section>").unwrap();
    &page[start..start + length]
}

#[tokio::test]
async fn page_shows_blueprints_without_entities() {
    let port = Port::start().await;
    let page = page(&port).await;
    for blueprint in ["dora_deployment", "dora_incident"] {
        assert!(section(&page, blueprint).contains("Nothing has arrived yet"));
    }
    assert!(section(&page, "group").contains("all_teams"));
}

#[tokio::test]
async fn page_reloads_without_scripts() {
    let port = Port::start().await;
    let page = page(&port).await;
    assert!(page.contains("http-equiv=\"refresh\""));
    assert!(!page.contains("<script"));
}

#[tokio::test]
async fn page_shows_the_main_properties_newest_first() {
    let port = Port::start().await;
    for (number, status) in [(1, "success"), (2, "failed")] {
        let entity = json!({
            "identifier": format!("prod:shop:cart:{number}"),
            "properties": {
                "environment": "production", "status": status,
                "deployment_time": "2025-01-01T00:00:00.000Z", "lead_time_hours": 2.5,
            },
            "relations": {"group": "all_teams"},
        });
        assert_eq!(port.write("dora_deployment", "", &entity).await.status, 201);
    }
    let incident = json!({"identifier": "prod:shop:outage", "properties": {
        "status": "resolved", "priority": "high", "created_at": "2025-01-01T00:00:00.000Z",
        "resolved_at": "2025-01-01T01:30:00.000Z", "time_to_resolve": 1.5,
    }});
    assert_eq!(port.write("dora_incident", "", &incident).await.status, 201);

    let page = page(&port).await;
    let deployments = section(&page, "dora_deployment");
    for text in ["production", "success", "failed", "2025-01-01T00:00:00.000Z", "2.5", "all_teams"] {
        assert!(deployments.contains(text), "{text} in {deployments}");
    }
    assert!(deployments.find("prod:shop:cart:2").unwrap() < deployments.find("prod:shop:cart:1").unwrap());
    let incidents = section(&page, "dora_incident");
    for text in ["prod:shop:outage", "resolved", "high", "2025-01-01T01:30:00.000Z", "1.5"] {
        assert!(incidents.contains(text), "{text} in {incidents}");
    }
}

#[tokio::test]
async fn page_escapes_its_values() {
    let port = Port::start().await;
    let entity = json!({
        "identifier": "one", "title": "\"><script>alert(1)</script>",
        "properties": {"status": "<script>alert(2)</script>"},
    });
    assert_eq!(port.write("dora_incident", "", &entity).await.status, 201);
    let page = page(&port).await;
    assert!(page.contains("&lt;script&gt;alert(2)&lt;/script&gt;"));
    assert!(!page.contains("<script>"));
}

#[tokio::test]
async fn page_is_not_in_the_request_log() {
    let port = Port::start().await;
    page(&port).await;
    assert!(port.sim.requests().is_empty());
}
