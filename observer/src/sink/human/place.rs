//! Code sites in short: the file as seen from the module's root, the function without its path.

use crate::go::Frame;

/// `report/build.go:132`: the file below the module's root where package or path tell it, the
/// package's path for other modules and the standard library.
#[must_use]
pub fn short_file(frame: &Frame, module: &str) -> String {
    let package = unescape(frame.package());
    let base = frame.file.rsplit('/').next().unwrap_or_default();
    let name = if frame.file.is_empty() {
        unescape(&frame.function)
    } else if package == "main" {
        below_root(&frame.file, module).unwrap_or(base).to_owned()
    } else {
        match relative(&package, module) {
            Some("") => base.to_owned(),
            Some(inside) => format!("{inside}/{base}"),
            None => format!("{package}/{base}"),
        }
    };
    if frame.line == 0 {
        name
    } else {
        format!("{name}:{}", frame.line)
    }
}

/// `report.(*Builder).Build`: the symbol without the path of its package.
#[must_use]
pub fn short_function(function: &str) -> String {
    let plain = function.split('[').next().unwrap_or(function);
    let cut = plain.rfind('/').map_or(0, |slash| slash + 1);
    unescape(function.get(cut..).unwrap_or(function))
}

/// The symbol in full, as people write it.
#[must_use]
pub fn full_function(function: &str) -> String {
    unescape(function)
}

/// Whether the frame is of the standard library: the first element of its package has no dot,
/// and it is neither `main` nor of the main module.
#[must_use]
pub fn is_std(frame: &Frame, module: &str) -> bool {
    let package = frame.package();
    let first = package.split('/').next().unwrap_or(package);
    package != "main" && !first.contains('.') && relative(package, module).is_none()
}

/// Functions that the compiler makes around others: bound methods, `go` and `defer` statements.
#[must_use]
pub fn is_wrapper(function: &str) -> bool {
    let last = function.rsplit('.').next().unwrap_or(function);
    function.ends_with("-fm")
        || last.starts_with("gowrap")
        || last.starts_with("deferwrap")
        || function.starts_with("net/http.(*Server).Serve.func")
}

/// Whether `seen` lies in the function of `site`, or in one that this has called: it is no caller of it then.
#[must_use]
pub fn is_below(seen: &Frame, site: &Frame, stack: &[Frame]) -> bool {
    let depth = stack.iter().position(|frame| frame == seen);
    let of_site = stack
        .iter()
        .position(|frame| frame.function == site.function);
    let is_called = matches!((depth, of_site), (Some(depth), Some(of_site)) if depth < of_site);
    seen.function == site.function || is_called
}

fn relative<'a>(package: &'a str, module: &str) -> Option<&'a str> {
    if module.is_empty() {
        return None;
    }
    let rest = package.strip_prefix(module)?;
    if rest.is_empty() {
        return Some(rest);
    }
    rest.strip_prefix('/')
}

/// Package main does not name its directory: with -trimpath the file starts with the module,
/// without it the checkout's folder usually has the name of the module's last element.
fn below_root<'a>(file: &'a str, module: &str) -> Option<&'a str> {
    if module.is_empty() {
        return None;
    }
    if let Some(inside) = relative(file, module) {
        return Some(inside);
    }
    let last = module.rsplit('/').next()?;
    let folder = format!("/{last}/");
    let at = file.rfind(&folder)?;
    file.get(at + folder.len()..)
}

/// The linker writes dots in the last path element as `%2e`.
fn unescape(name: &str) -> String {
    name.replace("%2e", ".")
}

#[cfg(test)]
mod tests {
    use super::{is_below, is_std, short_file, short_function};
    use crate::finding::Finding;
    use crate::finding::samples::{self, frame};
    use crate::sink::human::block::finding_block;
    use crate::sink::human::{Glyphs, Terminal};
    use crate::style::Styles;

