//! `observer check`.

use std::path::PathBuf;

use clap::Args;

use crate::config::{OutputForm, pid};
use crate::error::{Error, Exit, Subject};
use crate::finding::HookState;
use crate::sink::wire::Line;
use crate::sink::{Start, Terminal};

use super::look::LookArgs;
use super::wrap::{beside, wrapped};
use super::{Engine, print, screen};

const AFTER_HELP: &str = "\
Examples:
  observer check --pid 4121
  observer check ./shop-api
  observer check ./shop-api --output json | jq '.hooks[] | select(.on | not)'";

const USAGE: &str = "\
observer check [OPTIONS] --pid <PID>
       observer check [OPTIONS] <PATH>";

/// Flags of `check`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP, override_usage = USAGE)]
pub struct CheckArgs {
    /// Look at this running process
    // No environment variable: a pid meant for `run` would fight with PATH here.
    #[arg(long, value_name = "PID",
          value_parser = pid, allow_hyphen_values = true, conflicts_with = "path")]
    pub pid: Option<u32>,

    /// Look at this executable
    #[arg(value_name = "PATH")]
    pub path: Option<PathBuf>,

    /// Form and colour.
    #[command(flatten)]
    pub look: LookArgs,
}

/// Runs it.
pub(super) fn run(args: CheckArgs, engine: &impl Engine) -> Result<Exit, Error> {
    super::warn_of_variables(Some(args.look.color));
    let subject = match (args.path, args.pid) {
        (Some(path), _) => Subject::Path(path),
        (None, Some(pid)) => Subject::Pid(pid),
        (None, None) => {
            return Err(Error::Usage {
                problem: "nothing to check".into(),
                remedy:
                    "name a process, `observer check --pid PID`, or a file, `observer check PATH`"
                        .into(),
            });
        }
    };
    let start = engine.examine(&subject)?;
    match args.look.output {
        OutputForm::Human => print(&report(&start, &screen::terminal(args.look.color, false))),
        OutputForm::Json => print(&lines([Line::examined(&start)])?),
    }
}

/// JSON lines as text.
pub(super) fn lines(lines: impl IntoIterator<Item = Line>) -> Result<String, Error> {
    lines
        .into_iter()
        .map(|line| {
            line.to_json().map_err(|error| Error::Internal {
                what: "writing JSON".into(),
                source: Some(error.into()),
            })
        })
        .collect()
}

/// The coverage report: each hook, found how, at which site, or why not.
pub(super) fn report(start: &Start, terminal: &Terminal) -> String {
    let process = &start.process;
    let clean = |text: &str| terminal.glyphs.clean(text);
    let who = match process.pid {
        0 => clean(&process.exe),
        pid => clean(&format!("{} (pid {pid})", process.name)),
    };
    let rest = clean(&format!(": {}, {}", process.go, process.built_from()));
    let head = lines_of(&format!("{who}{rest}"), terminal);
    let mut text = match head.strip_prefix(&who) {
        Some(rest) => format!("{}{rest}", terminal.styles.strong(&who)),
        None => head,
    };
    text.push('\n');
    let names = start.hooks.iter().map(|hook| hook.hook.len()).max();
    for hook in &start.hooks {
        text.push_str(&hook_lines(hook, names.unwrap_or(0), terminal));
    }
    let on = start.hooks.iter().filter(|hook| hook.on).count();
    let mut last = format!("{on} of {} hooks", start.hooks.len());
    if !start.not_covered.is_empty() {
        last.push_str("; not covered: ");
        last.push_str(&clean(&start.not_covered.join(", ")));
    }
    text.push('\n');
    text.push_str(&lines_of(&last, terminal));
    text
}

/// As many as it takes, the further ones indented.
fn lines_of(text: &str, terminal: &Terminal) -> String {
    const INDENT: usize = 2;
    wrapped(text, INDENT, terminal.width)
        .trim_start()
        .to_owned()
}

fn hook_lines(hook: &HookState, names: usize, terminal: &Terminal) -> String {
    /// Two spaces, `off`, two spaces.
    const BEFORE: usize = 7;
    let state = if hook.on {
        terminal.styles.help("on ")
    } else {
        terminal.styles.warning("off")
    };
    let place = match (&hook.symbol, &hook.site) {
        (Some(symbol), Some(site)) => Some(format!(
            "{symbol} at {site} ({}, {})",
            hook.kind.as_deref().unwrap_or("?"),
            hook.rate
        )),
        (symbol, _) => symbol.clone(),
    };
    let parts: Vec<String> = place.into_iter().chain(hook.reason.clone()).collect();
    let text = terminal.glyphs.clean(&parts.join("; "));
    let used = BEFORE + hook.hook.len();
    let rest = beside(used, BEFORE + names + 2, &text, terminal.width);
    format!("  {state}  {}{rest}", hook.hook)
}
