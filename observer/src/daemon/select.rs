//! Selectors → pids.

use std::collections::BTreeSet;
use std::path::Path;

use crate::cli::run::{Options, Selector};
use crate::error::Error;
use crate::target::{by_exe, by_port, list_go};

use super::errors;

/// Pids that the selectors name, united. A `--pid` is taken as it is.
///
/// # Errors
/// [`Error::NothingMatched`] where another selector fits no process.
pub(super) fn pids(options: &Options) -> Result<BTreeSet<u32>, Error> {
    let mut pids = BTreeSet::new();
    let mut fruitless = Vec::new();
    for selector in &options.selectors {
        let found: Vec<u32> = match selector {
            Selector::Pid(pid) => vec![*pid],
            Selector::Exe(exe) => by_name_or_path(exe)?,
            Selector::Port(port) => {
                positive(&by_port(*port).map_err(|error| errors::of_target(0, error))?)
            }
        };
        if found.is_empty() {
            fruitless.push(selector.to_string());
        }
        pids.extend(found);
    }
    if fruitless.is_empty() {
        Ok(pids)
    } else {
        Err(Error::NothingMatched {
            selectors: fruitless.join(" "),
        })
    }
}

fn by_name_or_path(exe: &str) -> Result<Vec<u32>, Error> {
    let failed = |error| errors::of_target(0, error);
    if exe.contains('/') {
        return Ok(positive(&by_exe(Path::new(exe)).map_err(failed)?));
    }
    let listed = list_go().map_err(failed)?;
    let named = listed.iter().filter(|found| {
        let file = found
            .exe_path
            .file_name()
            .map(|name| name.to_string_lossy());
        file.is_some_and(|file| file.trim_end_matches(" (deleted)") == exe)
    });
    Ok(positive(&named.map(|found| found.pid).collect::<Vec<_>>()))
}

fn positive(pids: &[i32]) -> Vec<u32> {
    pids.iter()
        .filter_map(|pid| u32::try_from(*pid).ok())
        .collect()
}
