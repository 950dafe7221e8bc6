//! `linux.intelRdt`: groups of the resctrl file system (Documentation/filesystems/resctrl.rst).

#![forbid(unsafe_code)]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statfs::{FsType, statfs};

use crate::at::ConfigPath;
use crate::error::{Error, Need, Result, StepError};
use crate::plan::{Class, Rdt};

/// Where resctrl is mounted: on its usual place, or on another one.
///
/// # Errors
/// [`Need::Resctrl`] if it is not.
pub(super) fn root() -> Result<PathBuf> {
    const USUAL: &str = "/sys/fs/resctrl";
    const MAGIC: FsType = FsType(0x0765_5821);
    if statfs(USUAL).is_ok_and(|found| found.filesystem_type() == MAGIC) {
        return Ok(USUAL.into());
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let point = |line: &str| {
        let (mount, filesystem) = line.split_once(" - ")?;
        filesystem.starts_with("resctrl ").then(|| mount.split(' ').nth(4).map(PathBuf::from)).flatten()
    };
    let absent = || Error::Host { what: Need::Resctrl { at: ConfigPath::new("linux.intelRdt") } };
    mounts.lines().find_map(point).ok_or_else(absent)
}

/// Puts the process `pid` where `rdt` says. Every directory that is made goes to `made`; one that ends with the container
/// is given to `note` before.
///
/// # Errors
/// What the kernel refuses, with what it says of it; a group that is not there, or is allowed something else.
pub(super) fn assign(
    root: &Path,
    rdt: &Rdt,
    pid: i32,
    made: &mut Vec<PathBuf>,
    note: &mut dyn FnMut(&Path) -> Result<()>,
) -> Result<()> {
    let group = root.join(&rdt.group);
    if rdt.class != Class::Joined {
        prepare(root, rdt, &group, made, note)?;
    }
    add(root, &group, pid)?;
    let Some(name) = &rdt.monitor else { return Ok(()) };
    let monitor = group.join("mon_groups").join(name);
    if rdt.class != Class::Joined && !monitor.is_dir() {
        note(&monitor)?;
        make(root, &monitor, made)?;
    }
    add(root, &monitor, pid)
}

/// The group is there and allowed what the configuration says.
fn prepare(
    root: &Path,
    rdt: &Rdt,
    group: &Path,
    made: &mut Vec<PathBuf>,
    note: &mut dyn FnMut(&Path) -> Result<()>,
) -> Result<()> {
    let exists = group.is_dir();
    match rdt.class {
        Class::Shared if exists => return compare(root, rdt, group),
        Class::Shared if rdt.schemata.is_empty() => {
            let mut error = failed(root, format!("use resctrl group {}", group.display()), "openat", Errno::ENOENT);
            error.detail = Some("without a schema the group has to be there already".to_owned());
            return Err(error.into());
        }
        Class::Own if exists => {}
        Class::Own => {
            note(group)?;
            make(root, group, made)?;
        }
        _ => make(root, group, made)?,
    }
    if rdt.schemata.is_empty() {
        return Ok(());
    }
    let lines: String = rdt.schemata.iter().flat_map(|line| [line, "\n"]).collect();
    put(root, &group.join("schemata"), &lines)
}

/// Others are in the group: it is taken as it is, or not at all.
fn compare(root: &Path, rdt: &Rdt, group: &Path) -> Result<()> {
    if rdt.schemata.is_empty() {
        return Ok(());
    }
    let path = group.join("schemata");
    let text = fs::read_to_string(&path);
    let text = text.map_err(|e| StepError::io(None, format!("read {}", path.display()), "read", &e))?;
    let Some(line) = rdt.schemata.iter().find(|line| !allows(&text, line)) else { return Ok(()) };
    let mut error = failed(root, format!("use resctrl group {}", group.display()), "check", Errno::EEXIST);
    error.detail = Some(format!("its schemata are others than {line:?}: {}", text.trim().replace('\n', ", ")));
    Err(error.into())
}

/// Whether a `schemata` file has every value of a line, however it writes it.
fn allows(text: &str, wanted: &str) -> bool {
    let Some((kind, wanted)) = values(wanted) else { return false };
    let found: Vec<(u64, String)> =
        text.lines().filter_map(values).filter(|(other, _)| *other == kind).flat_map(|(_, values)| values).collect();
    !wanted.is_empty() && wanted.iter().all(|value| found.contains(value))
}

/// `L3:0=00ff;1=f` as a kind and its values by domain, without leading zeros.
fn values(line: &str) -> Option<(&str, Vec<(u64, String)>)> {
    let (kind, rest) = line.trim().split_once(':')?;
    let value = |entry: &str| {
        let (domain, value) = entry.split_once('=')?;
        Some((domain.trim().parse().ok()?, value.trim().trim_start_matches('0').to_ascii_lowercase()))
    };
    let values = rest.split(';').map(str::trim).filter(|entry| !entry.is_empty()).map(value).collect::<Option<_>>()?;
    Some((kind.trim(), values))
}

fn make(root: &Path, path: &Path, made: &mut Vec<PathBuf>) -> Result<()> {
    let doing = || format!("make resctrl group {}", path.display());
    fs::create_dir(path).map_err(|e| told(root, StepError::io(None, doing(), "mkdir", &e)))?;
    made.push(path.to_owned());
    Ok(())
}

fn add(root: &Path, group: &Path, pid: i32) -> Result<()> {
    put(root, &group.join("tasks"), &format!("{pid}\n"))
}

fn put(root: &Path, path: &Path, text: &str) -> Result<()> {
    let doing = || format!("write {:?} to {}", text.trim_end(), path.display());
    let failed = |call| move |e: std::io::Error| (call, e);
    let open = OpenOptions::new().append(true).create(true).open(path).map_err(failed("openat"));
    let written = open.and_then(|mut file| file.write_all(text.as_bytes()).map_err(failed("write")));
    Ok(written.map_err(|(call, e)| told(root, StepError::io(None, doing(), call, &e)))?)
}

fn failed(root: &Path, doing: String, call: &'static str, errno: Errno) -> StepError {
    told(root, StepError::host(None, doing, call, errno))
}

/// With what the kernel says of its last refusal.
fn told(root: &Path, mut error: StepError) -> StepError {
    let text = fs::read_to_string(root.join("info/last_cmd_status")).unwrap_or_default();
    if !matches!(text.trim(), "" | "ok") {
        error.detail = Some(text.trim().to_owned());
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    const PID: i32 = 77;

    /// A directory like resctrl, in which files that a real group has are made when they are written.
    struct Fake {
        tmp: tempfile::TempDir,
        noted: Vec<PathBuf>,
        made: Vec<PathBuf>,
    }

    impl Fake {
        fn new() -> Self {
            Self { tmp: tempfile::tempdir().expect("a directory"), noted: Vec::new(), made: Vec::new() }
        }

        fn rdt(&self, class: Class, group: &str, schemata: &[&str]) -> Rdt {
            let schemata = schemata.iter().map(ToString::to_string).collect();
            Rdt { group: group.to_owned(), class, schemata, monitor: None }
        }

        fn assign(&mut self, rdt: &Rdt) -> Result<()> {
            let noted = &mut self.noted;
            assign(self.tmp.path(), rdt, PID, &mut self.made, &mut |path| {
                assert!(!path.exists(), "noted before it is made");
                noted.push(path.to_owned());
                Ok(())
            })
        }

        fn refused(&mut self, rdt: &Rdt) -> String {
            self.assign(rdt).expect_err("it does not fit").to_string()
        }

        fn path(&self, name: &str) -> PathBuf {
            self.tmp.path().join(name)
        }

        fn text(&self, name: &str) -> Option<String> {
            fs::read_to_string(self.path(name)).ok()
        }

        fn shared(&self, schemata: &str) {
            fs::create_dir(self.path("gold")).expect("it is new");
            fs::write(self.path("gold/schemata"), schemata).expect("it is new");
        }
    }

    #[test]
    fn lnx_105_115_116_120_own_group_is_made_and_noted() {
        let mut fake = Fake::new();
        fake.assign(&fake.rdt(Class::Own, "web", &[])).expect("it fits");
        assert_eq!(fake.text("web/tasks").as_deref(), Some("77\n"));
        assert_eq!((&fake.noted, &fake.made), (&vec![fake.path("web")], &vec![fake.path("web")]));
        assert_eq!(fake.text("web/schemata"), None, "LNX-115");
    }

    #[test]
    fn lnx_121_a_group_that_was_there_is_not_ours() {
        let mut fake = Fake::new();
        fs::create_dir(fake.path("web")).expect("it is new");
        fake.assign(&fake.rdt(Class::Own, "web", &[])).expect("it fits");
        assert!(fake.noted.is_empty() && fake.made.is_empty());
    }

    #[test]
    fn lnx_108_default_group_is_the_root() {
        let mut fake = Fake::new();
        fake.assign(&fake.rdt(Class::Shared, "", &[])).expect("it fits");
        assert_eq!(fake.text("tasks").as_deref(), Some("77\n"));
        assert!(fake.made.is_empty());
    }

    #[test]
    fn lnx_112_113_114_117_lines_are_written_in_their_order() {
        let mut fake = Fake::new();
        fake.assign(&fake.rdt(Class::Shared, "gold", &["L3:0=f", "MB:0=70", "L2:0=1"])).expect("it fits");
        assert_eq!(fake.text("gold/schemata").as_deref(), Some("L3:0=f\nMB:0=70\nL2:0=1\n"));
        assert!(fake.noted.is_empty(), "LNX-121: others may use it");
        assert_eq!(fake.made, [fake.path("gold")]);
    }

    #[test]
    fn lnx_118_a_shared_group_must_fit() {
        let mut fake = Fake::new();
        let schemata = "    MB:0= 70;1=100\n    L3:0=00ff;1=fffff\n";
        fake.shared(schemata);
        for fits in [&["L3:0=ff"][..], &["L3:1=FFFFF;0=0ff", "MB:0=70"], &[]] {
            fake.assign(&fake.rdt(Class::Shared, "gold", fits)).expect("it fits");
        }
        for wrong in ["L3:0=f", "L3:0=ff;2=ff", "MB:0=7", "L2:0=ff", "L3:", "nonsense"] {
            let said = fake.refused(&fake.rdt(Class::Shared, "gold", &[wrong]));
            assert!(said.contains(wrong) && said.contains("gold"), "{said}");
        }
        assert_eq!(fake.text("gold/schemata").as_deref(), Some(schemata), "it is untouched");
        assert_eq!(fake.text("gold/tasks").as_deref(), Some("77\n77\n77\n"));
    }

    #[test]
    fn lnx_119_a_shared_group_without_schema_must_be_there() {
        let mut fake = Fake::new();
        assert!(fake.refused(&fake.rdt(Class::Shared, "gold", &[])).contains("gold"));
        assert!(!fake.path("gold").exists());
        fake.shared("L3:0=f\n");
        fake.assign(&fake.rdt(Class::Shared, "gold", &[])).expect("it is there now");
    }

    #[test]
    fn lnx_122_a_monitoring_group_is_made_in_the_group() {
        let mut fake = Fake::new();
        fake.shared("L3:0=f\n");
        let rdt = Rdt { monitor: Some("web".to_owned()), ..fake.rdt(Class::Shared, "gold", &[]) };
        fs::create_dir(fake.path("info")).expect("it is new");
        fs::write(fake.path("info/last_cmd_status"), "no free RMID\n").expect("it is new");
        assert!(fake.refused(&rdt).contains("no free RMID"), "what the kernel says is told");
        fake.noted.clear();
        fs::create_dir(fake.path("gold/mon_groups")).expect("it is new");
        fake.assign(&rdt).expect("it fits");
        let monitor = fake.path("gold/mon_groups/web");
        assert_eq!((&fake.noted, &fake.made), (&vec![monitor.clone()], &vec![monitor]));
        assert_eq!(fake.text("gold/mon_groups/web/tasks").as_deref(), Some("77\n"));
    }

    #[test]
    fn lnx_105_one_more_process_joins_what_is_there() {
        let mut fake = Fake::new();
        let rdt = Rdt { monitor: Some("web".to_owned()), ..fake.rdt(Class::Joined, "web", &["L3:0=f"]) };
        assert!(fake.refused(&rdt).contains("web/tasks"), "a group that is gone is no reason to go without");
        fs::create_dir_all(fake.path("web/mon_groups/web")).expect("it is new");
        fake.assign(&rdt).expect("it fits");
        assert_eq!((fake.text("web/tasks"), fake.text("web/schemata")), (Some("77\n".to_owned()), None));
        assert_eq!(fake.text("web/mon_groups/web/tasks").as_deref(), Some("77\n"));
        assert!(fake.made.is_empty());
    }
}
