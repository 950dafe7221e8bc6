//! The loop on Frames that it cannot or need not carry out; what steps do is tested in children (`tests/steps`).

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::frame::{Layout, Parts, write};
use crate::step::Words;

/// A mapped Frame with these records as steps.
fn mapping(name: &str, records: &[[u8; 32]], spoil: impl Fn(&mut Vec<u8>)) -> Mapping {
    let layout = Layout::new(records.len(), 0, 0).expect("it is small");
    let steps = vec![Step::Session {}; records.len()];
    let mut bytes = vec![0; layout.len];
    let slots = Words { start: 0, count: 0 };
    assert!(write(&Parts { steps: &steps, words: &[], texts: b"", slots, gate: -1 }, &layout, &mut bytes));
    for (place, record) in bytes[layout.steps..].chunks_exact_mut(32).zip(records) {
        place.copy_from_slice(record);
    }
    spoil(&mut bytes);
    let path: PathBuf = std::env::temp_dir().join(std::format!("runtime-init-{name}-{}", std::process::id()));
    let mut file = File::options().create_new(true).read(true).write(true).open(&path).expect("a file of ours");
    std::fs::remove_file(&path).expect("the file is there");
    file.write_all(&bytes).expect("there is room");
    Mapping::shared(Fd::from(file.as_fd()), bytes.len()).expect("it can be mapped")
}

fn slate(mapping: &Mapping) -> &Slate {
    frame_of(mapping).expect("it is a Frame").1
}

#[test]
fn a_frame_of_another_build_is_no_frame() {
    assert_eq!(run(&mapping("build", &[], |bytes| bytes[8] ^= 1)), 2);
    assert_eq!(run(&mapping("magic", &[], |bytes| bytes[0] ^= 1)), 2);
    assert_eq!(run(&mapping("short", &[], |bytes| bytes.truncate(100))), 2);
}

#[test]
fn a_step_that_nobody_knows_is_a_fault_of_the_frame() {
    let mapping = mapping("unknown", &[[0xff; 32]], |_| ());
    assert_eq!(run(&mapping), 1);
    assert_eq!(slate(&mapping).step(), 1);
    assert_eq!(slate(&mapping).fault(), Some(Fault::new(Call::FRAME, Errno::INVAL)));
}

#[test]
fn a_refused_step_is_on_the_slate_and_is_the_last() {
    let join = Step::Join { ns: crate::Ns::Uts, slot: Slot(9) }.encode();
    let mapping = mapping("refused", &[join, [0xff; 32]], |_| ());
    assert_eq!(run(&mapping), 1);
    let fault = slate(&mapping).fault().expect("a slot that is not there");
    assert_eq!((slate(&mapping).step(), crate::sys::name(fault.call), fault.errno()), (1, Some("setns"), 9));
}

#[test]
fn a_frame_without_execute_ends() {
    let mapping = mapping("empty", &[], |_| ());
    assert_eq!((run(&mapping), slate(&mapping).fault()), (1, None));
}