    #[test]
    fn files_as_seen_from_the_module() {
        for (function, file, short) in [
            (
                "example.com/shop/report.(*B).wait",
                "/home/ci/src/shop/report/build.go",
                "report/build.go:7",
            ),
            (
                "example.com/shop/report.(*B).wait",
                "example.com/shop/report/build.go",
                "report/build.go:7",
            ),
            ("example.com/shop.Run", "/x/run.go", "run.go:7"),
            (
                "example.com/shopping/a.Run",
                "/x/run.go",
                "example.com/shopping/a/run.go:7",
            ),
            (
                "main.main",
                "/home/ci/shop/cmd/api/main.go",
                "cmd/api/main.go:7",
            ),
            (
                "main.main",
                "example.com/shop/cmd/api/main.go",
                "cmd/api/main.go:7",
            ),
            ("main.main", "/tmp/x/main.go", "main.go:7"),
            (
                "net/http.(*conn).serve",
                "/usr/local/go/src/net/http/server.go",
                "net/http/server.go:7",
            ),
            (
                "gopkg.in/yaml%2ev3.Unmarshal",
                "/m/gopkg.in/yaml.v3@v3.0.1/yaml.go",
                "gopkg.in/yaml.v3/yaml.go:7",
            ),
        ] {
            assert_eq!(
                short_file(&frame(function, file, 7), "example.com/shop"),
                short
            );
        }
        let unknown = frame("main.main", "", 0);
        assert_eq!(short_file(&unknown, "example.com/shop"), "main.main");
    }

    #[test]
    fn functions_without_path() {
        assert_eq!(
            short_function("example.com/shop/report.(*Builder).Build"),
            "report.(*Builder).Build"
        );
        assert_eq!(
            short_function("slices.SortFunc[go.shape.[]example.com/x.T]"),
            "slices.SortFunc[go.shape.[]example.com/x.T]"
        );
    }

    #[test]
    fn what_a_site_calls_is_below_it() {
        let [spin, helper, handler, outer, elsewhere] = [
            frame("main.spin", "main.go", 67),
            frame("lib/x.Do", "do.go", 9),
            frame("main.handle", "main.go", 42),
            frame("main.middleware", "main.go", 12),
            frame("main.start", "main.go", 5),
        ];
        let declared = frame("main.handle", "main.go", 40);
        let stack = [&spin, &helper, &handler, &outer].map(Clone::clone);
        for seen in [&handler, &spin] {
            assert!(is_below(seen, &declared, &stack), "{seen:?}");
        }
        assert!(!is_below(&handler, &helper, &stack));
        assert!(!is_below(&outer, &declared, &stack));
        assert!(!is_below(&elsewhere, &declared, &stack));
        // Whoever has made what is used here may have returned.
        assert!(!is_below(&spin, &elsewhere, &stack));
    }

    /// What computes stands at the declaration of its handler, and was seen inside.
    #[test]
    fn a_line_inside_the_site_is_not_told_as_its_caller() {
        let terminal = Terminal {
            styles: Styles::new(false),
            glyphs: Glyphs::new(true),
            width: 100,
            verbose: false,
        };
        let seen = |finding: &Finding| {
            let block = finding_block(finding, &terminal, false);
            let line = block.lines().find(|line| line.starts_with("  seen"));
            line.unwrap().to_owned()
        };
        let mut inside = samples::cancel_ignored();
        inside.caller = inside.site.clone();
        inside.site.as_mut().unwrap().line = 4;
        let mut called = samples::cancel_ignored();
        called.caller = Some(called.stack[2].clone());
        called.count = 3;
        insta::assert_snapshot!([seen(&inside), seen(&called)].join("\n"), @r"
          seen     at report/build.go:132
          seen     3 times   called from api/report.go:77
        ");
    }

    #[test]
    fn what_the_standard_library_is() {
        assert!(is_std(&frame("net/http.(*conn).serve", "", 0), "shop"));
        assert!(!is_std(&frame("main.main", "", 0), "shop"));
        assert!(!is_std(&frame("shop/api.Get", "", 0), "shop"));
        assert!(!is_std(&frame("example.com/x.Get", "", 0), "shop"));
    }
}
