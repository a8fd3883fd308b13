//! Reads what a goroutine can wait for out of the source of Go's runtime.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// The wait reasons of one `runtime2.go`, in the order of their values: `[["waitReasonZero", ""], …]`.
///
/// # Errors
/// When the source does not have the shape that it has had since Go 1.11: a block of constants counted up from
/// `waitReasonZero`, and an array of their texts.
pub fn parse(source: &str) -> Result<Value> {
    let constants = block(source, "\nconst (\n\twaitReasonZero ", ")").context("no constants")?;
    let constants: Vec<&str> = std::iter::once("waitReasonZero")
        .chain(constants.lines().skip(1).filter_map(constant))
        .collect();
    let texts = block(source, "var waitReasonStrings = [...]string{", "}").context("no texts")?;
    let texts: BTreeMap<&str, String> = texts.lines().filter_map(text).collect();
    ensure!(
        constants.len() == texts.len(),
        "{} constants, but {} texts",
        constants.len(),
        texts.len()
    );

    let reason = |name: &&str| {
        Ok(json!([
            name,
            texts
                .get(name)
                .with_context(|| format!("{name} has no text"))?
        ]))
    };
    constants
        .iter()
        .map(reason)
        .collect::<Result<_>>()
        .map(Value::Array)
}

/// What is between `start` and a line that is only `end`.
fn block<'a>(source: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = source.split_once(start)?;
    let (block, _) = rest.split_once(&format!("\n{end}\n"))?;
    Some(block)
}

/// `waitReasonIOWait // "IO wait"` → `waitReasonIOWait`
fn constant(line: &str) -> Option<&str> {
    let word = line.split_whitespace().next()?;
    word.starts_with("waitReason").then_some(word)
}

/// `waitReasonIOWait: "IO wait",` → the constant and its text
fn text(line: &str) -> Option<(&str, String)> {
    let (name, text) = line.trim().split_once(':')?;
    // Go and JSON write these plain strings alike.
    let text = serde_json::from_str(text.trim().strip_suffix(',')?).ok()?;
    Some((name, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "package runtime\n\nconst (\n\twaitReasonZero   waitReason = iota // \"\"\n\twaitReasonIOWait // \"IO wait\"\n\
                          \n\t// A remark.\n\twaitReasonSelect\n)\n\nvar waitReasonStrings = [...]string{\n\
                          \twaitReasonZero:   \"\",\n\twaitReasonSelect: \"select\",\n\twaitReasonIOWait: \"IO wait\",\n}\n";

    #[test]
    fn reasons_are_in_the_order_of_their_constants() {
        let expected = json!([
            ["waitReasonZero", ""],
            ["waitReasonIOWait", "IO wait"],
            ["waitReasonSelect", "select"]
        ]);
        assert_eq!(parse(SOURCE).unwrap(), expected);
    }

    #[test]
    fn a_constant_without_text_is_an_error() {
        let source = SOURCE.replace(
            "waitReasonSelect\n)",
            "waitReasonSelect\n\twaitReasonNew\n)",
        );
        assert!(parse(&source).is_err());
    }
}
