//! Keys of the file that mean nothing.
//!
//! Looked for in the table itself, because reading the values ends at the first that is wrong.

use toml::de::{DeTable, DeValue};

use crate::error::UnknownKey;

use super::{keys, nearest};

/// The one setting that is a list of tables, and its keys.
const ALLOW: &str = "allow";
const ALLOW_KEYS: [&str; 2] = ["site", "rule"];

/// All of them, in the order of the file.
pub(super) fn keys_in(document: &DeTable<'_>) -> Vec<UnknownKey> {
    let known = keys();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let mut search = Search::default();
    for (key, value) in document {
        let name: &str = key.get_ref();
        if name == ALLOW {
            search.allow(value.get_ref());
        } else if !known.contains(&name) {
            search.unknown(key.span().start, name, value.get_ref(), &known);
        }
    }
    search.found.sort_by_key(|(place, _)| *place);
    search.found.into_iter().map(|(_, key)| key).collect()
}

#[derive(Default)]
struct Search {
    /// With their places in the text, bytes.
    found: Vec<(usize, UnknownKey)>,
}

impl Search {
    fn allow(&mut self, value: &DeValue<'_>) {
        let DeValue::Array(entries) = value else {
            return;
        };
        for (index, entry) in entries.iter().enumerate() {
            let DeValue::Table(entry) = entry.get_ref() else {
                continue;
            };
            for (key, _) in entry {
                let name: &str = key.get_ref();
                if !ALLOW_KEYS.contains(&name) {
                    let parent = format!("{ALLOW}.{index}.");
                    let near = nearest(name, ALLOW_KEYS.into_iter());
                    let nearest = near.map(|near| format!("{parent}{near}"));
                    self.push(key.span().start, format!("{parent}{name}"), nearest);
                }
            }
        }
    }

    /// A table that means nothing is named by what stands in it: a setting may only be misplaced.
    fn unknown(&mut self, place: usize, path: &str, value: &DeValue<'_>, known: &[&str]) {
        match value {
            DeValue::Table(table) if !table.is_empty() => {
                for (key, value) in table {
                    let path = format!("{path}.{}", key.get_ref());
                    self.unknown(key.span().start, &path, value.get_ref(), known);
                }
            }
            _ => {
                let last = path.rsplit('.').next().unwrap_or(path);
                let near = nearest(last, known.iter().copied());
                self.push(place, path.to_owned(), near.map(str::to_owned));
            }
        }
    }

    fn push(&mut self, place: usize, path: String, nearest: Option<String>) {
        self.found.push((place, UnknownKey { path, nearest }));
    }
}
