//! The observer binary: a thin shell over the library.

use std::process::ExitCode;

use observer::cli::{self, Engine, replay, run};
use observer::error::{Error, Subject};
use observer::sink::{Sinks, Start};

/// Stands where the daemon is wired in: everything that needs a live engine says so.
struct Unwired;

impl Unwired {
    fn refuse<T>() -> Result<T, Error> {
        Err(Error::StubObject)
    }
}

impl Engine for Unwired {
    fn run(&self, _: &run::Options, _: &mut Sinks) -> Result<(), Error> {
        Self::refuse()
    }

    fn replay(&self, _: &replay::Options, _: &mut Sinks) -> Result<(), Error> {
        Self::refuse()
    }

    fn processes(&self) -> Result<Vec<Start>, Error> {
        Self::refuse()
    }

    fn examine(&self, _: &Subject) -> Result<Start, Error> {
        Self::refuse()
    }
}

fn main() -> ExitCode {
    cli::main(std::env::args_os(), &Unwired)
}
