//! Hashes that are the same in every run, on every machine and in every build.

use super::{Finding, Fingerprint, ProcessInfo, RuleName};
use crate::go::Frame;

/// FNV-1a, 64 bits: offset basis and prime from RFC 9923 (draft-eastlake-fnv).
struct Fnv(u64);

impl Fnv {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;

    const fn new() -> Self {
        Self(Self::BASIS)
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(Self::PRIME);
        }
        self
    }

    /// Length first: ("ab", "c") and ("a", "bc") must differ.
    fn text(self, text: &str) -> Self {
        self.number(text.len() as u64).bytes(text.as_bytes())
    }

    fn number(self, number: u64) -> Self {
        self.bytes(&number.to_le_bytes())
    }

    /// FNV moves its last bytes little; the finaliser of splitmix64 spreads them.
    const fn finish(self) -> u64 {
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

impl Fingerprint {
    /// Of rule, module, and the site's function, file and line (never of where it waits).
    #[must_use]
    pub fn of(rule: RuleName, module: &str, site: Option<&Frame>) -> Self {
        let hash = Fnv::new().text(rule.as_str()).text(module);
        let hash = match site {
            Some(site) => hash
                .text(&site.function)
                .text(&site.file)
                .number(u64::from(site.line)),
            None => hash,
        };
        Self(hash.finish())
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Id of a finding: the same code in the same process start.
#[must_use]
pub fn finding_id(fingerprint: Fingerprint, process: &ProcessInfo) -> u64 {
    Fnv::new()
        .number(fingerprint.0)
        .number(u64::from(process.pid))
        .number(process.start_ticks)
        .finish()
}

impl Finding {
    /// Sets fingerprint and id from rule, process and site. Rules call it last.
    #[must_use]
    pub fn identified(mut self) -> Self {
        self.fingerprint = Fingerprint::of(self.rule, &self.process.module, self.site.as_ref());
        self.id = finding_id(self.fingerprint, &self.process);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::{Fingerprint, Fnv};
    use crate::finding::RuleName;
    use crate::go::Frame;

    #[test]
    fn published_vectors_before_the_finaliser() {
        assert_eq!(Fnv::new().0, 0xcbf2_9ce4_8422_2325);
        assert_eq!(Fnv::new().bytes(b"a").0, 0xaf63_dc4c_8601_ec8c);
        assert_eq!(Fnv::new().bytes(b"foobar").0, 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_fingerprint_never_changes() {
        let site = Frame {
            function: "example.com/shop/report.(*Builder).wait".into(),
            file: "example.com/shop/report/build.go".into(),
            line: 132,
        };
        let print = Fingerprint::of(RuleName::CancelIgnored, "example.com/shop", Some(&site));
        insta::assert_snapshot!(print, @"e91be97f79a8702c");
        let none = Fingerprint::of(RuleName::CancelIgnored, "example.com/shop", None);
        assert_ne!(print, none);
        let other = Fingerprint::of(RuleName::CancelIgnored, "example.com", Some(&site));
        assert_ne!(print, other);
    }
}
