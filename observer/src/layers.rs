//! Which folder of this crate may name which: each only those above it in the table, and of them
//! only its own list. Read from the sources; tests and what is made for them are left out.

use std::collections::BTreeSet;
use std::path::Path;

/// Folders from the ground up, and what each may name.
const LAYERS: [(&str, &[&str]); 18] = [
    ("style", &[]),
    ("foreign", &[]),
    ("stream", &[]),
    ("target", &[]),
    ("go", &[]),
    ("finding", &["go"]),
    ("inspect", &["target", "go"]),
    ("picture", &["go", "finding", "inspect"]),
    ("probe", &["go", "finding", "inspect"]),
    ("model", &["stream", "go", "finding", "inspect"]),
    ("correlate", &["go", "finding", "model"]),
    (
        "detect",
        &[
            "stream",
            "go",
            "finding",
            "inspect",
            "picture",
            "model",
            "correlate",
        ],
    ),
    ("error", &["style", "foreign", "finding"]),
    ("config", &["style", "finding", "error"]),
    (
        "sink",
        &[
            "style",
            "foreign",
            "go",
            "finding",
            "picture",
            "model",
            "correlate",
            "error",
        ],
    ),
    (
        "record",
        &["stream", "go", "model", "detect", "error", "sink"],
    ),
    (
        "cli",
        &[
            "style", "target", "finding", "picture", "error", "config", "sink",
        ],
    ),
    (
        "daemon",
        &[
            "stream",
            "target",
            "go",
            "finding",
            "inspect",
            "picture",
            "probe",
            "model",
            "correlate",
            "detect",
            "error",
            "config",
            "sink",
            "record",
            "cli",
        ],
    ),
];

/// Libraries that one folder owns, so that moving to another version is the work of one folder.
const OWNED: [(&str, &str); 2] = [("aya", "probe"), ("gobin", "go")];

/// Every source of a folder, or the one file that stands for it, without its tests.
fn sources(path: &Path, text: &mut String) {
    let is_test = |path: &Path| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        name == "tests" || name.ends_with("_tests") || name == "samples"
    };
    if is_test(path) {
        return;
    }
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            sources(&entry.unwrap().path(), text);
        }
    } else if path.extension().is_some_and(|it| it == "rs") {
        let source = std::fs::read_to_string(path).unwrap();
        let (code, _tests) = source
            .split_once("#[cfg(test)]\nmod tests {")
            .unwrap_or((&source, ""));
        text.push_str(code);
    }
}

fn source_of(layer: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src")
        .join(layer);
    let mut text = String::new();
    if folder.is_dir() {
        sources(&folder, &mut text);
    } else {
        sources(&folder.with_extension("rs"), &mut text);
    }
    assert!(!text.is_empty(), "{layer} is gone");
    text
}

/// What follows `prefix`, as far as it is a name.
fn named<'a>(text: &'a str, prefix: &'static str) -> BTreeSet<&'a str> {
    let after = text.split(prefix).skip(1);
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    after
        .map(|rest| rest.split(|c| !is_name(c)).next().unwrap_or_default())
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn folders_name_only_what_lies_below_them() {
    let mut below = BTreeSet::new();
    for (layer, allowed) in LAYERS {
        let text = source_of(layer);
        let known: BTreeSet<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
        let names = named(&text, "crate::");
        let others = names
            .into_iter()
            .filter(|name| known.contains(name) && *name != layer);
        for name in others {
            assert!(allowed.contains(&name), "{layer} names {name}");
            assert!(below.contains(name), "{name} lies above {layer}");
        }
        below.insert(layer);
    }
}

#[test]
fn a_library_has_one_owner() {
    for (library, owner) in OWNED {
        let path = format!("{library}::");
        for (layer, _) in LAYERS {
            let text = source_of(layer);
            let mut code = text.lines().map(str::trim_start);
            let is_named = code.any(|line| !line.starts_with("//") && line.contains(&path));
            assert_eq!(is_named, layer == owner, "{library} in {layer}");
        }
    }
}

#[test]
fn no_folder_is_missing() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in std::fs::read_dir(src).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let is_known = LAYERS.iter().any(|(layer, _)| *layer == name);
        let is_none = ["lib", "main", "layers", "testkit"].contains(&name.as_ref());
        assert!(is_known || is_none, "{name} has no place in the layers");
    }
}
