//! `observer ps`.

use clap::Args;

use crate::config::OutputForm;
use crate::error::{Error, Exit};
use crate::sink::wire::Line;
use crate::sink::{Start, Terminal};

use super::look::LookArgs;
use super::{Engine, check, print, screen};

const AFTER_HELP: &str = "\
Examples:
  observer ps
  observer ps --output json | jq -r .process.exe";

/// Flags of `ps`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct PsArgs {
    /// Form and colour.
    #[command(flatten)]
    pub look: LookArgs,
}

/// Runs it.
pub(super) fn run(args: &PsArgs, engine: &impl Engine) -> Result<Exit, Error> {
    super::warn_of_variables(Some(args.look.color));
    let processes = engine.processes()?;
    match args.look.output {
        OutputForm::Human => print(&table(
            &processes,
            &screen::terminal(args.look.color, false),
        )),
        OutputForm::Json => print(&check::lines(processes.iter().map(Line::examined))?),
    }
}

/// One line each: pid, Go version, hooks, name, module, executable.
pub(super) fn table(processes: &[Start], terminal: &Terminal) -> String {
    if processes.is_empty() {
        return "no Go processes found (only root sees those of other users)\n".into();
    }
    let head = ["PID", "GO", "HOOKS", "NAME", "MODULE", "EXECUTABLE"].map(str::to_owned);
    let rows = processes.iter().map(|start| {
        let process = &start.process;
        let on = start.hooks.iter().filter(|hook| hook.on).count();
        [
            process.pid.to_string(),
            process.go.clone(),
            format!("{on}/{}", start.hooks.len()),
            process.name.clone(),
            process.built_from(),
            process.exe.clone(),
        ]
    });
    let rows: Vec<[String; 6]> = rows
        .map(|row| row.map(|cell| terminal.glyphs.clean(&cell)))
        .collect();
    let widths: [usize; 6] = std::array::from_fn(|column| {
        let cells = rows.iter().chain([&head]);
        let lengths = cells.filter_map(|row| row.get(column));
        lengths.map(|cell| cell.chars().count()).max().unwrap_or(0)
    });
    let mut text = String::new();
    for (index, row) in [&head].into_iter().chain(&rows).enumerate() {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        let line = cells.join("  ");
        let line = line.trim_end();
        text.push_str(&match index {
            0 => terminal.styles.label(line),
            _ => line.to_owned(),
        });
        text.push('\n');
    }
    text
}
