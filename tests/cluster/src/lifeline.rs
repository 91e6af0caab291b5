//! Ends a cluster's processes when their owner ends, however that happens: SIGKILL and a panic run no
//! destructors, and statics are never dropped at all.
//!
//! The owner holds the writing end of a pipe whose reading end two small shell processes wait on. At end of file,
//! which is when the owner has ended or let go:
//! * the leader of the process group that all of the cluster's processes are in sends SIGKILL to its own group.
//!   That names no process ids, so it can't hit a stranger that has been given the id of one that ended before;
//! * the cleaner, outside of that group, waits until the group is gone and removes etcd's data.
//!
//! The groups are their own, so Ctrl-C at a terminal reaches the owner only, and the owner decides.

use std::io::{PipeWriter, pipe};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::error::{Error, Result};

const LEADER: &str = "while read -r _; do :; done; kill -s KILL 0";

/// Processes whose new parent doesn't collect them stay in the group as zombies, which write nothing any more: the state
/// that `ps` shows tells them from those that a busy machine is late to kill. The limit of some minutes is for machines
/// without `ps`.
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

/// The owner's end of the pipe, and the two processes that watch it.
#[derive(Debug)]
pub(crate) struct Lifeline {
    owner: PipeWriter,
    leader: Child,
    cleaner: Child,
    group: i32,
}

impl Lifeline {
    /// From now on, `data` is removed and the processes in [`Lifeline::group`] are killed when this process ends.
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

    /// The process group whose members end with the owner.
    pub(crate) fn group(&self) -> i32 {
        self.group
    }

    /// Ends the group now. The owner must then wait for its children in the group, so that they aren't zombies
    /// there, and for the cleaner by the value that this returns.
    pub(crate) fn cut(self) -> Cleaner {
        let Self { owner, mut leader, cleaner, group: _ } = self;
        drop(owner);
        // Nothing can be done about a failure: it would mean that the process is gone already.
        let _ = leader.wait();
        Cleaner(cleaner)
    }
}

/// The process that removes the data once the group is gone.
#[derive(Debug)]
pub(crate) struct Cleaner(Child);

impl Cleaner {
    pub(crate) fn wait(mut self) {
        let _ = self.0.wait();
    }
}
