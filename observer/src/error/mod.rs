//! Every way in which a user can fail: text, cause, remedy and exit code.
//!
//! Owns the closed set of errors and how they are rendered. It must not print, and it holds no
//! error that only a programmer can understand: those become [`Error::Internal`].

mod exit;
mod hint;
mod notice;

use std::error::Error as _;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use crate::foreign::harmless;
use crate::style::Styles;

pub use exit::Exit;
pub use notice::Notice;

/// A boxed cause: kept for the `caused by` chain, never matched on.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What an error about an executable is about: a running process or a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A process, by its pid in observer's own namespace.
    Pid(u32),
    /// An executable file.
    Path(PathBuf),
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pid(pid) => write!(f, "pid {pid}"),
            Self::Path(path) => write!(f, "`{}`", path.display()),
        }
    }
}

impl Subject {
    /// After "the executable": `of pid 7`, or the path itself.
    fn owned(&self) -> String {
        match self {
            Self::Pid(_) => format!("of {self}"),
            Self::Path(_) => self.to_string(),
        }
    }
}

/// A key of the configuration file that means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKey {
    /// Where it stands (`allow.0.sites`).
    pub path: String,
    /// The known key that looks most like it, if one does.
    pub nearest: Option<String>,
}

/// The closed set. Rendered by [`Error::render`], exits with [`Error::exit`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `--pid` names nobody.
    #[error("no process has pid {pid}")]
    NoSuchProcess {
        /// As given.
        pid: u32,
    },
    /// The executable holds no Go runtime.
    #[error("{subject} is not a Go program: {why}")]
    NotGo {
        /// Which executable.
        subject: Subject,
        /// What is missing (`no .gopclntab section and no build info`).
        why: String,
    },
    /// What every rule needs is at no place of the executable that is certain.
    #[error("{subject} cannot be observed: no {hook}: {why}")]
    Unobservable {
        /// Which process.
        subject: Subject,
        /// The hook that is needed.
        hook: &'static str,
        /// Why it is off.
        why: String,
    },
    /// Go before 1.18 passes what we need to see in other places.
    #[error("{subject} was built with {version}; observer needs go1.18 or newer")]
    GoTooOld {
        /// Which executable.
        subject: Subject,
        /// As the binary states it.
        version: String,
    },
    /// The process ended between selection and the last attached probe.
    #[error("pid {pid} exited while observer was attaching to it")]
    ProcessExited {
        /// Whose.
        pid: u32,
    },
    /// The process ended while its goroutines were read.
    #[error("pid {pid} exited while observer was reading its goroutines")]
    ExitedWhileRead {
        /// Whose.
        pid: u32,
    },
    /// Where the runtime keeps its goroutines, or what they look like, is not known.
    #[error("cannot read the goroutines of pid {pid}: {why}")]
    NoGoroutines {
        /// Whose.
        pid: u32,
        /// What is missing.
        why: String,
    },
    /// The process called `execve` while we were attaching.
    #[error("pid {pid} replaced itself while observer was attaching: it is now `{}`", exe.display())]
    ProcessReplaced {
        /// Whose.
        pid: u32,
        /// What it runs now.
        exe: PathBuf,
    },
    /// A capability is missing.
    #[error("cannot {action}: missing capability {capability}")]
    MissingCapability {
        /// What was tried (`attach to pid 4121`).
        action: String,
        /// The kernel's name (`CAP_BPF`).
        capability: &'static str,
    },
    /// Refused although the capabilities are there (seccomp, LSM, lockdown).
    #[error("cannot {action}: permission denied")]
    Denied {
        /// What was tried.
        action: String,
        /// What the kernel said.
        source: io::Error,
        /// Where to look for who forbids it.
        remedy: String,
    },
    /// Before 5.15 probes carry no cookie.
    #[error("kernel {release} is too old; observer needs Linux 5.15 or newer")]
    KernelTooOld {
        /// `uname -r`.
        release: String,
    },
    /// Built or booted without BPF.
    #[error("this kernel has no BPF")]
    KernelWithoutBpf {
        /// What the kernel said.
        source: Cause,
    },
    /// Built without the uprobe PMU.
    #[error("this kernel has no uprobes (`/sys/bus/event_source/devices/uprobe` is missing)")]
    KernelWithoutUprobes,
    /// The kernel's verifier refused a program.
    #[error("kernel {release} refused the program `{program}`")]
    ProgramRefused {
        /// `uname -r`.
        release: String,
        /// Name of the program.
        program: String,
        /// What the verifier said.
        source: Cause,
    },
    /// Truncated, contradictory, or no ELF at all.
    #[error("cannot read the executable {}: {problem}", subject.owned())]
    BadElf {
        /// Which executable.
        subject: Subject,
        /// What is wrong with it (`section headers end after the file does`).
        problem: String,
    },
    /// Beyond the bound that keeps memory bounded.
    #[error("the executable {} is too large: {size} bytes, the limit is {limit}", subject.owned())]
    ElfTooLarge {
        /// Which executable.
        subject: Subject,
        /// Its size, bytes.
        size: u64,
        /// The bound, bytes.
        limit: u64,
    },
    /// The file that the process runs is no longer the file at its path, and cannot be opened.
    #[error("the executable of pid {pid} was deleted or overwritten: `{}`", exe.display())]
    ExecutableGone {
        /// Whose.
        pid: u32,
        /// Its path as the kernel names it.
        exe: PathBuf,
    },
    /// No process fits.
    #[error("no running Go process matches {selectors}")]
    NothingMatched {
        /// As given (`--exe api --port 8080`).
        selectors: String,
    },
    /// Slots of the probes' layouts are used up.
    #[error("{limit} executables are observed already, and that is as many as can be")]
    TooManyExecutables {
        /// The bound.
        limit: u32,
    },
    /// The command line is not usable in a way that clap cannot see.
    #[error("{problem}")]
    Usage {
        /// What is wrong.
        problem: String,
        /// A command that is right.
        remedy: String,
    },
    /// A value on the command line or in the environment means nothing.
    #[error("invalid value `{value}` for `{place}`")]
    BadFlag {
        /// As given.
        value: String,
        /// Where it was given (`--grace <TIME>`, `OBSERVER_GRACE`).
        place: String,
        /// What is wrong with it.
        source: Cause,
        /// What is right.
        remedy: String,
    },
    /// A rule that does not exist.
    #[error("there is no rule `{name}`")]
    UnknownRule {
        /// As given.
        name: String,
        /// The rule that looks most like it, if one does.
        nearest: Option<&'static str>,
    },
    /// The configuration file does not parse or a value in it is not allowed.
    #[error("cannot use the configuration file `{}`{}{}", path.display(), at_line(*line), and_keys(unknown))]
    BadConfig {
        /// The file.
        path: PathBuf,
        /// Line, from 1; 0 where unknown.
        line: usize,
        /// What is wrong there.
        source: Cause,
        /// Keys that mean nothing, in file order.
        unknown: Vec<UnknownKey>,
    },
    /// The configuration file has keys that mean nothing.
    #[error("unknown {} in the configuration file `{}`", key_list(keys), path.display())]
    UnknownKeys {
        /// The file.
        path: PathBuf,
        /// All of them, in file order.
        keys: Vec<UnknownKey>,
    },
    /// An input file that cannot be read.
    #[error("cannot read the {what} `{}`", path.display())]
    Unreadable {
        /// What it was to be (`configuration file`, `baseline`, `recording`).
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A baseline with a line that is no fingerprint.
    #[error("`{}` is not a baseline: line {line} is no fingerprint", path.display())]
    BadBaseline {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
    },
    /// Of the files to be joined none tells of a request or a call.
    #[error("{}: no request and no call to join", named(paths))]
    NoFacts {
        /// Those files, at least one.
        paths: Vec<PathBuf>,
    },
    /// Not a recording at all.
    #[error("`{}` is not an observer recording", path.display())]
    NotARecording {
        /// The file.
        path: PathBuf,
    },
    /// Written by a newer observer.
    #[error("the recording `{}` has format {found}; this observer reads up to format {known}", path.display())]
    RecordingTooNew {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest known one.
        known: u32,
    },
    /// Ends in the middle of a record.
    #[error("the recording `{}` is damaged after byte {offset}: {problem}", path.display())]
    RecordingDamaged {
        /// The file.
        path: PathBuf,
        /// End of the last whole record, bytes.
        offset: u64,
        /// What is wrong there (`it ends inside a record`).
        problem: String,
    },
    /// A result could not be written.
    #[error("cannot write {what}")]
    Output {
        /// Which result (`stdout`, "the log `/var/log/o.jsonl`").
        what: String,
        /// Its file, where it has one.
        path: Option<PathBuf>,
        /// The first failure.
        source: io::Error,
    },
    /// This binary was built without the eBPF programs.
    #[error("this observer was built without its eBPF programs")]
    StubObject,
    /// Pids seen here are not the pids that the kernel reports to probes.
    #[error("observer runs in a child pid namespace: pids seen by the kernel have no meaning here")]
    ChildPidNamespace,
    /// A bug in observer.
    #[error("internal error: {what}")]
    Internal {
        /// What was being done.
        what: String,
        /// Why it failed, where known.
        source: Option<Cause>,
    },
}

