//! Ways into a running cluster: clients, namespaces, kubeconfigs, kubectl and Helm.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::io::AsyncWriteExt;

use programs::Program;
use programs::create_folder;

use crate::cache::write_private;
use crate::error::{Error, Result};
use crate::local_cluster::LocalCluster;

/// How long the token of [`LocalCluster::service_account_kubeconfig`] is valid, in seconds: 24 hours.
const TOKEN_SECONDS: i64 = 24 * 60 * 60;

impl LocalCluster {
    /// A new client with an administrator's rights. It is bound to the runtime that this is called on: each
    /// `#[tokio::test]` needs one of its own.
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
        // Fails if one is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let unusable = |cause| Error::Kubeconfig { path: kubeconfig.to_path_buf(), cause };
        let contents = Kubeconfig::read_from(kubeconfig).map_err(unusable)?;
        let mut config =
            Config::from_custom_kubeconfig(contents, &KubeConfigOptions::default()).await.map_err(unusable)?;
        // Taken from the environment, where it means the outside world and not this machine.
        config.proxy_url = None;
        Client::try_from(config).map_err(Error::kubernetes(format!("make a client from {}", kubeconfig.display())))
    }

    /// Makes a namespace whose name begins with `prefix` and is new, and waits until pods can be created in it.
    ///
    /// # Errors
    /// When the API server refuses it, for instance since `prefix` isn't a DNS label, or the controller manager
    /// doesn't create the default service account within the cluster's deadline.
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

    /// Writes a kubeconfig with a token of a service account that is valid for 24 hours, so that a process started
    /// with it has exactly the rights that the account's role bindings give. Its namespace is that of the account.
    ///
    /// # Errors
    /// When there is no such service account, or the file can't be written.
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

    /// Runs kubectl as the administrator and returns what it wrote to its standard output.
    ///
    /// # Errors
    /// When it can't be started or fails: with the command and what it wrote to its standard error.
    pub async fn kubectl<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<String> {
        self.run(Program::Kubectl, arguments, None).await
    }

    /// [`LocalCluster::kubectl`] with a text as its standard input.
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

    /// `kubectl apply`, as a user does it, of one or several manifests; returns a line for each.
    ///
    /// # Errors
    /// As [`LocalCluster::kubectl`].
    pub async fn apply(&self, manifests: &str) -> Result<String> {
        self.kubectl_with_input(["apply", "--filename", "-"], manifests).await
    }

    /// Runs Helm as the administrator, without the plugins, repositories and settings of this machine's user.
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
            // By default, what a server offers is remembered in the home folder by its port, which another cluster
            // may have had before.
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
                // A command that ends before it has read everything says why itself.
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
