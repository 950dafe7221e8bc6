//! Writer and reader against each other, and the reader against anything.

#![forbid(unsafe_code)]

use core::ffi::CStr;
use std::vec;
use std::vec::Vec;

use proptest::collection::vec as any_vec;
use proptest::prelude::*;

use super::*;

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

/// A Frame with these parts, up to its Slate, and its whole length.
fn frame(steps: &[Step], words: &[u32], texts: &[u8], slots: Words, gate: i32) -> (Vec<u8>, usize) {
    let layout = Layout::new(steps.len(), words.len(), texts.len()).expect("it is small");
    let mut bytes = vec![0xa5; layout.slate];
    assert!(write(&Parts { steps, words, texts, slots, gate }, &layout, &mut bytes));
    (bytes, layout.len)
}

/// Everything that a reader can be asked, with these numbers.
fn ask(reader: &Reader<'_>, numbers: &[u32]) {
    for number in numbers.iter().copied().chain([0, reader.steps(), u32::MAX]) {
        let _ = reader.step(number);
        let _ = reader.word(number);
        let _ = reader.slot(Slot(number));
        let _ = reader.text(Text(number));
        for count in numbers {
            let range = Words { start: number, count: *count };
            assert!(reader.words(range).take(1000).count() <= *count as usize);
        }
    }
    let _ = reader.gate();
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_written_is_read(
        masks in any_vec(any::<u32>(), 0..20),
        words in any_vec(any::<u32>(), 0..50),
        texts in any_vec("[a-z/]{0,9}", 0..10),
        gate in any::<i32>(),
    ) {
        let steps: Vec<Step> = masks.iter().map(|mask| Step::Umask { mask: *mask }).collect();
        let table: Vec<u8> = texts.iter().flat_map(|text| text.bytes().chain([0])).collect();
        let slots = Words { start: 0, count: u32::try_from(words.len()).expect("few") };
        let (bytes, len) = frame(&steps, &words, &table, slots, gate);
        let reader = Reader::new(&bytes, len).expect("it is one of this build");
        prop_assert_eq!(super::layout(&bytes), Some(*reader.layout()));
        prop_assert_eq!((0..).map_while(|index| reader.step(index)).collect::<Vec<_>>(), steps);
        prop_assert_eq!(reader.words(slots).collect::<Vec<_>>(), words.clone());
        prop_assert_eq!(reader.gate(), Fd(gate));
        for (index, word) in (0..).zip(&words) {
            prop_assert_eq!(reader.slot(Slot(index)), Fd(word.cast_signed()));
        }
        let mut at = 0;
        for text in &texts {
            prop_assert_eq!(reader.text(Text(at)).to_bytes(), text.as_bytes());
            at += u32::try_from(text.len()).expect("short") + 1;
        }
    }

    #[test]
    fn random_bytes_are_no_frame(bytes in any_vec(any::<u8>(), 0..300), len in any::<usize>()) {
        prop_assert!(Reader::new(&bytes, len).is_none());
        let _ = super::layout(&bytes);
    }

    #[test]
    fn a_corrupt_frame_is_refused_or_read_without_panic(
        changes in any_vec((16_usize..400, any::<u8>()), 1..20),
        numbers in any_vec(any::<u32>(), 1..5),
    ) {
        let steps = [Step::Umask { mask: 1 }, Step::Session {}, Step::Ptmx {}];
        let (mut bytes, len) = frame(&steps, &[1, 2, 3], b"a\0b\0", Words { start: 0, count: 3 }, 4);
        for (at, byte) in changes {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        // The sizes of the file are what the header says, so that everything behind the check is reached.
        let len = super::layout(&bytes).map_or(len, |layout| layout.slate + (len - frame_slate()));
        if let Some(reader) = Reader::new(&bytes, len) {
            ask(&reader, &numbers);
        }
    }

    #[test]
    fn what_a_header_says_of_its_slots_is_not_believed(
        start in any::<u32>(), count in any::<u32>(), numbers in any_vec(any::<u32>(), 1..5),
    ) {
        let (bytes, len) = frame(&[], &[7; 9], b"", Words { start, count }, 0);
        let reader = Reader::new(&bytes, len).expect("it is one of this build");
        ask(&reader, &numbers);
    }

    #[test]
    fn sizes_that_overflow_have_no_layout(steps: usize, words: usize, texts: usize) {
        if let Some(layout) = Layout::new(steps, words, texts) {
            prop_assert!(layout.steps <= layout.words && layout.words <= layout.texts);
            prop_assert!(layout.texts <= layout.slate && layout.slate < layout.late && layout.late < layout.len);
            prop_assert!(layout.slate.is_multiple_of(64) && layout.late.is_multiple_of(64));
        }
    }
}

fn frame_slate() -> usize {
    Layout::new(3, 3, 4).expect("it is small").slate
}

#[test]
fn beyond_the_end_there_is_nothing() {
    let (bytes, len) = frame(&[Step::Ptmx {}], &[5, 6], b"a\0", Words { start: 1, count: 9 }, 0);
    let reader = Reader::new(&bytes, len).expect("it is one of this build");
    assert_eq!((reader.step(1), reader.word(2)), (None, 0));
    assert_eq!((reader.text(Text(2)), reader.text(Text(u32::MAX))), (c"", c""));
    assert_eq!(reader.slot(Slot(0)), Fd(6));
    // Not 0, which is a descriptor.
    assert_eq!((reader.slot(Slot(1)), reader.slot(Slot(9)), reader.slot(Slot(u32::MAX))), (Fd(-1), Fd(-1), Fd(-1)));
}

#[test]
fn a_text_without_end_is_empty() {
    let (bytes, len) = frame(&[], &[], b"abc", Words { start: 0, count: 0 }, 0);
    let reader = Reader::new(&bytes, len).expect("it is one of this build");
    let nothing: &CStr = c"";
    assert_eq!(reader.text(Text(0)), nothing);
}

#[test]
fn another_magic_build_or_length_is_refused() {
    let (good, len) = frame(&[Step::Ptmx {}], &[1], b"\0", Words { start: 0, count: 1 }, 0);
    assert!(Reader::new(&good, len).is_some());
    for at in 0..16 {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        assert!(Reader::new(&bytes, len).is_none(), "byte {at}");
    }
    assert!(Reader::new(&good, len - 1).is_none() && Reader::new(&good, len + 1).is_none());
    assert!(Reader::new(&good[..good.len() - 1], len).is_none());
    for cut in 0..HEADER {
        assert!(Reader::new(&good[..cut], len).is_none());
    }
}

#[test]
fn a_buffer_that_is_too_short_is_not_written() {
    let layout = Layout::new(0, 0, 0).expect("it is small");
    let parts = Parts { steps: &[], words: &[], texts: b"", slots: Words { start: 0, count: 0 }, gate: 0 };
    assert!(!write(&parts, &layout, &mut vec![0; layout.slate - 1]));
}
