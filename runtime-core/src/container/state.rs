//! What is kept about a container, and what it is doing now.
//!
//! The record holds what was decided once; the status is never stored but computed from the processes
//! and the cgroup as they are, so that a command killed halfway cannot leave a wrong one.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::unistd::geteuid;
use runtime_init::slate::Phase;
use serde::{Deserialize, Serialize};

use super::process::{self, Identity};
use super::store::ContainerDir;
use super::undo;
use crate::cgroup::Cgroup;
use crate::error::{Errno, Error, Result, StateProblem};
use crate::id::ContainerId;
use crate::launch::frame;
use crate::plan::{Hooks, PlanRecord};

/// Name of the record in the container's directory.
pub(super) const FILE: &str = "state.json";
/// The newest record that this version reads, and the one it writes.
const VERSION: u64 = 1;

/// What a container is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// A command is making it.
    Creating,
    /// Everything is in place; the program was not started yet.
    Created,
    /// The program runs.
    Running,
    /// Its cgroup is frozen.
    Paused,
    /// Its process has ended.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// The state as `state` prints it and hooks read it; names and order of the fields are runc's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct State {
    /// Version of the specification that `config.json` names.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// Its first process as the caller sees it; 0 when stopped.
    pub pid: i32,
    /// What it is doing.
    pub status: Status,
    /// Absolute path of its bundle.
    pub bundle: PathBuf,
    /// Absolute path of its root file system.
    pub rootfs: PathBuf,
    /// When `create` began, RFC 3339 with nanoseconds in UTC.
    pub created: String,
    /// Those of `config.json`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Name (or number, if it has none) of the user who created it.
    #[serde(default)]
    pub owner: String,
}

/// What `state.json` holds. Fields that a later version adds are ignored, those that it lacks are
/// defaulted; a version that has to be understood in full has a higher number and is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Record {
    /// Version of the record.
    pub version: u64,
    /// The container's id.
    pub id: String,
    /// `ociVersion` of `config.json`.
    pub oci_version: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root file system.
    pub rootfs: PathBuf,
    /// When `create` began.
    pub created: String,
    /// Those of `config.json`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The cgroup, below the root of the hierarchy; none if the container stays in its creator's.
    pub cgroup_path: Option<String>,
    /// Who makes cgroups: `cgroupfs` or `systemd`.
    pub cgroup_driver: String,
    /// The container's first process; none until `create` is done.
    pub init: Option<Identity>,
    /// It is in a pid namespace that does not end with it, so the others in its cgroup outlive it.
    pub shares_pid_namespace: bool,
    /// `config.json` has a `process`, so there is something to start.
    pub has_process: bool,
    /// Its processes stay in the session keyrings of their callers.
    pub no_new_keyring: bool,
    /// Hooks of later commands.
    pub hooks: Hooks,
    /// Name or number of the user who created it.
    pub owner: String,
    /// Number of that user.
    pub owner_uid: u32,
}

impl Record {
    /// The record of a container whose creation begins now.
    #[must_use]
    pub fn new(id: &ContainerId, plan: &PlanRecord<'_>) -> Self {
        let uid = geteuid().as_raw();
        Self {
            version: VERSION,
            id: id.as_str().to_owned(),
            oci_version: plan.oci_version.to_owned(),
            bundle: plan.bundle.to_owned(),
            rootfs: plan.rootfs.to_owned(),
            created: timestamp(SystemTime::now()),
            annotations: plan.annotations.clone(),
            cgroup_path: plan.cgroup_path.map(str::to_owned),
            cgroup_driver: "cgroupfs".to_owned(),
            init: None,
            shares_pid_namespace: !plan.own_pid_namespace,
            has_process: plan.has_process,
            no_new_keyring: plan.no_new_keyring,
            hooks: plan.hooks.clone(),
            owner: user_name(uid).unwrap_or_else(|| uid.to_string()),
            owner_uid: uid,
        }
    }

