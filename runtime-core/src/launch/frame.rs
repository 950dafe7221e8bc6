//! The Frame on the host's side: laid out before init is started, read as *input* ever after.

#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::memfd::{MFdFlags, memfd_create};
use runtime_init::frame::{HEADER, LATE, Layout, Parts, layout, write};
use runtime_init::slate::{MESSAGE, Slate};
use runtime_init::sys::fd::Fd;
use runtime_init::sys::memory::Mapping;
use runtime_init::{Fault, Step};

pub use runtime_init::slate::Phase;

use super::refused;
use crate::container::ContainerDir;
use crate::error::{Error, Result, StepError};
use crate::plan::Plan;

/// Name of the file in the container's directory.
pub(super) const FILE: &str = "frame";

/// A Frame that this process has mapped.
#[derive(Debug)]
pub(super) struct Frame {
    file: OwnedFd,
    mapping: Mapping,
    layout: Layout,
}

impl Frame {
    /// Writes the plan to a new Frame: in the container's directory, where `start` finds it, or in memory.
    /// `stamped` asks init for the time of each step.
    pub fn lay_out(
        plan: &Plan,
        dir: Option<&ContainerDir>,
        slots: &[RawFd],
        gate: RawFd,
        stamped: bool,
    ) -> Result<Self> {
        let steps: Vec<Step> = plan.steps().collect();
        let mut words = plan.words.clone();
        words.extend(slots.iter().map(|number| number.cast_unsigned()));
        let parts = Parts { steps: &steps, words: &words, texts: plan.texts.bytes(), slots: plan.slot_words(), gate };
        let layout = Layout::new(steps.len(), words.len(), plan.texts.bytes().len())
            .ok_or_else(|| failed("size", Errno::E2BIG))?;
        let file = match dir {
            Some(dir) => dir.open_file(FILE, OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL)?,
            None => memfd_create(c"frame", MFdFlags::MFD_CLOEXEC).map_err(|errno| failed("memfd_create", errno))?,
        };
        let whole = if stamped { layout.stamped } else { layout.len };
        let len = i64::try_from(whole).map_err(|_| failed("size", Errno::E2BIG))?;
        // Allocated, not only sized: on a full file system a store to a page that is not there would be a SIGBUS.
        nix::fcntl::posix_fallocate(file.as_fd(), 0, len).map_err(|errno| failed("fallocate", errno))?;
        let mut bytes = vec![0; layout.slate];
        let mut mapping =
            Mapping::shared(Fd::from(file.as_fd()), whole).map_err(|f| refused("lay out the frame", f))?;
        if !write(&parts, &layout, &mut bytes) || !mapping.fill(0, &bytes) {
            return Err(failed("size", Errno::E2BIG).into());
        }
        // Init in a small cgroup must not be charged for the page it reports on.
        let touched = mapping.fill(layout.slate, &[0]);
        debug_assert!(touched, "the layout is within the mapping");
        Ok(Self { file, mapping, layout })
    }

    /// Maps the Frame of a container that somebody else created.
    pub fn of(dir: &ContainerDir) -> Result<Self> {
        let file = open(dir, OFlag::O_RDWR)?;
        let len = file.metadata().map_err(|e| StepError::io(None, "read the frame", "fstat", &e))?.len();
        let layout = layout_of(dir, &file)?;
        let len = usize::try_from(len).ok().filter(|len| layout.has_len(*len)).ok_or_else(|| damaged(dir))?;
        let mapping = Mapping::shared(Fd::from(file.as_fd()), len).map_err(|f| refused("read the frame", f))?;
        Ok(Self { file: file.into(), mapping, layout })
    }

    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn slate(&self) -> Option<&Slate> {
        self.mapping.slate(self.layout.slate)
    }

    /// How far init has come.
    pub fn phase(&self) -> Phase {
        self.slate().map_or(Phase::Starting, Slate::phase)
    }

    /// The line init was at, from 1.
    pub fn step(&self) -> u32 {
        self.slate().map_or(0, Slate::step)
    }

    /// When each line began, in nanoseconds of the epoch; 0 for those that init has not stamped.
    pub fn stamps(&self) -> Vec<u64> {
        self.mapping.stamps(self.layout.len).iter().map(|stamp| stamp.load(Ordering::Acquire)).collect()
    }

