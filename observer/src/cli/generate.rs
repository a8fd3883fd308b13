//! `observer completions` and `observer man`: for packages.

use std::path::PathBuf;

use clap::Args;

use crate::error::{Error, Exit};

use super::print;

/// Flags of `completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// Which shell
    pub shell: clap_complete::Shell,
}

/// Flags of `man`.
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// Write one page per subcommand into this folder
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
    let Some(dir) = &args.dir else {
        let mut text = vec![];
        clap_mangen::Man::new(command)
            .render(&mut text)
            .map_err(|source| Error::Output {
                what: "the manual page".into(),
                path: None,
                source,
            })?;
        return print(&String::from_utf8_lossy(&text));
    };
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(command, dir))
        .map_err(|source| Error::Output {
            what: format!("manual pages to `{}`", dir.display()),
            path: Some(dir.clone()),
            source,
        })?;
    Ok(Exit::Fine)
}
