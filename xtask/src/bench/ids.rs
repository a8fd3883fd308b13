//! What reading request IDs of all requests costs, with few and with many header lines.

use anyhow::Result;

use super::{
    Bench,
    load::Source,
    table::{Table, thousands},
    window::{Setting, UNOBSERVED, Variant, kept, typical, with_range},
};
use crate::live::Target;

const ALWAYS: Variant = Variant {
    name: "--request-ids always",
    observed: Some(&["--request-ids", "always"]),
};
const LAZY: Variant = Variant {
    name: "--request-ids lazy",
    observed: Some(&["--request-ids", "lazy"]),
};
const VARIANTS: [Variant; 3] = [UNOBSERVED, ALWAYS, LAZY];

/// Measures hello world with 1 and with 9 header lines besides `Host`.
pub fn measure(bench: &mut Bench) -> Result<()> {
    let target = Target::start(&bench.server, &["-mode", "hello"])?;
    let mut rows = Vec::new();
    for lines in [1, 9] {
        eprintln!(
            "bench: ids: {} rounds with {lines} header lines",
            bench.rounds
        );
        let setting = Setting {
            observer: &bench.observer,
            target: &target,
            source: Source::Wrk {
                url: target.url("/"),
                headers: headers(lines),
            },
            seconds: bench.seconds,
        };
        let windows = setting.compare(&VARIANTS, bench.rounds)?;
        let unobserved = windows.first().cloned().unwrap_or_default();
        for (variant, windows) in VARIANTS.iter().zip(&windows) {
            rows.push(vec![
                format!("{lines} header lines, {}", variant.name),
                thousands(typical(windows, |window| window.load.per_second)),
                with_range(&kept(windows, &unobserved)),
                format!("{:.1} µs", typical(windows, |window| window.server_us)),
            ]);
        }
    }
    target.stop()?;
    bench.show(&Table {
        title: "Request IDs: hello world".into(),
        head: vec!["", "requests/s", "kept (range)", "server CPU/request"],
        rows,
    });
    Ok(())
}

/// The ID, and ordinary lines such as browsers and proxies add.
fn headers(lines: usize) -> Vec<String> {
    let all = [
        "X-Request-Id: 4f9d1c2ab7e05368",
        "Accept: text/html,application/json",
        "Accept-Encoding: gzip, deflate, br",
        "Accept-Language: en",
        "Cache-Control: no-cache",
        "Cookie: session=0123456789abcdef0123456789abcdef",
        "Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "User-Agent: bench",
        "X-Forwarded-For: 10.0.0.7",
    ];
    all.iter()
        .take(lines)
        .map(|line| (*line).to_owned())
        .collect()
}
