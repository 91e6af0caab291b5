use reqwest::header::AUTHORIZATION;
use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::alertmanager::AlertIndex;
use crate::settings::AlertmanagerSettings;

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// Starts a receiver without an API server. `is_listed` is whether the watch on incidents has listed them. Returns its URL and the path of its token file.
async fn start(
    folder: &tempfile::TempDir,
    is_listed: bool,
) -> Result<(String, std::path::PathBuf), Box<dyn std::error::Error>> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = kube::Config::new("http://127.0.0.1:1".parse()?);
    let (client, index) = (kube::Client::try_from(config)?, Arc::new(AlertIndex::default()));
    if is_listed {
        index.list_finished();
    }
    let store = IncidentStore::new(client, "own".to_owned(), AlertmanagerSettings::default(), index);
    let file = folder.path().join("token");
    let router = router(TokenFile(file.clone()), store, Arc::default());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}/alertmanager", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok((address, file))
}

async fn send(address: &str, token: Option<&str>, body: String) -> Result<(u16, String), reqwest::Error> {
    let mut request = reqwest::Client::new().post(address).body(body);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, token);
    }
    let response = request.send().await?;
    Ok((response.status().as_u16(), response.text().await?))
}

#[tokio::test]
async fn requests_need_the_bearer_token() -> TestResult {
    let folder = tempfile::tempdir()?;
    let (address, file) = start(&folder, true).await?;
    for write in [false, true] {
        if write {
            std::fs::write(&file, "\n")?;
        }
        for token in [None, Some("Bearer "), Some("Bearer hunter2")] {
            let (status, text) = send(&address, token, String::new()).await?;
            assert_eq!(status, 503, "{text}");
            assert!(text.contains("ALERTMANAGER_TOKEN_FILE"), "{text}");
        }
    }
    std::fs::write(&file, "hunter2\n")?;
    for token in [None, Some("hunter2"), Some("Bearer hunter"), Some("Basic hunter2"), Some("Bearer hunter22")] {
        let (status, text) = send(&address, token, String::new()).await?;
        assert_eq!(status, 401, "{token:?}");
        assert!(!text.contains("hunter"), "{text}");
    }
    assert_eq!(send(&address, Some("bearer hunter2"), String::new()).await?.0, 400);
    std::fs::write(&file, "hunter3")?;
    assert_eq!(send(&address, Some("Bearer hunter2"), String::new()).await?.0, 401, "a rotated token");
    let response = reqwest::Client::new().post(&address).send().await?;
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    Ok(())
}

#[tokio::test]
async fn permanent_errors_are_4xx_and_others_5xx() -> TestResult {
    let folder = tempfile::tempdir()?;
    let (address, file) = start(&folder, true).await?;
    std::fs::write(&file, "hunter2")?;
    let token = Some("Bearer hunter2");
    for body in ["", "{}", "[]", r#"{"status": "firing"}"#] {
        let (status, text) = send(&address, token, body.to_owned()).await?;
        assert_eq!(status, 400, "{body}: {text}");
        assert!(text.contains("not a notification of Alertmanager"), "{text}");
    }
    assert_eq!(send(&address, token, " ".repeat(MAX_BODY_SIZE + 1)).await?.0, 413);
    let alerts = json!([{"status": "firing", "startsAt": "2026-01-31T12:00:00Z"}]);
    let notification = json!({"status": "firing", "groupKey": "a", "alerts": alerts});
    let (status, text) = send(&address, token, notification.to_string()).await?;
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("send the notification again"), "{text}");
    Ok(())
}

#[tokio::test]
async fn alerts_wait_until_incidents_are_listed() -> TestResult {
    let folder = tempfile::tempdir()?;
    let (address, file) = start(&folder, false).await?;
    std::fs::write(&file, "hunter2")?;
    let notification = json!({"status": "resolved", "groupKey": "a", "alerts": []});
    let (status, text) = send(&address, Some("Bearer hunter2"), notification.to_string()).await?;
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("has not listed the incidents"), "{text}");
    Ok(())
}
