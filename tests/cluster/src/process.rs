//! A program that a test runs, with its log.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use programs::last_lines;

use crate::error::{Error, Result};
use crate::local_cluster::{LocalCluster, open_log};
use crate::wait::Wait;

/// Lines of the log that a failed test shows.
const SHOWN_LINES: usize = 60;

/// A running program that a test has started. It is killed when it is dropped, and then the end of its log is shown if
/// the test has failed. It also ends with the cluster, and so with this process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, and writes both of its outputs to `logs/<name>-<number>.log` in the folder of the cluster.
    ///
    /// The caller sets arguments and environment. That includes `KUBECONFIG`, which decides the rights of the program.
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

    /// The process id, for example to read the memory usage.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The path of the log.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// The output of the program so far.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn log(&self) -> Result<String> {
        let bytes = std::fs::read(&self.log).map_err(Error::file("read", &self.log))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The exit status, or `None` while the program runs.
    ///
    /// # Errors
    /// When the state of the process can't be read.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().map_err(Error::process("check", self.name.clone()))
    }

    /// Kills the program with SIGKILL, like a failing node, and waits until it is gone.
    ///
    /// # Errors
    /// When the process can't be signalled or waited for.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.child.kill().and_then(|()| self.child.wait()).map_err(Error::process("kill", self.name.clone()))
    }

    /// Sends SIGTERM, like a kubelet, waits until the program ends, and returns its exit status.
    ///
    /// # Errors
    /// When the program still runs after `deadline`.
    pub async fn terminate(&mut self, deadline: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.exit_status()? {
            return Ok(status);
        }
        // The process has not been waited for, so the id still belongs to it.
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

    /// Waits until the program ends, and returns its exit status.
    ///
    /// # Errors
    /// When the program still runs after `deadline`.
    pub async fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let mut wait = Wait::new(format!("{} to end", self.name), deadline);
        loop {
            if let Some(status) = wait.poll(async { Ok(self.exit_status()?) }).await? {
                return Ok(status);
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that the process is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "the log of {} ({}) ends with:\n{}",
                self.name,
                self.log.display(),
                last_lines(&self.log, SHOWN_LINES)
            );
        }
    }
}
