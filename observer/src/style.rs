//! The named styles, and whether a stream and its locale can show them.
//!
//! Everything must be readable without them: colour only repeats what the words say. It must not
//! know what is styled.

use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};

/// When to colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Also into pipes and files.
    Always,
    /// Nowhere.
    Never,
}

/// Words for colours: the only place that names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Styles {
    color: bool,
}

impl Styles {
    /// With or without colour.
    #[must_use]
    pub const fn new(color: bool) -> Self {
        Self { color }
    }

    /// What `choice` means for `stream`. Reads `NO_COLOR` and `TERM`.
    #[must_use]
    pub fn for_stream(choice: Color, stream: &impl IsTerminal) -> Self {
        let color = match choice {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                stream.is_terminal()
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                    && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        };
        Self::new(color)
    }

    fn paint(self, style: Style, text: &str) -> String {
        if self.color {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    /// The word `error`, a failure.
    #[must_use]
    pub fn error(self, text: &str) -> String {
        self.paint(AnsiColor::Red.on_default().bold(), text)
    }

    /// The word `warning`.
    #[must_use]
    pub fn warning(self, text: &str) -> String {
        self.paint(AnsiColor::Yellow.on_default().bold(), text)
    }

    /// The word `info`.
    #[must_use]
    pub fn info(self, text: &str) -> String {
        self.paint(AnsiColor::Cyan.on_default().bold(), text)
    }

    /// `hint`, `help`.
    #[must_use]
    pub fn help(self, text: &str) -> String {
        self.paint(AnsiColor::Green.on_default().bold(), text)
    }

    /// Labels of the narrow column.
    #[must_use]
    pub fn label(self, text: &str) -> String {
        self.paint(AnsiColor::Blue.on_default(), text)
    }

    /// Headlines and the code site.
    #[must_use]
    pub fn strong(self, text: &str) -> String {
        self.paint(Style::new().bold(), text)
    }
}

/// Whether the locale can show more than ASCII: the first of `LC_ALL`, `LC_CTYPE`, `LANG` that
/// is set and not empty decides, as in POSIX.
#[must_use]
pub fn locale_is_utf8(get: impl Fn(&str) -> Option<String>) -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .filter_map(get)
        .find(|value| !value.is_empty())
        .is_some_and(|value| {
            let value = value.to_ascii_lowercase();
            value.contains("utf-8") || value.contains("utf8")
        })
}
