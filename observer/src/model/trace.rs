//! The W3C trace context of a request or a call.

use std::fmt;

/// Bytes of a `traceparent` of version 00, and of the known part of every later one.
const KNOWN_BYTES: usize = 55;
/// The version that the specification forbids.
const NO_VERSION: &str = "ff";

/// A trace, the same on its whole way through all services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// One step of a trace: what a caller calls itself in the `traceparent` that it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub u64);

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A `traceparent` that keeps to W3C Trace Context, level 1, section 3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// Who sent it: the span of the calling side.
    pub parent_id: SpanId,
    /// Flags; bit 0: sampled.
    pub flags: u8,
}

impl TraceContext {
    /// Reads a header's value; `None` for one that is broken. Of a version after 00 only what 00 knows is read, as
    /// the specification asks; of 00 nothing may follow.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let (known, rest) = header.split_at_checked(KNOWN_BYTES)?;
        let mut parts = known.split('-');
        let version = parts.next().filter(|part| is_hex(part, 2))?;
        let trace_id = parts.next().filter(|part| is_hex(part, 32))?;
        let parent_id = parts.next().filter(|part| is_hex(part, 16))?;
        let flags = parts.next().filter(|part| is_hex(part, 2))?;
        let rest_fits = match version {
            NO_VERSION => false,
            "00" => rest.is_empty(),
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        let trace_id = u128::from_str_radix(trace_id, 16).ok()?;
        let parent_id = u64::from_str_radix(parent_id, 16).ok()?;
        let sound = rest_fits && trace_id != 0 && parent_id != 0;
        Some(Self {
            trace_id: TraceId(trace_id),
            parent_id: SpanId(parent_id),
            flags: u8::from_str_radix(flags, 16).ok()?,
        })
        .filter(|_| sound)
    }
}

/// Lower-case hex digits, so many.
fn is_hex(part: &str, len: usize) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    part.len() == len && part.bytes().all(digit)
}

/// What a request's or a call's `traceparent` came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Trace {
    /// None is known.
    #[default]
    None,
    /// One is there, and cannot be believed.
    Broken,
    /// One is there.
    Is(TraceContext),
}

impl Trace {
    /// Of a header's value.
    #[must_use]
    pub fn of(header: &str) -> Self {
        TraceContext::parse(header).map_or(Self::Broken, Self::Is)
    }

    /// The context, where it can be believed.
    #[must_use]
    pub const fn context(self) -> Option<TraceContext> {
        match self {
            Self::Is(context) => Some(context),
            Self::None | Self::Broken => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{SpanId, Trace, TraceContext, TraceId};
    use proptest::prelude::{any, prop_assert_eq, proptest};

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn trace_parent_and_flags_are_kept() {
        let context = TraceContext::parse(GOOD).unwrap();
        assert_eq!(
            context,
            TraceContext {
                trace_id: TraceId(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736),
                parent_id: SpanId(0x00f0_67aa_0ba9_02b7),
                flags: 1,
            }
        );
        assert_eq!(
            context.trace_id.to_string(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        assert_eq!(context.parent_id.to_string(), "00f067aa0ba902b7");
        assert_eq!(Trace::of(GOOD).context(), Some(context));
    }

    #[test]
    fn of_a_later_version_what_is_known_is_read() {
        for later in ["01", "cc", "fe"] {
            let plain = GOOD.replacen("00", later, 1);
            assert_eq!(TraceContext::parse(&plain), TraceContext::parse(GOOD));
            let longer = format!("{plain}-what-the-future-brings");
            assert_eq!(TraceContext::parse(&longer), TraceContext::parse(GOOD));
            assert_eq!(TraceContext::parse(&format!("{plain}.")), None);
        }
    }

    #[test]
    fn what_is_broken_is_not_believed() {
        for bad in [
            "",
            "00",
            "00-4bf92f35-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
            "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            // 55 bytes end inside its last letter.
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0ä",
        ] {
            assert_eq!(Trace::of(bad), Trace::Broken, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_sound_reads_back(trace_id in 1u128.., parent_id in 1u64.., flags in any::<u8>()) {
            let context = TraceContext { trace_id: TraceId(trace_id), parent_id: SpanId(parent_id), flags };
            let header = format!("00-{}-{}-{flags:02x}", context.trace_id, context.parent_id);
            prop_assert_eq!(TraceContext::parse(&header), Some(context));
        }

        #[test]
        fn foreign_text_never_panics(text in ".{0,80}") {
            let _ = Trace::of(&text);
        }
    }
}
