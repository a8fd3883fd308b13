//! Hooks in the kernel itself: one place for all processes, so they are planned from the kernel's
//! types and not from an executable.

use observer_common::hook::HookId;
use observer_common::layout::{ENABLED, HAS_V6, SocketLayout};

use crate::finding::{HookState, RuleName};

use super::btf::Btf;
use super::hook::Rate;
use super::plan::Off;

/// A hook at a tracepoint.
#[derive(Debug)]
pub struct Tracepoint {
    /// Number shared with the programs.
    pub id: HookId,
    /// The kernel's name for it.
    pub name: &'static str,
    /// Our program.
    pub program: &'static str,
    /// How often it makes an event on healthy traffic.
    pub rate: Rate,
    /// Rules that are blind or weaker without it.
    pub rules: &'static [RuleName],
}

/// A TCP socket changes its state. Raw: it needs neither kprobes nor a mounted tracefs.
pub const SOCKET_STATE: Tracepoint = Tracepoint {
    id: HookId::SocketState,
    name: "inet_sock_set_state",
    program: "socket_state",
    rate: Rate::Rare,
    rules: &[RuleName::CancelUndelivered, RuleName::CancelIgnored],
};

/// Where the kernel keeps what is told of a socket, from its BTF.
///
/// # Errors
/// Why sockets cannot be seen.
pub fn sockets(btf: std::io::Result<&[u8]>) -> Result<SocketLayout, Off> {
    let off = |reason: String| Off {
        reason,
        harmless: false,
    };
    let bytes = btf.map_err(|error| off(format!("this kernel has no BTF: {error}")))?;
    let btf = Btf::parse(bytes).ok_or_else(|| off("this kernel's BTF is not understood".into()))?;
    if !btf.has_typedef(&format!("btf_trace_{}", SOCKET_STATE.name)) {
        let name = SOCKET_STATE.name;
        return Err(off(format!("this kernel has no tracepoint {name}")));
    }
    let find = |of: &str, field: &str| {
        btf.offset(of, field)
            .ok_or_else(|| off(format!("this kernel has no {of}.{field}")))
    };
    let common = find("sock", "__sk_common")?;
    let field = |name| find("sock_common", name).map(|at| at + common);
    let v6 = (field("skc_v6_rcv_saddr").ok(), field("skc_v6_daddr").ok());
    let (local6, remote6, has_v6) = match v6 {
        (Some(local), Some(remote)) => (local, remote, HAS_V6),
        _ => (0, 0, 0),
    };
    Ok(SocketLayout {
        flags: ENABLED | has_v6,
        sport: find("inet_sock", "inet_sport")?,
        dport: field("skc_dport")?,
        family: field("skc_family")?,
        local4: field("skc_rcv_saddr")?,
        remote4: field("skc_daddr")?,
        local6,
        remote6,
        net: field("skc_net")?,
        net_inum: find("net", "ns")? + find("ns_common", "inum")?,
        error: find("sock", "sk_err")?,
        reserved: 0,
    })
}

/// The hook as users see it.
#[must_use]
pub fn state(planned: Result<(), &Off>) -> HookState {
    HookState {
        hook: SOCKET_STATE.id.name().to_owned(),
        on: planned.is_ok(),
        symbol: Some(SOCKET_STATE.name.to_owned()),
        site: None,
        kind: Some("tracepoint".to_owned()),
        rate: SOCKET_STATE.rate.as_str().to_owned(),
        reason: planned.err().map(|off| off.reason.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::{sockets, state};

    #[test]
    fn a_kernel_without_types_is_a_reason_and_no_error() {
        let off = sockets(Err(Error::from(ErrorKind::NotFound))).unwrap_err();
        assert!(off.reason.starts_with("this kernel has no BTF"), "{off:?}");
        let state = state(Err(&off));
        assert!(!state.on);
        assert_eq!(state.reason.as_deref(), Some(&*off.reason));
        let off = sockets(Ok(b"no BTF")).unwrap_err();
        assert_eq!(off.reason, "this kernel's BTF is not understood");
    }
}
