//! What the kernel measured of observer's programs in one window of load.

use anyhow::Result;
use serde_json::Value;

use super::{
    programs::{Runs, Statistics, runs},
    session::Session,
    window::{Setting, Variant},
};

/// Programs in one window. It is a window of its own, because measuring costs a little.
pub struct Measured {
    /// Each program, without the trap itself.
    pub programs: Vec<Runs>,
    /// Requests of the window.
    pub requests: f64,
}

impl Measured {
    /// Observes as `variant` says and loads for one window.
    pub fn of(setting: &Setting<'_>, variant: &Variant) -> Result<Self> {
        let statistics = Statistics::enable()?;
        let args = variant.observed.unwrap_or_default();
        let session = Session::start(setting.observer, &[setting.target.pid()], args)?;
        let start: Value = session.started()?.clone();
        let mut before = runs(session.pid(), &start)?;
        let load = setting.source.load(setting.seconds)?;
        let after = runs(session.pid(), &start)?;
        drop(statistics);
        session.end()?;
        let programs = after.into_iter().map(|(program, after)| {
            let before = before.remove(&program).unwrap_or_default();
            Runs {
                hooks: after.hooks,
                runs: after.runs - before.runs,
                total_ns: after.total_ns - before.total_ns,
            }
        });
        Ok(Self {
            programs: programs.collect(),
            requests: load.requests,
        })
    }

    /// All programs as one.
    pub fn all(&self) -> Runs {
        let sum = |figure: fn(&Runs) -> f64| self.programs.iter().map(figure).sum::<f64>();
        Runs {
            hooks: Vec::new(),
            runs: sum(|program| program.runs),
            total_ns: sum(|program| program.total_ns),
        }
    }

    /// The program at a hook; `None` where the hook has none.
    pub fn at(&self, hook: &str) -> Option<&Runs> {
        let mut programs = self.programs.iter();
        programs.find(|program| program.hooks.iter().any(|one| one == hook))
    }
}
