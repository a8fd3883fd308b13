//! Every way in which a file fails to be an executable that observer can read.

/// Why a file could not be opened as a Go executable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file could not be read or mapped.
    #[error("cannot be read")]
    Unreadable(#[from] std::io::Error),
    /// Not a regular file, or not an ELF file at all.
    #[error("not an ELF executable")]
    NotElf,
    /// An ELF file for a machine that observer does not know.
    #[error("built for {found}, which observer does not support")]
    WrongArch {
        /// Machine and class as the ELF header names them.
        found: String,
    },
    /// The headers promise more bytes than the file has, or contradict themselves.
    #[error("truncated or damaged: {what}")]
    Truncated {
        /// The structure that does not fit.
        what: &'static str,
    },
    /// A sound ELF file without what the Go linker leaves behind.
    #[error("not a Go executable: {why}")]
    NotGo {
        /// The missing piece.
        why: &'static str,
    },
    /// A Go executable whose build info names no version.
    #[error("a Go executable without a version in its build info")]
    NoVersion,
    /// Older than Go 1.18.
    #[error("built with {version}; observer needs Go 1.18 or newer")]
    TooOld {
        /// The version in the build info.
        version: String,
    },
    /// The runtime's module record was not found or fails its checks; without it no address is certain.
    #[error("the runtime's module data is not as Go 1.{minor} writes it: {why}")]
    Module {
        /// The minor Go version.
        minor: u32,
        /// Which check failed.
        why: &'static str,
    },
}
