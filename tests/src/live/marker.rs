//! Lines of the Go programs, found by their `// want:` markers.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use crate::go::workspace_root;

/// A marked line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Path below `tests/targets/`.
    pub file: String,
    /// From 1.
    pub line: u64,
    /// The function around it as Go names it in a binary; closures in it are called `<function>.func1` and so on.
    pub function: String,
}

impl Marker {
    /// Whether a JSON object with `file`, `line` and `function` is this line.
    #[must_use]
    pub fn is(&self, site: &serde_json::Value) -> bool {
        let file = site["file"].as_str().unwrap_or_default();
        let same_file = file
            .strip_suffix(&self.file)
            .is_some_and(|before| before.ends_with('/'));
        same_file && site["line"] == self.line
    }

    /// Whether a symbol is the function around the line, or a closure in it.
    #[must_use]
    pub fn is_in(&self, function: &str) -> bool {
        function
            .strip_prefix(&self.function)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

/// The line that carries `// want: RULE CASE` (with a role: `RULE CASE ROLE`) in `tests/targets/<program>/`.
///
/// # Errors
/// When there is none, or more than one.
pub fn marker(program: &str, wanted: &str) -> Result<Marker> {
    let root = workspace_root().join("tests/targets");
    let mut found = Vec::new();
    search(&root, &root.join(program), wanted, &mut found)?;
    match <[Marker; 1]>::try_from(found) {
        Ok([marker]) => Ok(marker),
        Err(found) => bail!("{} lines of {program} are marked `{wanted}`", found.len()),
    }
}

fn search(root: &Path, folder: &Path, wanted: &str, found: &mut Vec<Marker>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            search(root, &path, wanted, found)?;
        } else if path.extension().is_some_and(|extension| extension == "go") {
            let file = path.strip_prefix(root)?.to_string_lossy().into_owned();
            found.extend(in_source(&file, &fs::read_to_string(&path)?, wanted)?);
        }
    }
    Ok(())
}

fn in_source(file: &str, source: &str, wanted: &str) -> Result<Vec<Marker>> {
    let mut found = Vec::new();
    let mut function = String::new();
    for (line, text) in (1..).zip(source.lines()) {
        if let Some(signature) = text.strip_prefix("func ") {
            function = symbol(file, source, signature)
                .with_context(|| format!("{file}:{line}: {text}"))?;
        }
        let marked = text
            .split_once("// want: ")
            .or_else(|| text.split_once("// info: "));
        // Two rules may name one line: `A; B`.
        let is_wanted =
            |(_, marked): (&str, &str)| marked.split(';').any(|one| one.trim() == wanted);
        if marked.is_some_and(is_wanted) {
            let (file, function) = (file.to_owned(), function.clone());
            found.push(Marker {
                file,
                line,
                function,
            });
        }
    }
    Ok(found)
}

/// `(b *Builder) sales() int {` → `example.com/observer-targets/shop/front/report.(*Builder).sales`
fn symbol(file: &str, source: &str, signature: &str) -> Option<String> {
    let package = source
        .lines()
        .find_map(|line| line.strip_prefix("package "))?
        .trim();
    let folder = file.rsplit_once('/')?.0;
    let package = match package {
        "main" => package.to_owned(),
        _ => format!("example.com/observer-targets/{folder}"),
    };
    let Some(method) = signature.strip_prefix('(') else {
        return Some(format!("{package}.{}", signature.split_once('(')?.0));
    };
    let (receiver, rest) = method.split_once(") ")?;
    let name = rest.split_once('(')?.0;
    let kind = receiver.rsplit(' ').next()?;
    Some(match kind.strip_prefix('*') {
        Some(_) => format!("{package}.({kind}).{name}"),
        None => format!("{package}.{kind}.{name}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_know_their_line_and_function() -> Result<()> {
        let source = "package report\n\nfunc (b *Builder) sales() int {\n\tsleep() // want: cancel-ignored x\n}\n\n\
                      func free() {\n\tgo func() {\n\t\tsleep() // want: cancel-ignored x worker\n\t}()\n}\n";
        let found = in_source("shop/report/report.go", source, "cancel-ignored x")?;
        let [marker] = &found[..] else {
            bail!("{found:?}")
        };
        assert_eq!(
            (marker.file.as_str(), marker.line),
            ("shop/report/report.go", 4)
        );
        assert_eq!(
            marker.function,
            "example.com/observer-targets/shop/report.(*Builder).sales"
        );
        let both = source.replace("cancel-ignored x\n", "cancel-ignored x; other y\n");
        for wanted in ["cancel-ignored x", "other y"] {
            let found = in_source("shop/report/report.go", &both, wanted)?;
            assert!(
                matches!(&found[..], [marker] if marker.line == 4),
                "{found:?}"
            );
        }
        let worker = in_source("shop/report/report.go", source, "cancel-ignored x worker")?;
        assert!(
            worker
                .iter()
                .all(|marker| marker.is_in("example.com/observer-targets/shop/report.free.func1"))
        );
        assert!(
            !worker
                .iter()
                .any(|marker| marker.is_in("example.com/observer-targets/shop/report.freely"))
        );
        Ok(())
    }

    #[test]
    fn every_case_is_marked_once() -> Result<()> {
        let marker = marker("rules4", "cancel-ignored backoff")?;
        assert_eq!(marker.function, "main.deafBackoff.RoundTrip");
        Ok(())
    }
}
