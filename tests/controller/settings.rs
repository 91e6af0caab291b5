//! Invalid settings end the process with a message that says what to change.

use std::process::Command;

use crate::TestResult;

/// Arguments, environment, and a part of the error message.
type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);

/// Runs the controller with these arguments and variables until it fails, and returns its standard error.
fn failure(arguments: &[&str], environment: &[(&str, &str)]) -> Result<String, std::io::Error> {
    let output = Command::new(env!("CARGO_BIN_EXE_port-dora-controller"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()?;
    assert!(!output.status.success(), "{arguments:?} {environment:?} was accepted");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn mistakes_in_the_settings_are_named() -> TestResult {
    let folder = tempfile::tempdir()?;
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).map(|()| path.to_string_lossy().into_owned())
    };
    let (typo, wrong) = (file("typo.yaml", "default: {}\n")?, file("wrong.yaml", "statuses: {Succeeded: [a]}\n")?);
    let cases: [Case<'_>; 11] = [
        (&["--no-such-flag"], &[], "unexpected argument '--no-such-flag'"),
        (&[], &[("PORT_BASE_URL", "http://api.port.io")], "write https://api.port.io"),
        (&[], &[("PORT_BASE_URL", "https://api.port.io/v1")], "write https://api.port.io"),
        (&[], &[("PORT_BASE_URL", "port")], "PORT_BASE_URL"),
        (&[], &[("CLUSTER_NAME", "a b")], "CLUSTER_NAME \"a b\" can't be part of a Port identifier"),
        (&[], &[("LISTEN_ADDRESS", "8080")], "invalid value '8080' for '--listen-address <ADDRESS>'"),
        (&[], &[("LOG_FORMAT", "xml")], "[possible values: text, json]"),
        (&[], &[("CONFIG_FILE", "/no/such/file")], "name an existing file, or unset CONFIG_FILE"),
        (&[], &[("CONFIG_FILE", &typo)], "unknown field `default`"),
        (&[], &[("CONFIG_FILE", &wrong)], "line 1"),
        (
            &[],
            &[("PORT_CLIENT_SECRET", "hush-hush"), ("PORT_CLIENT_SECRET_FILE", "/x")],
            "both PORT_CLIENT_SECRET and PORT_CLIENT_SECRET_FILE are set",
        ),
    ];
    for (arguments, environment, expected) in cases {
        let message = failure(arguments, environment)?;
        assert!(message.contains(expected), "{arguments:?} {environment:?}: {message}");
        assert!(!message.contains("hush-hush"), "the secret was shown: {message}");
    }
    Ok(())
}

#[test]
fn missing_kubeconfig_is_explained() -> TestResult {
    let message = failure(&[], &[("KUBECONFIG", "/no/such/kubeconfig")])?;
    assert!(message.contains("set KUBECONFIG to a kubeconfig file"), "{message}");
    Ok(())
}
