//! Finding processes: by what they execute, by the port they listen on, or all that are Go.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};

use procfs::net::TcpState;
use procfs::process::{FDTarget, Process as ProcEntry, all_processes};

use super::{FileId, TargetError, elf};

/// A process of a listing. It may have ended since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its pid.
    pub pid: i32,
    /// Its name (`comm`).
    pub name: String,
    /// Path of its executable in its own mount namespace.
    pub exe_path: PathBuf,
    /// Its executable.
    pub exe: FileId,
}

/// Pids of the processes that execute the file at `path`, ascending; also of those whose file of that path has
/// been deleted or replaced since they started.
///
/// # Errors
/// `path` cannot be looked at and nobody executes a deleted file of that name, or there is no `/proc`.
pub fn by_exe(path: &Path) -> Result<Vec<i32>, TargetError> {
    let looked = std::fs::metadata(path);
    let wanted = ByPath::of(path);
    let mut pids = Vec::new();
    for process in processes()? {
        let pid = process.pid();
        if exe_of(pid).is_some_and(|(exe, _)| wanted.fits(pid, exe)) {
            pids.push(pid);
        }
    }
    match looked {
        Err(source) if pids.is_empty() => Err(TargetError::Path {
            path: path.display().to_string(),
            source,
        }),
        _ => {
            pids.sort_unstable();
            Ok(pids)
        }
    }
}

/// The executable at a path, as it is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByPath {
    file: Option<FileId>,
    /// How the kernel names a file of that path that is there no more.
    deleted: OsString,
}

impl ByPath {
    /// Looks at the path.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut deleted = absolute.into_os_string();
        deleted.push(" (deleted)");
        Self {
            file: std::fs::metadata(path).ok().map(|found| FileId::of(&found)),
            deleted,
        }
    }

    /// Whether a process that executes `exe` was started from this path.
    #[must_use]
    pub fn fits(&self, pid: i32, exe: FileId) -> bool {
        Some(exe) == self.file
            || std::fs::read_link(format!("/proc/{pid}/exe"))
                .is_ok_and(|link| link.as_os_str() == self.deleted)
    }
}

/// Whether a path of `/proc/PID/exe` ends in this file name, also where the file is deleted.
#[must_use]
pub fn has_name(link: &Path, name: &str) -> bool {
    link.file_name().is_some_and(|file| {
        file.to_string_lossy()
            .trim_end_matches(" (deleted)")
            .eq(name)
    })
}

/// Pids of the processes that listen on TCP `port`, each in its own network namespace, ascending.
///
/// # Errors
/// There is no `/proc`.
pub fn by_port(port: u16) -> Result<Vec<i32>, TargetError> {
    let mut listeners = Listeners::on(port);
    let mut pids = Vec::new();
    for process in processes()? {
        if exe_of(process.pid()).is_some() && listeners.holds(&process) {
            pids.push(process.pid());
        }
    }
    pids.sort_unstable();
    Ok(pids)
}

/// Who listens on one port, as it was when the first process of each network namespace was asked about.
#[derive(Debug)]
pub struct Listeners {
    port: u16,
    /// All processes of one namespace see the same table: it is read once.
    by_namespace: HashMap<PathBuf, HashSet<u64>>,
}

impl Listeners {
    /// On this TCP port.
    #[must_use]
    pub fn on(port: u16) -> Self {
        Self {
            port,
            by_namespace: HashMap::new(),
        }
    }

    /// Whether this process is one of them.
    pub fn includes(&mut self, pid: i32) -> bool {
        ProcEntry::new(pid).is_ok_and(|process| self.holds(&process))
    }

    fn holds(&mut self, process: &ProcEntry) -> bool {
        let Ok(namespace) = std::fs::read_link(format!("/proc/{}/ns/net", process.pid())) else {
            return false;
        };
        let port = self.port;
        let sockets = self
            .by_namespace
            .entry(namespace)
            .or_insert_with(|| listeners(process, port));
        !sockets.is_empty() && holds_one(process, sockets)
    }
}

