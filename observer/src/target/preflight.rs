//! What this host can: asked before anything is attached. Remedies are those of the errors.

use caps::{CapSet, Capability};

/// The initial pid namespace's inode is a constant of the kernel (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";
/// Uprobe cookies and pinned task contexts came with this kernel.
const OLDEST_KERNEL: (u32, u32) = (5, 15);
/// What observer needs, unless it has `CAP_SYS_ADMIN` in place of the first two.
const NEEDED: [(Capability, bool); 4] = [
    (Capability::CAP_BPF, true),
    (Capability::CAP_PERFMON, true),
    (Capability::CAP_SYS_PTRACE, false),
    (Capability::CAP_DAC_READ_SEARCH, false),
];

/// Something observer would use and this host does not have.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Missing {
    /// The kernel is too old.
    #[error("Linux {}.{} is too old: observer needs 5.15", .have.0, .have.1)]
    Kernel {
        /// Major and minor version of the running one.
        have: (u32, u32),
    },
    /// The kernel has no `bpf` system call.
    #[error("this kernel has no bpf system call")]
    Bpf,
    /// The kernel cannot place uprobes.
    #[error("this kernel has no uprobe event source")]
    Uprobes,
    /// The kernel does not describe its own types.
    #[error("this kernel has no BTF")]
    Btf,
    /// A capability.
    #[error("missing capability {0}")]
    Capability(Capability),
    /// Yama forbids reading other processes' memory, to root too.
    #[error("Yama forbids every process to look into another (ptrace_scope 3)")]
    Yama,
    /// The kernel's pids are not ours.
    #[error("observer runs in a pid namespace of its own")]
    PidNamespace,
    /// `/proc` shows another pid namespace than ours, or nothing.
    #[error("/proc does not show this pid namespace")]
    ForeignProc,
}

impl Missing {
    /// Whether observer cannot do anything useful without it.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        // Without BTF only the kernel's view of sockets is lost.
        !matches!(self, Self::Btf)
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Version of the running kernel.
    pub kernel: (u32, u32),
    /// What it lacks, the gravest first.
    pub missing: Vec<Missing>,
}

/// What was asked of the system, so that the answer can be tested without the system.
#[derive(Debug, Clone)]
struct Facts {
    kernel: (u32, u32),
    bpf: bool,
    uprobes: bool,
    btf: bool,
    effective: Vec<Capability>,
    yama_closed: bool,
    child_namespace: bool,
    own_proc: bool,
}

impl Host {
    /// Asks the running system. Never fails: what cannot be told counts as missing.
    #[must_use]
    pub fn check() -> Self {
        Self::judge(&Facts::collect())
    }

    /// What keeps observer from working at all.
    pub fn fatal(&self) -> impl Iterator<Item = &Missing> {
        self.missing.iter().filter(|missing| missing.is_fatal())
    }

    fn judge(facts: &Facts) -> Self {
        let admin = facts.effective.contains(&Capability::CAP_SYS_ADMIN);
        let capabilities = NEEDED.into_iter().filter_map(|(capability, admin_does)| {
            let has = facts.effective.contains(&capability) || (admin && admin_does);
            (!has).then_some(Missing::Capability(capability))
        });
        let kernel = facts.kernel;
        let missing = [
            (kernel < OLDEST_KERNEL).then_some(Missing::Kernel { have: kernel }),
            (!facts.bpf).then_some(Missing::Bpf),
            (!facts.uprobes).then_some(Missing::Uprobes),
            (!facts.own_proc).then_some(Missing::ForeignProc),
            facts.child_namespace.then_some(Missing::PidNamespace),
            facts.yama_closed.then_some(Missing::Yama),
        ]
        .into_iter()
        .flatten()
        .chain(capabilities)
        .chain((!facts.btf).then_some(Missing::Btf))
        .collect();
        Self { kernel, missing }
    }
}

impl Facts {
    fn collect() -> Self {
        let exists = |path: &str| std::path::Path::new(path).exists();
        let own_pid = std::process::id().to_string();
        Self {
            kernel: kernel_version().unwrap_or((0, 0)),
            bpf: has_bpf_call(),
            uprobes: exists("/sys/bus/event_source/devices/uprobe/type"),
            btf: exists("/sys/kernel/btf/vmlinux"),
            effective: caps::read(None, CapSet::Effective)
                .map(|set| set.into_iter().collect())
                .unwrap_or_default(),
            yama_closed: std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope")
                .is_ok_and(|scope| scope.trim() == "3"),
            child_namespace: std::fs::read_link("/proc/self/ns/pid")
                .is_ok_and(|link| link.as_os_str() != INITIAL_PID_NAMESPACE),
            own_proc: std::fs::read_link("/proc/self")
                .is_ok_and(|link| link.as_os_str() == own_pid.as_str()),
        }
    }
}

fn kernel_version() -> Option<(u32, u32)> {
    let release = nix::sys::utsname::uname().ok()?;
    parse_release(release.release().to_str()?)
}

fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn has_bpf_call() -> bool {
    const NO_SUCH_COMMAND: libc::c_long = libc::c_long::MAX;
    // SAFETY: no command has this number, so the kernel refuses before it looks at the null attributes.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, NO_SUCH_COMMAND, 0, 0) };
    answer >= 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS)
}

#[cfg(test)]
mod tests {
    use caps::Capability;

    use super::{Facts, Host, Missing, NEEDED, parse_release};

    fn good() -> Facts {
        Facts {
            kernel: (5, 15),
            bpf: true,
            uprobes: true,
            btf: true,
            effective: NEEDED.iter().map(|(capability, _)| *capability).collect(),
            yama_closed: false,
            child_namespace: false,
            own_proc: true,
        }
    }

    #[test]
    fn four_capabilities_are_enough() {
        assert_eq!(Host::judge(&good()).missing, []);
    }

    #[test]
    fn admin_stands_in_for_bpf_and_perfmon_only() {
        let facts = Facts {
            effective: vec![Capability::CAP_SYS_ADMIN],
            ..good()
        };
        assert_eq!(
            Host::judge(&facts).missing,
            [
                Missing::Capability(Capability::CAP_SYS_PTRACE),
                Missing::Capability(Capability::CAP_DAC_READ_SEARCH)
            ]
        );
    }

    #[test]
    fn without_btf_observer_still_works() {
        let host = Host::judge(&Facts {
            btf: false,
            ..good()
        });
        assert_eq!(host.missing, [Missing::Btf]);
        assert_eq!(host.fatal().count(), 0);
    }

    #[test]
    fn everything_missing_has_a_text() {
        let host = Host::judge(&Facts {
            kernel: (5, 4),
            bpf: false,
            uprobes: false,
            btf: false,
            effective: Vec::new(),
            yama_closed: true,
            child_namespace: true,
            own_proc: false,
        });
        assert_eq!(host.missing.len(), 11);
        for missing in &host.missing {
            assert!(!missing.to_string().is_empty());
        }
        assert_eq!(
            Missing::Capability(Capability::CAP_BPF).to_string(),
            "missing capability CAP_BPF"
        );
    }

    #[test]
    fn releases_of_distributions_are_read() {
        assert_eq!(parse_release("6.18.0-rc1+"), Some((6, 18)));
        assert_eq!(parse_release("5.15.0-1051-aws"), Some((5, 15)));
        assert_eq!(parse_release("6.1"), Some((6, 1)));
        assert_eq!(parse_release("odd"), None);
    }

    #[test]
    fn this_host_answers() {
        assert!(Host::check().kernel > (3, 0));
    }
}
