//! Invalid settings end the process with a message that says what to change.

use std::process::Command;

use crate::TestResult;

/// Arguments, environment variables, and a part of the message.
type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);

/// Runs the controller with these arguments and variables until it ends, and returns its message.
fn error_message(arguments: &[&str], environment: &[(&str, &str)]) -> Result<String, std::io::Error> {
    let output = Command::new(env!("CARGO_BIN_EXE_port-dora-controller"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()?;
    assert!(!output.status.success(), "{arguments:?} {environment:?} was accepted");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn mistakes_in_settings_are_explained() -> TestResult {
    let folder = tempfile::tempdir()?;
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).map(|()| path.to_string_lossy().into_owned())
    };
    let (typo, wrong) = (file("typo.yaml", "default: {}\n")?, file("wrong.yaml", "statuses: {Succeeded: [a]}\n")?);
    let pattern = file("pattern.yaml", "workloads:\n  include:\n    namespaces: [shop, 'team-[a']\n")?;
    let records = file("records.yaml", "retention: {records: 0}\n")?;
    let cases: [Case<'_>; 13] = [
        (&["--no-such-flag"], &[], "unexpected argument '--no-such-flag'"),
        (&[], &[("PORT_BASE_URL", "http://api.port.io")], "write https://api.port.io"),
        (&[], &[("PORT_BASE_URL", "https://api.port.io/v1")], "write https://api.port.io"),
        (&[], &[("PORT_BASE_URL", "port")], "PORT_BASE_URL"),
        (&[], &[("CLUSTER_NAME", "a b")], "invalid CLUSTER_NAME \"a b\": expected up to 100 letters"),
        (&[], &[("LISTEN_ADDRESS", "8080")], "invalid value '8080' for '--listen-address <ADDRESS>'"),
        (&[], &[("LOG_FORMAT", "xml")], "[possible values: text, json]"),
        (&[], &[("CONFIG_FILE", "/no/such/file")], "set CONFIG_FILE to an existing file, or unset it"),
        (&[], &[("CONFIG_FILE", &typo)], "unknown field `default`"),
        (&[], &[("CONFIG_FILE", &wrong)], "line 1"),
        (&[], &[("CONFIG_FILE", &pattern)], "line 3 column 24: invalid namespace pattern \"team-[a\""),
        (&[], &[("CONFIG_FILE", &records)], "(CONFIG_FILE) is invalid: retention.records is 0"),
        (
            &[],
            &[("PORT_CLIENT_SECRET", "hush-hush"), ("PORT_CLIENT_SECRET_FILE", "/x")],
            "both PORT_CLIENT_SECRET and PORT_CLIENT_SECRET_FILE are set",
        ),
    ];
    for (arguments, environment, expected) in cases {
        let message = error_message(arguments, environment)?;
        assert!(message.contains(expected), "{arguments:?} {environment:?}: {message}");
        assert!(!message.contains("hush-hush"), "the message has the secret: {message}");
    }
    Ok(())
}

#[test]
fn missing_cluster_is_explained() -> TestResult {
    let message = error_message(&[], &[("KUBECONFIG", "/no/such/kubeconfig")])?;
    assert!(message.contains("set KUBECONFIG to a kubeconfig file"), "{message}");
    Ok(())
}
