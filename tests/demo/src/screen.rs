//! The output for the user.

use std::cell::Cell;
use std::fmt::Display;
use std::io::{self, Write as _};

use anyhow::{Context as _, Result};

/// The number of steps.
const STEPS: u32 = 8;

/// The standard output, line by line.
#[derive(Debug)]
pub(crate) struct Screen {
    stdout: io::Stdout,
    step: Cell<u32>,
}

impl Screen {
    /// The standard output of this process.
    pub(crate) fn new() -> Self {
        Self { stdout: io::stdout(), step: Cell::new(0) }
    }

    /// Shows the heading of the next step.
    pub(crate) fn step(&self, title: &str) -> Result<()> {
        self.step.set(self.step.get() + 1);
        self.line(format!("\n[{}/{STEPS}] {title}", self.step.get()))
    }

    /// Writes one or several lines.
    ///
    /// # Errors
    /// When the reader has closed the pipe, as with `| head`.
    pub(crate) fn line(&self, text: impl Display) -> Result<()> {
        let mut stdout = self.stdout.lock();
        writeln!(stdout, "{text}").and_then(|()| stdout.flush()).context("failed to write to standard output")
    }
}
