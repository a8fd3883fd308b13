//! Where a process listens, and in which network namespace.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;

/// `TCP_LISTEN`, as `/proc/net/tcp` writes it.
const LISTEN: &str = "0A";
/// `__SO_ACCEPTCON`, as `/proc/net/unix` writes flags.
const ACCEPTS: &str = "00010000";

/// Sockets on which a process waits for connections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listening {
    /// TCP ports.
    pub ports: BTreeSet<u16>,
    /// There are Unix sockets among them.
    pub unix: bool,
}

/// Number of the network namespace of a process, as the kernel has it.
///
/// # Errors
/// The process is gone, or cannot be looked at.
pub fn netns(pid: u32) -> std::io::Result<u64> {
    Ok(std::fs::metadata(format!("/proc/{pid}/ns/net"))?.ino())
}

/// Where the process listens now.
///
/// # Errors
/// The process is gone, or cannot be looked at.
pub fn listening(pid: u32) -> std::io::Result<Listening> {
    let held = sockets(pid)?;
    let mut found = Listening::default();
    for table in ["tcp", "tcp6"] {
        // Without IPv6 in the kernel there is no second table.
        let Ok(file) = File::open(format!("/proc/{pid}/net/{table}")) else {
            continue;
        };
        let lines = BufReader::new(file).lines().skip(1);
        // The kernel lists those that listen first; behind them there may be thousands.
        let entries = lines.map_while(|line| tcp_entry(&line.ok()?));
        let own = entries.filter(|(_, inode)| held.contains(inode));
        found.ports.extend(own.map(|(port, _)| port));
    }
    if let Ok(file) = File::open(format!("/proc/{pid}/net/unix")) {
        let mut lines = BufReader::new(file).lines().skip(1).map_while(Result::ok);
        found.unix = lines.any(|line| unix_entry(&line).is_some_and(|inode| held.contains(&inode)));
    }
    Ok(found)
}

/// Inodes of the sockets that a process holds.
fn sockets(pid: u32) -> std::io::Result<HashSet<u64>> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"))?;
    // A descriptor that was closed meanwhile is none.
    let links = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let inode = |link: std::path::PathBuf| {
        let text = link.to_str()?.strip_prefix("socket:[")?;
        text.strip_suffix(']')?.parse().ok()
    };
    Ok(links.filter_map(inode).collect())
}

/// Local port and inode of a line, `None` once it does not listen.
fn tcp_entry(line: &str) -> Option<(u16, u64)> {
    let mut words = line.split_ascii_whitespace();
    let (_, port) = words.nth(1)?.rsplit_once(':')?;
    let (_, state) = (words.next()?, words.next()?);
    if state != LISTEN {
        return None;
    }
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((port, words.nth(5)?.parse().ok()?))
}

/// Inode of a line, where it accepts connections.
fn unix_entry(line: &str) -> Option<u64> {
    let mut words = line.split_ascii_whitespace();
    let flags = words.nth(3)?;
    let inode = words.nth(2)?;
    (flags == ACCEPTS).then(|| inode.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixListener;

    use super::{listening, netns};

    #[test]
    fn what_listens_is_found_and_what_is_connected_is_not() {
        let pid = std::process::id();
        let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = v4.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let client_port = client.local_addr().unwrap().port();
        let found = listening(pid).unwrap();
        assert!(found.ports.contains(&port));
        assert!(!found.ports.contains(&client_port));
        drop(v4);
        assert!(!listening(pid).unwrap().ports.contains(&port));
        if let Ok(v6) = TcpListener::bind("[::1]:0") {
            let port = v6.local_addr().unwrap().port();
            assert!(listening(pid).unwrap().ports.contains(&port));
        }
    }

    #[test]
    fn a_unix_listener_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let _listener = UnixListener::bind(folder.path().join("shop.sock")).unwrap();
        assert!(listening(std::process::id()).unwrap().unix);
    }

    #[test]
    fn the_namespace_is_the_one_that_the_link_names() {
        let link = std::fs::read_link("/proc/self/ns/net").unwrap();
        let number = netns(std::process::id()).unwrap();
        assert_eq!(link.to_string_lossy(), format!("net:[{number}]"));
        assert!(listening(u32::MAX).is_err());
    }
}
