//! `process.terminal` and `process.consoleSize`.

#![forbid(unsafe_code)]

use oci_spec::runtime::Process;
use runtime_init::step::terminal::{ON_CONSOLE, PLAIN_LINES};
use runtime_init::{Ns, Step};

use super::SlotUse;
use super::draft::Draft;
use crate::at::ConfigPath;
use crate::error::{Error, Result};

fn wanted(p: &Draft<'_>) -> bool {
    p.process().and_then(Process::terminal).unwrap_or(false)
}

/// The terminal of the container's first process, which is its console as well.
pub(super) fn of_container(p: &mut Draft<'_>) -> Result<()> {
    // Without a mount namespace the console would be put over a file of the host's (runc#4767).
    let console = p.namespaces.has(Ns::Mount);
    if wanted(p) && !console {
        let text = "without a mount namespace /dev/console is left as it is: it would be the host's";
        p.note(ConfigPath::new("process.terminal"), text);
    }
    make(p, console)
}

/// The terminal of one more process, from the container's devpts as the process sees it.
pub(super) fn of_further(p: &mut Draft<'_>) -> Result<()> {
    if wanted(p) && p.namespaces.has(Ns::Mount) {
        let path = p.texts.fixed("/");
        p.init_for(&ConfigPath::new("process.terminal"), Step::PlainRootfs { path });
    }
    make(p, false)
}

fn make(p: &mut Draft<'_>, console: bool) -> Result<()> {
    if wanted(p) {
        let size = size(p)?;
        let slot = p.slot(SlotUse::Terminal);
        let console = if console { ON_CONSOLE } else { 0 };
        let lines = if p.options.plain_lines { PLAIN_LINES } else { 0 };
        let step = Step::Terminal { slot, size, flags: console | lines };
        p.init_for(&ConfigPath::new("process.terminal"), step);
    }
    Ok(())
}

/// Rows in the low half, columns in the high one. Unless both are given the kernel's size stays (D19).
fn size(p: &Draft<'_>) -> Result<u32> {
    let at = ConfigPath::new("process.consoleSize");
    let Some(size) = p.process().and_then(Process::console_size) else { return Ok(0) };
    let half = |name: &str, value: u64| {
        u16::try_from(value).map_err(|_| Error::invalid(at.field(name), value, "0 to 65535")).map(u32::from)
    };
    let (rows, columns) = (half("height", size.height())?, half("width", size.width())?);
    Ok(if rows == 0 || columns == 0 { 0 } else { rows | columns << 16 })
}
