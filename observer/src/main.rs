//! The observer binary: a thin shell over the library.

use std::process::ExitCode;

use observer::cli;
use observer::daemon::Daemon;

fn main() -> ExitCode {
    cli::main(std::env::args_os(), &Daemon)
}