fn at_line(line: usize) -> String {
    if line == 0 {
        String::new()
    } else {
        format!(", line {line}")
    }
}

fn and_keys(unknown: &[UnknownKey]) -> String {
    if unknown.is_empty() {
        String::new()
    } else {
        format!("; it has the unknown {} too", key_list(unknown))
    }
}

fn named(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths
        .iter()
        .map(|path| format!("`{}`", path.display()))
        .collect();
    names.join(", ")
}

fn key_list(keys: &[UnknownKey]) -> String {
    let names: Vec<String> = keys.iter().map(|key| format!("`{}`", key.path)).collect();
    let noun = if keys.len() == 1 { "key" } else { "keys" };
    format!("{noun} {}", names.join(", "))
}

impl Error {
    /// `error: …`, the causes, a blank line and the hint; ends with a newline.
    #[must_use]
    pub fn render(&self, styles: Styles) -> String {
        let said = self.to_string();
        let mut text = format!("{} {}\n", styles.error("error:"), harmless(&said));
        let mut cause = self.source();
        while let Some(this) = cause {
            let said = this.to_string();
            for (index, line) in harmless(said.trim_end()).lines().enumerate() {
                let lead = if index == 0 {
                    "  caused by: "
                } else {
                    "             "
                };
                let _infallible = writeln!(text, "{lead}{line}");
            }
            cause = this.source();
        }
        let hint = self.hint();
        let _infallible = writeln!(text, "\n{} {}", styles.help("hint:"), harmless(&hint));
        text
    }
}

#[cfg(test)]
mod tests;
