//! What a query may be called: its verb and its table, and nothing that may be a value.
//!
//! No parser of SQL: it reads only as far as every dialect agrees on what is text and what is code, and says less
//! where it does not know.

/// Words that begin a statement. What begins with another is called `query`.
const VERBS: &[&str] = &[
    "ALTER",
    "ANALYZE",
    "BEGIN",
    "CALL",
    "CLOSE",
    "COMMIT",
    "COPY",
    "CREATE",
    "DEALLOCATE",
    "DECLARE",
    "DELETE",
    "DO",
    "DROP",
    "EXEC",
    "EXECUTE",
    "EXPLAIN",
    "FETCH",
    "GRANT",
    "INSERT",
    "LISTEN",
    "LOCK",
    "MERGE",
    "NOTIFY",
    "PRAGMA",
    "PREPARE",
    "REFRESH",
    "RELEASE",
    "REPLACE",
    "REVOKE",
    "ROLLBACK",
    "SAVEPOINT",
    "SELECT",
    "SET",
    "SHOW",
    "TRUNCATE",
    "UNLISTEN",
    "UPDATE",
    "USE",
    "VACUUM",
    "VALUES",
    "WITH",
];

/// Bytes of a table's name: what PostgreSQL allows, schema included.
const MAX_TABLE: usize = 127;

/// `SELECT FROM items`, `INSERT INTO items`, `UPDATE items`, `WITH`; `query` for what is none. The name of a name is
/// the same.
#[must_use]
pub fn query_name(text: &[u8]) -> String {
    let mut rest = Rest(text);
    rest.leading_comments();
    let word = rest.word().to_ascii_uppercase();
    let Some(verb) = VERBS.iter().find(|verb| verb.as_bytes() == word) else {
        return "query".to_owned();
    };
    let mark = match *verb {
        "SELECT" | "DELETE" => Some("FROM"),
        "INSERT" | "REPLACE" => Some("INTO"),
        "UPDATE" => None,
        _ => return (*verb).to_owned(),
    };
    let found = mark.is_none_or(|mark| rest.find(mark));
    let table = found.then(|| rest.table()).flatten();
    match (mark, table) {
        (_, None) => (*verb).to_owned(),
        (None, Some(table)) => format!("{verb} {table}"),
        (Some(mark), Some(table)) => format!("{verb} {mark} {table}"),
    }
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take_while(&mut self, keep: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.0.iter().position(|byte| !keep(*byte));
        let (taken, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        taken
    }

    fn spaces(&mut self) {
        self.take_while(|byte| byte.is_ascii_whitespace());
    }

    fn word(&mut self) -> &'a [u8] {
        self.take_while(|byte| byte.is_ascii_alphabetic())
    }

    /// Comments of tools that name queries stand before them: `-- name: GetItem :one`, `/* route */`.
    fn leading_comments(&mut self) {
        loop {
            self.spaces();
            if self.0.starts_with(b"--") {
                self.take_while(|byte| byte != b'\n');
            } else if self.0.starts_with(b"/*") {
                let end = self.0.windows(2).position(|two| two == b"*/");
                self.0 = end.and_then(|end| self.0.get(end + 2..)).unwrap_or(&[]);
            } else {
                return;
            }
        }
    }

    /// Goes behind the keyword `mark` where it stands outside of every text and bracket; false where that is not sure.
    fn find(&mut self, mark: &str) -> bool {
        let mut depth = 0_u32;
        loop {
            match self.0 {
                [] => return false,
                // Here dialects differ: a comment or a sign, an escape, a quoted text of PostgreSQL's.
                [b'#' | b'\\', ..] | [b'-', b'-', ..] | [b'/', b'*', ..] => return false,
                [b'$', next, ..] if !next.is_ascii_digit() => return false,
                [quote @ (b'\'' | b'"' | b'`'), rest @ ..] => {
                    let inside = rest.iter().position(|byte| byte == quote || *byte == b'\\');
                    match inside.and_then(|end| rest.get(end..)) {
                        Some([end, rest @ ..]) if end == quote => self.0 = rest,
                        _ => return false,
                    }
                }
                [b'(', rest @ ..] => {
                    depth += 1;
                    self.0 = rest;
                }
                [b')', rest @ ..] => {
                    depth = depth.saturating_sub(1);
                    self.0 = rest;
                }
                [first, ..] if is_name(*first) => {
                    let word = self.take_while(is_name);
                    if depth == 0 && word.eq_ignore_ascii_case(mark.as_bytes()) {
                        return true;
                    }
                }
                [_, rest @ ..] => self.0 = rest,
            }
        }
    }

    /// The name that comes next. One that the record cut off is none.
    fn table(&mut self) -> Option<&'a str> {
        let before = self.0.len();
        self.spaces();
        let name = if let [quote @ (b'"' | b'`'), rest @ ..] = self.0 {
            self.0 = rest;
            let name = self.take_while(is_name);
            self.0.starts_with(&[*quote]).then_some(name)?
        } else {
            (self.0.len() < before).then(|| self.take_while(is_name))?
        };
        let begins = name
            .first()
            .is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
        let fits = begins && name.len() <= MAX_TABLE;
        std::str::from_utf8(name).ok().filter(|_| fits)
    }
}

