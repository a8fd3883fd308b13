//! The remedy for each error, as a command where there is one.

use std::io;
use std::path::Path;

use crate::finding::RuleName;

use super::{Error, Subject, UnknownKey};

impl Error {
    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NoSuchProcess { .. } => "list the Go processes of this host: `observer ps`".into(),
            Self::NotGo { .. } => "list the Go processes that can be observed: `observer ps`".into(),
            Self::Unobservable { .. } => {
                "see the state of every hook: `observer check`; a build without a profile (`go build -pgo=off`) keeps all \
                 functions that are needed"
                    .into()
            }
            Self::GoTooOld { .. } => {
                "rebuild the service with go1.18 or later; see which one builds it now: `go version`"
                    .into()
            }
            Self::ProcessExited { .. } => {
                "if it restarts often, select it by name instead of by pid: `observer run --exe NAME`"
                    .into()
            }
            Self::ExitedWhileRead { .. } => {
                "if it restarted, its pid is another now: `observer ps`".into()
            }
            Self::NoGoroutines { pid, .. } => format!(
                "please report this with the output of `observer check --pid {pid} --output json`"
            ),
            Self::ProcessReplaced { pid, .. } => {
                format!("look at what it is now, then try again: `observer check --pid {pid}`")
            }
            Self::MissingCapability { capability, .. } => format!(
                "run it as root (`sudo observer ...`), in a container with this capability added \
                 (`docker run --cap-add {} ...`), or give it all that it may need: \
                 `sudo setcap {}+ep \"$(command -v observer)\"` \
                 (CAP_SYS_ADMIN: newer kernels, seen on 6.18, want it to place uprobes)",
                short(capability),
                capability_set(capability)
            ),
            Self::KernelTooOld { .. } => {
                "run observer on a newer kernel; in a container it is the host's that counts: `uname -r`"
                    .into()
            }
            Self::KernelWithoutBpf { .. } => {
                "the kernel needs CONFIG_BPF_SYSCALL: `grep CONFIG_BPF_SYSCALL /boot/config-$(uname -r)`"
                    .into()
            }
            Self::KernelWithoutUprobes => {
                "the kernel needs CONFIG_UPROBE_EVENTS: `grep CONFIG_UPROBE_EVENTS /boot/config-$(uname -r)`; \
                 in a container, mount `/sys`"
                    .into()
            }
            Self::ProgramRefused { .. } => {
                "please report this with the text above and the output of `observer check --pid PID --output json`"
                    .into()
            }
            Self::BadElf { subject, .. } => match subject {
                Subject::Pid(pid) => {
                    format!("look at it: `readelf --file-header --sections /proc/{pid}/exe`")
                }
                Subject::Path(path) => format!(
                    "look at it: `readelf --file-header --sections {}`",
                    path.display()
                ),
            },
            Self::ElfTooLarge { .. } => {
                "build it without DWARF, which observer does not need: `go build -ldflags=-w`".into()
            }
            Self::ExecutableGone { .. } => {
                "restart the service, so that it runs the file that is there now".into()
            }
            Self::NothingMatched { .. } => {
                "list the Go processes of this host: `observer ps`; wait for one to come: `--wait`".into()
            }
            Self::TooManyExecutables { .. } => {
                "select fewer than with `--all`: `observer run --exe NAME`, or run a second observer".into()
            }
            Self::Usage { remedy, .. }
            | Self::BadFlag { remedy, .. }
            | Self::Denied { remedy, .. } => remedy.clone(),
            Self::UnknownRule { nearest, .. } => match nearest {
                Some(nearest) => {
                    format!("did you mean `{nearest}`? what each rule finds: `observer explain`")
                }
                None => format!(
                    "the rules are {}; what each finds: `observer explain`",
                    RuleName::ALL.map(RuleName::as_str).join(", ")
                ),
            },
            Self::BadConfig { unknown, .. } => nearest_keys(unknown).map_or_else(
                || "see every key and what it takes: `observer run --help`".into(),
                |near| format!("{near} see every key and what it takes: `observer run --help`"),
            ),
            Self::UnknownKeys { keys, .. } => nearest_keys(keys)
                .unwrap_or_else(|| "keys are the flags' long names: `observer run --help`".into()),
            Self::Unreadable { path, source, .. } if source.kind() == io::ErrorKind::InvalidData => {
                format!("it is no text in UTF-8; see what it is: `file {}`", path.display())
            }
            Self::Unreadable { path, .. } => {
                format!("see whether it is there and who may read it: `ls -l {}`", path.display())
            }
            Self::BadBaseline { path, .. } => {
                format!("make a new one: `observer run ... --write-baseline {}`", path.display())
            }
            Self::NoFacts { .. } => {
                "make them with requests and calls: `observer run --all --facts --output json > FILE`"
                    .into()
            }
            Self::NotARecording { .. } => {
                "make one: `observer run --pid PID --record FILE`".into()
            }
            Self::RecordingTooNew { .. } => {
                "replay it with the observer that recorded it, or with a newer one: `observer --version`"
                    .into()
            }
            Self::RecordingDamaged { .. } => {
                "what stands before that was replayed; to have all, record again and let observer end by itself (`--duration 30s`) or by SIGINT".into()
            }
            Self::Output { path, source, .. } => output(path.as_deref(), source),
            Self::StubObject => {
                "install the eBPF toolchain and build again: `cargo xtask setup && cargo build --release`"
                    .into()
            }
            Self::ChildPidNamespace => {
                "run it in the host's pid namespace: `hostPID: true` in the pod, `docker run --pid=host`"
                    .into()
            }
            Self::Internal { .. } => {
                "this is a bug in observer; please report it with the text above and `observer --version`"
                    .into()
            }
        }
    }
}

