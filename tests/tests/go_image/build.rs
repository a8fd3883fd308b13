//! Builds one Go file with real toolchains; results are kept by contents, version and flavour.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::process::Command;

/// How an executable is linked.
#[derive(Debug, Clone, Copy)]
pub struct Flavour {
    pub name: &'static str,
    pub flags: &'static [&'static str],
    /// Whether the flags need a C toolchain.
    pub cgo: bool,
}

/// The ways users build servers.
pub const FLAVOURS: [Flavour; 3] = [
    Flavour {
        name: "plain",
        flags: &[],
        cgo: false,
    },
    Flavour {
        name: "stripped",
        flags: &["-ldflags=-s -w"],
        cgo: false,
    },
    Flavour {
        name: "pie",
        flags: &["-ldflags=-s -w", "-buildmode=pie"],
        cgo: false,
    },
];

/// Position-independent and linked by the C linker, which writes other sections.
pub const EXTERNAL_PIE: Flavour = Flavour {
    name: "external-pie",
    flags: &["-ldflags=-s -w -linkmode=external", "-buildmode=pie"],
    cgo: true,
};

/// Instrumented, and not optimised: other prologues.
pub const ODD: [Flavour; 2] = [
    Flavour {
        name: "race",
        flags: &["-race"],
        cgo: true,
    },
    Flavour {
        name: "noopt",
        flags: &["-gcflags=all=-N -l"],
        cgo: false,
    },
];

/// Builds a package below a `GOPATH`, as distributions do: the build info names the package and no module.
pub fn build_without_module(source: &str, package: &str, version: &str) -> PathBuf {
    let tree = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("gopath-{version}"));
    let folder = tree.join("src").join(package);
    std::fs::create_dir_all(&folder).expect("a folder for the package");
    std::fs::write(folder.join("main.go"), source).expect("main.go");
    let program = tree.join("program");
    // Toolchains lie below the `GOPATH` that the build is about to leave.
    let root = Command::new("go")
        .args(["env", "GOROOT"])
        .env("GOTOOLCHAIN", format!("go{version}"))
        .output()
        .expect("a Go command");
    let root = String::from_utf8(root.stdout).expect("a path");
    let output = Command::new(PathBuf::from(root.trim()).join("bin/go"))
        .args(["build", "-o"])
        .arg(&program)
        .arg(package)
        .current_dir(&folder)
        .env("GOTOOLCHAIN", "local")
        .env("GO111MODULE", "off")
        .env("GOFLAGS", "")
        .env("GOPATH", &tree)
        .env("CGO_ENABLED", "0")
        .output()
        .expect("a Go command");
    assert!(
        output.status.success(),
        "go {version} without a module: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    program
}

/// Builds `source` and gives the path of the executable.
pub fn build(source: &str, version: &str, flavour: Flavour) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    source.hash(&mut hasher);
    flavour.flags.hash(&mut hasher);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!(
        "go-image-{:016x}-{version}-{}",
        hasher.finish(),
        flavour.name
    ));
    let program = folder.join("program");
    if program.exists() {
        return program;
    }
    std::fs::create_dir_all(&folder).expect("a folder for the program");
    std::fs::write(
        folder.join("go.mod"),
        "module example.com/self\n\ngo 1.18\n",
    )
    .expect("go.mod");
    std::fs::write(folder.join("main.go"), source).expect("main.go");
    let output = Command::new("go")
        .args(["build", "-o", "program.new"])
        .args(flavour.flags)
        .arg("main.go")
        .current_dir(&folder)
        .env("GOTOOLCHAIN", format!("go{version}"))
        .env("GOFLAGS", "-mod=mod")
        .env("CGO_ENABLED", if flavour.cgo { "1" } else { "0" })
        .output()
        .expect("a Go command");
    assert!(
        output.status.success(),
        "go {version} {}: {}",
        flavour.name,
        String::from_utf8_lossy(&output.stderr)
    );
    // A build that was interrupted must not be taken for a whole one the next time.
    std::fs::rename(folder.join("program.new"), &program).expect("the program");
    program
}
