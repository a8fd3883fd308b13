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
    use super::{is_std, short_file, short_function};
    use crate::finding::samples::frame;

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
    fn what_the_standard_library_is() {
        assert!(is_std(&frame("net/http.(*conn).serve", "", 0), "shop"));
        assert!(!is_std(&frame("main.main", "", 0), "shop"));
        assert!(!is_std(&frame("shop/api.Get", "", 0), "shop"));
        assert!(!is_std(&frame("example.com/x.Get", "", 0), "shop"));
    }
}
