//! nginx in front of a program: what a service sees when its clients come through a proxy.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::{Guarded, PATIENCE, Tail};

/// A port that was free a moment ago may be another's now.
const TRIES: usize = 5;

/// A running proxy; dropping it ends it.
#[derive(Debug)]
pub struct Nginx {
    /// Where it listens.
    pub address: SocketAddr,
    _process: Guarded,
    _folder: TempDir,
}

impl Nginx {
    /// Starts it in front of `upstream`. It closes its connection there when its own client leaves, except for paths
    /// below `/kept/`, whose requests it sees through.
    ///
    /// # Errors
    /// When it is not installed, or does not begin to listen.
    pub fn before(upstream: SocketAddr) -> Result<Self> {
        Self::start(|address| config(address, upstream))
    }

    /// Starts it in front of a gRPC server. It hands deadlines on, or loses them as one does whose settings do not know of
    /// them.
    ///
    /// # Errors
    /// See [`Self::before`].
    pub fn before_grpc(upstream: SocketAddr, hands_deadlines_on: bool) -> Result<Self> {
        Self::start(|address| grpc_config(address, upstream, hands_deadlines_on))
    }

    fn start(config_for: impl Fn(SocketAddr) -> String) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut said = Vec::new();
        for _ in 0..TRIES {
            // nginx has to be told a port.
            let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            let config = folder.path().join("nginx.conf");
            fs::write(&config, config_for(address))?;
            let mut command = Command::new("nginx");
            command
                .args(["-e", "stderr", "-p"])
                .arg(folder.path())
                .arg("-c")
                .arg(&config)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped());
            let mut process = Guarded::spawn(&mut command).context("run `cargo xtask setup`")?;
            let stderr = Tail::of(process.child().stderr.take().context("stderr is a pipe")?);
            if listens(&mut process, address)? {
                return Ok(Self {
                    address,
                    _process: process,
                    _folder: folder,
                });
            }
            said = stderr.lines();
        }
        bail!("nginx does not listen: {said:?}")
    }
}

fn config(address: SocketAddr, upstream: SocketAddr) -> String {
    around(&format!(
        "listen {address};\n\
         location / {{ proxy_pass http://{upstream}; }}\n\
         location /kept/ {{ proxy_pass http://{upstream}; proxy_ignore_client_abort on; }}\n"
    ))
}

fn grpc_config(address: SocketAddr, upstream: SocketAddr, hands_deadlines_on: bool) -> String {
    let lost = if hands_deadlines_on {
        ""
    } else {
        "grpc_set_header grpc-timeout \"\";"
    };
    around(&format!(
        "listen {address} http2;\n\
         location / {{ grpc_pass grpc://{upstream}; {lost} }}\n"
    ))
}

/// Everything that it writes is in its own folder, and it has no children that could outlive it.
fn around(server: &str) -> String {
    format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr;\n\
         events {{ worker_connections 256; }}\n\
         http {{\n\
           access_log off;\n\
           client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n\
           uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
           server {{ {server} }}\n\
         }}\n"
    )
}

fn listens(process: &mut Guarded, address: SocketAddr) -> Result<bool> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end && process.is_running()? {
        if TcpStream::connect(address).is_ok() {
            return Ok(true);
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(false)
}
