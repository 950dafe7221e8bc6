//! `linux.sysctl`: only what belongs to one of the container's namespaces.

#![forbid(unsafe_code)]

use runtime_init::{Ns, Step};

use super::draft::Draft;
use crate::at::ConfigPath;
use crate::error::{Error, Result};

/// Sysctls of the ipc namespace besides `fs.mqueue.*` (ipc_namespaces(7)).
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// One line for each sysctl, sorted by name.
pub(super) fn write(p: &mut Draft<'_>) -> Result<()> {
    let at = ConfigPath::new("linux.sysctl");
    let mut all: Vec<_> = p.linux().and_then(|l| l.sysctl().as_ref()).into_iter().flatten().collect();
    all.sort();
    for (name, value) in all {
        let at = at.key(name);
        let path = checked(p, name, &at)?;
        let path = p.texts.add(format!("sys/{path}"), &at)?;
        let value = p.texts.add(value, &at)?;
        p.init_for(&at, Step::Sysctl { path, value });
    }
    Ok(())
}

/// The path below `/proc/sys`, if the container has the namespace that the sysctl belongs to.
fn checked(p: &Draft<'_>, name: &str, at: &ConfigPath) -> Result<String> {
    let path = path_of(name);
    let dotted = path.replace('/', ".");
    let refused = |why: &str| Err(Error::refused(at.clone(), why.to_owned()));
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(Error::invalid(at.clone(), name, "the name of a sysctl, such as \"net.ipv4.ip_forward\""));
    }
    let needed = match dotted.as_str() {
        "kernel.domainname" => Ns::Uts,
        "kernel.hostname" => return refused("use the field hostname"),
        d if IPC.contains(&d) || d.starts_with("fs.mqueue.") => Ns::Ipc,
        d if d.starts_with("net.") => Ns::Net,
        d if d.starts_with("user.") => Ns::User,
        _ => return refused("not in a namespace: it would change the host"),
    };
    if !p.namespaces.has(needed) {
        let kind = super::namespaces::word(needed);
        return refused(&format!("it would change the host: add {{\"type\": \"{kind}\"}} to linux.namespaces"));
    }
    Ok(path)
}

/// `net.ipv4.conf.eth0/1.x` → `net/ipv4/conf/eth0.1/x`: if the first separator is a dot, dots and slashes swap
/// (sysctl(8)); if it is a slash, the name is a path already.
fn path_of(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(first) if name.as_bytes()[first] == b'.' => name
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::path_of;

    #[test]
    fn lnx_128_both_separators() {
        assert_eq!(path_of("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(path_of("net/ipv4/ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(path_of("net.ipv4.conf.eth0/1.rp_filter"), "net/ipv4/conf/eth0.1/rp_filter");
    }
}
