//! What the person who watches is shown.

use std::cell::Cell;
use std::fmt::Display;
use std::io::{self, Write as _};

use anyhow::{Context as _, Result};

/// Number of the steps that [`Screen::step`] counts.
const STEPS: u32 = 8;

/// The standard output, line by line.
#[derive(Debug)]
pub(crate) struct Screen {
    stdout: io::Stdout,
    step: Cell<u32>,
}

impl Screen {
    /// The standard output of this process, before the first step.
    pub(crate) fn new() -> Self {
        Self { stdout: io::stdout(), step: Cell::new(0) }
    }

    /// Begins the next step.
    pub(crate) fn step(&self, title: &str) -> Result<()> {
        self.step.set(self.step.get() + 1);
        self.line(format!("\n[{}/{STEPS}] {title}", self.step.get()))
    }

    /// Writes a line, or several.
    ///
    /// # Errors
    /// When nobody reads any more, as after `| head`.
    pub(crate) fn line(&self, text: impl Display) -> Result<()> {
        let mut stdout = self.stdout.lock();
        writeln!(stdout, "{text}").and_then(|()| stdout.flush()).context("can't write to the standard output")
    }
}