/// As container tools name a capability.
fn short(capability: &str) -> &str {
    capability.strip_prefix("CAP_").unwrap_or(capability)
}

/// What keeps a file from being written.
fn output(path: Option<&Path>, error: &io::Error) -> String {
    let Some(path) = path else {
        return "see whether there is space left where it goes: `df -h`".into();
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let (path, folder) = (path.display(), folder.display());
    match error.kind() {
        io::ErrorKind::NotFound => format!(
            "see whether its folder is there and takes new files, `ls -ld {folder}`; \
             make one: `mkdir -p {folder}`"
        ),
        io::ErrorKind::IsADirectory => {
            format!("that is a folder; name a file, such as `{path}/observer.out`")
        }
        io::ErrorKind::NotADirectory => {
            format!("a part of the path is a file, not a folder: `ls -ld {folder}`")
        }
        _ if error.raw_os_error() == Some(libc::ELOOP) => {
            format!("symbolic links are not followed; name the file itself: `readlink -f {path}`")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            format!("see who may write there, or name another place: `ls -ld {folder}`")
        }
        _ => format!("see whether there is space left: `df -h {folder}`"),
    }
}

/// Whoever lacks one usually lacks the others: name them all, the missing one first.
fn capability_set(missing: &str) -> String {
    let needed = [
        "cap_bpf",
        "cap_perfmon",
        "cap_sys_ptrace",
        "cap_dac_read_search",
        "cap_sys_admin",
    ];
    let first = missing.to_ascii_lowercase();
    let mut set = vec![first.as_str()];
    set.extend(needed.iter().filter(|name| **name != first));
    set.join(",")
}

/// `did you mean …?`, where some are near to known ones.
fn nearest_keys(keys: &[UnknownKey]) -> Option<String> {
    let near: Vec<String> = keys
        .iter()
        .filter_map(|key| {
            let nearest = key.nearest.as_deref()?;
            Some(format!("`{nearest}` instead of `{}`", key.path))
        })
        .collect();
    (!near.is_empty()).then(|| format!("did you mean {}?", near.join(", ")))
}
