//! Where function literals were written: the compiler names those of a function that it inlines after the function that
//! it puts them into. `main.main.StripPrefix.func1` is `net/http`'s, as its file says.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::Image;
use crate::go::Frame;
use crate::go::frame::{GENERATED, package_of};

/// What the compiler calls function literals, with a number behind it.
const LITERAL: &str = ".func";

/// Packages by the folders of their files.
pub(super) type Folders = FxHashMap<Box<str>, Box<str>>;

impl Image {
    /// The frame with the name of the package that it was written in.
    pub(super) fn at_home(&self, mut frame: Frame) -> Frame {
        if let Some(name) = self.home_name(&frame) {
            frame.function = Arc::from(name);
        }
        frame
    }

    fn home_name(&self, frame: &Frame) -> Option<String> {
        let (outer, rest) = split(&frame.function)?;
        let written_in = folder(&frame.file)?;
        let named_after = self.functions(outer).first()?;
        let declared = self.frames_as_named(named_after.entry).pop()?;
        if folder(&declared.file)? == written_in {
            return None;
        }
        let package = self.folders.get_or_init(|| self.read_folders());
        let package = package.get(written_in)?;
        Some(format!("{package}.{rest}"))
    }

    fn read_folders(&self) -> Folders {
        let mut folders = Folders::default();
        let Some(table) = self.table() else {
            return folders;
        };
        let records = (0..self.header.function_count).filter_map(|index| table.record(index));
        for record in records {
            let name = table.name(record.name_offset()).unwrap_or_default();
            let entry = self.module.text.checked_add(u64::from(record.entry));
            let (Some(entry), false) = (entry, name.contains(LITERAL)) else {
                continue;
            };
            let declared = self.frames_as_named(entry).pop();
            if let Some(folder) = declared.as_ref().and_then(|frame| folder(&frame.file)) {
                let package = || package_of(name).into();
                folders.entry(folder.into()).or_insert_with(package);
            }
        }
        folders
    }
}

/// The function that a literal is named after, and the name from there on; `None` for all that is no literal.
fn split(name: &str) -> Option<(&str, &str)> {
    if !name.contains(LITERAL) {
        return None;
    }
    let package = package_of(name).len() + 1;
    let local = name.get(package..)?;
    let receiver = if local.starts_with('(') {
        local.find(").")? + 2
    } else {
        0
    };
    let named = local.get(receiver..)?;
    // Type arguments are written as `[...]`.
    let arguments = named.find("[...]").map_or(0, |at| at + "[...]".len());
    let plain = named.find('.')?;
    let end = if arguments > 0 && plain > arguments - "[...]".len() {
        arguments
    } else {
        plain
    };
    let end = package + receiver + end;
    Some((name.get(..end)?, name.get(end..)?.strip_prefix('.')?))
}

/// The folder of a source file; `None` for what the compiler wrote.
fn folder(file: &str) -> Option<&str> {
    if file == GENERATED {
        return None;
    }
    Some(file.rsplit_once('/')?.0)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_literal_is_named_after_a_function() {
        for (name, outer, rest) in [
            ("main.main.func1", "main.main", "func1"),
            (
                "main.main.StripPrefix.func13",
                "main.main",
                "StripPrefix.func13",
            ),
            (
                "example.com/shop%2ev2/api.(*Shop).Routes.func2.1",
                "example.com/shop%2ev2/api.(*Shop).Routes",
                "func2.1",
            ),
            ("shop/api.Map[...].func1", "shop/api.Map[...]", "func1"),
            (
                "shop/api.(*Set[...]).Each.func1",
                "shop/api.(*Set[...]).Each",
                "func1",
            ),
            (
                "shop/api.Run.Map[...].func1",
                "shop/api.Run",
                "Map[...].func1",
            ),
        ] {
            assert_eq!(split(name), Some((outer, rest)));
        }
        assert_eq!(split("net/http.HandlerFunc.ServeHTTP"), None);
    }
}
