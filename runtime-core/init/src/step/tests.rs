//! Every step through its record and back, and anything through the decoder.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

/// Field values of every type; made at random below.
#[derive(Clone, Copy, Debug)]
struct Given {
    text: Text,
    other: Text,
    slot: Slot,
    list: Words,
    more: Words,
    number: u32,
    flag: u32,
    bits: [u64; 3],
    ns: Ns,
    gate: Gate,
    how: Enter,
}

fn given() -> impl Strategy<Value = Given> {
    // A slot of u32::MAX stands for "none" and is never one.
    let numbers = (any::<[u32; 8]>(), 0..u32::MAX, any::<[u64; 3]>(), any::<[u8; 3]>());
    numbers.prop_map(|(n, slot, bits, choice)| Given {
        text: Text(n[0]),
        other: Text(n[1]),
        slot: Slot(slot),
        list: Words { start: n[2], count: n[3] },
        more: Words { start: n[4], count: n[5] },
        number: n[6],
        flag: n[7],
        bits,
        ns: Ns::ALL[usize::from(choice[0] & 7)],
        gate: Gate::ALL[usize::from(choice[1]) % Gate::ALL.len()],
        how: [Enter::Pivot, Enter::Move, Enter::Chroot][usize::from(choice[2]) % 3],
    })
}

fn of_the_usher(g: &Given) -> Vec<Step> {
    vec![
        Step::ResetInherited {},
        Step::OomScore { score: g.text },
        Step::NotDumpable {},
        Step::Join { ns: g.ns, slot: g.slot },
        Step::CheckMaps { uid: g.list, gid: g.more },
        Step::TimeOffsets { offsets: g.text },
        Step::Birth { namespaces: g.number, cgroup: Some(g.slot) },
        Step::Birth { namespaces: g.number, cgroup: None },
        Step::Await { gate: g.gate },
        Step::BecomeRoot {},
        Step::Session {},
        Step::Cpus { mask: g.list },
        Step::Keyring { name: g.text, permissions: g.number },
        Step::Terminal { slot: g.slot, size: g.number, flags: g.flag },
        Step::Hostname { name: g.text },
        Step::Domainname { name: g.text },
        Step::Loopback {},
        Step::HoldUserNamespace {},
    ]
}

fn of_the_tree(g: &Given) -> Vec<Step> {
    vec![
        Step::Propagation { kind: g.number },
        Step::OpenSource { slot: g.slot, path: g.text, flags: g.flag },
        Step::OpenNull {},
        Step::OpenProc {},
        Step::Rootfs { path: g.text, slot: Some(g.slot), propagation: g.number },
        Step::Rootfs { path: g.text, slot: None, propagation: g.number },
        Step::PlainRootfs { path: g.text },
        Step::Mount { record: g.list },
        Step::ReadonlyMount { slot: g.slot },
        Step::Device { path: g.text, mode_and_device: g.bits[0], owner: g.bits[1] },
        Step::DeviceBind { path: g.text, slot: g.slot },
        Step::Symlink { path: g.text, target: g.other },
        Step::Ptmx {},
        Step::MakeDirectory { path: g.text, ordinary: g.flag },
        Step::Sysctl { path: g.text, value: g.other },
        Step::ReadonlyPath { path: g.text, within: None },
        Step::MaskPath { path: g.text, within: Some(g.slot) },
        Step::ReadonlyRoot {},
        Step::Unmount { path: g.text },
        Step::EnterRoot { how: g.how, kept: g.list },
        Step::RootPropagation { kind: g.number, recursive: g.flag },
    ]
}

fn of_the_tail(g: &Given) -> Vec<Step> {
    vec![
        Step::NoNewPrivs {},
        Step::Bounding { keep: g.bits[0] },
        Step::OwnStdio { uid: g.number },
        Step::Groups { groups: g.list },
        Step::Ids { uid: g.number, gid: g.flag },
        Step::Capabilities { effective: g.bits[0], permitted: g.bits[1], inheritable: g.bits[2] },
        Step::Ambient { raise: g.bits[0] },
        Step::Umask { mask: g.number },
        Step::Enterdir { path: g.text },
        Step::Cwd { path: g.text },
        Step::FindProgram { args: g.list, path: g.text },
        Step::WaitForStart { slot: g.slot },
        Step::Filter { flags: g.number },
        Step::Execute { args: g.list, env: g.more },
        Step::Prepare { args: g.list, env: g.more, home_of: g.number },
        Step::Hook { record: g.list },
        Step::Label { path: g.text, value: g.other },
        Step::Personality { domain: g.number },
        Step::MemoryPolicy { mode: g.number, nodes: g.list },
        Step::Pass { files: g.list },
    ]
}

fn code(record: &[u8; RECORD]) -> u64 {
    u64::from_ne_bytes(record[..8].try_into().expect("8 bytes"))
}

fn record(values: [u64; 4]) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    for (chunk, value) in record.chunks_exact_mut(8).zip(values) {
        chunk.copy_from_slice(&value.to_ne_bytes());
    }
    record
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_step_survives_its_record(g in given()) {
        let steps = [of_the_usher(&g), of_the_tree(&g), of_the_tail(&g)].concat();
        let codes: BTreeSet<u64> = steps.iter().map(|step| code(&step.encode())).collect();
        for step in &steps {
            prop_assert_eq!(Step::decode(&step.encode()), Some(*step));
        }
        // The codes have no gap, so a step that is missing above is the one behind the last.
        let last = *codes.last().expect("there are steps");
        prop_assert_eq!(codes.len() as u64, last);
        prop_assert_eq!(Step::decode(&record([last + 1, 1, 1, 1])), None);
    }

    #[test]
    fn garbage_is_decoded_without_panic(bytes: [u8; RECORD]) {
        let _ = Step::decode(&bytes);
    }

    /// The codes are in range, so that the fields are looked at.
    #[test]
    fn garbage_in_fields_is_refused_or_kept(code in 0_u64..60, fields: [u64; 3]) {
        if let Some(step) = Step::decode(&record([code, fields[0], fields[1], fields[2]])) {
            prop_assert_eq!(Step::decode(&step.encode()), Some(step));
        }
    }

    #[test]
    fn mount_records_survive_as_words(words: [u32; MountRecord::LEN as usize]) {
        prop_assert_eq!(MountRecord::from_words(words).words(), words);
    }
}

#[test]
fn values_out_of_range_are_refused() {
    let join = |ns| Step::decode(&record([4, ns, 0, 0]));
    assert_eq!(join(u64::from(Ns::Pid.flag())), Some(Step::Join { ns: Ns::Pid, slot: Slot(0) }));
    assert_eq!([join(0), join(1), join(u64::MAX)], [None; 3], "a namespace is one flag");
    assert_eq!(Step::decode(&record([7, 0, 0, 0])), None, "no gate has the number 0");
    assert_eq!(Step::decode(&record([7, 256 + 1, 0, 0])), None, "a gate is one byte");
    assert_eq!(Step::decode(&record([31, 3, 0, 0])), None, "there are three ways in");
    assert_eq!(Step::decode(&record([40, 1 << 32, 0, 0])), None, "a number of 32 bits");
}

#[test]
fn the_fields_of_a_mount_record_are_named_in_order() {
    let words = core::array::from_fn(|index| u32::try_from(index).expect("small"));
    let record = MountRecord::from_words(words);
    assert_eq!((record.from, record.slot, record.target, record.flags), (0, 1, 4, 13));
    assert_eq!((record.set, record.clear, record.set_all, record.clear_all), (7, 8, 9, 10));
    assert_eq!((record.propagation, record.propagation_all), (11, 12));
}
