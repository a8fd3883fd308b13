//! The load, as fast as it goes: `wrk -t1 -c16` with keep-alive, or a client of ours for what wrk does not speak.

use std::{
    io::Read,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::client::Client;
use crate::live::Running;

/// Who asks, and for what.
#[derive(Clone)]
pub enum Source {
    /// wrk.
    Wrk {
        /// Where.
        url: String,
        /// Header lines on top of those that wrk sends anyway.
        headers: Vec<String>,
    },
    /// A client of ours.
    Own(Client),
}

/// What one window of load did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Answered requests.
    pub requests: f64,
    /// Answered requests per second.
    pub per_second: f64,
    /// 99th percentile of the latency, µs.
    pub p99_us: f64,
}

impl Source {
    /// wrk at this URL.
    pub const fn wrk(url: String) -> Self {
        Self::Wrk {
            url,
            headers: Vec::new(),
        }
    }

    /// Loads for this many seconds.
    pub fn load(&self, seconds: u64) -> Result<Load> {
        match self {
            Self::Wrk { url, headers } => wrk(url, seconds, headers),
            Self::Own(client) => {
                let answered = client.run(seconds)?;
                Ok(Load {
                    requests: answered.requests,
                    per_second: answered.per_second,
                    p99_us: answered.p99_ms * 1000.0,
                })
            }
        }
    }
}

fn wrk(url: &str, seconds: u64, headers: &[String]) -> Result<Load> {
    let mut command = Command::new("wrk");
    command
        .args(["-t1", "-c16", "--latency", &format!("-d{seconds}s")])
        .args(headers.iter().map(|header| format!("-H{header}")))
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut running = Running::start(command)?;
    let mut stdout = running.take_stdout()?;
    let status = running.wait(Duration::from_secs(seconds + 10))?;
    let status = status.context("wrk did not end")?;
    let mut text = String::new();
    stdout.read_to_string(&mut text)?;
    ensure!(status.success(), "wrk ended with {status}:\n{text}");
    parse(&text).with_context(|| format!("wrk said something unexpected:\n{text}"))
}

fn parse(text: &str) -> Option<Load> {
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        return None;
    }
    let word_before = |what: &str| text.split_once(what)?.0.split_whitespace().next_back();
    let word_after = |what: &str| text.split_once(what)?.1.split_whitespace().next();
    Some(Load {
        requests: word_before(" requests in ")?.parse().ok()?,
        per_second: word_after("Requests/sec:")?.parse().ok()?,
        p99_us: microseconds(word_after("\n     99%")?)?,
    })
}

fn microseconds(text: &str) -> Option<f64> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit);
    let factor = match unit {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "Running 3s test @ http://127.0.0.1:7711/
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   260.52us  390.07us   7.66ms   91.99%
    Req/Sec    73.00k    20.88k   94.68k    66.67%
  Latency Distribution
     50%  149.00us
     75%  238.00us
     90%  521.00us
     99%    1.99ms
  217841 requests in 3.00s, 27.01MB read
Requests/sec:  72597.33
Transfer/sec:      9.00MB
";

    #[test]
    fn figures_are_read() {
        let load = parse(SAID).unwrap();
        assert_eq!(
            (load.requests, load.per_second, load.p99_us),
            (217_841.0, 72_597.33, 1990.0)
        );
    }

    #[test]
    fn failed_requests_are_no_figure() {
        assert_eq!(
            parse(&format!("{SAID}  Non-2xx or 3xx responses: 4\n")),
            None
        );
        assert_eq!(parse("unable to connect"), None);
    }
}
