//! Our own clients: bounded in count and in time, and they tell how long requests took.

use std::{
    io::Read,
    path::PathBuf,
    process::{ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::live::Running;

/// Requests at a time.
const AT_A_TIME: &str = "16";
/// How much longer than asked a client may take to end.
const LAST_WORD: Duration = Duration::from_secs(10);

/// A client and where it sends its requests.
#[derive(Clone)]
pub struct Client {
    /// `tests/targets/client`, or that of gRPC, which takes the same flags.
    pub program: PathBuf,
    /// As the program reads it.
    pub url: String,
    /// Requests a second; `None` as many as it can. That of gRPC cannot be paced.
    pub rate: Option<f64>,
}

/// What a client saw in one window; no answer was wrong or missing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answered {
    /// Answers.
    pub requests: f64,
    /// Answers a second.
    pub per_second: f64,
    /// Median of the latency, ms.
    pub p50_ms: f64,
    /// 99th percentile of the latency, ms.
    pub p99_ms: f64,
    /// The longest, ms.
    pub max_ms: f64,
}

/// A client at work.
pub struct Busy {
    running: Running,
    stdout: ChildStdout,
    patience: Duration,
}

impl Client {
    /// Lets it run for so long. Fails where a request does.
    pub fn run(&self, seconds: u64) -> Result<Answered> {
        self.begin(seconds)?.finish()
    }

    /// Lets it run for so long, while we do something else.
    pub fn begin(&self, seconds: u64) -> Result<Busy> {
        let mut command = Command::new(&self.program);
        command
            .args(["-url", &self.url, "-n", "0", "-c", AT_A_TIME])
            .args(["-max-seconds", &seconds.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if let Some(rate) = self.rate {
            command.args(["-rate", &rate.to_string()]);
        }
        let mut running = Running::start(command)?;
        Ok(Busy {
            stdout: running.take_stdout()?,
            running,
            patience: Duration::from_secs(seconds) + LAST_WORD,
        })
    }
}

impl Busy {
    /// Whether it has sent its last request.
    pub fn is_done(&mut self) -> Result<bool> {
        Ok(self.running.ended()?.is_some())
    }

    /// Waits for the end and reads the report.
    pub fn finish(mut self) -> Result<Answered> {
        let status = self.running.wait(self.patience)?;
        ensure!(
            status.is_some_and(|status| status.success()),
            "the client failed"
        );
        let mut text = String::new();
        self.stdout.read_to_string(&mut text)?;
        parse(&text)
    }
}

fn parse(text: &str) -> Result<Answered> {
    let report: Value = serde_json::from_str(text)?;
    let figure = |key: &str| {
        let value = report.get(key).and_then(Value::as_f64);
        value.with_context(|| format!("the client's report has no {key}: {text}"))
    };
    let wrong = figure("failed")? + figure("bad")?;
    ensure!(wrong == 0.0, "requests failed: {text}");
    Ok(Answered {
        requests: figure("ok")?,
        per_second: figure("per_second")?,
        p50_ms: figure("p50_ms")?,
        p99_ms: figure("p99_ms")?,
        max_ms: figure("max_ms")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = r#"{"sent":20,"ok":20,"dropped":0,"bad":0,"failed":0,"seconds":2.0,"per_second":10.0,
        "p50_ms":1.5,"p99_ms":3.25,"max_ms":7.0}"#;

    #[test]
    fn figures_are_read() {
        let answered = parse(SAID).unwrap();
        assert_eq!((answered.requests, answered.per_second), (20.0, 10.0));
        assert_eq!((answered.p50_ms, answered.p99_ms), (1.5, 3.25));
        assert_eq!(answered.max_ms, 7.0);
    }

    #[test]
    fn failed_requests_are_no_figure() {
        assert!(parse(&SAID.replace(r#""failed":0"#, r#""failed":1"#)).is_err());
        assert!(parse("{}").is_err());
    }
}
