//! Flags of the subcommands that only print.

use clap::Args;

use crate::config::OutputForm;
use crate::style::Color;

/// Form and colour.
#[derive(Debug, Clone, Copy, Args)]
pub struct LookArgs {
    /// Form of the output on stdout
    #[arg(
        long,
        short,
        env = "OBSERVER_OUTPUT",
        value_name = "FORM",
        default_value = "human"
    )]
    pub output: OutputForm,

    /// When to colour
    #[arg(
        long,
        env = "OBSERVER_COLOR",
        value_name = "WHEN",
        default_value = "auto"
    )]
    pub color: Color,
}