const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.')
}

#[cfg(test)]
mod tests {
    use super::query_name;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    #[test]
    fn a_query_is_called_by_verb_and_table() {
        for (text, name) in [
            ("SELECT name FROM items WHERE id = $1", "SELECT FROM items"),
            (
                "select 'x from y', \"from\" from public.items",
                "SELECT FROM public.items",
            ),
            ("SELECT pg_sleep($1)", "SELECT"),
            (
                "SELECT (SELECT max(id) FROM inner_one) FROM outer_one",
                "SELECT FROM outer_one",
            ),
            ("SELECT * FROM (SELECT 1) x", "SELECT"),
            (
                "\n\t-- name: AddItem :exec\n/* shop */ INSERT INTO \"items\" (a) VALUES ('b')",
                "INSERT INTO items",
            ),
            ("update items set name = 'secret'", "UPDATE items"),
            (
                "DELETE FROM `items` WHERE mail = 'a@b'",
                "DELETE FROM items",
            ),
            ("WITH old AS (SELECT 1) SELECT 2", "WITH"),
            ("SET password = 'secret'", "SET"),
            ("secret words", "query"),
            ("'secret'", "query"),
            ("", "query"),
        ] {
            assert_eq!(query_name(text.as_bytes()), name, "{text}");
        }
    }

    #[test]
    fn what_could_be_a_value_is_left_out() {
        for (text, name) in [
            // An escape that only some dialects know.
            (r"SELECT '\' , ' FROM secret ' FROM items", "SELECT"),
            ("SELECT $$ FROM secret $$ FROM items", "SELECT"),
            ("SELECT $a$ FROM secret $a$", "SELECT"),
            ("SELECT 1 # it's FROM secret", "SELECT"),
            ("SELECT 1 -- FROM secret", "SELECT"),
            ("SELECT 1 /* FROM secret */ FROM items", "SELECT"),
            ("SELECT 'open FROM secret", "SELECT"),
            ("SELECT x FROM 'secret'", "SELECT"),
            ("UPDATE \"two words\" SET x = 1", "UPDATE"),
            ("DELETE FROM 5", "DELETE"),
            ("SELECT x FROM", "SELECT"),
        ] {
            assert_eq!(query_name(text.as_bytes()), name, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_name_of_a_name_is_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let once = query_name(&bytes);
            prop_assert_eq!(query_name(once.as_bytes()), once);
        }

        #[test]
        fn a_text_never_shows(
            before in "[a-z0-9_, ()*=$]{0,20}",
            value in "[a-zA-Z0-9 ]{1,20}",
            after in "[a-z0-9_ ]{0,20}",
        ) {
            let text = format!("SELECT {before} 'FROM zq{value}' {after}");
            let name = query_name(text.as_bytes());
            prop_assert!(!name.contains("zq"), "{}", name);
        }
    }
}
