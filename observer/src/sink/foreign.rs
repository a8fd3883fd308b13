//! Text that targets chose: none of it may steer a terminal.

use std::io;

use serde_json::ser::Formatter;

/// Characters that a terminal obeys instead of showing: controls of both sets, and what turns or hides the text
/// that follows (bidirectional overrides and such).
pub(super) fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// JSON as serde_json writes it, but with every such character escaped: JSON demands it only of the first 32.
#[derive(Debug, Clone, Copy)]
pub(super) struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| steers(*c)) {
            let (before, after) = rest.split_at(at);
            // All of them are in the plane that one \u can name.
            write!(writer, "{before}\\u{:04x}", u32::from(c))?;
            rest = after.get(c.len_utf8()..).unwrap_or_default();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::{Escaping, steers};
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
    use serde::Serialize as _;

    fn json(text: &str) -> String {
        let mut bytes = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Escaping);
        text.serialize(&mut serializer).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn what_steers_is_escaped_and_nothing_else() {
        assert_eq!(json("/ü → x"), "\"/ü → x\"");
        let evil = "a\x1b[2J\u{7f}\u{9b}1m\u{202e}z";
        assert_eq!(json(evil), r#""a\u001b[2J\u007f\u009b1m\u202ez""#);
    }

    proptest! {
        #[test]
        fn lines_stay_the_same_and_harmless(text in "[\\PC\u{0}-\u{a0}\u{200b}-\u{202f}\"\\\\]{0,40}") {
            let line = json(&text);
            prop_assert!(!line.chars().any(steers));
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }
    }
}
