//! As much HTTP/1.1 as the tests need themselves: one answer, or many requests over one connection.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::PATIENCE;

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
        .with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The body of what `path` answers.
///
/// # Errors
/// When it cannot be reached or answers with anything but 200.
pub fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = connect(address)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .with_context(|| format!("no answer from {path}"))?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .with_context(|| format!("{path}: no answer"))?;
    let status = head.split(' ').nth(1);
    ensure!(status == Some("200"), "{path} answers {head}");
    Ok(body.to_owned())
}

/// A keep-alive connection. Dropping it is how its client leaves.
#[derive(Debug)]
pub struct Connection {
    address: SocketAddr,
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn open(address: SocketAddr) -> Result<Self> {
        Ok(Self {
            address,
            stream: BufReader::new(connect(address)?),
        })
    }

    /// Sends a GET with this request ID, and does not wait for the answer.
    ///
    /// # Errors
    /// When the peer has closed.
    pub fn send(&mut self, path: &str, id: &str) -> Result<()> {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nX-Request-Id: {id}\r\n\r\n",
            self.address
        );
        self.stream.get_mut().write_all(head.as_bytes())?;
        Ok(())
    }

    /// Sends a POST with this request ID and the rest of its head and body, and does not wait for the answer.
    ///
    /// # Errors
    /// When the peer has closed.
    pub fn post(&mut self, path: &str, id: &str, rest: &str) -> Result<()> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nX-Request-Id: {id}\r\n{rest}",
            self.address
        );
        self.stream.get_mut().write_all(head.as_bytes())?;
        Ok(())
    }

    /// Reads one answer, whose length has to be stated, and returns its body.
    ///
    /// # Errors
    /// When it is not a 200, has no length, or the connection ends before.
    pub fn receive(&mut self) -> Result<String> {
        let mut status = String::new();
        self.stream.read_line(&mut status)?;
        ensure!(status.starts_with("HTTP/1.1 200 "), "answer {status:?}");
        let mut length = None;
        loop {
            let mut line = String::new();
            ensure!(
                self.stream.read_line(&mut line)? > 0,
                "the answer ends in its head"
            );
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = Some(value.trim().parse::<usize>()?);
            }
        }
        let Some(length) = length else {
            bail!("an answer of no stated length")
        };
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Sends a GET and reads its answer.
    ///
    /// # Errors
    /// Those of [`send`](Self::send) and [`receive`](Self::receive).
    pub fn exchange(&mut self, path: &str, id: &str) -> Result<String> {
        self.send(path, id)?;
        self.receive().with_context(|| format!("{path} {id}"))
    }

    /// Waits until the peer closes, and says how long that took.
    ///
    /// # Errors
    /// When it sends something, resets the connection, or does not close in the time that is allowed to an answer.
    pub fn closed(&mut self) -> Result<Duration> {
        let began = Instant::now();
        let rest = self.stream.fill_buf().context("no end")?;
        ensure!(rest.is_empty(), "more than the answer came");
        Ok(began.elapsed())
    }
}
