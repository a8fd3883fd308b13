//! Which line of the whole program puts a value with a certain key into a context.
//!
//! `context.WithValue` is called directly, and the code of most calls says of which type the key is, or even which key
//! it is. Where all but one line of the program are excluded so, that line has made the value, whether its function is
//! still on a stack or not.

use super::Image;
use crate::go::Frame;
use crate::go::isa::Use;

const MAKER: &str = "context.WithValue";
const PACKAGE: &str = "context.";

/// A key of a context's value, as the two words of an interface: addresses in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Its type.
    pub type_vaddr: u64,
    /// Where its value lies; anything outside the image for one that was made at run time.
    pub data: u64,
}

/// A call that makes values.
#[derive(Debug, Clone, Copy)]
struct Call {
    at: u64,
    /// Words of the key that the code tells.
    key: [Option<u64>; 2],
}

impl Call {
    fn may_make(&self, key: Key) -> bool {
        let [kind, data] = self.key;
        kind.is_none_or(|kind| kind == key.type_vaddr) && data.is_none_or(|data| data == key.data)
    }
}

/// Every call of `context.WithValue` in a program; none where values are made in other ways, too.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// What names `*context.valueCtx` as a context.
    itab: u64,
    calls: Vec<Call>,
}

impl Image {
    /// The logical frames, innermost first, of the only line of the program that can have made a `context.valueCtx`
    /// with this key. `itab` names that type as a context. Where the line's function is inlined in several places, it
    /// is the frames that these have in common. Empty where several lines can have, or the code does not tell.
    #[must_use]
    pub fn value_made(&self, itab: u64, key: Key) -> Vec<Frame> {
        let values = self.values.get_or_init(|| self.read_values(itab));
        if values.itab != itab {
            return Vec::new();
        }
        let calls = values.calls.iter().filter(|call| call.may_make(key));
        calls
            .map(|call| self.frames_at(call.at))
            .reduce(|one, other| {
                let same = one
                    .iter()
                    .zip(&other)
                    .take_while(|(one, other)| one == other);
                let same = same.count();
                one.into_iter().take(same).collect()
            })
            .unwrap_or_default()
    }

    fn read_values(&self, itab: u64) -> Values {
        Values {
            itab,
            calls: self.calls_of_maker(itab).unwrap_or_default(),
        }
    }

    /// `None` where the function is inlined, or called by way of its address.
    fn calls_of_maker(&self, itab: u64) -> Option<Vec<Call>> {
        let [maker] = self.functions(MAKER) else {
            return None;
        };
        let is_taken = self.elf.holds_word(&self.data, maker.entry);
        if is_taken
            || self
                .around(itab)?
                .iter()
                .any(|function| !function.is_contexts)
        {
            return None;
        }
        let isa = self.elf.isa;
        let mut calls = Vec::new();
        // Its own code goes back to its beginning when its stack has grown.
        let callers = self.around(maker.entry)?.into_iter();
        for function in callers.filter(|function| function.entry != maker.entry) {
            for found in isa.uses(function.code, function.entry, maker.entry) {
                let Use::Call { at, arguments } = found else {
                    return None;
                };
                // The parent goes before it.
                let [_, _, kind, data] = arguments;
                calls.push(Call {
                    at,
                    key: [kind, data],
                });
            }
        }
        Some(calls)
    }

    /// The functions in whose code something may name `address`.
    fn around(&self, address: u64) -> Option<Vec<Around<'_>>> {
        let start = self.module.text;
        let text = self.elf.bytes_from(&self.data, start)?;
        let mut found: Vec<Around<'_>> = Vec::new();
        for mention in self.elf.isa.mentions(text, start, address) {
            let Some(function) = self.function_at(mention) else {
                continue;
            };
            if found
                .last()
                .is_some_and(|last| last.entry == function.entry)
            {
                continue;
            }
            found.push(Around {
                entry: function.entry,
                code: self.code(function.entry, function.end)?,
                is_contexts: function.name.starts_with(PACKAGE),
            });
        }
        Some(found)
    }
}

/// A function and its code.
struct Around<'a> {
    entry: u64,
    code: &'a [u8],
    is_contexts: bool,
}
