//! Selectors → pids: once at the start, then for every process that comes.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use crate::cli::run::{Options, Selector};
use crate::error::Error;
use crate::target::cgroup::{is_in_container, is_in_unit};
use crate::target::{ByPath, FileId, Listeners, TargetError, by_exe, by_port, has_name, list_go};

use super::errors;

/// Processes to begin with.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// Asked for by pid: without one of them there is nothing to observe.
    pub(super) named: BTreeSet<u32>,
    /// Found by other selectors, except `--all`.
    pub(super) found: BTreeSet<u32>,
}

/// Pids that the selectors name, united. A `--pid` is taken as it is.
///
/// # Errors
/// [`Error::NothingMatched`] where another selector fits no process and nobody wants to wait.
pub(super) fn pids(options: &Options) -> Result<Chosen, Error> {
    let mut chosen = Chosen::default();
    let mut fruitless = Vec::new();
    for selector in &options.selectors {
        let failed = |error| errors::of_target(0, error);
        let found = match selector {
            Selector::All => continue,
            Selector::Pid(pid) => {
                chosen.named.insert(*pid);
                continue;
            }
            Selector::Exe(exe) => by_name_or_path(exe).map_err(failed)?,
            Selector::Port(port) => by_port(*port).map_err(failed)?,
            Selector::Unit(_) | Selector::Container(_) => among_go(|pid| {
                let cgroups = cgroups_of(pid);
                cgroups.is_some_and(|cgroups| holds(selector, &cgroups))
            })
            .map_err(failed)?,
        };
        if found.is_empty() {
            fruitless.push(selector.to_string());
        }
        chosen
            .found
            .extend(found.iter().filter_map(|pid| u32::try_from(*pid).ok()));
    }
    chosen.found = &chosen.found - &chosen.named;
    if fruitless.is_empty() || options.wait {
        Ok(chosen)
    } else {
        Err(Error::NothingMatched {
            selectors: fruitless.join(" "),
        })
    }
}

fn by_name_or_path(exe: &str) -> Result<Vec<i32>, TargetError> {
    if !exe.contains('/') {
        let named = list_go()?
            .into_iter()
            .filter(|go| has_name(&go.exe_path, exe));
        return Ok(named.map(|go| go.pid).collect());
    }
    match by_exe(Path::new(exe)) {
        // Nothing is there, and nobody executes what was there.
        Err(TargetError::Path { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Ok(Vec::new())
        }
        found => found,
    }
}

fn among_go(fits: impl Fn(i32) -> bool) -> Result<Vec<i32>, TargetError> {
    let listed = list_go()?.into_iter().map(|go| go.pid);
    Ok(listed.filter(|pid| fits(*pid)).collect())
}

/// What `/proc` says of a process' control groups.
fn cgroups_of(pid: i32) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()
}

fn holds(selector: &Selector, cgroups: &str) -> bool {
    match selector {
        Selector::Unit(unit) => is_in_unit(cgroups, unit),
        Selector::Container(id) => is_in_container(cgroups, id),
        _ => false,
    }
}

/// The selectors that processes to come can fit.
#[derive(Debug)]
pub(super) struct Selection {
    selectors: Vec<Selector>,
    /// By port, as they were at the last [`Selection::refresh`].
    listeners: HashMap<u16, Listeners>,
}

impl Selection {
    /// `None` where nobody can come: nothing but pids was asked for.
    pub(super) fn of(options: &Options) -> Option<Self> {
        let can_come = |selector: &&Selector| !matches!(selector, Selector::Pid(_));
        let selectors: Vec<Selector> = options.selectors.iter().filter(can_come).cloned().collect();
        (!selectors.is_empty()).then(|| Self {
            selectors,
            listeners: HashMap::new(),
        })
    }

    /// Whether every Go process is wanted.
    pub(super) fn is_all(&self) -> bool {
        self.selectors.contains(&Selector::All)
    }

    /// Forgets who listens where.
    pub(super) fn refresh(&mut self) {
        self.listeners.clear();
    }

    /// Whether a process that executes `exe` fits.
    pub(super) fn fits(&mut self, pid: i32, exe: FileId) -> bool {
        let Self {
            selectors,
            listeners,
        } = self;
        let mut cgroups = None;
        selectors.iter().any(|selector| match selector {
            Selector::All => true,
            Selector::Pid(_) => false,
            Selector::Exe(path) if path.contains('/') => ByPath::of(Path::new(path)).fits(pid, exe),
            Selector::Exe(name) => link_of(pid).is_some_and(|link| has_name(&link, name)),
            Selector::Port(port) => listeners
                .entry(*port)
                .or_insert_with(|| Listeners::on(*port))
                .includes(pid),
            Selector::Unit(_) | Selector::Container(_) => {
                let cgroups = cgroups.get_or_insert_with(|| cgroups_of(pid).unwrap_or_default());
                holds(selector, cgroups)
            }
        })
    }
}

/// Path of the executable, as the process has it.
pub(super) fn link_of(pid: i32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/exe")).ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::Selection;
    use crate::cli::run::Options;
    use crate::config::Settings;
    use crate::target::exe_of;

    fn selects(settings: &Settings) -> bool {
        let pid = i32::try_from(std::process::id()).unwrap();
        let (exe, _) = exe_of(pid).unwrap();
        let mut selection = Selection::of(&Options::new(settings).unwrap()).unwrap();
        selection.fits(pid, exe)
    }

    #[test]
    fn each_selector_and_any_of_several() {
        let own = std::env::current_exe().unwrap();
        let exe = |exe: &str| Settings {
            exe: Some(vec![exe.to_owned()]),
            ..Settings::default()
        };
        assert!(selects(&exe(own.to_str().unwrap())));
        assert!(selects(&exe(own.file_name().unwrap().to_str().unwrap())));
        assert!(!selects(&exe("/bin/sh")));
        assert!(!selects(&exe("sh")));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = Settings {
            port: Some(vec![listener.local_addr().unwrap().port()]),
            ..exe("sh")
        };
        assert!(selects(&port));
        drop(listener);
        assert!(!selects(&port));
        let group = Settings {
            unit: Some(vec!["no-such-unit".to_owned()]),
            container: Some(vec!["0123456789ab".to_owned()]),
            ..Settings::default()
        };
        assert!(!selects(&group));
        let all = Settings {
            all: Some(true),
            ..group
        };
        assert!(selects(&all));
    }

    #[test]
    fn pids_bring_nobody_else() {
        let settings = Settings {
            pid: Some(vec![1]),
            ..Settings::default()
        };
        let options = Options::new(&settings).unwrap();
        assert!(Selection::of(&options).is_none() && options.ends_with_processes());
    }
}
