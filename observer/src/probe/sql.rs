//! The hooks of `database/sql`: functions that its calls pass, the ones that begin them and the one that ends them.

use observer_common::hook::HookId;

use crate::finding::RuleName;

use super::hook::{GOID, Hook, Rate, Since, always};

/// What calls of `database/sql` feed: nothing has a timeout of its own there.
const RULES: &[RuleName] = &[
    RuleName::DetachedContext,
    RuleName::PrematureCancel,
    RuleName::CancelIgnored,
    RuleName::DeadlineDropped,
    RuleName::DeadlineInflated,
];

/// A statement of its own is executed.
pub(super) const EXEC: Hook = passed(HookId::SqlExec, &[always("database/sql.(*DB).execDC")]);

/// A statement of its own is asked for rows.
pub(super) const QUERY: Hook = passed(HookId::SqlQuery, &[always("database/sql.(*DB).queryDC")]);

/// A prepared statement is executed.
pub(super) const STMT_EXEC: Hook = passed(
    HookId::SqlStmtExec,
    &[always("database/sql.resultFromStatement")],
);

/// A prepared statement is asked for rows.
pub(super) const STMT_QUERY: Hook = passed(
    HookId::SqlStmtQuery,
    &[always("database/sql.rowsiFromStatement")],
);

/// A connection is taken out of the pool, or waited for.
pub(super) const CONN: Hook = passed(HookId::SqlConn, &[always("database/sql.(*DB).conn")]);

/// A connection goes back into the pool: its call is over.
pub(super) const RETURN: Hook = passed(HookId::SqlReturn, &[always("database/sql.(*DB).putConn")]);

/// A function that calls of `database/sql` pass.
const fn passed(id: HookId, symbols: &'static [Since]) -> Hook {
    Hook {
        id,
        symbols,
        fields: &[GOID],
        rate: Rate::PerOperation,
        rules: RULES,
        absent: Some("database/sql not linked"),
        required: false,
    }
}
