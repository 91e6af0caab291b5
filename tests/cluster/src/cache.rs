//! The folders of clusters, in the cache of the user.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use programs::{cache_folder, create_folder, open_lock};

use crate::error::{Error, Result};

/// Number of stopped clusters whose state and logs are kept.
const KEPT_CLUSTERS: usize = 10;

/// The lock file of a folder: while it is locked, a cluster is using the folder.
const LOCK: &str = "lock";

/// Writes a file that only its owner may read.
pub(crate) fn write_private(path: &Path, contents: impl AsRef<[u8]>) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(contents.as_ref()))
        .map_err(Error::file("write", path))
}

/// The locked folder of one cluster. The lock ends with this value, and also with the process, even if it is killed.
#[derive(Debug)]
pub(crate) struct ClusterFolder {
    path: PathBuf,
    _lock: File,
}

impl ClusterFolder {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Creates a folder `clusters/<process id>-<number>` in the cache, and removes the oldest unused folders there.
    pub(crate) fn create() -> Result<Self> {
        let clusters = cache_folder()?.join("clusters");
        create_folder(&clusters)?;
        // Without this lock, another process could remove the new folder before it is locked.
        let guard_path = clusters.join(LOCK);
        let guard = open_lock(&guard_path)?;
        guard.lock().map_err(Error::file("lock", &guard_path))?;
        prune(&clusters);
        let process = std::process::id();
        let mut number = 0_u32;
        loop {
            number += 1;
            let path = clusters.join(format!("{process}-{number}"));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Self::lock(path),
                // An earlier process with the same id has left it.
                Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(Error::file("create", &path)(cause)),
            }
        }
    }

    /// Locks a folder that the user chose: a new one, an empty one, or that of a stopped cluster, whose state and logs
    /// are then removed.
    pub(crate) fn take(path: &Path) -> Result<Self> {
        create_folder(path)?;
        let path = path.canonicalize().map_err(Error::file("resolve", path))?;
        let entries = || fs::read_dir(&path).map_err(Error::file("read", &path));
        if !path.join(LOCK).exists() && entries()?.next().is_some() {
            return Err(Error::ForeignFolder { folder: path });
        }
        let folder = Self::lock(path.clone())?;
        for name in ["etcd", "logs", "service-accounts"] {
            let old = path.join(name);
            if old.exists() {
                fs::remove_dir_all(&old).map_err(Error::file("remove", &old))?;
            }
        }
        Ok(folder)
    }

    fn lock(path: PathBuf) -> Result<Self> {
        let lock_path = path.join(LOCK);
        let lock = open_lock(&lock_path)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::FolderInUse { folder: path }),
            Err(TryLockError::Error(cause)) => Err(Error::file("lock", &lock_path)(cause)),
        }
    }
}

/// Removes the folders of stopped clusters except the newest [`KEPT_CLUSTERS`]. Failures are ignored, since they must
/// not prevent a cluster from starting.
fn prune(clusters: &Path) {
    let Ok(entries) = fs::read_dir(clusters) else { return };
    let mut unused: Vec<(SystemTime, PathBuf)> = entries
        .flatten()
        .filter(|entry| entry.path().is_dir() && is_unused(&entry.path()))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    unused.sort_by(|left, right| right.cmp(left));
    for (_, path) in unused.iter().skip(KEPT_CLUSTERS) {
        let _ = fs::remove_dir_all(path);
    }
}

fn is_unused(folder: &Path) -> bool {
    match File::open(folder.join(LOCK)) {
        Ok(lock) => lock.try_lock().is_ok(),
        Err(cause) => cause.kind() == std::io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    #[test]
    fn folder_of_a_stopped_cluster_is_cleared_and_reused() -> Result<()> {
        let parent = temporary();
        let path = parent.path().join("new");
        let first = ClusterFolder::take(&path)?;
        assert!(matches!(ClusterFolder::take(&path), Err(Error::FolderInUse { .. })));
        create_folder(&path.join("etcd"))?;
        drop(first);
        ClusterFolder::take(&path)?;
        assert!(!path.join("etcd").exists());
        Ok(())
    }

    #[test]
    fn folder_with_foreign_files_is_refused_and_kept() -> Result<()> {
        let folder = temporary();
        let path = folder.path();
        write_private(&path.join("letter"), "dear")?;
        assert!(matches!(ClusterFolder::take(path), Err(Error::ForeignFolder { .. })));
        assert!(path.join("letter").exists());
        Ok(())
    }

    #[test]
    fn pruning_keeps_the_newest_folders_and_used_ones() -> Result<()> {
        let folder = temporary();
        let clusters = folder.path();
        let in_use = ClusterFolder::take(&clusters.join("in-use"))?;
        let hour = std::time::Duration::from_hours(1);
        for age in 1..=12 {
            let path = clusters.join(age.to_string());
            drop(ClusterFolder::take(&path)?);
            File::open(&path)
                .and_then(|folder| folder.set_modified(SystemTime::now() - hour * age))
                .map_err(Error::file("age", &path))?;
        }
        File::open(in_use.path())
            .and_then(|folder| folder.set_modified(SystemTime::now() - hour * 1000))
            .map_err(Error::file("age", in_use.path()))?;
        prune(clusters);
        let mut left: Vec<String> = fs::read_dir(clusters)
            .map_err(Error::file("read", clusters))?
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        left.sort_unstable();
        assert_eq!(left, ["1", "10", "2", "3", "4", "5", "6", "7", "8", "9", "in-use"]);
        Ok(())
    }
}
