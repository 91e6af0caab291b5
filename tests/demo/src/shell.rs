//! The commands of a user, which are shown and run.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use cluster::LocalCluster;
use tokio::process::Command;
use tokio::time::timeout;

use crate::screen::Screen;

/// The deadline of a command. The timeouts of kubectl are shorter, since they have better messages.
const DEADLINE: Duration = Duration::from_mins(2);

/// Runs commands with kubectl and Helm as the administrator of the cluster.
#[derive(Debug)]
pub(crate) struct Shell<'a> {
    screen: &'a Screen,
    path: String,
    home: String,
    kubeconfig: String,
}

impl<'a> Shell<'a> {
    /// Prepares the environment for commands on `cluster`.
    pub(crate) fn new(screen: &'a Screen, cluster: &LocalCluster) -> Result<Self> {
        let programs = utf8(cluster.binaries().folder())?;
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
        let home = cluster.folder().join("home");
        std::fs::create_dir_all(&home).with_context(|| format!("failed to create {}", home.display()))?;
        Ok(Self {
            screen,
            path: format!("{programs}:{path}"),
            home: utf8(&home)?,
            kubeconfig: utf8(cluster.kubeconfig())?,
        })
    }

    /// Shows and runs the command `line`. Its output goes to the standard output.
    ///
    /// # Errors
    /// When the command fails or takes longer than 2 minutes.
    pub(crate) async fn run(&self, line: &str) -> Result<()> {
        let status = self.status(line).await?;
        if !status.success() {
            bail!("`{line}` failed ({status}): see its output above");
        }
        Ok(())
    }

    /// Shows and runs a command that must fail.
    ///
    /// # Errors
    /// When the command succeeds or takes longer than 2 minutes.
    pub(crate) async fn run_to_failure(&self, line: &str) -> Result<()> {
        let status = self.status(line).await?;
        if status.success() {
            bail!("`{line}` succeeded, but must fail");
        }
        Ok(())
    }

    async fn status(&self, line: &str) -> Result<ExitStatus> {
        self.screen.line(format!("$ {line}"))?;
        let mut child = Command::new("/bin/sh")
            .arg("-c")
            .arg(format!("exec 2>&1\n{line}"))
            // kubectl and Helm read settings and caches from the home folder and the environment. Those of the user
            // must not affect the demo.
            .env_clear()
            .envs([("PATH", &self.path), ("HOME", &self.home), ("KUBECONFIG", &self.kubeconfig)])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("failed to start /bin/sh")?;
        match timeout(DEADLINE, child.wait()).await {
            Ok(status) => status.with_context(|| format!("failed to wait for `{line}`")),
            Err(_) => bail!("`{line}` was still running after {DEADLINE:?}"),
        }
    }
}

fn utf8(path: &Path) -> Result<String> {
    path.to_str()
        .map(str::to_owned)
        .with_context(|| format!("{} is not UTF-8: set XDG_CACHE_HOME to a folder whose path is", path.display()))
}