fn listeners(process: &ProcEntry, port: u16) -> HashSet<u64> {
    let tables = [process.tcp(), process.tcp6()];
    tables
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.state == TcpState::Listen && entry.local_address.port() == port)
        .map(|entry| entry.inode)
        .collect()
}

fn holds_one(process: &ProcEntry, sockets: &HashSet<u64>) -> bool {
    let Ok(fds) = process.fd() else {
        return false;
    };
    fds.flatten()
        .any(|fd| matches!(fd.target, FDTarget::Socket(inode) if sockets.contains(&inode)))
}

/// All processes whose executable is Go, by pid. Each executable is looked at once, however many run it.
///
/// # Errors
/// There is no `/proc`.
pub fn list_go() -> Result<Vec<Listed>, TargetError> {
    let mut known: HashMap<FileId, bool> = HashMap::new();
    let mut listed = Vec::new();
    for process in processes()? {
        let pid = process.pid();
        let Some((exe, _)) = exe_of(pid) else {
            continue;
        };
        let is_go = *known.entry(exe).or_insert_with(|| {
            File::open(format!("/proc/{pid}/exe"))
                .and_then(|file| elf::is_go(&file))
                .unwrap_or(false)
        });
        if !is_go {
            continue;
        }
        // Whoever ends meanwhile is not listed.
        if let (Ok(stat), Ok(exe_path)) = (process.stat(), process.exe()) {
            listed.push(Listed {
                pid,
                name: stat.comm,
                exe_path,
                exe,
            });
        }
    }
    listed.sort_unstable_by_key(|entry| entry.pid);
    Ok(listed)
}

fn processes() -> Result<impl Iterator<Item = ProcEntry>, TargetError> {
    Ok(all_processes().map_err(TargetError::Proc)?.flatten())
}

/// All pids there are, in no order.
///
/// # Errors
/// There is no `/proc`.
pub fn all() -> Result<Vec<i32>, TargetError> {
    let entries = std::fs::read_dir("/proc")
        .map_err(|error| TargetError::Proc(procfs::ProcError::Io(error, None)))?;
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

/// The file a process executes; `None` for kernel threads, the ended and those we may not look at.
#[must_use]
pub fn exe_of(pid: i32) -> Option<(FileId, Metadata)> {
    let metadata = std::fs::metadata(format!("/proc/{pid}/exe")).ok()?;
    Some((FileId::of(&metadata), metadata))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::path::Path;
    use std::process::Command;

    use super::{by_exe, by_port, list_go};
    use crate::target::TargetError;

    fn own_pid() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn own_executable_is_found_by_any_path() {
        let pids = by_exe(&std::env::current_exe().unwrap()).unwrap();
        assert!(pids.contains(&own_pid()));
        assert!(
            by_exe(Path::new("/proc/self/exe"))
                .unwrap()
                .contains(&own_pid())
        );
        assert!(matches!(
            by_exe(Path::new("/no/such/file")),
            Err(TargetError::Path { .. })
        ));
    }

    #[test]
    fn a_deleted_and_replaced_executable_is_found_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("sleeper");
        std::fs::copy("/bin/sleep", &path).unwrap();
        let mut child = Command::new(&path).arg("60").spawn().unwrap();
        std::fs::remove_file(&path).unwrap();
        let when_gone = by_exe(&path);
        std::fs::write(&path, "new").unwrap();
        let when_replaced = by_exe(&path);
        child.kill().unwrap();
        child.wait().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert_eq!(when_gone.unwrap(), [pid]);
        assert_eq!(when_replaced.unwrap(), [pid]);
    }

    #[test]
    fn a_listener_is_found_by_its_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(by_port(port).unwrap(), [own_pid()]);
        drop(listener);
        assert!(by_port(port).unwrap().is_empty());
    }

    #[test]
    fn this_test_is_no_go_process() {
        assert!(
            list_go()
                .unwrap()
                .iter()
                .all(|entry| entry.pid != own_pid())
        );
    }
}