    /// Reads the record of `dir`; `None` if there is none (yet, or any more).
    ///
    /// # Errors
    /// [`StateProblem::Newer`] and [`StateProblem::Record`] with the path of the file.
    pub(crate) fn read(dir: &ContainerDir) -> Result<Option<Self>> {
        #[derive(Deserialize)]
        struct Head {
            #[serde(default)]
            version: u64,
        }
        let Some(bytes) = dir.read(FILE)? else { return Ok(None) };
        let read: Result<Self, _> = serde_json::from_slice(&bytes);
        // A newer one may have other fields, so that only its head is understood.
        let version = match &read {
            Ok(record) => record.version,
            Err(_) => serde_json::from_slice::<Head>(&bytes).map_err(|error| damaged(dir, &error))?.version,
        };
        // serde takes an array for the fields in their order, too.
        if version == 0 || !bytes.trim_ascii_start().starts_with(b"{") {
            return Err(dir.damaged(FILE, "no record of a container: expected an object with a version"));
        }
        if version > VERSION {
            let what = format!("record version {version}, this version reads up to {VERSION}");
            return Err(Error::state(dir.id().as_str(), StateProblem::Newer { path: dir.path().join(FILE), what }));
        }
        let mut record = read.map_err(|error| damaged(dir, &error))?;
        // The directory is what the id means.
        record.id = dir.id().as_str().to_owned();
        Ok(Some(record))
    }

    /// Replaces the record of `dir`.
    ///
    /// # Errors
    /// [`Error::Step`] if that is refused; [`StateProblem::Record`] if a path is not UTF-8.
    pub(super) fn write(&self, dir: &ContainerDir) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(self).map_err(|error| damaged(dir, &error))?;
        dir.replace(FILE, &bytes)
    }

    /// The state as the specification wants it, for a container that is found to be in `status`.
    #[must_use]
    pub fn state(&self, status: Status, pid: i32) -> State {
        State {
            oci_version: self.oci_version.clone(),
            id: self.id.clone(),
            pid: if status == Status::Stopped { 0 } else { pid },
            status,
            bundle: self.bundle.clone(),
            rootfs: self.rootfs.clone(),
            created: self.created.clone(),
            annotations: self.annotations.clone(),
            owner: self.owner.clone(),
        }
    }
}

fn damaged(dir: &ContainerDir, error: &serde_json::Error) -> Error {
    dir.damaged(FILE, error.to_string())
}

/// A container at one moment.
#[derive(Debug)]
pub(super) struct Sight {
    pub record: Record,
    pub status: Status,
    /// The first process, if it runs.
    pub init: Option<(i32, OwnedFd)>,
}

impl Sight {
    /// What the container of `record` is doing, whose first process is `init`, if it runs.
    pub fn of(dir: &ContainerDir, record: Record, init: Option<(i32, OwnedFd)>) -> Result<Self> {
        let Some((pid, pidfd)) = init else { return Ok(Self { record, status: Status::Stopped, init: None }) };
        match live_status(dir, &record) {
            // Its end, and a deletion after it, may take away what is being looked at.
            Err(_) if process::ended(pidfd.as_fd(), Duration::ZERO)? => {
                Ok(Self { record, status: Status::Stopped, init: None })
            }
            status => Ok(Self { record, status: status?, init: Some((pid, pidfd)) }),
        }
    }

    pub fn state(&self) -> State {
        self.record.state(self.status, self.init.as_ref().map_or(0, |(pid, _)| *pid))
    }
}

/// Looks at the container of `dir`; `None` without a record. `locked` says that the caller holds the
/// lock itself, so that nobody else can be creating it.
pub(super) fn look(dir: &ContainerDir, locked: bool) -> Result<Option<Sight>> {
    let Some(mut record) = Record::read(dir)? else { return Ok(None) };
    if record.init.is_none() && !locked && dir.is_locked()? {
        return Ok(Some(Sight { status: Status::Creating, init: noted_process(dir)?, record }));
    }
    if record.init.is_none() {
        // The creator may have finished between reading the record and asking for its lock.
        match Record::read(dir)? {
            Some(now) => record = now,
            None => return Ok(None),
        }
    }
    let init = match &record.init {
        Some(identity) => identity.open_verified()?.map(|pidfd| (identity.pid, pidfd)),
        None => None,
    };
    Sight::of(dir, record, init).map(Some)
}

