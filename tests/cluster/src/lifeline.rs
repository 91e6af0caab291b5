//! Ends the processes of a cluster when their owner ends, even by SIGKILL: then no destructor runs, and statics are
//! never dropped.
//!
//! The owner holds the write end of a pipe. Two small shell processes wait at its read end. The end of file comes when
//! the owner ends or closes the pipe. Then:
//! * the leader of the process group of the cluster sends SIGKILL to its own group. It names no process ids, so it
//!   can't hit another process that has got the id of an ended one;
//! * the cleaner, which is not in that group, waits until the group is gone and removes the data of etcd.
//!
//! Both have process groups of their own, so Ctrl-C at a terminal reaches only the owner, and the owner decides.

use std::io::{PipeWriter, pipe};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::error::{Error, Result};

const LEADER: &str = "while read -r _; do :; done; kill -s KILL 0";

/// Processes whose new parent doesn't collect them stay in the group as zombies, which write nothing any more. `ps`
/// tells them from processes that a busy machine has not killed yet. The limit of 5 minutes is for machines without
/// `ps`.
const CLEANER: &str = r#"
while read -r _; do :; done
looks=0
while kill -s 0 -- "-$1" 2>/dev/null && [ "$looks" -lt 6000 ]; do
    looks=$((looks + 1))
    processes=$(ps -A -o pgid= -o stat= 2>/dev/null)
    [ -z "$processes" ] || printf '%s\n' "$processes" | grep -q "^ *$1 \{1,\}[^Z ]" || break
    sleep 0.05
done
rm -rf -- "$2"
"#;

/// The write end of the pipe, and the two processes that wait at its read end.
#[derive(Debug)]
pub(crate) struct Lifeline {
    owner: PipeWriter,
    leader: Child,
    cleaner: Child,
    group: i32,
}

impl Lifeline {
    /// Starts the two processes: when this process ends, the processes in [`Lifeline::group`] are killed and `data` is
    /// removed.
    pub(crate) fn start(data: &Path) -> Result<Self> {
        let (watched, owner) = pipe().map_err(Error::process("make a pipe for", "the cluster"))?;
        let shell = |script: &str| {
            let mut command = Command::new("/bin/sh");
            command.arg("-c").arg(script).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
            command
        };
        let for_leader = watched.try_clone().map_err(Error::process("copy a pipe for", "the cluster"))?;
        let leader = shell(LEADER)
            .arg("port-dora-cluster-leader")
            .stdin(for_leader)
            .spawn()
            .map_err(Error::process("start", "/bin/sh"))?;
        let group = leader.id().cast_signed();
        let cleaner = shell(CLEANER)
            .arg("port-dora-cluster-cleaner")
            .arg(group.to_string())
            .arg(data)
            .stdin(watched)
            .spawn()
            .map_err(Error::process("start", "/bin/sh"))?;
        Ok(Self { owner, leader, cleaner, group })
    }

    /// The process group that ends with the owner.
    pub(crate) fn group(&self) -> i32 {
        self.group
    }

    /// Ends the group now. The owner must then wait for its children, so that no zombies stay in the group, and for the
    /// returned cleaner.
    pub(crate) fn cut(self) -> Cleaner {
        let Self { owner, mut leader, cleaner, group: _ } = self;
        drop(owner);
        // An error means that the process is already gone.
        let _ = leader.wait();
        Cleaner(cleaner)
    }
}

/// The process that removes the data when the group is gone.
#[derive(Debug)]
pub(crate) struct Cleaner(Child);

impl Cleaner {
    pub(crate) fn wait(mut self) {
        let _ = self.0.wait();
    }
}
