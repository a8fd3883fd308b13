//! A PostgreSQL server of its own for a test or a benchmark, in a temporary folder, on loopback and a Unix socket.
//!
//! Ends with the thread that started it, also after a panic or a kill. PostgreSQL refuses to run as root; then it runs
//! as the user that Debian's package makes for it, else as `nobody`.

use std::{
    env, fs,
    net::TcpListener,
    ops::Deref,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

/// Where Debian keeps the programs of each version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Who may run it where root may not.
const USERS: [&str; 2] = ["postgres", "nobody"];
const READY: Duration = Duration::from_secs(30);
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// A running server; dropping it ends it and removes its folder.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    folder: Folder,
    port: u16,
    user: Option<[u32; 2]>,
    server: Child,
}

/// A folder of ours, removed with all that is in it when dropped, however far the start came.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn create(path: PathBuf) -> Result<Self> {
        fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _nothing_left_to_remove = fs::remove_dir_all(&self.0);
    }
}

impl Postgres {
    /// The folder of the newest PostgreSQL's programs.
    #[must_use]
    pub fn find() -> Option<PathBuf> {
        let debian = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
        let mut versions: Vec<(u32, PathBuf)> = debian
            .filter_map(|entry| {
                let version = entry.file_name().to_str()?.parse().ok()?;
                Some((version, entry.path().join("bin")))
            })
            .collect();
        versions.sort();
        let path = env::var_os("PATH").unwrap_or_default();
        versions
            .into_iter()
            .rev()
            .map(|(_, folder)| folder)
            .chain(env::split_paths(&path))
            .find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
    }

    /// Starts one, empty, on a free port.
    ///
    /// # Errors
    /// When there is none, or it does not come up.
    pub fn start() -> Result<Self> {
        let programs = Self::find().context("no PostgreSQL\n\nhint: run `cargo xtask setup`")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let folder = Folder::create(env::temp_dir().join(format!("observer-postgres-{port}")))?;
        fs::set_permissions(&*folder, fs::Permissions::from_mode(0o700))?;
        let user = (id(&["-u"])? == 0).then(unprivileged).transpose()?;
        if let Some([user, group]) = user {
            chown(&*folder, Some(user), Some(group))?;
        }
        let data = folder.join("data");
        let mut create = run_as(user, &programs.join("initdb"), &folder);
        create.args(["--no-sync", "--auth=trust", "--username=postgres", "-D"]);
        let output = create.arg(&data).output().context("cannot run initdb")?;
        ensure!(
            output.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let mut serve = run_as(user, &programs.join("postgres"), &folder);
        serve.arg("-D").arg(&data).arg("-k").arg(&*folder);
        serve.args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        serve.args(["-c", "fsync=off", "-c", "max_connections=200"]);
        let log = fs::File::create(folder.join("log"))?;
        let server = serve
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start postgres")?;
        let postgres = Self {
            programs,
            folder,
            port,
            user,
            server,
        };
        postgres.wait_until_ready()?;
        Ok(postgres)
    }

    fn wait_until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + READY;
        while self.query("SELECT 1").is_err() {
            if Instant::now() > deadline {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                bail!("PostgreSQL does not come up: {log}");
            }
            thread::sleep(TRY_AGAIN);
        }
        Ok(())
    }

    /// How drivers reach it over loopback.
    #[must_use]
    pub fn over_tcp(&self) -> String {
        self.reached_at("127.0.0.1")
    }

    /// How drivers reach it over its Unix socket.
    #[must_use]
    pub fn over_unix(&self) -> String {
        self.reached_at(&self.folder.to_string_lossy())
    }

    fn reached_at(&self, host: &str) -> String {
        let port = self.port;
        format!("host={host} port={port} user=postgres dbname=postgres sslmode=disable")
    }

    /// What it answers to a query: rows by line, columns by `|`.
    ///
    /// # Errors
    /// What it says.
    pub fn query(&self, query: &str) -> Result<String> {
        let output = Command::new(self.programs.join("psql"))
            .args(["--no-psqlrc", "-At", "-c", query, "-d", &self.over_unix()])
            .output()
            .context("cannot run psql")?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Killed at once it would leave its shared memory behind.
        let mut stop = run_as(self.user, &self.programs.join("pg_ctl"), &self.folder);
        stop.args(["stop", "-s", "-m", "immediate", "-D"]);
        let stopped = stop.arg(self.folder.join("data")).status();
        if !stopped.is_ok_and(|status| status.success()) {
            let _already_gone = self.server.kill();
        }
        let _already_waited_for = self.server.wait();
    }
}

/// A command of that user's that ends with this thread.
fn run_as(user: Option<[u32; 2]>, program: &Path, folder: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]);
    if let Some([user, group]) = user {
        command.args(["--reuid", &user.to_string(), "--regid", &group.to_string()]);
        command.arg("--clear-groups");
    }
    command.arg("--").arg(program);
    // In a process group of its own: a Ctrl-C at the terminal reaches only us, and we end it in order.
    command.current_dir(folder).stdin(Stdio::null());
    command.process_group(0);
    command
}

fn unprivileged() -> Result<[u32; 2]> {
    for user in USERS {
        if let (Ok(user_id), Ok(group)) = (id(&["-u", user]), id(&["-g", user])) {
            return Ok([user_id, group]);
        }
    }
    bail!("nobody to run PostgreSQL as: neither of the users {USERS:?} is there")
}

fn id(args: &[&str]) -> Result<u32> {
    let output = Command::new("id").args(args).output()?;
    ensure!(output.status.success(), "id {args:?} fails");
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
}
