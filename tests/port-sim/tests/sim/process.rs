//! The binary: its output, its arguments, and its end.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::client::{answer, http};

/// A long deadline, for machines that run other things as well. No test asserts it.
const DEADLINE: Duration = Duration::from_mins(4);

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_port-sim"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true);
    command
}

/// Starts the binary, and reads the address from its output.
async fn start(arguments: &[&str]) -> (Child, String) {
    let mut child = command(arguments).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap().unwrap();
    let url = line.strip_prefix("port-sim listens on ").unwrap().to_owned();
    (child, url)
}

#[tokio::test]
async fn binary_serves_until_a_signal() {
    for signal in ["TERM", "INT"] {
        let arguments = ["--client-id", "i", "--client-secret", "s", "--token-lifetime", "90"];
        let (mut child, url) = start(&arguments).await;
        let request = http().post(format!("{url}/v1/auth/access_token"));
        let token = answer(request.json(&json!({"clientId": "i", "clientSecret": "s"}))).await;
        assert_eq!(token.status, 200);
        assert!(token.body["expiresIn"].as_u64().unwrap() <= 90);

        let id = child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status().await.unwrap();
        assert!(sent.success());
        let ended = timeout(DEADLINE, child.wait()).await.unwrap().unwrap();
        assert!(ended.success(), "{signal}: {ended}");
        assert!(http().get(url).send().await.unwrap_err().is_connect());
    }
}

#[tokio::test]
async fn used_address_is_explained() {
    let (_first, url) = start(&[]).await;
    let taken = url.strip_prefix("http://").unwrap();
    let second = command(&["--listen", taken]).output();
    let output = timeout(DEADLINE, second).await.unwrap().unwrap();
    assert!(!output.status.success());
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains(taken) && message.contains("--listen"), "{message}");
}
