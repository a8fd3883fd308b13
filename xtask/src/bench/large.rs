//! A Go server as large as they get: generated, because nobody wants to download one.

use std::{fmt::Write, fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use observer_tests::go::{Go, workspace_root};

use crate::live::GO_VERSION;

/// 50 × 800 functions of some 2 KB make 100 MB with their tables.
const PACKAGES: usize = 50;
const FUNCTIONS: usize = 800;
const BRANCHES: usize = 12;

const HEAD: &str = r#"package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

"#;

/// The number keeps the linker from dropping the functions.
const REST: &str = r#"
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go http.Serve(ln, nil)
	fmt.Printf("listening %v\n%d functions\n", ln.Addr(), functions)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
}
"#;

/// Builds it, some two minutes the first time, and returns the executable.
pub fn build() -> Result<PathBuf> {
    let name = format!("large-{PACKAGES}x{FUNCTIONS}x{BRANCHES}-go{GO_VERSION}");
    let folder = workspace_root().join("target/go-targets").join(name);
    let executable = folder.join("large");
    if executable.is_file() {
        return Ok(executable);
    }
    eprintln!("bench: building a large executable, some minutes");
    fs::create_dir_all(&folder)?;
    fs::write(
        folder.join("go.mod"),
        "module example.com/large\n\ngo 1.18\n",
    )?;
    fs::write(folder.join("main.go"), main_file()?)?;
    for package in 0..PACKAGES {
        let sources = folder.join(format!("p{package}"));
        fs::create_dir_all(&sources)?;
        fs::write(sources.join("p.go"), package_file(package)?)?;
    }
    let unfinished = folder.join("large.new");
    let output = Go::find()?
        .at(GO_VERSION)?
        .args(["build", "-o"])
        .arg(&unfinished)
        .arg(".")
        .current_dir(&folder)
        .output()
        .context("cannot run go")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "cannot build a large executable:\n{errors}"
    );
    fs::rename(&unfinished, &executable)?;
    Ok(executable)
}

fn main_file() -> Result<String> {
    let mut text = HEAD.to_owned();
    for package in 0..PACKAGES {
        writeln!(text, "\t\"example.com/large/p{package}\"")?;
    }
    text.push_str(")\n\nfunc main() {\n\tfunctions := 0\n");
    for package in 0..PACKAGES {
        writeln!(text, "\tfunctions += len(p{package}.All)")?;
    }
    text.push_str(REST);
    Ok(text)
}

fn package_file(package: usize) -> Result<String> {
    let mut text =
        format!("package p{package}\n\nimport \"strconv\"\n\nvar All = []func(int) string{{\n");
    for function in 0..FUNCTIONS {
        writeln!(text, "\tf{function},")?;
    }
    text.push_str("}\n");
    for function in 0..FUNCTIONS {
        writeln!(text, "\nfunc f{function}(x int) string {{\n\ts := \"\"")?;
        for branch in 0..BRANCHES {
            let least = function * branch;
            writeln!(
                text,
                "\tif x > {least} {{\n\t\ts += strconv.Itoa(x+{branch}) + \"{package}-{function}-{branch}\"\n\t}}"
            )?;
        }
        text.push_str("\treturn s\n}\n");
    }
    Ok(text)
}
