//! Builds the missing programs of a Go module with one call of Go.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::files::{create_folder, last_lines};
use crate::log;
use crate::module::Module;
use crate::program::Program;
use crate::progress::Progress;

/// Time between two progress messages.
const REPORT_PERIOD: Duration = Duration::from_secs(15);

/// Lines of Go's output that an error shows.
const SHOWN_LINES: usize = 20;

/// A template for `go list`: one line for each package that Go would compile. The fields are separated by tabs:
/// package, folder, source files.
const STALE_PACKAGES: &str =
    r#"{{if .Stale}}{{.ImportPath}}{{"\t"}}{{.Dir}}{{range .GoFiles}}{{"\t"}}{{.}}{{end}}{{end}}"#;

/// Builds `programs` of one module in `base`, and moves each of them to `bin` under its own name.
pub(crate) fn build(module: Module, programs: &[Program], base: &Path, bin: &Path) -> Result<()> {
    let work = base.join("work");
    let output = work.join("out");
    create_folder(&output)?;
    for (name, contents) in module.files() {
        let path = work.join(name);
        fs::write(&path, contents).map_err(Error::file("write", &path))?;
    }
    let go = Go { module, programs, work: &work, output_log: &base.join("build.log") };
    let started = Instant::now();
    log(&format!("building {}", go.names()));
    let mut progress = Progress::new(go.stale_packages()?);
    log(&format!("{} Go packages to compile; the programs go to {}", progress.total(), bin.display()));
    go.build(&output, &mut progress)?;
    for program in programs {
        let built = output.join(program.built_name());
        // A rename within one file system is atomic: a program is either complete or missing.
        fs::rename(&built, bin.join(program.name())).map_err(Error::file("move", &built))?;
    }
    log(&format!("built {} in {} s", go.names(), started.elapsed().as_secs()));
    Ok(())
}

/// The parameters that all calls of Go for one build share.
struct Go<'a> {
    module: Module,
    programs: &'a [Program],
    work: &'a Path,
    output_log: &'a Path,
}

impl Go<'_> {
    fn names(&self) -> String {
        self.programs.iter().map(|program| program.name()).collect::<Vec<_>>().join(", ")
    }

    /// The packages that Go has to compile, with the sizes of their sources. Downloads missing modules.
    fn stale_packages(&self) -> Result<Vec<(String, u64)>> {
        let mut list = self.command("list", ["-deps", "-f", STALE_PACKAGES]);
        // The list goes to a file, so that only one pipe has to be read.
        let listed = self.work.join("packages");
        list.stdout(File::create(&listed).map_err(Error::file("create", &listed))?);
        let mut downloaded = 0_usize;
        self.run(list, &mut |line| {
            downloaded += usize::from(line.is_some_and(|line| line.starts_with("go: downloading")));
            format!("{downloaded} modules downloaded")
        })?;
        let packages = fs::read_to_string(&listed).map_err(Error::file("read", &listed))?;
        Ok(packages.lines().filter_map(package).collect())
    }

    fn build(&self, output: &Path, progress: &mut Progress) -> Result<()> {
        let mut build = self.command("build", [OsStr::new("-v"), OsStr::new("-o"), output.as_os_str()]);
        build.stdout(Stdio::null());
        let started = Instant::now();
        self.run(build, &mut |line| {
            if let Some(line) = line {
                progress.note(line);
            }
            progress.after(started.elapsed()).to_string()
        })
    }

    fn command(&self, verb: &str, arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Command {
        let mut command = Command::new("go");
        command
            .current_dir(self.work)
            .arg(verb)
            .args(self.module.build_flags())
            .args(arguments)
            .args(self.programs.iter().map(|program| program.package()))
            .env("CGO_ENABLED", "0")
            // Go would otherwise use a workspace above the cache, or the flags of the user.
            .env("GOWORK", "off")
            .env("GOFLAGS", "")
            .env_remove("GOOS")
            .env_remove("GOARCH")
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// Runs Go to its end. `status` receives each line of the standard error, or `None` when a progress message is due,
    /// and returns the progress.
    fn run(&self, mut command: Command, status: &mut dyn FnMut(Option<&str>) -> String) -> Result<()> {
        let mut output_log = File::create(self.output_log).map_err(Error::file("create", self.output_log))?;
        let mut child = command.spawn().map_err(|cause| match cause.kind() {
            std::io::ErrorKind::NotFound => Error::MissingGo { programs: self.names() },
            _ => Error::process("start", "go")(cause),
        })?;
        let followed = follow(&mut child, &mut |line| {
            match line {
                Some(line) => {
                    writeln!(output_log, "{line}").map_err(Error::file("write", self.output_log))?;
                    status(Some(line));
                }
                None => log(&status(None)),
            }
            Ok(())
        });
        if followed.is_err() {
            // Without a reader, Go would block on a full pipe.
            let _ = child.kill();
        }
        let ended = child.wait().map_err(Error::process("wait for", "go"))?;
        followed?;
        if ended.success() { Ok(()) } else { Err(self.failure(ended)) }
    }

    fn failure(&self, status: ExitStatus) -> Error {
        let output = last_lines(self.output_log, SHOWN_LINES);
        Error::Build { programs: self.names(), status, output, log: self.output_log.to_path_buf() }
    }
}

/// Calls `take` with each line of the standard error, and with `None` once in every [`REPORT_PERIOD`].
fn follow(child: &mut Child, take: &mut dyn FnMut(Option<&str>) -> Result<()>) -> Result<()> {
    let Some(errors) = child.stderr.take() else { return Ok(()) };
    let (sender, lines) = mpsc::channel();
    // The thread ends with the pipe, and the pipe with Go.
    std::thread::spawn(move || {
        for line in BufReader::new(errors).lines().map_while(std::result::Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut next_report = Instant::now() + REPORT_PERIOD;
    loop {
        match lines.recv_timeout(next_report.saturating_duration_since(Instant::now())) {
            Ok(line) => take(Some(&line))?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                take(None)?;
                next_report = Instant::now() + REPORT_PERIOD;
            }
        }
    }
}

/// Parses a line of [`STALE_PACKAGES`] into the package and the size of its source files. Unreadable files count as
/// empty, since only an estimate depends on the size.
fn package(line: &str) -> Option<(String, u64)> {
    let mut parts = line.split('\t');
    let (package, folder) = (parts.next()?, PathBuf::from(parts.next()?));
    let sizes = parts.filter_map(|file| Some(fs::metadata(folder.join(file)).ok()?.len()));
    Some((package.to_owned(), sizes.sum()))
}
