//! JSON lines on stdout and in the log.

use std::io::{self, Write};
use std::time::SystemTime;

use crate::error::Notice;
use crate::style::Styles;

use super::log::RotatingLog;
use super::output::{Output, Tally};
use super::queue::{Parcel, Sink};
use super::wire::Line;

fn line_of(parcel: &Parcel, tally: &Tally) -> io::Result<Option<String>> {
    Line::of(&parcel.output, parcel.clock, tally)
        .map(|line| line.to_json().map_err(io::Error::other))
        .transpose()
}

/// Lines on stdout; notices on stderr.
pub struct JsonSink<O, E> {
    /// Data.
    pub stdout: O,
    /// Notices.
    pub stderr: E,
    /// Of stderr.
    pub styles: Styles,
}

impl<O: Write + Send, E: Write + Send> Sink for JsonSink<O, E> {
    fn name(&self) -> String {
        "stdout".into()
    }

    fn take(&mut self, parcel: &Parcel, tally: &Tally) -> io::Result<Option<Notice>> {
        if let Output::Notice(notice) = &parcel.output {
            self.warn(notice);
        }
        if let Some(line) = line_of(parcel, tally)? {
            self.stdout.write_all(line.as_bytes())?;
            self.stdout.flush()?;
        }
        Ok(None)
    }

    fn warn(&mut self, notice: &Notice) {
        // A broken stderr leaves nobody to tell.
        let _unheard = self.stderr.write_all(notice.render(self.styles).as_bytes());
    }
}

/// Lines in the log; its own troubles on stderr.
pub struct LogSink<E> {
    /// The file.
    pub log: RotatingLog,
    /// As errors name it.
    pub name: String,
    /// Troubles.
    pub stderr: E,
    /// Of stderr.
    pub styles: Styles,
}

impl<E: Write + Send> Sink for LogSink<E> {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn take(&mut self, parcel: &Parcel, tally: &Tally) -> io::Result<Option<Notice>> {
        match line_of(parcel, tally)? {
            Some(line) => self.log.append(&line, SystemTime::now()),
            None => Ok(None),
        }
    }

    fn warn(&mut self, notice: &Notice) {
        // A broken stderr leaves nobody to tell.
        let _unheard = self.stderr.write_all(notice.render(self.styles).as_bytes());
    }
}
