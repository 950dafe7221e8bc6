//! Shared mappings, and the pointer lists that execve takes.
//!
//! A Frame is mapped by the host and by init at once. Its plan part is written by the host before init
//! is started and never again; the words of its Slate are only touched as atomics. That is what makes
//! the references below sound although another process holds the same pages.

use core::ffi::CStr;
use core::ptr::null;
use core::sync::atomic::AtomicU64;

use super::fd::Fd;
use super::{arch, special};
use crate::fault::Result;
use crate::slate::Slate;

const PROT_READ: usize = 1;
const PROT_WRITE: usize = 2;
const MAP_SHARED: usize = 1;
const MAP_PRIVATE: usize = 2;
const MAP_ANONYMOUS: usize = 0x20;

/// A mapping of a Frame; unmapped on drop.
#[derive(Debug)]
pub struct Mapping {
    base: *mut u8,
    len: usize,
}

// SAFETY: a `Mapping` is memory of the process, not of a thread; shared access is by `&self` only,
// to bytes that nobody writes or to atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// `mmap(len, PROT_READ | PROT_WRITE, MAP_SHARED, fd)`. The file must be at least `len` bytes long.
    ///
    /// # Errors
    /// As mmap(2).
    pub fn shared(fd: Fd, len: usize) -> Result<Self> {
        let args = [0, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd.arg(), 0];
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use.
        let base = unsafe { special(arch::mmap, args) }?;
        Ok(Self { base: base as *mut u8, len })
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it is empty; it never is.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes from `start` to `end`; empty if they are not within the mapping.
    ///
    /// Only for parts that nobody writes any more: the plan part, and late data after its gate.
    #[must_use]
    pub fn bytes(&self, start: usize, end: usize) -> &[u8] {
        if start > end || end > self.len {
            return &[];
        }
        // SAFETY: the range was checked, and by the rule of this module nobody writes it any more.
        unsafe { core::slice::from_raw_parts(self.base.wrapping_add(start), end - start) }
    }

    /// `count` instructions of 8 bytes at `start`; empty if they are not within the mapping or not aligned.
    #[must_use]
    pub fn instructions(&self, start: usize, count: usize) -> &[u64] {
        let end = count.checked_mul(8).and_then(|len| start.checked_add(len));
        if end.is_none_or(|end| end > self.len) || !start.is_multiple_of(8) {
            return &[];
        }
        // SAFETY: within the mapping and aligned; by the rule of this module nobody writes it any more.
        unsafe { core::slice::from_raw_parts(self.base.wrapping_add(start).cast::<u64>(), count) }
    }

    /// Copies `bytes` to `start`; `false` if they do not fit. Only before the reader is told.
    #[must_use]
    pub fn fill(&mut self, start: usize, bytes: &[u8]) -> bool {
        if start.checked_add(bytes.len()).is_none_or(|end| end > self.len) {
            return false;
        }
        // SAFETY: the range was checked; `&mut self` and the rule of this module keep others away.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), self.base.wrapping_add(start), bytes.len()) };
        true
    }

    /// The Slate at `start`, if it lies within the mapping and is aligned.
    #[must_use]
    pub fn slate(&self, start: usize) -> Option<&Slate> {
        self.atomics(start, 1)?.first()
    }

    /// The words from `start` to the end of the mapping; none if `start` is not within it or not aligned.
    #[must_use]
    pub fn stamps(&self, start: usize) -> &[AtomicU64] {
        self.atomics(start, self.len.saturating_sub(start) / size_of::<AtomicU64>()).unwrap_or_default()
    }

    fn atomics<T: Atomics>(&self, start: usize, count: usize) -> Option<&[T]> {
        let end = count.checked_mul(size_of::<T>()).and_then(|len| start.checked_add(len));
        if end.is_none_or(|end| end > self.len) || !start.is_multiple_of(align_of::<T>()) {
            return None;
        }
        // SAFETY: within the mapping and aligned; every bit pattern is valid for atomics, which both sides use them as.
        Some(unsafe { core::slice::from_raw_parts(self.base.wrapping_add(start).cast::<T>(), count) })
    }
}

/// Made of nothing but atomics; implemented here only.
trait Atomics {}
impl Atomics for Slate {}
impl Atomics for AtomicU64 {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and len are those of the mapping, and no reference into it outlives `self`.
        let _: Result<usize> = unsafe { special(arch::munmap, [self.base as usize, self.len]) };
    }
}

/// A null-terminated list of pointers to strings, in a mapping of its own: init has no allocator.
#[derive(Debug)]
pub struct Strings<'a> {
    base: *mut *const u8,
    len: usize,
    capacity: usize,
    strings: core::marker::PhantomData<&'a CStr>,
}

impl<'a> Strings<'a> {
    /// An empty list with room for `capacity` strings. The memory is given back by execve.
    ///
    /// # Errors
    /// As mmap(2).
    pub fn with_capacity(capacity: usize) -> Result<Self> {
        let bytes = (capacity + 1) * size_of::<*const u8>();
        let args = [0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, usize::MAX, 0];
        // SAFETY: a new anonymous mapping touches no memory in use. It is zeroed: an empty list.
        let base = unsafe { special(arch::mmap, args) }?;
        Ok(Self { base: base as *mut *const u8, len: 0, capacity, strings: core::marker::PhantomData })
    }

    /// Appends a string; ignored when the list is full.
    pub fn push(&mut self, string: &'a CStr) {
        if self.len < self.capacity {
            // SAFETY: `len < capacity`, and the mapping has room for `capacity + 1` pointers.
            unsafe { self.base.wrapping_add(self.len).write(string.as_ptr().cast()) };
            self.len += 1;
        }
    }

    pub(super) const fn pointer(&self) -> *const *const u8 {
        if self.base.is_null() { null() } else { self.base }
    }
}
