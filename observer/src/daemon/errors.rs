//! Failures below, in the words of the user's error set.

use std::io;

use caps::{CapSet, Capability, CapsHashSet};

use crate::error::{Error, Subject};
use crate::go::{Image, ImageError, LayoutError};
use crate::probe::ProbeError;
use crate::target::{Host, Missing, TargetError};

pub(super) fn of_target(pid: u32, error: TargetError) -> Error {
    match error {
        TargetError::NoSuchProcess { .. } => Error::NoSuchProcess { pid },
        TargetError::Ended { .. } | TargetError::Unsettled { .. } => Error::ProcessExited { pid },
        TargetError::KernelThread { .. } => Error::NotGo {
            subject: Subject::Pid(pid),
            why: "it is a thread of the kernel".into(),
        },
        TargetError::NotPermitted { .. } => not_permitted(pid),
        TargetError::NotElf { .. } => Error::NotGo {
            subject: Subject::Pid(pid),
            why: "its executable is not a 64-bit ELF file".into(),
        },
        TargetError::NotMapped { .. } => Error::BadElf {
            subject: Subject::Pid(pid),
            problem: "the process does not map it where its entry point is".into(),
        },
        TargetError::Path {
            ref path,
            ref source,
        } if source.kind() == io::ErrorKind::NotFound => Error::NothingMatched {
            selectors: format!("--exe {path}"),
        },
        other => Error::Internal {
            what: "reading /proc".into(),
            source: Some(other.into()),
        },
    }
}

/// We may not look at a process.
pub(super) fn not_permitted(pid: u32) -> Error {
    refused(
        pid,
        &caps::read(None, CapSet::Effective).unwrap_or_default(),
    )
}

/// Why we may not look at a process, by what we can.
fn refused(pid: u32, ours: &CapsHashSet) -> Error {
    let action = format!("look at pid {pid}");
    if !ours.contains(&Capability::CAP_SYS_PTRACE) {
        return Error::MissingCapability {
            action,
            capability: "CAP_SYS_PTRACE",
        };
    }
    Error::Denied {
        action,
        source: io::Error::other("something else than capabilities protects it"),
        remedy:
            "a security module, or a user namespace around observer, may forbid it: try from the \
                 host, and see what was logged: `sudo dmesg | grep -iE 'lockdown|apparmor|selinux'`"
                .into(),
    }
}

pub(super) fn of_image(subject: Subject, error: ImageError) -> Error {
    match error {
        ImageError::NotElf => Error::NotGo {
            subject,
            why: "it is not an ELF executable".into(),
        },
        ImageError::NotGo { why } => Error::NotGo {
            subject,
            why: why.into(),
        },
        ImageError::TooOld { version } => Error::GoTooOld { subject, version },
        ImageError::NoVersion => Error::NotGo {
            subject,
            why: "its build info names no version".into(),
        },
        other => Error::BadElf {
            subject,
            problem: chain(&other),
        },
    }
}

pub(super) fn of_layout(subject: Subject, image: &Image, error: &LayoutError) -> Error {
    match error {
        LayoutError::Unknown { .. } => Error::GoTooOld {
            subject,
            version: image.go_version().raw.clone(),
        },
        LayoutError::Damaged => Error::Internal {
            what: "reading the struct offsets".into(),
            source: None,
        },
    }
}

/// What keeps this host from observing at all.
pub(super) fn of_host(host: &Host) -> Option<Error> {
    let missing = host.fatal().next()?;
    Some(match missing {
        Missing::Kernel {
            have: (major, minor),
        } => Error::KernelTooOld {
            release: format!("{major}.{minor}"),
        },
        Missing::Bpf => Error::KernelWithoutBpf {
            source: "the bpf system call is not there".into(),
        },
        Missing::Uprobes => Error::KernelWithoutUprobes,
        Missing::PidNamespace | Missing::ForeignProc => Error::ChildPidNamespace,
        Missing::Capability(capability) => Error::MissingCapability {
            action: "observe".into(),
            capability: capability_name(capability),
        },
        Missing::Yama => Error::Denied {
            action: "read memory of other processes".into(),
            source: io::Error::other("kernel.yama.ptrace_scope is 3"),
            remedy: "it holds until the next boot; see who sets it: `grep -r ptrace_scope /etc/sysctl.*`"
                .into(),
        },
        Missing::Btf => return None,
    })
}

const fn capability_name(capability: &Capability) -> &'static str {
    match capability {
        Capability::CAP_BPF => "CAP_BPF",
        Capability::CAP_PERFMON => "CAP_PERFMON",
        Capability::CAP_SYS_PTRACE => "CAP_SYS_PTRACE",
        Capability::CAP_DAC_READ_SEARCH => "CAP_DAC_READ_SEARCH",
        _ => "CAP_SYS_ADMIN",
    }
}

pub(super) fn of_probe(release: &str, error: ProbeError) -> Error {
    match error {
        // Kernels differ in what a uprobe takes; all are content with this one.
        ProbeError::Attach { .. } if is_refused(&error) => Error::MissingCapability {
            action: "attach probes".into(),
            capability: "CAP_SYS_ADMIN",
        },
        ProbeError::NoObject(_) => Error::StubObject,
        // The capabilities are there, else we would not have come so far.
        // A program is another matter: the verifier says EACCES too.
        ProbeError::Load(_) | ProbeError::Map { .. } if is_refused(&error) => Error::Denied {
            action: "load eBPF programs".into(),
            source: io::ErrorKind::PermissionDenied.into(),
            remedy: "a seccomp filter or a security module forbids it; see what was logged: \
                     `sudo dmesg | grep -iE 'seccomp|lockdown|apparmor|selinux'`"
                .into(),
        },
        ProbeError::Program { program, source } => Error::ProgramRefused {
            release: release.to_owned(),
            program: program.to_owned(),
            source: source.into(),
        },
        ProbeError::Load(source) => Error::KernelWithoutBpf {
            source: source.into(),
        },
        other => Error::Internal {
            what: other.to_string(),
            source: Some(other.into()),
        },
    }
}

/// The kernel said EPERM or EACCES.
fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return io.kind() == io::ErrorKind::PermissionDenied;
        }
        next = cause.source();
    }
    false
}

/// The error and what caused it, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use caps::Capability::{CAP_BPF, CAP_SYS_PTRACE};

    use super::refused;
    use crate::error::Error;

    #[test]
    fn a_capability_that_is_there_is_not_called_missing() {
        assert!(matches!(
            refused(1, &[CAP_BPF].into()),
            Error::MissingCapability {
                capability: "CAP_SYS_PTRACE",
                ..
            }
        ));
        let error = refused(1, &[CAP_BPF, CAP_SYS_PTRACE].into());
        assert!(matches!(error, Error::Denied { .. }));
        assert!(!error.hint().contains("setcap"), "{}", error.hint());
    }
}
