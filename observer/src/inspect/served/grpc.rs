//! gRPC: the stream that `(*Server).handleStream` was given. The function keeps its arguments in memory from its first
//! instruction on.

use std::sync::Arc;

use crate::go::layout::Layout;
use crate::target::{Memory, MemoryError};

use super::{MAX_PATH, Served, text, word};

const SERVER_STREAM: &str = "google.golang.org/grpc/internal/transport.ServerStream";
const STREAM: &str = "google.golang.org/grpc/internal/transport.Stream";
/// The stream comes behind the receiver and the transport, an interface.
const STREAM_ARGUMENT: u32 = 24;

/// Fields on the way from a stream to its method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GrpcOffsets {
    /// The server's stream holds a pointer to what client and server have in common.
    by_pointer: bool,
    /// `Stream.method`, a string.
    method: u32,
}

impl GrpcOffsets {
    /// As the layout has them; `None` for a program without gRPC, or with a release that was not measured.
    pub(super) fn of(layout: &Layout) -> Option<Self> {
        Some(Self {
            by_pointer: layout.is_pointer(SERVER_STREAM, "Stream"),
            method: layout.field(STREAM, "method")?,
        })
    }
}

/// The request of the stream in the arguments at `arguments`; `None` where its method is none (`/service/method`).
pub(super) fn served(
    memory: &impl Memory,
    at: GrpcOffsets,
    arguments: u64,
) -> Result<Option<Served>, MemoryError> {
    let stream = word(memory, arguments, STREAM_ARGUMENT)?;
    let common = if at.by_pointer {
        memory.read_u64(stream)?
    } else {
        stream
    };
    let path = text(memory, common, at.method, MAX_PATH)?;
    let full = path.filter(|path| {
        path.strip_prefix('/')
            .is_some_and(|rest| rest.contains('/'))
    });
    Ok(full.map(|path| Served {
        method: Arc::from("POST"),
        path,
    }))
}

#[cfg(test)]
mod tests {
    use super::{GrpcOffsets, served};
    use crate::go::GoVersion;
    use crate::go::layout::Layout;
    use crate::target::RecordedMemory;

    const ARGUMENTS: u64 = 0x1000;
    const STREAM: u64 = 0x2000;
    const COMMON: u64 = 0x3000;
    const TEXT: u64 = 0x4000;

    #[test]
    fn a_stream_is_known_by_its_method() {
        let version = GoVersion::parse("go1.27.3").unwrap();
        for (grpc, by_pointer) in [("v1.56.3", false), ("v1.69.4", true), ("v1.85.0", false)] {
            let layout = Layout::for_version(&version).unwrap();
            assert_eq!(GrpcOffsets::of(&layout), None);
            let layout = layout.with_grpc(Some(grpc));
            let at = GrpcOffsets::of(&layout).unwrap();
            assert_eq!(at.by_pointer, by_pointer, "{grpc}");
            for (method, known) in [("/shop.Depot/Sleep", true), ("/nowhere", false)] {
                let mut memory = RecordedMemory::new();
                memory.insert(ARGUMENTS, &[7; 24]);
                memory.insert(ARGUMENTS + 24, &STREAM.to_le_bytes());
                memory.insert(STREAM, &COMMON.to_le_bytes());
                let common = if by_pointer { COMMON } else { STREAM };
                let len = u64::try_from(method.len()).unwrap();
                let string = common + u64::from(at.method);
                memory.insert(string, &TEXT.to_le_bytes());
                memory.insert(string + 8, &len.to_le_bytes());
                memory.insert(TEXT, method.as_bytes());
                let found = served(&memory, at, ARGUMENTS).unwrap();
                assert_eq!(found.is_some(), known, "{grpc} {method}");
                if let Some(found) = found {
                    assert_eq!((&*found.method, &*found.path), ("POST", method));
                }
            }
        }
    }
}
