//! The human form on stdout and stderr.

use std::io::{self, Write};

use crate::error::Notice;
use crate::style::Styles;

use super::human::Human;
use super::output::Tally;
use super::queue::{Parcel, Sink};

/// Findings and the last line on stdout, everything else on stderr.
pub struct HumanSink<O, E> {
    /// Data.
    pub stdout: O,
    /// Everything else.
    pub stderr: E,
    /// The renderer.
    pub human: Human,
    /// Columns as they are now.
    pub width: Option<fn() -> usize>,
    /// Of stderr.
    pub styles: Styles,
}

impl<O: Write + Send, E: Write + Send> Sink for HumanSink<O, E> {
    fn name(&self) -> String {
        "stdout".into()
    }

    fn take(&mut self, parcel: &Parcel, tally: &Tally) -> io::Result<Option<Notice>> {
        if let Some(width) = self.width {
            self.human.resize(width());
        }
        let text = self.human.render(&parcel.output, tally);
        // A broken stderr leaves nobody to tell.
        let _unheard = self.stderr.write_all(text.stderr.as_bytes());
        if !text.stdout.is_empty() {
            self.stdout.write_all(text.stdout.as_bytes())?;
            self.stdout.flush()?;
        }
        Ok(None)
    }

    fn warn(&mut self, notice: &Notice) {
        let _unheard = self.stderr.write_all(notice.render(self.styles).as_bytes());
    }
}
