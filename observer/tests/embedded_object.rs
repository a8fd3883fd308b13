//! The eBPF object inside observer is the one that the sources describe.

use std::path::Path;

use observer::probe::object::{MissingObject, SOURCES_SHA256, object};

#[path = "../../xtask/src/ebpf/sources.rs"]
mod sources;

#[test]
fn embedded_object_matches_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let object = match object() {
        Ok(object) => object,
        Err(MissingObject) => {
            assert_eq!(SOURCES_SHA256, "", "an empty object claims to have sources");
            panic!("no eBPF object is embedded: run `cargo xtask setup`");
        }
    };
    assert_eq!(
        SOURCES_SHA256,
        sources::hash(root).unwrap(),
        "the embedded object is stale"
    );
    assert!(object.starts_with(b"\x7fELF"), "not an ELF file");
    assert_eq!(object.as_ptr() as usize % 8, 0, "not aligned");
}

#[test]
fn hash_sees_a_rename_and_a_changed_byte() {
    let folder = tempfile::tempdir().unwrap();
    let src = folder.path().join("observer-ebpf/src");
    std::fs::create_dir_all(&src).unwrap();
    std::fs::write(src.join("a.rs"), "one").unwrap();
    let first = sources::hash(folder.path()).unwrap();
    assert_eq!(first, sources::hash(folder.path()).unwrap());
    std::fs::rename(src.join("a.rs"), src.join("b.rs")).unwrap();
    let renamed = sources::hash(folder.path()).unwrap();
    assert_ne!(first, renamed);
    std::fs::write(src.join("b.rs"), "onf").unwrap();
    assert_ne!(renamed, sources::hash(folder.path()).unwrap());
}
