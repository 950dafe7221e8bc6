//! How long init is waited for.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::frame::Frame;

/// How long init may show no sign of life.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// For a process of a paused container, which goes on when somebody resumes it.
pub(super) const UNLIMITED: Duration = Duration::from_millis(i32::MAX as u64);

/// The patience with one init.
#[derive(Clone, Copy)]
pub(super) struct Patience<'a> {
    /// How long it may stay at one step.
    pub limit: Duration,
    /// Where its steps are noted.
    pub frame: Option<&'a Frame>,
}

impl Patience<'_> {
    /// Whether `ready` comes true, which is asked with the time to wait for it. It is asked again as long as init works: it
    /// has come to another step meanwhile, or is at a hook, which takes as long as the configuration allows it.
    pub fn until(self, ready: impl Fn(Duration) -> bool) -> bool {
        const LOOKS: u32 = 15;
        let step = || self.frame.map(Frame::step);
        let (mut last, mut since) = (step(), Instant::now());
        while !ready(self.limit / LOOKS) {
            if step() != last || self.frame.is_some_and(|frame| frame.hook().is_some()) {
                (last, since) = (step(), Instant::now());
            } else if since.elapsed() >= self.limit {
                return false;
            }
        }
        true
    }
}
