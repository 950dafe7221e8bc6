//! The Frame: everything init works from, in one flat mapping.
//!
//! ```text
//! header │ steps (32 bytes each) │ words (u32) │ texts (NUL-terminated) │ Slate │ late data │ stamps (u64)
//! ```
//! The stamps are there only if somebody wants to know when each step began.
//!
//! The writer lays it out from the plan; the reader checks every offset against the length, on both sides.

#![forbid(unsafe_code)]

use core::ffi::CStr;
use core::mem::size_of;

use crate::slate::Slate;
use crate::step::{RECORD, Slot, Step, Text, Words};
use crate::sys::fd::Fd;

const MAGIC: u64 = u64::from_le_bytes(*b"ociframe");
/// Bytes kept for the compiled filter: `BPF_MAXINSNS` instructions of 8 bytes.
pub const LATE: usize = 4096 * 8;

/// The fixed fields at the start of a Frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    build: u64,
    steps: u32,
    words: u32,
    texts: u32,
    slots: Words,
    gate: i32,
}

/// Length of the header in bytes.
pub const HEADER: usize = 48;

/// Where the parts of a Frame lie, in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// First step.
    pub steps: usize,
    /// First word.
    pub words: usize,
    /// First byte of the string table.
    pub texts: usize,
    /// The Slate.
    pub slate: usize,
    /// Late data.
    pub late: usize,
    /// Length of the whole without stamps, which begin there.
    pub len: usize,
    /// Length of the whole with stamps.
    pub stamped: usize,
}

impl Layout {
    /// The layout for so many steps, words and bytes of text; `None` if the sizes overflow.
    #[must_use]
    pub fn new(steps: usize, words: usize, texts: usize) -> Option<Self> {
        let words_at = HEADER.checked_add(steps.checked_mul(RECORD)?)?;
        let texts_at = words_at.checked_add(words.checked_mul(4)?)?;
        let slate = texts_at.checked_add(texts)?.checked_next_multiple_of(64)?;
        let late = slate.checked_add(size_of::<Slate>())?.checked_next_multiple_of(64)?;
        let len = late.checked_add(LATE)?;
        let stamped = len.checked_add(steps.checked_mul(size_of::<u64>())?)?;
        Some(Self { steps: HEADER, words: words_at, texts: texts_at, slate, late, len, stamped })
    }

    /// Whether a Frame of this layout can have `len` bytes.
    #[must_use]
    pub const fn has_len(&self, len: usize) -> bool {
        len == self.len || len == self.stamped
    }
}

/// What a Frame is made from.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// Init's column of the plan.
    pub steps: &'a [Step],
    /// The table of numbers.
    pub words: &'a [u32],
    /// The string table.
    pub texts: &'a [u8],
    /// The numbers of the descriptors, by slot.
    pub slots: Words,
    /// Init's end of the gate.
    pub gate: i32,
}

/// Writes the plan part of a Frame to `out`, which is [`Layout::slate`] bytes or longer. `false` if it is shorter.
#[must_use]
pub fn write(parts: &Parts<'_>, layout: &Layout, out: &mut [u8]) -> bool {
    if out.len() < layout.slate {
        return false;
    }
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        out[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    #[expect(clippy::cast_possible_truncation, reason = "a Frame is far below 4 GiB: the host checks")]
    let counts = [parts.steps.len() as u32, parts.words.len() as u32, parts.texts.len() as u32];
    put(&MAGIC.to_ne_bytes());
    put(&crate::BUILD.to_ne_bytes());
    for count in counts {
        put(&count.to_ne_bytes());
    }
    put(&parts.slots.start.to_ne_bytes());
    put(&parts.slots.count.to_ne_bytes());
    put(&parts.gate.to_ne_bytes());
    put(&[0; HEADER - 40]);
    for step in parts.steps {
        put(&step.encode());
    }
    for word in parts.words {
        put(&word.to_ne_bytes());
    }
    put(parts.texts);
    true
}

/// The layout of a Frame of any build, going by its first bytes; `None` if it is none.
#[must_use]
pub fn layout(head: &[u8]) -> Option<Layout> {
    let count = |at: usize| Some(u32::from_ne_bytes(head.get(at..at + 4)?.try_into().ok()?) as usize);
    let is_frame = head.starts_with(&MAGIC.to_ne_bytes());
    Layout::new(count(16)?, count(20)?, count(24)?).filter(|_| is_frame)
}

/// Reads the plan part of a Frame. Every access is checked; a wrong offset gives an empty value.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    header: Header,
    layout: Layout,
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads the header of a Frame of `len` bytes; `None` if it is not one of this build.
    /// `bytes` is the Frame at least up to its Slate.
    #[must_use]
    pub fn new(bytes: &'a [u8], len: usize) -> Option<Self> {
        let u32_at = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let u64_at = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let header = Header {
            build: u64_at(8)?,
            steps: u32_at(16)?,
            words: u32_at(20)?,
            texts: u32_at(24)?,
            slots: Words { start: u32_at(28)?, count: u32_at(32)? },
            gate: u32_at(36)?.cast_signed(),
        };
        let layout = Layout::new(header.steps as usize, header.words as usize, header.texts as usize)?;
        let whole = layout.has_len(len) && bytes.len() >= layout.slate;
        let right = u64_at(0)? == MAGIC && header.build == crate::BUILD && whole;
        right.then_some(Self { header, layout, bytes })
    }

    /// Where its parts lie.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Number of steps.
    #[must_use]
    pub const fn steps(&self) -> u32 {
        self.header.steps
    }

    /// Step `index`, from 0.
    #[must_use]
    pub fn step(&self, index: u32) -> Option<Step> {
        let start = self.layout.steps + (index as usize).checked_mul(RECORD)?;
        if index >= self.header.steps {
            return None;
        }
        Step::decode(self.bytes.get(start..start + RECORD)?.try_into().ok()?)
    }

    /// Init's end of the gate.
    #[must_use]
    pub const fn gate(&self) -> Fd {
        Fd(self.header.gate)
    }

    /// The descriptor in `slot`; -1 if there is no such slot.
    #[must_use]
    pub fn slot(&self, slot: Slot) -> Fd {
        let Words { start, count } = self.header.slots;
        let index = start.checked_add(slot.0).filter(|index| slot.0 < count && *index < self.header.words);
        Fd(index.map_or(-1, |index| self.word(index).cast_signed()))
    }

    /// Word `index`; 0 beyond the end.
    #[must_use]
    pub fn word(&self, index: u32) -> u32 {
        let start = self.layout.words + index as usize * 4;
        if index >= self.header.words {
            return 0;
        }
        self.bytes.get(start..start + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
    }

    /// The words of a range, in order.
    pub fn words(self, range: Words) -> impl Iterator<Item = u32> + 'a {
        (range.start..range.start.saturating_add(range.count)).map(move |index| self.word(index))
    }

    /// A text; empty beyond the end.
    #[must_use]
    pub fn text(&self, text: Text) -> &'a CStr {
        let table = self.bytes.get(self.layout.texts..self.layout.texts + self.header.texts as usize);
        table.and_then(|t| t.get(text.0 as usize..)).and_then(|t| CStr::from_bytes_until_nul(t).ok()).unwrap_or(c"")
    }
}

#[cfg(test)]
mod tests;
