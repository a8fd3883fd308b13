//! What a reader of a finding sees of code: one logical frame, and what an itab names.
//!
//! Plain data. Owns no tables and reads nothing.

use std::sync::Arc;

/// One logical call frame: an inlined call has a frame of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Frame {
    /// Full symbol name, as pclntab has it (`net/http.(*conn).serve`).
    pub function: Arc<str>,
    /// Source file as the binary has it; empty where the binary names none.
    pub file: Arc<str>,
    /// Line in `file`, from 1; 0 where unknown.
    pub line: u32,
}

impl Frame {
    /// Import path of the package that holds the function (`net/http`,
    /// `example.com/shop/report`); pclntab escapes dots of the last element as `%2e`.
    #[must_use]
    pub fn package(&self) -> &str {
        package_of(&self.function)
    }
}

/// Import path part of a symbol name: everything up to the first dot after the last slash.
/// Generic arguments may hold slashes of their own, so they are cut first.
#[must_use]
pub fn package_of(symbol: &str) -> &str {
    let plain = symbol.split('[').next().unwrap_or(symbol);
    let tail = plain.rfind('/').map_or(0, |slash| slash + 1);
    let end = plain
        .get(tail..)
        .and_then(|rest| rest.find('.'))
        .map_or(plain.len(), |dot| tail + dot);
    plain.get(..end).unwrap_or(plain)
}

/// The concrete type behind an interface value, read from its itab.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct TypeName {
    /// Import path of the package that declares it; empty for unnamed types.
    pub package: Arc<str>,
    /// Name without package and star (`cancelCtx`).
    pub name: Arc<str>,
    /// The interface holds a pointer to it.
    pub pointer: bool,
}

impl std::fmt::Display for TypeName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.pointer {
            f.write_str("*")?;
        }
        let short = self.package.rsplit('/').next().unwrap_or(&self.package);
        if short.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{short}.{}", self.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::package_of;

    #[test]
    fn packages_of_symbols() {
        assert_eq!(package_of("net/http.(*conn).serve"), "net/http");
        assert_eq!(package_of("main.main.func1"), "main");
        assert_eq!(
            package_of("example.com/shop/report.(*Builder).wait"),
            "example.com/shop/report"
        );
        assert_eq!(
            package_of("slices.SortFunc[go.shape.[]example.com/x.T]"),
            "slices"
        );
        assert_eq!(
            package_of("gopkg.in/yaml%2ev3.Unmarshal"),
            "gopkg.in/yaml%2ev3"
        );
    }
}
