//! `observer explain`, and the rules' pages: both made from the doc comments of the rules' files.

use clap::Args;

use crate::config::{nearest_rule, parse_rule};
use crate::error::{Error, Exit};
use crate::finding::RuleName;
use crate::sink::Terminal;
use crate::style::Color;

use super::wrap::wrapped;
use super::{print, screen};

const AFTER_HELP: &str = "\
Examples:
  observer explain                      all rules, one line each
  observer explain cancel-ignored       one rule, with an example and how to fix it";

/// Wider prose is hard to follow.
const MAX_WIDTH: usize = 100;

/// Begins an item of a list.
const ITEM: &str = "- ";

/// Sections of every rule's text, in order.
pub const SECTIONS: [&str; 6] = [
    "What it finds",
    "Why it matters",
    "Example",
    "How to fix",
    "How sure",
    "When silent",
];

/// Flags of `explain`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ExplainArgs {
    /// Which rule; without one, all are listed
    pub rule: Option<String>,

    /// When to colour
    #[arg(
        long,
        env = "OBSERVER_COLOR",
        value_name = "WHEN",
        default_value = "auto"
    )]
    pub color: Color,
}

/// Runs it.
pub(super) fn run(args: &ExplainArgs) -> Result<Exit, Error> {
    super::warn_of_variables(Some(args.color));
    let terminal = screen::terminal(args.color, false);
    let Some(name) = &args.rule else {
        return print(&list(&terminal));
    };
    let rule = parse_rule(name).map_err(|_| Error::UnknownRule {
        name: name.clone(),
        nearest: nearest_rule(name),
    })?;
    print(&for_terminal(&markdown(rule), &terminal))
}

/// The source file of a rule: its doc comment is its documentation.
const fn source(rule: RuleName) -> &'static str {
    match rule {
        RuleName::CancelIgnored => include_str!("../detect/cancel_ignored.rs"),
        RuleName::DetachedContext => include_str!("../detect/detached_context.rs"),
        RuleName::CancelNotCalled => include_str!("../detect/cancel_not_called.rs"),
        RuleName::PrematureCancel => include_str!("../detect/premature_cancel.rs"),
        RuleName::CancelUndelivered => include_str!("../detect/cancel_undelivered.rs"),
        RuleName::DeadlineDropped => include_str!("../detect/deadline_dropped.rs"),
        RuleName::DeadlineInflated => include_str!("../detect/deadline_inflated.rs"),
        RuleName::TimeoutMismatch => include_str!("../detect/timeout_mismatch.rs"),
        RuleName::DeadlineTooShort => include_str!("../detect/deadline_too_short.rs"),
        RuleName::DeadlineNotForwarded => include_str!("../detect/deadline_not_forwarded.rs"),
        RuleName::OrphanedDownstream => include_str!("../detect/orphaned_downstream.rs"),
        RuleName::GoroutineLeak => include_str!("../detect/goroutine_leak.rs"),
        RuleName::GoroutineSurge => include_str!("../detect/goroutine_surge.rs"),
    }
}

/// The rule's text as Markdown, with its title.
#[must_use]
pub fn markdown(rule: RuleName) -> String {
    let mut text = String::new();
    for line in source(rule).lines() {
        let Some(line) = line.strip_prefix("//!") else {
            break;
        };
        text.push_str(line.strip_prefix(' ').unwrap_or(line));
        text.push('\n');
    }
    text
}

/// The sentence under the title.
#[must_use]
pub fn summary(rule: RuleName) -> String {
    markdown(rule)
        .lines()
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .unwrap_or_default()
        .to_owned()
}

/// Folder of the rules' pages, from the workspace's root.
pub const DOCS_FOLDER: &str = "docs/rules";

/// Every page under [`DOCS_FOLDER`]: file name and text.
#[must_use]
pub fn docs() -> Vec<(String, String)> {
    let mut index = String::from(
        "# Rules\n\n\
         Made from the rules' own doc comments; `observer explain RULE` prints the same text.\n\n\
         | rule | what it says |\n|---|---|\n",
    );
    let mut pages = vec![];
    for rule in RuleName::ALL {
        index.push_str(&format!("| [`{rule}`]({rule}.md) | {} |\n", summary(rule)));
        pages.push((format!("{rule}.md"), markdown(rule)));
    }
    pages.insert(0, ("README.md".to_owned(), index));
    pages
}

fn list(terminal: &Terminal) -> String {
    let names = RuleName::ALL.iter().map(|rule| rule.as_str().len());
    let column = names.max().unwrap_or(0) + 2;
    let mut text = String::new();
    for rule in RuleName::ALL {
        let name = format!("{:<column$}", rule.as_str());
        text.push_str(&terminal.styles.strong(&name));
        let summary = wrapped(&summary(rule), column, terminal.width);
        text.push_str(summary.trim_start());
    }
    text
}

