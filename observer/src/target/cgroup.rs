//! What a process' control groups say about it: which unit of systemd, which container.
//!
//! Pure: works on the text of `/proc/PID/cgroup`, of either version of the hierarchy.

/// Characters of a container's ID: the whole of it is a SHA-256 in hex, with every runtime of today.
const CONTAINER_ID: usize = 64;
/// Kinds of units that can hold processes (systemd.unit(5)).
const UNIT_KINDS: [&str; 3] = [".service", ".scope", ".slice"];

/// A unit as the user names it: without a kind, it is a service.
#[must_use]
pub fn unit_name(given: &str) -> String {
    if UNIT_KINDS.iter().any(|kind| given.ends_with(kind)) {
        given.to_owned()
    } else {
        format!("{given}.service")
    }
}

/// Whether the process belongs to a unit of systemd (its full name), itself or below it.
#[must_use]
pub fn is_in_unit(cgroups: &str, unit: &str) -> bool {
    paths(cgroups)
        .filter(|(controllers, _)| matches!(*controllers, "" | "name=systemd"))
        .any(|(_, path)| path.split('/').any(|group| group == unit))
}

/// Whether the process belongs to the container whose ID begins with `prefix` (lower-case hex).
#[must_use]
pub fn is_in_container(cgroups: &str, prefix: &str) -> bool {
    paths(cgroups)
        .flat_map(|(_, path)| path.split('/'))
        .flat_map(container_ids)
        .any(|id| id.starts_with(prefix))
}

/// Controllers and path of every line `number:controllers:path`; a path may itself contain colons.
fn paths(cgroups: &str) -> impl Iterator<Item = (&str, &str)> {
    cgroups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        rest.split_once(':')
    })
}

/// IDs in the name of one group: runtimes put words around them (`docker-ID.scope`, `cri-containerd-ID.scope`).
fn container_ids(group: &str) -> impl Iterator<Item = &str> {
    group
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| word.len() == CONTAINER_ID && is_hex(word))
}

/// Lower-case hex only.
#[must_use]
pub fn is_hex(word: &str) -> bool {
    word.bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::{is_in_container, is_in_unit, unit_name};

    const ID: &str = "3f4e8c5e1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5";

    #[test]
    fn a_unit_without_a_kind_is_a_service() {
        assert_eq!(unit_name("shop-api"), "shop-api.service");
        assert_eq!(unit_name("getty@tty1"), "getty@tty1.service");
        assert_eq!(unit_name("shop.api"), "shop.api.service");
        assert_eq!(unit_name("session-3.scope"), "session-3.scope");
        assert_eq!(unit_name("shop-api.service"), "shop-api.service");
    }

    #[test]
    fn units_of_both_hierarchies() {
        let service = "shop-api.service";
        for cgroups in [
            "0::/system.slice/shop-api.service\n",
            "0::/system.slice/shop-api.service/workers/1\n",
            "0::/../../system.slice/shop-api.service\n",
            "0::/user.slice/user-7.slice/user@7.service/app.slice/shop-api.service\n",
            "3:cpu,cpuacct:/\n1:name=systemd:/system.slice/shop-api.service\n0::/\n",
        ] {
            assert!(is_in_unit(cgroups, service), "{cgroups}");
        }
        for cgroups in [
            "",
            "no colon\n",
            "0::/\n",
            "0::/system.slice/other-shop-api.service\n",
            "0::/system.slice/shop-api.service.d\n",
            "0::/system.slice/shop-api\n",
            // What other controllers are told, the unit's manager has no part in.
            "5:memory:/shop-api.service\n0::/\n",
        ] {
            assert!(!is_in_unit(cgroups, service), "{cgroups}");
        }
        assert!(is_in_unit("0::/system.slice/a.service\n", "system.slice"));
    }

    #[test]
    fn containers_of_every_runtime() {
        for group in [
            format!("0::/system.slice/docker-{ID}.scope\n"),
            format!("12:pids:/docker/{ID}\n1:name=systemd:/docker/{ID}\n0::/\n"),
            format!("0::/kubepods.slice/kubepods-pod1_2.slice/cri-containerd-{ID}.scope\n"),
            format!("0::/kubepods/burstable/pod1-2/{ID}\n"),
            format!("0::/../crio-{ID}.scope/container\n"),
            format!(
                "0::/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{ID}\n"
            ),
            format!("0::/machine.slice/libpod-{ID}.scope\n"),
        ] {
            assert!(is_in_container(&group, &ID[..12]), "{group}");
            assert!(is_in_container(&group, ID), "{group}");
            assert!(!is_in_container(&group, &ID[1..13]), "{group}");
        }
        for group in [
            format!("0::/docker/{}\n", &ID[1..]),
            format!("0::/docker/{ID}0\n"),
            format!("0::/docker/x{}\n", &ID[1..]),
            String::new(),
        ] {
            assert!(!is_in_container(&group, &ID[..12]), "{group}");
        }
    }
}
