//! The programs of the cluster, built once per version with the installed Go.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ring::digest::{SHA256, digest};

use crate::cache::{cache_folder, create_folder, open_lock};
use crate::error::{Error, Result};
use crate::text::{last_lines, say};

/// Embedded, so that what is built always agrees with the key it is stored under, and the crate's folder isn't
/// needed when a test runs.
const GO_MOD: &str = include_str!("../go.mod");
const GO_SUM: &str = include_str!("../go.sum");

/// Raised when something about the build changes that isn't in go.mod, go.sum or the linker's flags.
const LAYOUT: &str = "1";

/// A program of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The store of the API server.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// The built-in controllers, among them those of Deployments and ReplicaSets.
    KubeControllerManager,
    /// Gives pods to nodes.
    KubeScheduler,
    /// Plays the kubelet of the simulated node.
    Kwok,
    /// The command line client.
    Kubectl,
    /// Installs charts.
    Helm,
    /// The agent of a real node.
    Kubelet,
    /// Service addresses on a real node.
    KubeProxy,
}

impl Program {
    /// What a cluster with a simulated node needs, the quickest to build first.
    const ORDINARY: [Self; 7] = [
        Self::Etcd,
        Self::Helm,
        Self::Kubectl,
        Self::Kwok,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
    ];

    /// What a real node needs besides.
    const NODE: [Self; 2] = [Self::Kubelet, Self::KubeProxy];

    /// The name of the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kwok => "kwok",
            Self::Kubectl => "kubectl",
            Self::Helm => "helm",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::KubeApiserver => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::KubeControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Self::KubeScheduler => "k8s.io/kubernetes/cmd/kube-scheduler",
            Self::Kwok => "sigs.k8s.io/kwok/cmd/kwok",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Self::Helm => "helm.sh/helm/v3/cmd/helm",
            Self::Kubelet => "k8s.io/kubernetes/cmd/kubelet",
            Self::KubeProxy => "k8s.io/kubernetes/cmd/kube-proxy",
        }
    }
}

/// The folder with the built programs.
#[derive(Debug, Clone)]
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// Builds what a cluster with a simulated node needs: etcd, the control plane, KWOK, kubectl and Helm.
    ///
    /// The first time takes about 10 minutes on 2 cores, which is said on stderr; after that, nothing is built until
    /// go.mod, go.sum or the flags change. Blocks; several processes at once build once. A build that is
    /// interrupted goes on with the first program that isn't finished.
    ///
    /// # Errors
    /// When Go isn't installed, a program can't be built, or the cache can't be written.
    pub fn ensure() -> Result<Self> {
        Self::ensure_all(&Program::ORDINARY)
    }

    /// Builds the kubelet and kube-proxy, which only a real node needs, into the same folder.
    ///
    /// # Errors
    /// As [`Binaries::ensure`].
    pub fn ensure_node() -> Result<Self> {
        Self::ensure_all(&Program::NODE)
    }

    /// The folder that holds the programs, as for a `PATH`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of one program.
    #[must_use]
    pub fn path(&self, program: Program) -> PathBuf {
        self.folder.join(program.name())
    }

    fn ensure_all(programs: &[Program]) -> Result<Self> {
        let base = cache_folder()?.join("cluster").join(key());
        let binaries = Self { folder: base.join("bin") };
        if binaries.missing(programs).is_empty() {
            return Ok(binaries);
        }
        create_folder(&binaries.folder)?;
        let _lock = wait_for_lock(&base.join("lock"))?;
        // Again: another process may have built them while this one waited.
        let missing = binaries.missing(programs);
        if missing.is_empty() {
            return Ok(binaries);
        }
        let work = base.join("work");
        create_folder(&work)?;
        for (name, contents) in [("go.mod", GO_MOD), ("go.sum", GO_SUM)] {
            let path = work.join(name);
            fs::write(&path, contents).map_err(Error::file("write", &path))?;
        }
        say(&format!(
            "building the cluster's programs into {} (about 10 minutes the first time)",
            binaries.folder.display()
        ));
        for (index, &program) in missing.iter().enumerate() {
            say(&format!("building {} ({} of {})", program.name(), index + 1, missing.len()));
            build(program.name(), program.package(), &linker_flags(), &work, &base.join("build.log"))?;
            let built = work.join(program.name());
            // Within one file system, so a program is either complete or not there.
            fs::rename(&built, binaries.path(program)).map_err(Error::file("move", &built))?;
        }
        Ok(binaries)
    }

    fn missing(&self, programs: &[Program]) -> Vec<Program> {
        programs.iter().copied().filter(|&program| !self.path(program).is_file()).collect()
    }
}

