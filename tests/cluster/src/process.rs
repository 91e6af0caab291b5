//! A program under test, with its log.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Error, Result};
use crate::local_cluster::{LocalCluster, open_log};
use crate::text::last_lines;
use crate::wait::Waiting;

/// How many lines of the log a failed test shows.
const SHOWN_LINES: usize = 60;

/// A running program that a test has started. Dropping it kills it; when the test has failed, the end of its log is
/// shown then. It also ends with the cluster and, by the cluster's means, with this process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, with both of its outputs in `logs/<name>-<number>.log` in the cluster's folder.
    ///
    /// Its arguments and environment are as the caller made them; `KUBECONFIG` isn't set, for the caller knows
    /// with whose rights the program is to run.
    ///
    /// # Errors
    /// When the log can't be opened or the program can't be started.
    pub fn start(cluster: &LocalCluster, name: &str, mut command: Command) -> Result<Self> {
        let log = cluster.layout.logs().join(format!("{name}-{}.log", cluster.next_process()));
        let (stdout, stderr) = open_log(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .process_group(cluster.group)
            .spawn()
            .map_err(Error::process("start", command.get_program().to_string_lossy()))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// The process id, for instance to read how much memory is used.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where the log is.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// All that the program has written so far.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn log(&self) -> Result<String> {
        let bytes = std::fs::read(&self.log).map_err(Error::file("read", &self.log))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// How it ended, or nothing while it runs.
    ///
    /// # Errors
    /// When the system can't say.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().map_err(Error::process("look after", self.name.clone()))
    }

    /// Kills it with SIGKILL, as a node that fails does, and returns once it is gone.
    ///
    /// # Errors
    /// When it can't be signalled or waited for.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.child.kill().and_then(|()| self.child.wait()).map_err(Error::process("kill", self.name.clone()))
    }

    /// Asks it to end with SIGTERM, as a kubelet does, and returns how it ended.
    ///
    /// # Errors
    /// When it still runs after `deadline`.
    pub async fn terminate(&mut self, deadline: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.exit_status()? {
            return Ok(status);
        }
        // It hasn't been waited for, so the id is still its own.
        kill(Pid::from_raw(self.id().cast_signed()), Signal::SIGTERM)
            .map_err(|cause| Error::process("signal", self.name.clone())(cause.into()))?;
        self.wait(deadline).await.map_err(|error| match error {
            Error::Wait(_) => Error::StillRunning {
                program: self.name.clone(),
                id: self.id(),
                seconds: deadline.as_secs(),
                log: self.log.clone(),
            },
            other => other,
        })
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it still runs after `deadline`.
    pub async fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let mut waiting = Waiting::new(format!("{} to end", self.name), deadline);
        loop {
            if let Some(status) = waiting.look(async { Ok(self.exit_status()?) }).await? {
                return Ok(status);
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // What can fail here has failed because it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "the log of {} is {}, which ends with:\n{}",
                self.name,
                self.log.display(),
                last_lines(&self.log, SHOWN_LINES)
            );
        }
    }
}
