//! The embedded eBPF object.
//!
//! Owns the bytes that the build script put in place; does not look into them.

/// The ELF parser reads the object in place and wants its headers aligned.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(
    env!("OUT_DIR"),
    "/observer-ebpf.o"
)));

/// The SHA-256 of the sources that the embedded object was built from, in lower-case hex; empty where there is none.
pub const SOURCES_SHA256: &str = env!("OBSERVER_EBPF_SOURCES_SHA256");

/// This observer was built on a machine without a BPF toolchain, so it has nothing to load into the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this observer was built without its eBPF object\n\nhint: run `cargo xtask setup`, then build again"
)]
pub struct MissingObject;

/// The eBPF object, an ELF file, aligned to 8 bytes.
///
/// # Errors
/// [`MissingObject`] in a debug build from a machine without a BPF toolchain. A release always has the object.
pub fn object() -> Result<&'static [u8], MissingObject> {
    if OBJECT.0.is_empty() {
        Err(MissingObject)
    } else {
        Ok(&OBJECT.0)
    }
}
