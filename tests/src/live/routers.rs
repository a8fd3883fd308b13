//! `modules/routers`: handlers behind real middlewares, which make the IDs of requests themselves.

use anyhow::Result;

use super::{Load, Program};

/// The program.
pub const PROGRAM: &str = "modules/routers";

/// Its handlers, which work on for a second and a half after their clients have left.
const ROUTES: [&str; 5] = [
    "/chi/derived",
    "/chi/deeper",
    "/chi/plain",
    "/echo/wait",
    "/gin/wait",
];
/// How long their clients wait, ms.
const PATIENCE_MS: u64 = 300;

/// Asks every handler at once, and leaves all of them before they answer.
///
/// # Errors
/// When a client cannot be run, or got an answer.
pub fn leave_all(program: &Program) -> Result<()> {
    let leaves = |route: &str| {
        let load = Load::of(program, route).mode("drop");
        load.patience_ms(PATIENCE_MS).start()
    };
    for client in ROUTES.map(leaves) {
        client?.all("dropped")?;
    }
    Ok(())
}
