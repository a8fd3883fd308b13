//! `observer completions` and `observer man`: for packages.

use std::io;
use std::path::PathBuf;

use clap::Args;

use crate::error::{Error, Exit};

use super::print;

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  observer completions bash > /etc/bash_completion.d/observer
  observer completions zsh > /usr/local/share/zsh/site-functions/_observer
  observer completions fish > ~/.config/fish/completions/observer.fish";

const MAN_EXAMPLES: &str = "\
Examples:
  observer man | man -l -                         read the page of observer
  observer man /usr/local/share/man/man1          install it and one page per subcommand";

/// Flags of `completions`.
#[derive(Debug, Clone, Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub struct CompletionsArgs {
    /// Which shell
    pub shell: clap_complete::Shell,
}

/// Flags of `man`.
#[derive(Debug, Clone, Args)]
#[command(after_help = MAN_EXAMPLES)]
pub struct ManArgs {
    /// Write all pages, one per subcommand, into this folder
    pub dir: Option<PathBuf>,
}

/// Prints completions.
pub(super) fn completions(
    args: &CompletionsArgs,
    command: &mut clap::Command,
) -> Result<Exit, Error> {
    let mut text = vec![];
    clap_complete::generate(args.shell, command, "observer", &mut text);
    print(&String::from_utf8_lossy(&text))
}

/// Prints or writes manual pages.
pub(super) fn man(args: &ManArgs, command: clap::Command) -> Result<Exit, Error> {
    let failed =
        |what: String, path: Option<PathBuf>| move |source| Error::Output { what, path, source };
    let pages = pages(command).map_err(failed("the manual page".into(), None))?;
    let Some(dir) = &args.dir else {
        let own = pages.into_iter().next();
        return print(&own.map(|(_, page)| page).unwrap_or_default());
    };
    let write = || {
        std::fs::create_dir_all(dir)?;
        pages
            .iter()
            .try_for_each(|(name, page)| std::fs::write(dir.join(name), page))
    };
    write().map_err(failed(
        format!("manual pages to `{}`", dir.display()),
        Some(dir.clone()),
    ))?;
    Ok(Exit::Fine)
}

/// File names and texts of the pages, that of observer itself first.
pub(super) fn pages(command: clap::Command) -> io::Result<Vec<(String, String)>> {
    // There is no page of `help`.
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let subs = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    let subs: Vec<clap::Command> = subs.cloned().collect();
    std::iter::once(command).chain(subs).map(page).collect()
}

fn page(command: clap::Command) -> io::Result<(String, String)> {
    let after = command.get_after_help().map(ToString::to_string);
    let without = command.after_help(clap::builder::Resettable::Reset);
    let man = clap_mangen::Man::new(without).manual("observer");
    let mut text = vec![];
    man.render(&mut text)?;
    let mut text = String::from_utf8_lossy(&text).into_owned();
    text.push_str(&notes(&after.unwrap_or_default()));
    Ok((man.get_filename(), text))
}

/// What follows the flags in the help, as roff. Lines that begin with a space stay as they are.
fn notes(after: &str) -> String {
    let mut roff = String::new();
    let mut section = "NOTES";
    for (index, paragraph) in after.split("\n\n").enumerate() {
        let body = paragraph.strip_prefix("Examples:\n");
        section = match body {
            Some(_) => ".SH EXAMPLES\n",
            None if index == 0 || section == ".SH EXAMPLES\n" => ".SH NOTES\n",
            None => ".PP\n",
        };
        roff.push_str(section);
        let mut is_filled = true;
        for line in body.unwrap_or(paragraph).lines() {
            if is_filled == line.starts_with(' ') {
                roff.push_str(if is_filled { ".nf\n" } else { ".fi\n" });
                is_filled = !is_filled;
            }
            // A dot or an apostrophe at the beginning would be a request.
            let line = line.replace('\\', "\\e").replace('-', "\\-");
            let line = line.replace('\'', "\\(aq");
            roff.push_str(if line.starts_with('.') { "\\&" } else { "" });
            roff.push_str(&line);
            roff.push('\n');
        }
        if !is_filled {
            roff.push_str(".fi\n");
        }
    }
    roff
}
