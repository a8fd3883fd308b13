//! What a person at a terminal reads: findings like compiler diagnostics, and a last line.
//!
//! Pure: takes outputs, gives text for stdout and stderr.

mod block;
mod chain;
mod counts;
mod coverage;
mod goroutines;
mod health;
mod hop;
mod layout;
mod naming;
mod place;
mod summary;
mod surge;
mod text;
mod timeline;

use std::collections::BTreeSet;

use crate::finding::UpdateReason;

use super::output::{Output, Tally};
use counts::Counts;
use coverage::Coverage;

pub use goroutines::goroutines;
pub use layout::Terminal;
pub use place::{short_file, short_function};
pub use text::Glyphs;

/// How much is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// `-q`: findings and the last line; of the rest only warnings and errors.
    Quiet,
    /// As designed for.
    #[default]
    Normal,
    /// `-v`: everything that is known about a finding, however long.
    Verbose,
}

/// Text for the two streams; either may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// Data.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
}

/// The renderer; remembers only what the last lines need.
#[derive(Debug)]
pub struct Human {
    terminal: Terminal,
    verbosity: Verbosity,
    coverage: Coverage,
    pids: BTreeSet<u32>,
    counts: Counts,
}

impl Human {
    /// For one terminal.
    #[must_use]
    pub fn new(terminal: Terminal, verbosity: Verbosity) -> Self {
        Self {
            terminal,
            verbosity,
            coverage: Coverage::default(),
            pids: BTreeSet::new(),
            counts: Counts::default(),
        }
    }

    /// The terminal has another width now.
    pub const fn resize(&mut self, width: usize) {
        self.terminal.width = width;
    }

    /// What `output` says to a person.
    pub fn render(&mut self, output: &Output, tally: &Tally) -> Rendered {
        let mut rendered = Rendered::default();
        match output {
            Output::Start(start) => {
                self.coverage.started(start);
                self.pids.insert(start.process.pid);
                rendered.stderr = summary::start_line(start, &self.terminal);
            }
            Output::Stop(stop) => rendered.stderr = summary::stop_line(stop, &self.terminal),
            Output::Finding(finding) => {
                let many = self.pids.len() > 1;
                let block = block::finding_block(finding, &self.terminal, many);
                rendered.stdout = format!("{block}\n");
                self.counts.shown(finding);
            }
            Output::Update(finding, UpdateReason::Count | UpdateReason::Related)
                if self.verbosity != Verbosity::Verbose =>
            {
                self.counts.grew(finding, self.pids.len() > 1);
            }
            Output::Update(finding, reason) => {
                self.counts.shown(finding);
                let block = block::update_block(finding, *reason, &self.terminal);
                rendered.stdout = format!("{block}\n");
            }
            Output::Notice(notice) => rendered.stderr = notice.render(self.terminal.styles),
            // For machines; of a loss a notice tells people.
            Output::Stats(_) | Output::Told(..) | Output::Loss(_) => {}
            Output::End(end) => {
                rendered.stdout = self.counts.lines(&self.terminal);
                if self.verbosity != Verbosity::Quiet {
                    let health = health::lines(&end.stats.health, &self.terminal);
                    rendered.stdout.push_str(&health);
                }
                let last = summary::last_line(&end.stats, tally, &self.coverage, &self.terminal);
                rendered.stdout.push_str(&last);
            }
        }
        let is_normal = matches!(output, Output::Start(_) | Output::Stop(_));
        if is_normal && self.verbosity == Verbosity::Quiet {
            rendered.stderr.clear();
        }
        rendered
    }
}

#[cfg(test)]
mod tests;
