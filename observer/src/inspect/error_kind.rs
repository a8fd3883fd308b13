//! Which error an `error` in foreign memory is: enough to tell a client that left from a deadline.

use crate::go::TypeName;
use crate::target::{Memory, MemoryError};

use super::ErrorOffsets;
use super::strings::read_string;
use crate::target::fields::pair_at;

/// Errors that wrap errors, followed at most.
const MAX_WRAPPED: usize = 8;
/// `crypto/tls.permanentError.err`, its only field.
const TLS_PERMANENT_ERROR: u32 = 0;
/// Longest text of an `errors.errorString` that is compared.
const MAX_TEXT: usize = 64;

/// Names of types in the target, by their addresses at run time.
pub trait TypeNames {
    /// The concrete type behind an itab.
    fn of_itab(&self, itab: u64) -> Option<TypeName>;

    /// The type at a type descriptor's address.
    fn of_type(&self, descriptor: u64) -> Option<TypeName>;
}

/// What an error says, as far as rules tell errors apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// `io.EOF`.
    Eof,
    /// `ECONNRESET`.
    ConnectionReset,
    /// `EPIPE`.
    BrokenPipe,
    /// Another system call's error number.
    Errno(i32),
    /// `os.ErrDeadlineExceeded`: a deadline the service itself set on the connection.
    IoDeadline,
    /// `net.ErrClosed`: the service closed the connection itself.
    NetClosing,
    /// `context.Canceled`.
    Canceled,
    /// `context.DeadlineExceeded`.
    DeadlineExceeded,
    /// Another error, of this type.
    Other(TypeName),
    /// An error whose type could not be told.
    Unknown,
}

/// The error whose itab and data words are given; `None` for nil.
///
/// # Errors
/// The memory behind it cannot be read.
pub fn error_kind(
    memory: &impl Memory,
    offsets: &ErrorOffsets,
    types: &dyn TypeNames,
    (itab, data): (u64, u64),
) -> Result<Option<ErrorKind>, MemoryError> {
    let (mut itab, mut data) = (itab, data);
    if itab == 0 {
        return Ok(None);
    }
    for _ in 0..MAX_WRAPPED {
        let Some(name) = types.of_itab(itab) else {
            return Ok(Some(ErrorKind::Unknown));
        };
        let Some(inner_at) = wrapped_at(&name, offsets) else {
            return leaf(memory, name, data).map(Some);
        };
        let block = memory.read_bytes(data.saturating_add(u64::from(inner_at)), 16)?;
        let (inner_itab, inner_data) = pair_at(&block, 0).unwrap_or((0, 0));
        if inner_itab == 0 {
            return Ok(Some(ErrorKind::Other(name)));
        }
        (itab, data) = (inner_itab, inner_data);
    }
    Ok(Some(ErrorKind::Unknown))
}

/// The same for an error kept in an `atomic.Value`, whose first word is a type descriptor.
///
/// # Errors
/// The memory behind it cannot be read.
pub fn error_kind_of_type(
    memory: &impl Memory,
    types: &dyn TypeNames,
    (descriptor, data): (u64, u64),
) -> Result<Option<ErrorKind>, MemoryError> {
    if descriptor == 0 {
        return Ok(None);
    }
    match types.of_type(descriptor) {
        Some(name) => leaf(memory, name, data).map(Some),
        None => Ok(Some(ErrorKind::Unknown)),
    }
}

fn wrapped_at(name: &TypeName, offsets: &ErrorOffsets) -> Option<u32> {
    match (&*name.package, &*name.name, name.pointer) {
        ("net", "OpError", true) => Some(offsets.op_error),
        ("os", "SyscallError", true) => Some(offsets.syscall_error),
        ("crypto/tls", "permanentError", true) => Some(TLS_PERMANENT_ERROR),
        _ => None,
    }
}

fn leaf(memory: &impl Memory, name: TypeName, data: u64) -> Result<ErrorKind, MemoryError> {
    Ok(match (&*name.package, &*name.name) {
        ("internal/poll", "DeadlineExceededError") => ErrorKind::IoDeadline,
        ("internal/poll", "errNetClosing") => ErrorKind::NetClosing,
        ("context", "deadlineExceededError") => ErrorKind::DeadlineExceeded,
        ("syscall", "Errno") => errno(memory.read_u64(data)?),
        ("errors", "errorString") => {
            let block = memory.read_bytes(data, 16)?;
            let words = pair_at(&block, 0).unwrap_or((0, 0));
            match read_string(memory, words, MAX_TEXT)?.as_deref() {
                Some("EOF") => ErrorKind::Eof,
                Some("context canceled") => ErrorKind::Canceled,
                _ => ErrorKind::Other(name),
            }
        }
        _ => ErrorKind::Other(name),
    })
}

fn errno(number: u64) -> ErrorKind {
    match i32::try_from(number) {
        Ok(libc::ECONNRESET) => ErrorKind::ConnectionReset,
        Ok(libc::EPIPE) => ErrorKind::BrokenPipe,
        Ok(other) => ErrorKind::Errno(other),
        Err(_) => ErrorKind::Unknown,
    }
}
