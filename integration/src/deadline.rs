//! Waiting, never without an end.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a test waits for anything before it gives up.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// As [`DEADLINE`], for a test that is known to fail.
const SHORT: Duration = Duration::from_secs(3);

thread_local! {
    static LIMIT: Cell<Duration> = const { Cell::new(DEADLINE) };
}

/// How many times as long everything may take in this process.
static TIMES: AtomicU32 = AtomicU32::new(1);

/// How long the test of this thread waits.
pub fn limit() -> Duration {
    LIMIT.get() * TIMES.load(Ordering::Relaxed)
}

/// Has all tests of this process wait so many times as long.
pub fn multiply(times: u32) {
    TIMES.store(times, Ordering::Relaxed);
}

/// Says whether the test of this thread is known to fail, so that it need not wait for long.
pub fn expect_failure(known: bool) {
    LIMIT.set(if known { SHORT } else { DEADLINE });
}

/// Asks again and again until there is an answer; panics with `what` after [`limit`].
#[track_caller]
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    within(limit(), ask).unwrap_or_else(|| panic!("waited {:?} in vain: {what}", limit()))
}

/// Asks again and again until there is an answer or the time is over.
pub fn within<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        // Looked at before: who was not scheduled until the time was over asks once more.
        let last = Instant::now() >= end;
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if last {
            return None;
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
