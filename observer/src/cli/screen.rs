//! What the streams of this process can show. The only place that asks.

use std::io;

use crate::sink::{Glyphs, Terminal};
use crate::style::{Color, Styles, locale_is_utf8};

/// Columns where stdout is no terminal: wide enough for most lines, narrow enough for a log.
const DEFAULT_WIDTH: usize = 100;

/// Wider lines are hard to follow.
const MAX_WIDTH: usize = 140;

/// For findings on stdout.
pub fn terminal(color: Color, verbose: bool) -> Terminal {
    Terminal {
        styles: Styles::for_stream(color, &io::stdout()),
        glyphs: Glyphs::new(locale_is_utf8(|name| std::env::var(name).ok())),
        width: width(),
        verbose,
    }
}

/// Columns of stdout as it is now.
pub fn width() -> usize {
    terminal_size::terminal_size_of(io::stdout())
        .map(|(terminal_size::Width(columns), _)| usize::from(columns))
        .or_else(|| std::env::var("COLUMNS").ok()?.parse().ok())
        .filter(|columns| *columns > 0)
        .unwrap_or(DEFAULT_WIDTH)
        .min(MAX_WIDTH)
}

/// For everything on stderr.
pub fn stderr(color: Color) -> Styles {
    Styles::for_stream(color, &io::stderr())
}
