//! `build-programs` as the Makefile calls it.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// A shell script that replaces Go, whose builds take minutes. It lists two packages, and builds Helm.
const GO: &str = r#"#!/bin/sh
case "$1" in
list) printf 'example.org/one\t/nowhere\tone.go\nexample.org/two\t/nowhere\ttwo.go\n' ;;
build)
  echo example.org/one >&2
  [ ! -e "${0%/*}/broken" ] || { echo 'two.go:1:1: syntax error' >&2; exit 1; }
  while [ "$1" != -o ]; do shift; done
  echo "$GOFLAGS$CGO_ENABLED" >"$2/helm" ;;
esac
"#;

/// Runs `build-programs helm` with its cache in `folder`, and with `folder` first on the PATH.
fn build(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_build-programs"))
        .arg("helm")
        .args(arguments)
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .env("PATH", format!("{}:/usr/bin:/bin", folder.display()))
        .env("GOFLAGS", "-of-the-user")
        .output()
        .unwrap()
}

fn folder_with_go() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    std::fs::write(&go, GO).unwrap();
    std::fs::set_permissions(go, std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn missing_compiler_is_named_with_what_to_install() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_build-programs"))
        .arg("helm")
        .env("XDG_CACHE_HOME", folder.path())
        .env("PATH", folder.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let errors = errors(&output);
    assert!(errors.contains("`go` is needed to build helm") && errors.contains("install Go"), "{errors}");
}

#[test]
fn program_is_built_once_and_without_user_flags() {
    let folder = folder_with_go();
    let output = build(folder.path(), &[]);
    assert!(output.status.success(), "{}", errors(&output));
    assert!(errors(&output).contains("2 Go packages to compile"), "{}", errors(&output));
    let printed = String::from_utf8(output.stdout).unwrap();
    let helm = Path::new(printed.trim()).join("helm");
    assert_eq!(std::fs::read_to_string(&helm).unwrap(), "0\n");
    let again = build(folder.path(), &[]);
    assert_eq!((again.status.success(), errors(&again)), (true, String::new()));
}

#[test]
fn failed_build_shows_the_output_of_the_compiler() {
    let folder = folder_with_go();
    std::fs::write(folder.path().join("broken"), "").unwrap();
    let output = build(folder.path(), &[]);
    assert!(!output.status.success());
    let errors = errors(&output);
    assert!(errors.contains("building helm failed") && errors.contains("two.go:1:1: syntax error"), "{errors}");
}

#[test]
fn failed_command_fails_the_run_but_not_the_build() {
    let folder = folder_with_go();
    let output = build(folder.path(), &["--", "sh", "-c", "echo meanwhile; exit 3"]);
    assert!(!output.status.success());
    assert!(errors(&output).contains("sh failed (exit status: 3)"), "{}", errors(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "meanwhile\n");
    // The built program is kept.
    let again = build(folder.path(), &["--", "sh", "-c", "exit 0"]);
    assert_eq!((again.status.success(), errors(&again)), (true, String::new()));
}
