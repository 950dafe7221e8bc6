//! The shared words, in memory of one process.

#![forbid(unsafe_code)]

use proptest::prelude::*;

use super::*;

fn slate() -> Slate {
    let word = || AtomicU32::new(0);
    Slate {
        phase: word(),
        step: word(),
        fault: word(),
        aux: word(),
        filter_len: word(),
        listener: word(),
        taken: word(),
        enters: word(),
        message_len: word(),
        message: [const { AtomicU8::new(0) }; MESSAGE],
    }
}

fn said(slate: &Slate) -> ([u8; MESSAGE], usize) {
    let mut buffer = [0; MESSAGE];
    let len = slate.said(&mut buffer);
    (buffer, len)
}

#[test]
fn a_new_slate_says_nothing() {
    let slate = slate();
    assert_eq!((slate.phase(), slate.step(), slate.fault(), slate.filter()), (Phase::Starting, 0, None, 0));
    assert_eq!(said(&slate).1, 0);
}

#[test]
fn phases_are_what_was_entered_and_garbage_is_the_first() {
    let slate = slate();
    for phase in [Phase::Waiting, Phase::Exec, Phase::Starting] {
        slate.enter(phase);
        assert_eq!(slate.phase(), phase);
    }
    for garbage in [3, 77, u32::MAX] {
        slate.phase.store(garbage, Ordering::Relaxed);
        assert_eq!(slate.phase(), Phase::Starting);
    }
}

#[test]
fn a_length_that_cannot_be_is_cut() {
    let slate = slate();
    slate.say(b"e tmpfs: Unknown parameter");
    slate.message_len.store(u32::MAX, Ordering::Relaxed);
    assert_eq!(said(&slate).1, MESSAGE);
}

#[test]
fn a_listener_is_offered_and_taken() {
    let slate = slate();
    for number in [0, 7] {
        assert_eq!(slate.offered().is_some(), number == 7);
        slate.offer(number);
        assert_eq!((slate.offered(), slate.is_taken()), (Some(number), false));
    }
    slate.take();
    assert!(slate.is_taken());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn faults_travel_whole(call: u16, errno in 1_u16.., aux: u32, step: u32, filter: u32) {
        let slate = slate();
        slate.at(step);
        let fault = Fault { call: Call(call), errno: Errno(errno), aux };
        slate.fail(fault);
        slate.set_filter(filter);
        prop_assert_eq!((slate.step(), slate.fault(), slate.filter()), (step, Some(fault), filter));
    }

    #[test]
    fn messages_are_cut_to_their_room(text in proptest::collection::vec(any::<u8>(), 0..2 * MESSAGE)) {
        let slate = slate();
        slate.say(&text);
        let (buffer, len) = said(&slate);
        prop_assert_eq!(&buffer[..len], &text[..text.len().min(MESSAGE)]);
    }
}