/// Waits until no other process builds, and says so if that isn't at once.
pub(crate) fn wait_for_lock(path: &Path) -> Result<File> {
    let lock = open_lock(path)?;
    match lock.try_lock() {
        Ok(()) => return Ok(lock),
        Err(TryLockError::WouldBlock) => say("waiting for another process that builds the cluster's programs"),
        Err(TryLockError::Error(cause)) => return Err(Error::file("lock", path)(cause)),
    }
    lock.lock().map_err(Error::file("lock", path))?;
    Ok(lock)
}

/// Builds one program in the folder of go.mod, under its own name there.
pub(crate) fn build(name: &'static str, package: &str, linker_flags: &str, work: &Path, log_path: &Path) -> Result<()> {
    let log = File::create(log_path).map_err(Error::file("create", log_path))?;
    let log_copy = log.try_clone().map_err(Error::file("open", log_path))?;
    let status = Command::new("go")
        .current_dir(work)
        .args(["build", "-trimpath", "-buildvcs=false", "-ldflags", linker_flags, "-o", name])
        .arg(package)
        .env("CGO_ENABLED", "0")
        // Neither a workspace above the cache nor the user's own flags belong in here.
        .env("GOWORK", "off")
        .env("GOFLAGS", "")
        .env_remove("GOOS")
        .env_remove("GOARCH")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(log_copy)
        .status()
        .map_err(|cause| match cause.kind() {
            std::io::ErrorKind::NotFound => Error::MissingProgram {
                program: "go",
                purpose: "build the cluster's programs",
                remedy: "install Go 1.26 or newer (https://go.dev/doc/install)",
            },
            _ => Error::process("start", "go")(cause),
        })?;
    if status.success() {
        return Ok(());
    }
    let output = last_lines(log_path, 20);
    Err(Error::Build { program: name, status, output, log: log_path.to_path_buf() })
}

/// Names everything that decides what the programs are, apart from the version of Go.
fn key() -> String {
    key_of(&[LAYOUT, GO_MOD, GO_SUM, &linker_flags()])
}

/// A name for what is built from these parts.
pub(crate) fn key_of(parts: &[&str]) -> String {
    let mut all = String::new();
    for part in parts {
        all.push_str(part);
        all.push('\0');
    }
    let hash = digest(&SHA256, all.as_bytes());
    // 64 bits are plenty to tell a handful of versions apart, and leave paths readable.
    let bits = hash.as_ref().first_chunk().copied().map_or(0, u64::from_be_bytes);
    format!("{bits:016x}")
}

/// The version that go.mod requires of a module, such as `v1.36.3`.
fn required_version(module: &str) -> &'static str {
    GO_MOD
        .lines()
        .find_map(|line| line.trim().strip_prefix(module)?.strip_prefix(' ')?.split(' ').next())
        .unwrap_or_default()
}

/// Gives the programs the versions that release builds have: `kubectl version`, the API server's `/version` and
/// Helm's `.Capabilities.KubeVersion` are read from these variables.
fn linker_flags() -> String {
    let kubernetes = required_version("k8s.io/kubernetes");
    let helm = required_version("helm.sh/helm/v3");
    let mut numbers = kubernetes.trim_start_matches('v').split('.');
    let major = numbers.next().unwrap_or_default();
    let minor = numbers.next().unwrap_or_default();
    let mut flags = "-s -w".to_owned();
    let mut set = |variable: &str, value: &str| {
        flags.push_str(" -X ");
        flags.push_str(variable);
        flags.push('=');
        flags.push_str(value);
    };
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        set(&format!("{package}.gitVersion"), kubernetes);
        set(&format!("{package}.gitMajor"), major);
        set(&format!("{package}.gitMinor"), minor);
        set(&format!("{package}.gitTreeState"), "clean");
    }
    set("helm.sh/helm/v3/internal/version.version", helm);
    for package in ["helm.sh/helm/v3/pkg/chartutil", "helm.sh/helm/v3/pkg/lint/rules"] {
        set(&format!("{package}.k8sVersionMajor"), major);
        set(&format!("{package}.k8sVersionMinor"), minor);
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_mod_has_each_program_as_a_tool() {
        for program in Program::ORDINARY.into_iter().chain(Program::NODE) {
            assert!(
                GO_MOD.lines().any(|line| line.trim() == program.package()),
                "{} is missing in the tool lines of go.mod",
                program.package()
            );
        }
    }

    #[test]
    fn versions_come_from_go_mod() {
        let version = required_version("k8s.io/kubernetes");
        let minor = version.split('.').nth(1).unwrap_or_default();
        assert!(version.starts_with("v1.") && !minor.is_empty(), "{version}");
        let flags = linker_flags();
        assert!(flags.contains(&format!("k8s.io/component-base/version.gitVersion={version} ")), "{flags}");
        assert!(flags.contains(&format!("chartutil.k8sVersionMinor={minor} ")), "{flags}");
    }
}
