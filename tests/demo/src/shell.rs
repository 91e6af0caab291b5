//! The commands that a user would type, run as they are shown.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use cluster::LocalCluster;
use tokio::process::Command;
use tokio::time::timeout;

use crate::screen::Screen;

/// How long a command may take. kubectl's own deadlines, which have better messages, are shorter.
const DEADLINE: Duration = Duration::from_mins(2);

/// Runs commands with the cluster's kubectl and Helm, as the cluster's administrator.
#[derive(Debug)]
pub(crate) struct Shell<'a> {
    screen: &'a Screen,
    path: String,
    home: String,
    kubeconfig: String,
}

impl<'a> Shell<'a> {
    /// A shell for `cluster`.
    pub(crate) fn new(screen: &'a Screen, cluster: &LocalCluster) -> Result<Self> {
        let programs = utf8(cluster.binaries().folder())?;
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
        let home = cluster.folder().join("home");
        std::fs::create_dir_all(&home).with_context(|| format!("can't create {}", home.display()))?;
        Ok(Self {
            screen,
            path: format!("{programs}:{path}"),
            home: utf8(&home)?,
            kubeconfig: utf8(cluster.kubeconfig())?,
        })
    }

    /// Shows `line`, runs it, and lets it write to the standard output.
    ///
    /// # Errors
    /// When it fails, or takes longer than 2 minutes.
    pub(crate) async fn run(&self, line: &str) -> Result<()> {
        let status = self.status(line).await?;
        if !status.success() {
            bail!("`{line}` failed ({status}); what it said is shown above");
        }
        Ok(())
    }

    /// The same for a command that is meant to fail.
    ///
    /// # Errors
    /// When it succeeds, or takes longer than 2 minutes.
    pub(crate) async fn run_to_failure(&self, line: &str) -> Result<()> {
        let status = self.status(line).await?;
        if status.success() {
            bail!("`{line}` was expected to fail and succeeded");
        }
        Ok(())
    }

    async fn status(&self, line: &str) -> Result<ExitStatus> {
        self.screen.line(format!("$ {line}"))?;
        let mut child = Command::new("/bin/sh")
            .arg("-c")
            .arg(format!("exec 2>&1\n{line}"))
            // kubectl and Helm keep their settings and caches in the home folder: neither those of this machine's user
            // nor what they set in the environment matters here.
            .env_clear()
            .envs([("PATH", &self.path), ("HOME", &self.home), ("KUBECONFIG", &self.kubeconfig)])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("can't start /bin/sh")?;
        match timeout(DEADLINE, child.wait()).await {
            Ok(status) => status.with_context(|| format!("can't wait for `{line}`")),
            Err(_) => bail!("`{line}` still ran after {DEADLINE:?}"),
        }
    }
}

fn utf8(path: &Path) -> Result<String> {
    path.to_str()
        .map(str::to_owned)
        .with_context(|| format!("{} is no UTF-8; set XDG_CACHE_HOME to a folder whose name is", path.display()))
}