/// Headings without their signs, code indented instead of fenced, everything wrapped.
fn for_terminal(markdown: &str, terminal: &Terminal) -> String {
    let mut text = String::new();
    let mut in_code = false;
    // Of one paragraph or item.
    let mut words = String::new();
    let width = terminal.width.min(MAX_WIDTH);
    for line in markdown.lines().chain([""]) {
        let line = &terminal.glyphs.clean(&line.replace('\t', "    "));
        let heading = line.trim_start_matches('#');
        let is_prose = !in_code && !line.starts_with("```") && heading.len() == line.len();
        if !is_prose || line.is_empty() || line.starts_with(ITEM) {
            let indent = if words.starts_with(ITEM) {
                ITEM.len()
            } else {
                0
            };
            text.push_str(
                wrapped(&words, indent, width)
                    .get(indent..)
                    .unwrap_or_default(),
            );
            words.clear();
        }
        if line.starts_with("```") {
            in_code = !in_code;
        } else if in_code {
            text.push_str(&code(line, terminal.width));
        } else if !is_prose {
            text.push_str(&terminal.styles.strong(heading.trim_start()));
            text.push('\n');
        } else if line.is_empty() {
            text.push('\n');
        } else {
            words.push_str(line);
            words.push(' ');
        }
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// A line of code as it is; where it is too wide, what goes on is indented further.
fn code(line: &str, width: usize) -> String {
    const INDENT: usize = 4;
    let own = line.chars().take_while(|c| *c == ' ').count();
    let indent = " ".repeat(INDENT + own);
    let text = line.trim();
    if indent.len() + text.chars().count() <= width || text.is_empty() {
        return format!("{indent}{text}").trim_end().to_owned() + "\n";
    }
    let lines = wrapped(text, indent.len() + INDENT, width);
    format!("{indent}{}", lines.trim_start())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{DOCS_FOLDER, SECTIONS, docs, for_terminal, list, markdown, summary};
    use crate::finding::RuleName;
    use crate::sink::{Glyphs, Terminal};
    use crate::style::Styles;

    #[test]
    fn every_rule_has_every_section() {
        for rule in RuleName::ALL {
            let text = markdown(rule);
            assert_eq!(text.lines().next(), Some(format!("# {rule}").as_str()));
            let sections: Vec<&str> = text
                .lines()
                .filter_map(|line| line.strip_prefix("## "))
                .collect();
            assert_eq!(sections, SECTIONS, "{rule}");
            assert!(summary(rule).ends_with('.'), "{rule}");
            assert!(text.contains("```go\n"), "{rule} needs an example");
            assert_eq!(text.matches("```").count() % 2, 0, "{rule}");
        }
    }

    #[test]
    fn the_checked_in_pages_are_current() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(DOCS_FOLDER);
        for (name, text) in docs() {
            let path = folder.join(&name);
            if std::env::var_os("OBSERVER_REGENERATE").is_some() {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(&path, &text).unwrap();
            }
            let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                checked_in == text,
                "{DOCS_FOLDER}/{name} is old: `OBSERVER_REGENERATE=1 cargo test -p observer` writes it"
            );
        }
    }

    fn terminal(utf8: bool, width: usize) -> Terminal {
        Terminal {
            styles: Styles::new(false),
            glyphs: Glyphs::new(utf8),
            width,
            verbose: false,
        }
    }

    #[test]
    fn on_a_terminal() {
        let text = for_terminal(&markdown(RuleName::CancelNotCalled), &terminal(true, 100));
        insta::assert_snapshot!(text);
        for rule in RuleName::ALL {
            assert!(for_terminal(&markdown(rule), &terminal(false, 100)).is_ascii());
        }
    }

    #[test]
    fn examples_fit_a_usual_terminal() {
        for rule in RuleName::ALL {
            let text = for_terminal(&markdown(rule), &terminal(true, 80));
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{rule}: {line}");
            }
        }
    }

    #[test]
    fn on_a_narrow_terminal() {
        for rule in RuleName::ALL {
            let fences = ["```go", "```sh", "```text", "```"];
            let source = fences
                .iter()
                .fold(markdown(rule), |text, fence| text.replace(fence, ""));
            for width in [50, 80, 140] {
                let text = for_terminal(&markdown(rule), &terminal(true, width));
                let widest = text.lines().map(|line| line.chars().count()).max();
                assert!(widest <= Some(width.min(100)), "{rule} at {width}: {text}");
                let words =
                    |text: &str| text.replace('#', "").split_whitespace().collect::<String>();
                assert_eq!(words(&text), words(&source), "{rule} at {width}");
            }
        }
        insta::assert_snapshot!(list(&terminal(true, 50)));
        let narrow = for_terminal(&markdown(RuleName::CancelIgnored), &terminal(true, 50));
        insta::assert_snapshot!("rule_narrow", narrow);
    }
}
