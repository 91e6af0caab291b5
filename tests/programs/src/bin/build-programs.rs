//! Builds the programs that run beside the controller.

use std::ffi::OsString;
use std::io::Write;
use std::process::{Command, ExitCode};

use clap::{Parser, ValueEnum};
use programs::{Program, ensure, folder};

/// Builds the programs that run beside the controller, unless they are in the cache, and prints the folder of the
/// cluster's programs.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The programs to build.
    #[arg(value_enum)]
    set: Set,
    /// A command to run during the build. Both run to their end, even if one of them fails.
    #[arg(last = true, value_name = "COMMAND")]
    meanwhile: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Set {
    /// Helm, to check the chart.
    Helm,
    /// A cluster with a simulated node, for demo and bench.
    Cluster,
    /// A cluster, and the further programs of the tests.
    Tests,
    /// A cluster, and the further programs of a real node.
    Node,
}

impl Set {
    fn programs(self) -> Vec<Program> {
        let further: &[Program] = match self {
            Self::Helm => return vec![Program::Helm],
            Self::Cluster => &[],
            Self::Tests => &Program::TESTS,
            Self::Node => &Program::NODE,
        };
        Program::CLUSTER.iter().chain(further).copied().collect()
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "build-programs: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    // Go and the command are in the process group of this program, so Ctrl-C ends all of them.
    let meanwhile = match arguments.meanwhile.split_first() {
        Some((program, rest)) => {
            let child = Command::new(program).args(rest).spawn();
            Some((program, child.map_err(|error| format!("cannot start {}: {error}", program.display()))?))
        }
        None => None,
    };
    let built = ensure(&arguments.set.programs()).map_err(|error| error.to_string());
    let ended = match meanwhile {
        Some((program, mut child)) => match child.wait()? {
            status if status.success() => Ok(()),
            status => Err(format!("{} failed ({status}): see its output above", program.display())),
        },
        None => Ok(()),
    };
    let errors: Vec<String> = [built, ended].into_iter().filter_map(Result::err).collect();
    if !errors.is_empty() {
        return Err(errors.join("\n").into());
    }
    writeln!(std::io::stdout(), "{}", folder(Program::Helm)?.display())?;
    Ok(())
}