    pub fn fault(&self) -> Option<Fault> {
        self.slate().and_then(Slate::fault)
    }

    /// What the kernel wrote about a refused option.
    pub fn message(&self) -> Option<String> {
        let mut buffer = [0; MESSAGE];
        let len = self.slate()?.said(&mut buffer);
        let text = String::from_utf8_lossy(&buffer[..len]).trim().to_owned();
        let text = text.strip_prefix("e ").map_or(text.clone(), str::to_owned);
        (!text.is_empty()).then_some(text)
    }

    /// Phase and index of the hook that init was at, if it was at one.
    pub fn hook(&self) -> Option<(u32, u32)> {
        let reader = self.reader()?;
        match reader.step(self.step().checked_sub(1)?)? {
            Step::Hook { record } => Some(runtime_init::hooks::identity(&reader, record)),
            _ => None,
        }
    }

    /// Leaves a filter in the late data. `false` if there is no room for it.
    #[must_use]
    pub fn set_filter(&mut self, program: &[u64]) -> bool {
        let Some(late) = self.reader().map(|reader| reader.layout().late) else { return false };
        let bytes: Vec<u8> = program.iter().flat_map(|instruction| instruction.to_ne_bytes()).collect();
        if bytes.len() > LATE || !self.mapping.fill(late, &bytes) {
            return false;
        }
        if let (Some(slate), Ok(len)) = (self.slate(), u32::try_from(program.len())) {
            slate.set_filter(len);
        }
        true
    }

    /// Says whether the usher enters the cgroup itself, before it bears init.
    pub fn set_entering(&self, enters: bool) {
        if let (Some(slate), true) = (self.slate(), enters) {
            slate.enter_cgroup();
        }
    }

    /// The number of the filter's listener in init.
    pub fn offered(&self) -> Option<i32> {
        self.slate().and_then(Slate::offered)
    }

    /// Tells init that its listener was taken.
    pub fn taken(&self) {
        if let Some(slate) = self.slate() {
            slate.take();
        }
    }

    fn reader(&self) -> Option<runtime_init::frame::Reader<'_>> {
        runtime_init::frame::Reader::new(self.mapping.bytes(0, self.layout.slate), self.mapping.len())
    }

    /// The first of `args`, from the Frame itself: whoever starts a container does not have its plan.
    pub fn program(&self) -> String {
        let Some(reader) = self.reader() else { return String::new() };
        let args = (0..reader.steps()).rev().find_map(|index| match reader.step(index) {
            Some(Step::Execute { args, .. }) => Some(args),
            _ => None,
        });
        let first = args.and_then(|args| reader.words(args).next());
        first.map_or_else(String::new, |text| reader.text(runtime_init::Text(text)).to_string_lossy().into_owned())
    }
}

fn failed(call: &'static str, errno: Errno) -> StepError {
    StepError::host(None, "lay out the frame", call, errno)
}

fn open(dir: &ContainerDir, flags: OFlag) -> Result<std::fs::File> {
    match dir.open_file(FILE, flags | OFlag::O_NONBLOCK) {
        Err(Error::Step(step)) if step.errno == Errno::ENOENT => Err(dir.damaged(FILE, "missing")),
        other => Ok(other?.into()),
    }
}

fn layout_of(dir: &ContainerDir, file: &std::fs::File) -> Result<Layout> {
    let mut head = [0; HEADER];
    file.read_exact_at(&mut head, 0).map_err(|_| damaged(dir))?;
    layout(&head).ok_or_else(|| damaged(dir))
}

fn damaged(dir: &ContainerDir) -> Error {
    dir.damaged(FILE, "not the frame of a container")
}

/// How far the init of the container in `dir` has come.
///
/// # Errors
/// [`crate::Error::Step`] if its Frame cannot be opened; [`crate::StateProblem::Record`] if it is none.
pub fn phase(dir: &ContainerDir) -> Result<Phase> {
    let file = open(dir, OFlag::O_RDONLY)?;
    let at = layout_of(dir, &file)?.slate;
    let mut word = [0; 4];
    file.read_exact_at(&mut word, at as u64).map_err(|_| damaged(dir))?;
    Ok(match u32::from_ne_bytes(word) {
        word if word == Phase::Waiting as u32 => Phase::Waiting,
        word if word == Phase::Exec as u32 => Phase::Exec,
        _ => Phase::Starting,
    })
}
