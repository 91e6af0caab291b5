//! One call of Go for all programs of a module that are missing.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::files::create_folder;
use crate::module::Module;
use crate::program::Program;
use crate::progress::Progress;
use crate::say;

/// How often a person who waits hears something.
const REPORT_PERIOD: Duration = Duration::from_secs(15);

/// How many lines of Go's output an error shows.
const SHOWN_LINES: usize = 20;

/// Tab-separated: the package, its folder and its source files. Only those that Go would compile.
const STALE_PACKAGES: &str =
    r#"{{if .Stale}}{{.ImportPath}}{{"\t"}}{{.Dir}}{{range .GoFiles}}{{"\t"}}{{.}}{{end}}{{end}}"#;

/// Builds programs of one module in `base`, and puts each under its own name into `bin`.
pub(crate) fn build(module: Module, programs: &[Program], base: &Path, bin: &Path) -> Result<()> {
    let work = base.join("work");
    let output = work.join("out");
    create_folder(&output)?;
    for (name, contents) in module.files() {
        let path = work.join(name);
        fs::write(&path, contents).map_err(Error::file("write", &path))?;
    }
    let go = Go { module, programs, work: &work, log: &base.join("build.log") };
    let started = Instant::now();
    say(&format!("building {}", go.names()));
    let mut progress = Progress::new(go.stale_packages()?);
    say(&format!("{} Go packages to compile, into {}", progress.total(), bin.display()));
    go.build(&output, &mut progress)?;
    for program in programs {
        let built = output.join(program.built_name());
        // Within one file system, so a program is either complete or not there.
        fs::rename(&built, bin.join(program.name())).map_err(Error::file("move", &built))?;
    }
    say(&format!("built {} in {} s", go.names(), started.elapsed().as_secs()));
    Ok(())
}

/// What the calls of Go for one build have in common.
struct Go<'a> {
    module: Module,
    programs: &'a [Program],
    work: &'a Path,
    log: &'a Path,
}

impl Go<'_> {
    fn names(&self) -> String {
        self.programs.iter().map(|program| program.name()).collect::<Vec<_>>().join(", ")
    }

    /// The packages that are neither built nor in Go's cache, with the sizes of their sources. Downloads modules that
    /// are missing.
    fn stale_packages(&self) -> Result<Vec<(String, u64)>> {
        let mut list = self.command("list", ["-deps", "-f", STALE_PACKAGES]);
        // To a file, so that only one pipe has to be read.
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
            // Neither a workspace above the cache nor the user's own flags belong in here.
            .env("GOWORK", "off")
            .env("GOFLAGS", "")
            .env_remove("GOOS")
            .env_remove("GOARCH")
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// Runs Go to its end. `status` gets each line of its standard error and says how far it is; with no line, it is only
    /// asked.
    fn run(&self, mut command: Command, status: &mut dyn FnMut(Option<&str>) -> String) -> Result<()> {
        let mut log = File::create(self.log).map_err(Error::file("create", self.log))?;
        let mut child = command.spawn().map_err(|cause| match cause.kind() {
            std::io::ErrorKind::NotFound => Error::MissingGo { programs: self.names() },
            _ => Error::process("start", "go")(cause),
        })?;
        let followed = follow(&mut child, &mut |line| {
            match line {
                Some(line) => {
                    writeln!(log, "{line}").map_err(Error::file("write", self.log))?;
                    status(Some(line));
                }
                None => say(&status(None)),
            }
            Ok(())
        });
        if followed.is_err() {
            // Nobody reads its output any more.
            let _ = child.kill();
        }
        let ended = child.wait().map_err(Error::process("wait for", "go"))?;
        followed?;
        if ended.success() { Ok(()) } else { Err(self.failure(ended)) }
    }

    fn failure(&self, status: ExitStatus) -> Error {
        let output = match fs::read_to_string(self.log) {
            Ok(output) => {
                let lines: Vec<&str> = output.lines().collect();
                lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
            }
            Err(cause) => format!("(cannot be read: {cause})"),
        };
        Error::Build { programs: self.names(), status, output, log: self.log.to_path_buf() }
    }
}

/// Hands on each line of the standard error, and `None` once every [`REPORT_PERIOD`].
fn follow(child: &mut Child, take: &mut dyn FnMut(Option<&str>) -> Result<()>) -> Result<()> {
    let Some(errors) = child.stderr.take() else { return Ok(()) };
    let (sender, lines) = mpsc::channel();
    // Ends with the pipe, which ends with Go.
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

/// A line of [`STALE_PACKAGES`], and the size of the source that it names. Files that can't be read count nothing: only
/// an estimate depends on it.
fn package(line: &str) -> Option<(String, u64)> {
    let mut parts = line.split('\t');
    let (package, folder) = (parts.next()?, PathBuf::from(parts.next()?));
    let sizes = parts.filter_map(|file| Some(fs::metadata(folder.join(file)).ok()?.len()));
    Some((package.to_owned(), sizes.sum()))
}
