//! What a hook is.

use observer_common::hook::HookId;

use crate::finding::RuleName;

/// How often a hook is hit on healthy traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rate {
    /// Not at all: only when something goes wrong.
    Rare,
    /// Once or twice a request.
    PerRequest,
    /// Once per context or call.
    PerOperation,
    /// Once per goroutine.
    Hot,
}

impl Rate {
    /// All classes, cheapest first.
    pub const ALL: [Self; 4] = [Self::Rare, Self::PerRequest, Self::PerOperation, Self::Hot];

    /// Name in `check` and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rare => "rare",
            Self::PerRequest => "per-request",
            Self::PerOperation => "per-operation",
            Self::Hot => "hot",
        }
    }
}

/// A symbol and the minor Go versions that have it.
#[derive(Debug, Clone, Copy)]
pub struct Since {
    /// Function name as pclntab has it.
    pub symbol: &'static str,
    /// First minor version.
    pub from: u32,
    /// Last minor version; `u32::MAX` while it lives.
    pub to: u32,
}

/// A hook: where something we care about happens.
#[derive(Debug)]
pub struct Hook {
    /// Number shared with the kernel. The same hook in another module is an entry of its own, after the first.
    pub id: HookId,
    /// Where it is, by version; the first that is linked in is taken. Several for one version only in a module, whose
    /// release decides.
    pub symbols: &'static [Since],
    /// Struct fields whose offsets the probe needs, as (type, field).
    pub fields: &'static [(&'static str, &'static str)],
    /// How often it is hit.
    pub rate: Rate,
    /// Rules that are blind or weaker without it.
    pub rules: &'static [RuleName],
    /// What it means when the function is not linked in; `None` where every program has it.
    pub absent: Option<&'static str>,
    /// Nothing can be observed without it.
    pub required: bool,
}

/// The last version of a symbol that still lives.
pub const ALWAYS: u32 = u32::MAX;

/// A symbol that is the same in every version of Go.
pub const fn always(symbol: &'static str) -> Since {
    Since {
        symbol,
        from: 18,
        to: ALWAYS,
    }
}

/// What every probe needs.
pub const GOID: (&str, &str) = ("runtime.g", "goid");
