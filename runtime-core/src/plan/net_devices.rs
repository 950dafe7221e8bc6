//! `linux.netDevices`: devices of the host that become the container's.

#![forbid(unsafe_code)]

use oci_spec::runtime::LinuxNetDevice;
use runtime_init::{Gate, Ns, Step};

use super::HostStep;
use super::draft::Draft;
use crate::at::ConfigPath;
use crate::error::{Error, Result};

/// One device, and what it is called in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NetDevice {
    pub at: ConfigPath,
    pub name: String,
    /// It may end in `%d`, for the first number that is free there.
    pub inside: String,
}

/// Init shows a socket of its network namespace, through which the host can look and act there.
pub(super) fn move_in(p: &mut Draft<'_>) -> Result<()> {
    let at = ConfigPath::new("linux.netDevices");
    let mut given: Vec<_> = p.linux().and_then(|linux| linux.net_devices().as_ref()).into_iter().flatten().collect();
    if given.is_empty() {
        return Ok(());
    }
    if !p.namespaces.has(Ns::Net) {
        let reason =
            "unable to move network devices without a NET namespace: add {\"type\": \"network\"} to linux.namespaces";
        return Err(Error::refused(at, reason));
    }
    if !(p.host.privileged && p.host.initial_user_namespace) {
        let reason =
            "network devices are not supported for rootless containers: only root of the host can give them away";
        return Err(Error::refused(at, reason));
    }
    given.sort_by_key(|(name, _)| *name);
    for (name, device) in given {
        let device = one(&at, name, device)?;
        if !device.inside.ends_with(ANY) && p.net_devices.iter().any(|other| other.inside == device.inside) {
            return Err(Error::invalid(device.at.field("name"), device.inside, "a name that no other device gets"));
        }
        p.net_devices.push(device);
    }
    p.host_for(&at, HostStep::NetDevices);
    p.host(HostStep::Release(Gate::Network));
    p.init_for(&at, Step::Await { gate: Gate::Network });
    Ok(())
}

/// The end of a name that leaves the number open.
pub(crate) const ANY: &str = "%d";

fn one(at: &ConfigPath, name: &str, device: &LinuxNetDevice) -> Result<NetDevice> {
    let at = at.key(name);
    if !is_valid(name) {
        return Err(Error::invalid(at, name, EXPECTED));
    }
    let inside = device.name().as_deref().filter(|inside| !inside.is_empty()).unwrap_or(name);
    if !is_valid(inside.strip_suffix(ANY).unwrap_or(inside)) || inside.len() > LONGEST {
        return Err(Error::invalid(at.field("name"), inside, EXPECTED));
    }
    Ok(NetDevice { at, name: name.to_owned(), inside: inside.to_owned() })
}

/// `IFNAMSIZ`, without the NUL.
const LONGEST: usize = 15;
const EXPECTED: &str = "the name of a network device: 1 to 15 bytes without / : % and white space, neither . nor ..";

/// As the kernel's `dev_valid_name`, which a pattern has to pass as well.
fn is_valid(name: &str) -> bool {
    let forbidden = |c: char| matches!(c, '/' | ':' | '%' | '\0') || c.is_ascii_whitespace();
    !matches!(name, "" | "." | "..") && name.len() <= LONGEST && !name.contains(forbidden)
}
