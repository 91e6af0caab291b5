//! Access to a running cluster: clients, namespaces, kubeconfigs, kubectl and Helm.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use programs::{Program, create_folder};
use tokio::io::AsyncWriteExt;

use crate::cache::write_private;
use crate::error::{Error, Result};
use crate::local_cluster::LocalCluster;

/// How long the token of [`LocalCluster::service_account_kubeconfig`] is valid, in seconds: 24 hours.
const TOKEN_SECONDS: i64 = 24 * 60 * 60;

impl LocalCluster {
    /// A new client with the rights of an administrator. It is bound to the runtime of the caller, so each
    /// `#[tokio::test]` needs a client of its own.
    ///
    /// # Errors
    /// When the kubeconfig can't be read.
    pub async fn client(&self) -> Result<Client> {
        Self::client_from(self.kubeconfig()).await
    }

    /// A new client with the rights that a kubeconfig gives, such as that of a service account.
    ///
    /// # Errors
    /// When the kubeconfig can't be read or used.
    pub async fn client_from(kubeconfig: &Path) -> Result<Client> {
        // An error means that a provider is already installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let unusable = |cause| Error::Kubeconfig { path: kubeconfig.to_path_buf(), cause };
        let contents = Kubeconfig::read_from(kubeconfig).map_err(unusable)?;
        let mut config =
            Config::from_custom_kubeconfig(contents, &KubeConfigOptions::default()).await.map_err(unusable)?;
        // A proxy of the environment is meant for other machines, not for this one.
        config.proxy_url = None;
        Client::try_from(config).map_err(Error::kubernetes(format!("make a client from {}", kubeconfig.display())))
    }

    /// Creates a namespace with a new name that begins with `prefix`, and waits until pods can be created in it.
    ///
    /// # Errors
    /// When the API server refuses it, for instance because `prefix` is not a DNS label, or the controller manager
    /// doesn't create the default service account within the deadline of the cluster.
    pub async fn namespace(&self, prefix: &str) -> Result<String> {
        let client = self.client().await?;
        let namespace = Namespace {
            metadata: ObjectMeta { generate_name: Some(format!("{prefix}-")), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        let created = Api::<Namespace>::all(client.clone())
            .create(&PostParams::default(), &namespace)
            .await
            .map_err(Error::kubernetes(format!("create a namespace {prefix}-…")))?;
        let name = created.metadata.name.unwrap_or_default();
        self.wait_for_default_account(client, &name).await?;
        Ok(name)
    }

    /// Writes a kubeconfig with a token of a service account, so that a process has exactly the rights of that account.
    /// The token is valid for 24 hours. The default namespace is that of the account.
    ///
    /// # Errors
    /// When the service account doesn't exist, or the file can't be written.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..TokenRequestSpec::default() },
            ..TokenRequest::default()
        };
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .map_err(Error::kubernetes(format!("get a token for service account {namespace}/{name}")))?;
        let token = answer.status.map(|status| status.token).unwrap_or_default();
        let folder = self.folder().join("service-accounts");
        create_folder(&folder)?;
        let path = folder.join(format!("{namespace}.{name}.kubeconfig"));
        let certificates = &self.layout.certificates;
        write_private(&path, certificates.token_kubeconfig(self.ports.api, namespace, &token))?;
        Ok(path)
    }

    /// Runs kubectl as the administrator, and returns its standard output.
    ///
    /// # Errors
    /// When kubectl can't be started or fails. The error contains the command and its standard error.
    pub async fn kubectl<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<String> {
        self.run(Program::Kubectl, arguments, None).await
    }

    /// [`LocalCluster::kubectl`] with `input` as its standard input.
    ///
    /// # Errors
    /// As [`LocalCluster::kubectl`].
    pub async fn kubectl_with_input<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        input: &str,
    ) -> Result<String> {
        self.run(Program::Kubectl, arguments, Some(input)).await
    }

    /// Runs `kubectl apply` with one or several manifests, and returns a line for each.
    ///
    /// # Errors
    /// As [`LocalCluster::kubectl`].
    pub async fn apply(&self, manifests: &str) -> Result<String> {
        self.kubectl_with_input(["apply", "--filename", "-"], manifests).await
    }

    /// Runs Helm as the administrator, without the plugins, repositories and settings of the user of this machine.
    ///
    /// # Errors
    /// As [`LocalCluster::kubectl`].
    pub async fn helm<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<String> {
        self.run(Program::Helm, arguments, None).await
    }

    async fn run<A: AsRef<OsStr>>(
        &self,
        program: Program,
        arguments: impl IntoIterator<Item = A>,
        input: Option<&str>,
    ) -> Result<String> {
        let mut command = tokio::process::Command::new(self.binaries.path(program));
        for name in ["cache", "config", "data"] {
            command.env(format!("HELM_{}_HOME", name.to_uppercase()), self.folder().join("helm").join(name));
        }
        command
            .args(arguments)
            .env("KUBECONFIG", self.kubeconfig())
            // By default, kubectl caches the resources of a server in the home folder, under its port. Another cluster
            // may have used that port before.
            .env("KUBECACHEDIR", self.folder().join("kubectl"))
            .env_remove("HELM_NAMESPACE")
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(self.group)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(Error::process("start", program.name()))?;
        let stdin = child.stdin.take();
        let feed = async {
            if let (Some(mut stdin), Some(input)) = (stdin, input) {
                // If a command ends before it has read everything, its own error says why.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        let ((), output) = tokio::join!(feed, child.wait_with_output());
        let output = output.map_err(Error::process("wait for", program.name()))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let words: Vec<_> = std::iter::once(program.name().into())
            .chain(command.as_std().get_args().map(OsStr::to_string_lossy))
            .collect();
        Err(Error::Command {
            command: words.join(" "),
            status: output.status,
            stderr: String::from_utf8_lossy(&output.stderr).trim_end().to_owned(),
        })
    }
}
