//! Exit codes. Nothing else in the project writes one as a number.

use super::Error;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// All well, or stdout was closed by its reader.
    Fine = 0,
    /// Findings at or above `--fail-on`.
    Findings = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// This host cannot: kernel or capability.
    Host = 3,
    /// The target is missing or cannot be observed.
    Target = 4,
    /// A requested result could not be written.
    Output = 5,
    /// A bug in observer (`EX_SOFTWARE`).
    Internal = 70,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Error {
    /// The code that a process ends with because of this error.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. }
            | Self::BadFlag { .. }
            | Self::UnknownRule { .. }
            | Self::BadConfig { .. }
            | Self::UnknownKeys { .. }
            | Self::Unreadable { .. }
            | Self::BadBaseline { .. }
            | Self::NoFacts { .. }
            | Self::NotARecording { .. }
            | Self::RecordingTooNew { .. }
            | Self::RecordingDamaged { .. } => Exit::Usage,
            Self::MissingCapability { .. }
            | Self::Denied { .. }
            | Self::KernelTooOld { .. }
            | Self::KernelWithoutBpf { .. }
            | Self::KernelWithoutUprobes
            | Self::ProgramRefused { .. }
            | Self::StubObject
            | Self::ChildPidNamespace => Exit::Host,
            Self::NoSuchProcess { .. }
            | Self::NotGo { .. }
            | Self::Unobservable { .. }
            | Self::GoTooOld { .. }
            | Self::ProcessExited { .. }
            | Self::ExitedWhileRead { .. }
            | Self::NoGoroutines { .. }
            | Self::ProcessReplaced { .. }
            | Self::BadElf { .. }
            | Self::ElfTooLarge { .. }
            | Self::ExecutableGone { .. }
            | Self::NothingMatched { .. }
            | Self::TooManyExecutables { .. } => Exit::Target,
            Self::Output { .. } => Exit::Output,
            Self::Internal { .. } => Exit::Internal,
        }
    }
}
