//! Wiring: chooses processes, attaches, feeds the core, hands out what it finds.
//!
//! All I/O and all clocks are here and below; what is decided, is decided elsewhere.

mod across;
mod answers;
mod arrivals;
mod attach;
mod claim;
mod clock;
mod code;
mod correlate;
mod cost;
mod crowds;
mod detach;
mod errors;
mod families;
mod fleet;
mod goroutines;
mod host;
mod inspector;
mod listings;
mod looks;
mod observe;
mod rates;
mod replay;
mod report;
mod searches;
mod select;
mod sockets;
mod subject;
mod tallies;
mod thresholds;

use crate::cli::{
    Engine, correlate as correlate_cli, goroutines as goroutines_cli, replay as replay_cli,
    run as run_cli,
};
use crate::error::{Error, Subject};
use crate::picture::Picture;
use crate::sink::{Clock, Sinks, Start};

/// observer as the command line sees it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Daemon;

impl Engine for Daemon {
    fn run(&self, options: &run_cli::Options, sinks: &mut Sinks) -> Result<(), Error> {
        observe::run(options, sinks)
    }

    fn replay(&self, options: &replay_cli::Options, sinks: &mut Sinks) -> Result<(), Error> {
        replay::run(options, sinks)
    }

    fn correlate(&self, options: &correlate_cli::Options, sinks: &mut Sinks) -> Result<(), Error> {
        correlate::run(options, sinks)
    }

    fn processes(&self) -> Result<Vec<Start>, Error> {
        subject::processes()
    }

    fn examine(&self, subject: &Subject) -> Result<Start, Error> {
        subject::examine(subject)
    }

    fn goroutines(&self, options: &goroutines_cli::Options) -> Result<(Picture, Clock), Error> {
        goroutines::look(options)
    }
}
