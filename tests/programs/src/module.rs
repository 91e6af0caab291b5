//! The Go modules that the programs are built from.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// A number to raise when a change of the build is not covered by [`Module::key`].
const LAYOUT: &str = "2";

/// Flags of the compiler: debug information takes time, and nobody debugs these programs.
const COMPILER_FLAGS: &str = "-dwarf=false";

/// Packages that are compiled without inlining, which shortens the build by a sixth. They are half of the code, and
/// little of it runs often. Without inlining in all packages, the control plane would need a quarter more CPU time in
/// each test.
const NOT_INLINED: [&str; 5] =
    ["k8s.io/kubernetes/...", "k8s.io/client-go/...", "k8s.io/kubectl/...", "helm.sh/helm/...", "sigs.k8s.io/kwok/..."];

/// A `go.mod` with the programs that are built together. The dependencies of one module never affect another module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Module {
    /// Kubernetes, etcd, KWOK and Helm.
    Cluster,
    /// Alertmanager.
    Alertmanager,
}

impl Module {
    /// The name of its folder.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Alertmanager => "alertmanager",
        }
    }

    /// Its files. They are embedded, so that the programs always match the key that they are stored under.
    pub(crate) fn files(self) -> [(&'static str, &'static str); 2] {
        match self {
            Self::Cluster => {
                [("go.mod", include_str!("../cluster/go.mod")), ("go.sum", include_str!("../cluster/go.sum"))]
            }
            Self::Alertmanager => {
                [("go.mod", include_str!("../alertmanager/go.mod")), ("go.sum", include_str!("../alertmanager/go.sum"))]
            }
        }
    }

    /// A hash of everything that determines the programs, except the version of Go.
    pub(crate) fn key(self) -> String {
        let mut all = Sha256::new();
        for part in [LAYOUT].into_iter().chain(self.files().map(|(_, contents)| contents)) {
            all.update(part);
            all.update([0]);
        }
        for flag in self.build_flags() {
            all.update(flag);
            all.update([0]);
        }
        // 64 bits are enough to tell a few versions apart, and keep paths readable.
        all.finalize().iter().take(8).fold(String::new(), |mut key, byte| {
            let _ = write!(key, "{byte:02x}");
            key
        })
    }

    /// The flags of `go build` and `go list`.
    pub(crate) fn build_flags(self) -> Vec<String> {
        let mut flags: Vec<String> = ["-trimpath", "-buildvcs=false"].map(str::to_owned).to_vec();
        flags.push(format!("-gcflags=all={COMPILER_FLAGS}"));
        if self == Self::Cluster {
            // Go uses the last pattern that matches a package.
            flags.extend(NOT_INLINED.map(|packages| format!("-gcflags={packages}={COMPILER_FLAGS} -l")));
        }
        flags.push(format!("-ldflags={}", self.linker_flags()));
        flags
    }

    /// Gives the programs of the cluster the versions that release builds have: `kubectl version`, the API server's
    /// `/version` and Helm's `.Capabilities.KubeVersion` are read from these variables.
    fn linker_flags(self) -> String {
        let mut flags = "-s -w".to_owned();
        if self == Self::Alertmanager {
            return flags;
        }
        let kubernetes = self.required_version("k8s.io/kubernetes");
        let helm = self.required_version("helm.sh/helm/v3");
        let mut numbers = kubernetes.trim_start_matches('v').split('.');
        let major = numbers.next().unwrap_or_default();
        let minor = numbers.next().unwrap_or_default();
        let mut set = |variable: &str, value: &str| {
            let _ = write!(flags, " -X {variable}={value}");
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

    /// The version that go.mod requires of a module, such as `v1.36.3`.
    pub(crate) fn required_version(self, module: &str) -> &'static str {
        let [(_, go_mod), _] = self.files();
        go_mod
            .lines()
            .find_map(|line| line.trim().strip_prefix(module)?.strip_prefix(' ')?.split(' ').next())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_go_mod() {
        let version = Module::Cluster.required_version("k8s.io/kubernetes");
        let minor = version.split('.').nth(1).unwrap_or_default();
        assert!(version.starts_with("v1.") && !minor.is_empty(), "{version}");
        let flags = Module::Cluster.linker_flags();
        assert!(flags.contains(&format!("k8s.io/component-base/version.gitVersion={version} ")), "{flags}");
        assert!(flags.contains(&format!("chartutil.k8sVersionMinor={minor}")), "{flags}");
    }
}
