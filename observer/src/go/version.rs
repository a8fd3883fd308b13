//! The version of the Go toolchain that built an executable.
//!
//! Owns parsing and order. Knows nothing of what a version means for offsets or code shapes.

use std::cmp::Ordering;

/// A Go release, as the build info names it (`go1.27.3`, `devel go1.28-abc`).
///
/// Ordered and compared by minor and patch; `raw` is only for people.
#[derive(Debug, Clone)]
pub struct GoVersion {
    /// The `N` of Go 1.N.
    pub minor: u32,
    /// The patch level; 0 for a first release, a release candidate or a development build.
    pub patch: u32,
    /// The text in the executable.
    pub raw: String,
}

impl GoVersion {
    /// Reads a build-info version. `None` when it does not name a Go 1.N.
    #[must_use]
    pub fn parse(raw: &str) -> Option<Self> {
        let start = raw.find("go1.")? + "go1.".len();
        let (minor, rest) = number(raw.get(start..)?)?;
        let patch = rest
            .strip_prefix('.')
            .and_then(number)
            .map_or(0, |(patch, _)| patch);
        Some(Self {
            minor,
            patch,
            raw: raw.to_owned(),
        })
    }
}

fn number(text: &str) -> Option<(u32, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, rest))
}

impl PartialEq for GoVersion {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for GoVersion {}

impl PartialOrd for GoVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for GoVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.minor, self.patch).cmp(&(other.minor, other.patch))
    }
}

impl std::fmt::Display for GoVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.raw)
    }
}

#[cfg(test)]
mod tests {
    use super::GoVersion;

    #[test]
    fn versions_as_toolchains_write_them() {
        for (raw, want) in [
            ("go1.27.3", Some((27, 3))),
            ("go1.21", Some((21, 0))),
            ("go1.26rc2", Some((26, 0))),
            ("go1.22.3 X:boringcrypto", Some((22, 3))),
            ("go1.19.13-fips", Some((19, 13))),
            ("devel go1.28-3e1b2f0a Thu Jan 1", Some((28, 0))),
            ("devel +abcdef", None),
            ("go1.", None),
            ("go1.99999999999", None),
            ("", None),
        ] {
            let got = GoVersion::parse(raw).map(|v| (v.minor, v.patch));
            assert_eq!(got, want, "{raw}");
        }
    }

    #[test]
    fn order_is_by_number_not_by_text() {
        let parse = |raw| GoVersion::parse(raw).expect("a version");
        assert!(parse("go1.9.7") < parse("go1.18"));
        assert!(parse("go1.21.9") < parse("go1.21.13"));
    }
}