/// The process of a container in the making, which only the undo record knows.
fn noted_process(dir: &ContainerDir) -> Result<Option<(i32, OwnedFd)>> {
    let Some(identity) = undo::last_process(&undo::read(dir)?) else { return Ok(None) };
    Ok(identity.open_verified()?.map(|pidfd| (identity.pid, pidfd)))
}

fn live_status(dir: &ContainerDir, record: &Record) -> Result<Status> {
    if is_frozen(record)? {
        return Ok(Status::Paused);
    }
    Ok(match frame::phase(dir)? {
        Phase::Exec => Status::Running,
        Phase::Starting | Phase::Waiting => Status::Created,
    })
}

fn is_frozen(record: &Record) -> Result<bool> {
    let Some(path) = &record.cgroup_path else { return Ok(false) };
    let Some(cgroup) = Cgroup::at(path)? else { return Ok(false) };
    match cgroup.is_frozen() {
        // It went away while it was looked at: a container that is just ending, which is no error.
        Err(Error::Step(step)) if matches!(step.errno, Errno::ENOENT | Errno::ENODEV) => Ok(false),
        other => other,
    }
}

/// The name of user `uid` in `/etc/passwd`. Not by way of the C library, which asks network
/// directories and, linked statically, loads shared objects for it.
fn user_name(uid: u32) -> Option<String> {
    let users = std::fs::read("/etc/passwd").ok()?;
    String::from_utf8_lossy(&users).lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// `time` as RFC 3339 in UTC, always with nine digits of the second.
fn timestamp(time: SystemTime) -> String {
    // A clock before 1970 is a clock that was not set.
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil_date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let nanos = since.subsec_nanos();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01.
const fn civil_date(days: u64) -> (u64, u64, u64) {
    // Counted from 0000-03-01, so that the leap day is the last day of a year and of every cycle.
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months since March: their lengths repeat as 31 30 31 30 31, which is 153 days in five.
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + if month <= 2 { 1 } else { 0 }, month, day)
}

#[cfg(test)]
pub(super) fn test_record(id: &ContainerId) -> Record {
    Record::new(
        id,
        &PlanRecord {
            no_new_keyring: false,
            oci_version: "1.2.0",
            bundle: "/b".as_ref(),
            rootfs: "/b/rootfs".as_ref(),
            annotations: &BTreeMap::from([("k".to_owned(), "v".to_owned())]),
            cgroup_path: None,
            own_pid_namespace: true,
            has_process: true,
            hooks: &Hooks::default(),
            config_json: b"{}",
        },
    )
}

#[cfg(test)]
mod tests {
    use super::super::store::{Store, test_dir};
    use super::*;
    use nix::fcntl::OFlag;
    use std::process::Command;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000007Z"),
            (951_782_399, "2000-02-28T23:59:59.000000007Z"),
            (951_782_400, "2000-02-29T00:00:00.000000007Z"),
            (951_868_800, "2000-03-01T00:00:00.000000007Z"),
            (1_709_164_800, "2024-02-29T00:00:00.000000007Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000000007Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000000007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000007Z"),
            (253_402_300_799, "9999-12-31T23:59:59.000000007Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::new(seconds, 7)), text);
        }
        assert!(timestamp(UNIX_EPOCH - Duration::from_secs(1)).starts_with("1970-01-01T00:00:00"));
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut expected = (1970, 1, 1);
        for day in 0..200_000 {
            assert_eq!(civil_date(day), expected);
            let (year, month, date) = expected;
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected = match (month, date) {
                (12, 31) => (year + 1, 1, 1),
                (_, date) if date == length => (year, month + 1, 1),
                _ => (year, month, date + 1),
            };
        }
    }

    #[test]
    fn state_has_the_fields_and_the_order_of_runc() {
        let record = Record { owner: "root".to_owned(), created: "T".to_owned(), ..test_record(&id("web")) };
        let json = serde_json::to_string(&record.state(Status::Running, 7)).unwrap();
        assert_eq!(
            json,
            r#"{"ociVersion":"1.2.0","id":"web","pid":7,"status":"running","bundle":"/b","rootfs":"/b/rootfs","created":"T","annotations":{"k":"v"},"owner":"root"}"#
        );
        let bare = Record { annotations: BTreeMap::new(), ..record };
        let json = serde_json::to_string(&bare.state(Status::Stopped, 7)).unwrap();
        assert!(json.contains(r#""pid":0,"status":"stopped""#) && !json.contains("annotations"), "{json}");
    }

    #[test]
    fn records_of_other_versions() {
        let (_tmp, dir) = test_dir("c1");
        assert!(look(&dir, false).unwrap().is_none());
        let record = test_record(dir.id());
        record.write(&dir).unwrap();
        assert_eq!(Record::read(&dir).unwrap(), Some(record.clone()));

        dir.replace(FILE, br#"{"version":1,"bundle":"/x","hologram":{"a":1}}"#).unwrap();
        let sparse = Record::read(&dir).unwrap().unwrap();
        assert_eq!((sparse.id.as_str(), sparse.bundle.to_str()), ("c1", Some("/x")));
        assert_eq!(look(&dir, false).unwrap().unwrap().status, Status::Stopped);

        dir.replace(FILE, br#"{"version":2,"id":7}"#).unwrap();
        let error = Record::read(&dir).unwrap_err();
        assert!(matches!(error.state_problem(), Some(StateProblem::Newer { .. })));
        assert!(error.to_string().contains("version 2"), "{error}");

        for none in [&b"{}"[..], b"[1]", b"[]", b"{\"version\":0}"] {
            dir.replace(FILE, none).unwrap();
            let error = look(&dir, false).unwrap_err();
            assert!(error.to_string().contains("state.json: no record of a container"), "{error}");
        }
        let whole = serde_json::to_vec(&record).unwrap();
        for cut in 0..whole.len() {
            dir.replace(FILE, &whole[..cut]).unwrap();
            let error = look(&dir, false).unwrap_err();
            assert!(matches!(error.state_problem(), Some(StateProblem::Record { .. })), "cut at {cut}");
        }
    }

    #[test]
    fn without_an_init_the_lock_tells_creating_from_stopped() {
        let tmp = tempfile::tempdir().unwrap();
        let store = Store::open(tmp.path()).unwrap();
        let (dir, lock) = store.make(&id("c1")).unwrap();
        test_record(dir.id()).write(&dir).unwrap();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let identity = Identity::of(pid, process::open(pid).unwrap().unwrap().as_fd()).unwrap();
        let mut noted = undo::Undo::open(&dir).unwrap();
        let sight = look(&dir, false).unwrap().unwrap();
        assert_eq!((sight.status, sight.state().pid), (Status::Creating, 0));
        noted.append(&undo::Entry::process(&identity)).unwrap();
        let sight = look(&dir, false).unwrap().unwrap();
        assert_eq!((sight.status, sight.state().pid), (Status::Creating, pid));
        assert_eq!(look(&dir, true).unwrap().unwrap().status, Status::Stopped);
        drop(lock);
        let sight = look(&dir, false).unwrap().unwrap();
        assert_eq!((sight.status, sight.state().pid), (Status::Stopped, 0));
        assert!(dir.lock(Duration::ZERO, OFlag::empty()).unwrap().is_some());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_gone_init_is_stopped() {
        let (_tmp, dir) = test_dir("c1");
        let me = i32::try_from(std::process::id()).unwrap();
        let now = Identity::of(me, process::open(me).unwrap().unwrap().as_fd()).unwrap();
        for gone in [
            Identity { start: now.start + 1, ..now.clone() },
            Identity { boot: "another".to_owned(), ..now },
            Identity { pid: i32::MAX, start: 1, boot: process::boot_id().unwrap(), inode: None },
        ] {
            Record { init: Some(gone), ..test_record(dir.id()) }.write(&dir).unwrap();
            let sight = look(&dir, false).unwrap().unwrap();
            assert_eq!((sight.status, sight.state().pid), (Status::Stopped, 0));
        }
    }

    #[test]
    fn owners_have_names() {
        assert_eq!(user_name(0).as_deref(), Some("root"));
        assert_eq!(user_name(u32::MAX - 7), None);
    }

    fn id(text: &str) -> ContainerId {
        ContainerId::new(text).unwrap()
    }
}
