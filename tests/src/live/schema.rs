//! Every line against the schema that observer itself prints.

use std::{process::Command, sync::OnceLock};

use anyhow::{Context, Result, anyhow, ensure};
use jsonschema::Validator;
use serde_json::Value;

use super::observer_binary;

/// What is wrong with a line; empty where nothing is.
///
/// # Errors
/// When `observer schema` does not print a schema.
pub fn faults(line: &Value) -> Result<Vec<String>> {
    static SCHEMA: OnceLock<Result<Validator, String>> = OnceLock::new();
    let validator = SCHEMA
        .get_or_init(|| compile().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow!("{error}"))?;
    let fault =
        |fault: jsonschema::ValidationError<'_>| format!("at `{}`: {fault}", fault.instance_path());
    Ok(validator.iter_errors(line).map(fault).collect())
}

fn compile() -> Result<Validator> {
    let output = Command::new(observer_binary()?).arg("schema").output()?;
    ensure!(
        output.status.success(),
        "observer schema: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let schema: Value =
        serde_json::from_slice(&output.stdout).context("observer schema prints no JSON")?;
    jsonschema::validator_for(&schema).map_err(|error| anyhow!("observer schema: {error}"))
}
