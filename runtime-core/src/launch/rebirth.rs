//! The other way into a cgroup, for kernels that kill whoever is born into one.
//!
//! A kernel that guards births against `cgroup.kill` (seen on Linux 6.18) compares how often the cgroup of the *bearer* was
//! killed with how often the one it bears into was, and kills the newborn if the numbers differ. So nobody can be born into
//! a cgroup that was killed once and kept, nor out of one. The numbers cannot be read. Whoever was killed before it did
//! anything is therefore born once more, of an usher that has entered the cgroup before: then both numbers are the same.
//! This is not the first way, because entering a cgroup takes the kernel up to 50 times longer than a birth into it.

#![forbid(unsafe_code)]

use nix::libc::SIGKILL;
use runtime_init::Step;

use super::{Launch, frame};
use crate::error::{Death, Error, Result};
use crate::plan::{Act, HostStep, Line};

impl<'a> Launch<'a> {
    /// Whether init was killed at its birth into a cgroup, and there is another way.
    pub(super) fn is_stillborn(&self, error: &Error) -> bool {
        let Error::Died { how: Death::Signaled { signal: SIGKILL, .. }, at } = error else { return false };
        let last = usize::from(at.step).checked_sub(1).and_then(|index| self.plan.steps().nth(index));
        let at_birth = matches!(last, Some(Step::Birth { cgroup: Some(_), .. }));
        // What the first usher was given is kept until its child shows that it lives.
        at_birth && !self.enters_cgroup && self.cgroup.is_some() && !self.descriptors.are_closed()
    }

    /// Forgets the first birth. Returns the lines that are to be carried out again, by the other way.
    pub(super) fn again(&mut self) -> Result<&'a [Line]> {
        self.abandon();
        self.user_namespaces.clear();
        if let Some(dir) = self.dir {
            dir.remove(frame::FILE)?;
        }
        self.enters_cgroup = true;
        let spawn = self.plan.lines.iter().position(|line| matches!(line.act, Act::Host(HostStep::Spawn)));
        Ok(&self.plan.lines[spawn.unwrap_or(self.plan.lines.len())..])
    }
}
