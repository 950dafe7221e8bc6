//! `linux.netDevices`: devices change their network namespace, and come back if the creation fails.
//!
//! After that they are nobody's business here: what becomes of a device when its namespace ends is the kernel's rule.

#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::unistd::gettid;

use super::netlink::{Address, Device, Route};
use crate::at::ConfigPath;
use crate::error::{Error, Result, StepError};
use crate::plan::{ANY, NetDevice};

/// Devices that were moved. The socket keeps the container's namespace, and what is in it, alive.
#[derive(Debug)]
pub(super) struct Moved {
    host: Route,
    inside: Route,
    devices: Vec<Away>,
}

#[derive(Debug)]
struct Away {
    name: String,
    inside: String,
    was_up: bool,
    addresses: Vec<Address>,
}

impl Moved {
    /// None yet. `socket` is one of the namespace of `init`.
    pub fn none(socket: OwnedFd) -> Result<Self> {
        let host = Route::here().map_err(|errno| StepError::host(None, "look at network devices", "socket", errno))?;
        Ok(Self { host, inside: Route::of(socket), devices: Vec::new() })
    }

    /// Moves all of them to the namespace of the process `pid`, or none: what can be checked is checked before the first
    /// is moved.
    pub fn take(&mut self, wanted: &[NetDevice], pid: i32) -> Result<()> {
        let mut found: Vec<(&NetDevice, Device, String)> = Vec::new();
        for device in wanted {
            let there = self.find(device)?;
            let taken: Vec<String> = found.iter().map(|(_, _, name)| name.clone()).collect();
            found.push((device, there, self.free_name(device, &taken)?));
        }
        for (device, there, inside) in found {
            self.one(device, there, inside, pid.cast_unsigned())?;
        }
        Ok(())
    }

    fn find(&self, wanted: &NetDevice) -> Result<Device> {
        let failed = failed(wanted, format!("find network device {}", wanted.name));
        match self.host.device(&wanted.name) {
            Ok(Some(device)) if device.is_loopback() => Err(Error::refused(
                wanted.at.clone(),
                "the loopback device cannot be moved: every namespace has its own",
            )),
            Ok(Some(device)) => Ok(device),
            Ok(None) => Err(failed(Errno::ENODEV)),
            Err(errno) => Err(failed(errno)),
        }
    }

    /// The name that the device gets inside; one that is taken is an error.
    fn free_name(&self, wanted: &NetDevice, taken: &[String]) -> Result<String> {
        let failed = failed(wanted, format!("look for network device {} in the container", wanted.inside));
        let is_free = |name: &String| match self.inside.device(name) {
            Ok(found) => Ok(found.is_none() && !taken.contains(name)),
            Err(errno) => Err(failed(errno)),
        };
        let Some(prefix) = wanted.inside.strip_suffix(ANY) else {
            let name = wanted.inside.clone();
            return if is_free(&name)? { Ok(name) } else { Err(failed(Errno::EEXIST)) };
        };
        // What the kernel does for a new device; it does not for one that is renamed on its way.
        for number in 0..=u16::MAX {
            let name = format!("{prefix}{number}");
            if is_free(&name)? {
                return Ok(name);
            }
        }
        Err(failed(Errno::ENFILE))
    }

    fn one(&mut self, wanted: &NetDevice, device: Device, inside: String, pid: u32) -> Result<()> {
        let name = &wanted.name;
        let doing = |what: &str| failed(wanted, format!("{what} network device {name}"));
        // Before it is down: that alone takes its IPv6 addresses away.
        let mut addresses = self.host.addresses(device.index).map_err(doing("read the addresses of"))?;
        addresses.retain(Address::stays);
        self.host.give(device.index, &inside, pid).map_err(doing("move"))?;
        self.devices.push(Away {
            name: name.clone(),
            inside: inside.clone(),
            was_up: device.is_up(),
            addresses: addresses.clone(),
        });
        let there = self.inside.device(&inside).and_then(|found| found.ok_or(Errno::ENODEV));
        let there = there.map_err(doing("find moved"))?;
        for address in &addresses {
            self.inside.add_address(there.index, address).map_err(doing("restore an address of"))?;
        }
        self.inside.set_up(there.index).map_err(doing("raise"))
    }

    /// Brings everything back, latest first. What cannot be brought back does not keep the others away: the error that
    /// led here is the one to tell.
    pub fn give_back(self) {
        for away in self.devices.iter().rev() {
            let _ = self.one_back(away);
        }
    }

    fn one_back(&self, away: &Away) -> Result<(), Errno> {
        let own = gettid().as_raw().cast_unsigned();
        let device = self.inside.device(&away.inside)?.ok_or(Errno::ENODEV)?;
        self.inside.give(device.index, &away.name, own)?;
        let device = self.host.device(&away.name)?.ok_or(Errno::ENODEV)?;
        for address in &away.addresses {
            self.host.add_address(device.index, address)?;
        }
        if away.was_up { self.host.set_up(device.index) } else { Ok(()) }
    }
}

/// The request that was refused, as an error that names the device.
fn failed(wanted: &NetDevice, doing: String) -> impl Fn(Errno) -> Error {
    let at: ConfigPath = wanted.at.clone();
    move |errno| StepError::host(Some(at.clone()), doing.clone(), "rtnetlink", errno).into()
}
