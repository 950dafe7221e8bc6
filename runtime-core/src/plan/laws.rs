//! Laws that every plan keeps, over generated configurations.

#![forbid(unsafe_code)]

mod specs;

use proptest::prelude::*;
use runtime_init::frame::{Layout, Parts, Reader, write};
use runtime_init::step::{MountRecord, SOURCE_GIVEN};
use runtime_init::{Gate, Ns, Slot, Step, Text, Words};
use serde_json::Value;

use super::{Act, CreateOptions, HostStep, Line, Plan};
use crate::bundle::Bundle;
use crate::error::Result;
use specs::{Machine, any_machine, any_spec};

fn plan(spec: &Value, machine: &Machine) -> Result<Plan> {
    let bundle = Bundle::parse("/bundle".into(), spec.to_string().into_bytes())?;
    let mut options = CreateOptions::new("law");
    options.no_pivot = machine.no_pivot;
    options.no_new_keyring = machine.no_new_keyring;
    Plan::create(&bundle, &machine.host, &options)
}

/// Index of the only line that matches, among all lines.
fn only(plan: &Plan, wanted: impl Fn(&Act) -> bool) -> Option<usize> {
    let mut found = plan.lines.iter().enumerate().filter(|(_, line)| wanted(&line.act)).map(|(index, _)| index);
    let first = found.next();
    assert_eq!(found.next(), None, "a second one of what there is once: {plan}");
    first
}

fn position(plan: &Plan, wanted: impl Fn(&Step) -> bool) -> Option<usize> {
    plan.lines.iter().position(|line| matches!(&line.act, Act::Init(step) if wanted(step)))
}

fn last_position(plan: &Plan, wanted: impl Fn(&Step) -> bool) -> Option<usize> {
    plan.lines.iter().rposition(|line| matches!(&line.act, Act::Init(step) if wanted(step)))
}

/// What the configuration says of one kind of namespace: new, joined, or the caller's.
fn namespace(spec: &Value, ns: Ns) -> Option<bool> {
    let name = super::namespaces::word(ns);
    let list = spec.pointer("/linux/namespaces")?.as_array()?;
    let entry = list.iter().find(|entry| entry["type"] == name)?;
    Some(entry["path"].as_str().unwrap_or_default().is_empty())
}

/// Each gate that the host opens is one at which init stands right after it, and the other way round.
fn gates_pair_up(plan: &Plan) {
    let mut standing = None;
    for line in &plan.lines {
        match (&line.act, standing) {
            (Act::Host(HostStep::Release(gate)), None) => standing = Some(*gate),
            (Act::Init(Step::Await { gate }), Some(opened)) if *gate == opened => standing = None,
            (Act::Host(HostStep::Release(_)) | Act::Init(Step::Await { .. }), _) => panic!("gates do not pair: {plan}"),
            _ => {}
        }
    }
    assert_eq!(standing, None, "a gate is opened at which nobody stands: {plan}");
    assert!(only(plan, |act| matches!(act, Act::Init(Step::Await { gate: Gate::Ready }))).is_some());
}

/// Where init needs the caller's rights for a mount, it waits for them, and the host does nothing that init does not wait for.
fn the_host_helps_with_mounts(plan: &Plan) {
    let acts: Vec<&Act> = plan.lines.iter().map(|line| &line.act).collect();
    for pair in acts.windows(2) {
        let waits = match pair[0] {
            Act::Init(Step::HoldUserNamespace {}) => matches!(pair[1], Act::Host(HostStep::HoldUserNamespace(_))),
            Act::Init(Step::Mount { record }) => {
                let ids = mount_of(plan, *record).flags & MountRecord::WITH_IDS != 0;
                ids == matches!(pair[1], Act::Host(HostStep::MapTree { .. }))
            }
            Act::Host(HostStep::Give(slot)) => {
                matches!(pair[1], Act::Init(Step::OpenSource { slot: s, flags, .. }) if s == slot && flags & SOURCE_GIVEN != 0)
            }
            _ => !matches!(pair[1], Act::Host(HostStep::HoldUserNamespace(_) | HostStep::MapTree { .. })),
        };
        assert!(waits, "{pair:?}: {plan}");
    }
    let shown = position(plan, |step| matches!(step, Step::Await { gate: Gate::Trees }));
    let given = position(plan, |step| matches!(step, Step::OpenSource { flags, .. } if flags & SOURCE_GIVEN != 0));
    assert_eq!(shown.is_some(), given.is_some(), "{plan}");
    assert!(shown <= given, "{plan}");
    let joined = position(plan, |step| matches!(step, Step::Join { .. } | Step::Birth { .. }));
    let held = last_position(plan, |step| matches!(step, Step::HoldUserNamespace {}));
    assert!(held < joined, "a user namespace is made by who is somewhere else already: {plan}");
}

fn mount_of(plan: &Plan, record: Words) -> MountRecord {
    MountRecord::from_words(words_of(plan, record).try_into().expect("a record has its length"))
}

/// Births are announced; the pid namespace belongs to the last one; the cgroup namespace is joined after it.
fn births_are_in_order(plan: &Plan, spec: &Value) {
    let births: Vec<(usize, u32)> = plan
        .lines
        .iter()
        .enumerate()
        .filter_map(|(index, line)| match line.act {
            Act::Init(Step::Birth { namespaces, .. }) => Some((index, namespaces)),
            _ => None,
        })
        .collect();
    let last = births.last().expect("there is a birth").0;
    for (index, flags) in &births {
        assert_eq!(plan.lines[index + 1].act, Act::Host(HostStep::Born), "{plan}");
        assert!(flags & Ns::Pid.flag() == 0 || *index == last, "a pid namespace before the last birth: {plan}");
        assert_eq!(flags & Ns::Time.flag(), 0, "a time namespace by birth: {plan}");
    }
    assert_eq!(births.len(), plan.lines.iter().filter(|l| l.act == Act::Host(HostStep::Born)).count());
    let born = births.iter().fold(0, |all, (_, flags)| all | flags);
    for ns in Ns::ALL.into_iter().filter(|ns| *ns != Ns::Time) {
        assert_eq!(born & ns.flag() != 0, namespace(spec, ns) == Some(true), "{ns:?}: {plan}");
    }
    let offsets = position(plan, |step| matches!(step, Step::TimeOffsets { .. }));
    assert_eq!(offsets.is_some(), namespace(spec, Ns::Time) == Some(true), "{plan}");
    assert!(offsets.is_none_or(|offsets| offsets < last), "{plan}");
    let join = position(plan, |step| matches!(step, Step::Join { ns: Ns::Cgroup, .. }));
    assert!(join.is_none_or(|join| join > last), "the cgroup namespace is joined before birth: {plan}");
}

/// What the usher does before anything foreign is near (CVE-2024-21626, CVE-2016-9962).
fn the_usher_is_careful(plan: &Plan, spec: &Value) {
    assert_eq!(plan.steps().next(), Some(Step::ResetInherited {}));
    let dumpable = only(plan, |act| *act == Act::Init(Step::NotDumpable {}));
    let join = position(plan, |step| matches!(step, Step::Join { .. }));
    assert_eq!(dumpable.is_some(), join.is_some(), "{plan}");
    assert!(dumpable <= join, "{plan}");
    for ns in Ns::ALL {
        let joins = plan.steps().filter(|step| matches!(step, Step::Join { ns: joined, .. } if *joined == ns)).count();
        assert_eq!(joins, usize::from(namespace(spec, ns) == Some(false)), "{ns:?}: {plan}");
    }
}

const fn names_the_host(step: &Step) -> bool {
    matches!(
        step,
        Step::OpenSource { .. }
            | Step::Rootfs { .. }
            | Step::PlainRootfs { .. }
            | Step::OpenNull {}
            | Step::OpenProc {}
            | Step::Unmount { .. }
    )
}

const fn changes_the_tree(step: &Step) -> bool {
    matches!(
        step,
        Step::Mount { .. }
            | Step::ReadonlyMount { .. }
            | Step::Device { .. }
            | Step::DeviceBind { .. }
            | Step::Symlink { .. }
            | Step::Ptmx {}
            | Step::MakeDirectory { .. }
            | Step::Terminal { flags: runtime_init::step::terminal::ON_CONSOLE, .. }
            | Step::Sysctl { .. }
            | Step::ReadonlyPath { .. }
            | Step::MaskPath { .. }
            | Step::ReadonlyRoot {}
    )
}

const fn covers(step: &Step) -> bool {
    matches!(step, Step::ReadonlyPath { .. } | Step::MaskPath { .. } | Step::ReadonlyRoot {})
}

/// No host path and no change of the tree after the root is entered; covers come last (CVE-2025-31133).
fn the_root_closes_behind(plan: &Plan) {
    let entered = only(plan, |act| matches!(act, Act::Init(Step::EnterRoot { .. }))).expect("the root is entered");
    let inside = |step: &Step| names_the_host(step) || changes_the_tree(step);
    assert!(last_position(plan, inside).is_none_or(|last| last < entered), "{plan}");
    let root = position(plan, |step| matches!(step, Step::Rootfs { .. } | Step::PlainRootfs { .. }));
    let first_change = position(plan, changes_the_tree);
    assert!(root < first_change || first_change.is_none(), "the tree is changed before there is one: {plan}");
    let opened = last_position(plan, |step| matches!(step, Step::OpenSource { .. } | Step::OpenNull {}));
    assert!(opened.is_none_or(|opened| Some(opened) < root), "a source is opened after the root: {plan}");
    let first_cover = position(plan, covers);
    let other = last_position(plan, |step| changes_the_tree(step) && !covers(step));
    assert!(first_cover.is_none() || first_cover > other, "something could undo a mask: {plan}");
}

/// A terminal is of the container's own devpts, and the console is made while there can be a file for it (CVE-2025-52565).
fn the_terminal_is_the_containers(plan: &Plan, spec: &Value) {
    let terminal = only(plan, |act| matches!(act, Act::Init(Step::Terminal { .. })));
    assert_eq!(terminal.is_some(), spec.pointer("/process/terminal") == Some(&Value::Bool(true)), "{plan}");
    assert_eq!(terminal.is_some(), plan.has_terminal());
    let Some(terminal) = terminal else { return };
    let on_console = matches!(
        plan.lines[terminal].act,
        Act::Init(Step::Terminal { flags: runtime_init::step::terminal::ON_CONSOLE, .. })
    );
    assert_eq!(on_console, namespace(spec, Ns::Mount).is_some(), "the host's console is covered: {plan}");
    let before = last_position(plan, |step| matches!(step, Step::Session {} | Step::Mount { .. } | Step::Ptmx {}));
    assert!(before < Some(terminal), "{plan}");
    let after =
        position(plan, |step| covers(step) || matches!(step, Step::ReadonlyMount { .. } | Step::OwnStdio { .. }));
    assert!(after.is_none_or(|after| after > terminal), "{plan}");
}

const fn comes_after_filter(step: &Step) -> bool {
    matches!(step, Step::Filter { .. } | Step::Capabilities { .. } | Step::Ambient { .. } | Step::Execute { .. })
}

/// Privileges fall once and in the order in which each can still be given up.
fn privileges_fall_in_order(plan: &Plan) {
    let waits = only(plan, |act| matches!(act, Act::Init(Step::WaitForStart { .. }))).expect("init waits for start");
    let hooks = last_position(plan, |step| matches!(step, Step::Hook { .. }));
    let late = |line: &Line| matches!(&line.act, Act::Init(step) if !comes_after_filter(step));
    let passes = |line: &&Line| matches!(line.act, Act::Init(Step::Pass { .. } | Step::Hook { .. }));
    assert!(!plan.lines[waits + 1..].iter().filter(|line| !passes(line)).any(late), "{plan}");
    // startContainer hooks are programs of the image.
    let rights = last_position(plan, |step| comes_after_filter(step) && !matches!(step, Step::Execute { .. }));
    assert!(hooks.is_none_or(|hook| Some(hook) > rights), "{plan}");
    if let Some(filter) = position(plan, |step| matches!(step, Step::Filter { .. })) {
        let listens = position(plan, |step| matches!(step, Step::Await { gate: Gate::Notify })).is_some();
        // The creating host takes the listener, so that only then the wait stands behind the filter.
        assert_eq!(filter < waits, listens, "{plan}");
        let allowed = |line: &&Line| listens && line.act == plan.lines[waits].act || hooks.is_some() && passes(line);
        let behind = plan.lines[filter + 1..].iter().filter(|line| !allowed(line));
        assert!(!behind.into_iter().any(late), "{plan}");
        let host = |wanted: &Act| only(plan, |act| act == wanted).unwrap_or(0);
        assert!(
            host(&Act::Host(HostStep::Listener)) < host(&Act::Host(HostStep::Created)),
            "created without a listener: {plan}"
        );
    }
    let at = |wanted: fn(&Step) -> bool| position(plan, wanted);
    let Some(ids) = at(|step| matches!(step, Step::Ids { .. })) else {
        assert_eq!(at(|step| matches!(step, Step::Execute { .. })), None, "a program without a change of ids: {plan}");
        return;
    };
    let before = [
        at(|step| matches!(step, Step::Groups { .. })),
        at(|step| matches!(step, Step::Bounding { .. })),
        at(|step| matches!(step, Step::NoNewPrivs {})),
        at(|step| matches!(step, Step::EnterRoot { .. })),
    ];
    assert!(before.into_iter().flatten().all(|step| step < ids), "{plan}");
    let capabilities = at(|step| matches!(step, Step::Capabilities { .. }));
    let cwd = at(|step| matches!(step, Step::Cwd { .. }));
    assert!(capabilities > Some(ids) && cwd > Some(ids), "{plan}");
    assert!(at(|step| matches!(step, Step::Ambient { .. })).is_none_or(|ambient| Some(ambient) > capabilities));
    assert!(matches!(plan.steps().last(), Some(Step::Execute { .. })), "{plan}");
}

/// The device rules hold before any program runs in the cgroup that is not ours.
fn devices_are_restricted_in_time(plan: &Plan) {
    let restricted = only(plan, |act| *act == Act::Host(HostStep::CgroupDevices)).expect("device rules");
    let spawned = only(plan, |act| *act == Act::Host(HostStep::Spawn)).expect("a start");
    let ready = only(plan, |act| *act == Act::Host(HostStep::Release(Gate::Ready))).expect("a gate");
    let waits = only(plan, |act| matches!(act, Act::Init(Step::WaitForStart { .. }))).expect("init waits for start");
    let hook = plan.lines[..waits].iter().any(|line| matches!(line.act, Act::Init(Step::Hook { .. })));
    assert!(restricted < if hook { spawned } else { ready }, "{plan}");
}

/// What every container gets of the host, so that no field of the configuration has to have asked for it.
const fn host_does_anyway(step: &HostStep) -> bool {
    matches!(
        step,
        HostStep::Record
            | HostStep::Cgroup
            | HostStep::CgroupDevices
            | HostStep::Spawn
            | HostStep::Born
            | HostStep::Release(_)
            | HostStep::Created
    )
}

/// The same of init.
const fn init_does_anyway(step: &Step) -> bool {
    matches!(
        step,
        Step::ResetInherited {}
            | Step::NotDumpable {}
            | Step::Birth { .. }
            | Step::Await { gate: Gate::Ready }
            | Step::BecomeRoot {}
            | Step::Session {}
            | Step::Cpus { .. }
            | Step::Keyring { .. }
            | Step::Propagation { .. }
            | Step::OpenSource { flags: 0, .. }
            | Step::MakeDirectory { ordinary: 1, .. }
            | Step::Device { .. }
            | Step::DeviceBind { .. }
            | Step::Symlink { .. }
            | Step::Ptmx {}
            | Step::Unmount { .. }
            | Step::EnterRoot { .. }
            | Step::Umask { .. }
            | Step::WaitForStart { .. }
    )
}

fn lines_say_who_asked(plan: &Plan) {
    for line in &plan.lines {
        let anyway = match &line.act {
            Act::Host(step) => host_does_anyway(step),
            Act::Init(step) => init_does_anyway(step),
        };
        assert!(line.origin.is_some() || anyway, "nobody asked for {:?}: {plan}", line.act);
    }
}

/// Every text that a step names; its lists and slots are looked at here.
fn texts_of(plan: &Plan, step: Step) -> Vec<Text> {
    let list = |words: Words| -> Vec<Text> { words_of(plan, words).iter().copied().map(Text).collect() };
    match step {
        Step::OomScore { score: t } | Step::TimeOffsets { offsets: t } => vec![t],
        Step::Hostname { name: t } | Step::Domainname { name: t } | Step::Keyring { name: t, .. } => vec![t],
        Step::PlainRootfs { path: t } | Step::MakeDirectory { path: t, .. } | Step::Unmount { path: t } => vec![t],
        Step::ReadonlyPath { path: t, .. } | Step::MaskPath { path: t, .. } => vec![t],
        Step::Enterdir { path: t } | Step::Cwd { path: t } | Step::Device { path: t, .. } => vec![t],
        Step::OpenSource { path: t, .. } | Step::DeviceBind { path: t, .. } | Step::Rootfs { path: t, .. } => vec![t],
        Step::Symlink { path: a, target: b } | Step::Sysctl { path: a, value: b } => vec![a, b],
        Step::Label { path: a, value: b } => vec![a, b],
        Step::FindProgram { args, path } => [list(args), vec![path]].concat(),
        Step::Execute { args, env } | Step::Prepare { args, env, .. } => [list(args), list(env)].concat(),
        Step::Groups { groups } => list(groups).into_iter().take(0).collect(),
        Step::Mount { record } => mount_record(plan, mount_of(plan, record)),
        _ => Vec::new(),
    }
}

const fn slot_of(step: Step) -> Option<Slot> {
    match step {
        Step::Join { slot, .. } | Step::ReadonlyMount { slot } | Step::WaitForStart { slot } => Some(slot),
        Step::Terminal { slot, .. } => Some(slot),
        Step::OpenSource { slot, .. } | Step::DeviceBind { slot, .. } => Some(slot),
        Step::Birth { cgroup: slot, .. } | Step::Rootfs { slot, .. } => slot,
        Step::ReadonlyPath { within: slot, .. } | Step::MaskPath { within: slot, .. } => slot,
        _ => None,
    }
}

fn words_of(plan: &Plan, words: Words) -> &[u32] {
    let end = words.start.checked_add(words.count).expect("it does not wrap") as usize;
    plan.words.get(words.start as usize..end).unwrap_or_else(|| panic!("{words:?}: {plan}"))
}

/// Whatever a step refers to is in the tables, and a text begins where one was put.
fn tables_hold_what_steps_name(plan: &Plan) {
    let bytes = plan.texts.bytes();
    for step in plan.steps() {
        assert!(slot_of(step).is_none_or(|slot| (slot.0 as usize) < plan.slots.len()), "{step:?}: {plan}");
        for text in texts_of(plan, step) {
            let start = text.0 as usize;
            assert!(start < bytes.len() && (start == 0 || bytes[start - 1] == 0), "{text:?} of {step:?}: {plan}");
        }
    }
}

/// The texts of a mount; its slot and its options are looked at here.
fn mount_record(plan: &Plan, record: MountRecord) -> Vec<Text> {
    assert!(record.slot == MountRecord::NO_SLOT || (record.slot as usize) < plan.slots.len(), "{record:?}");
    let needs_slot = matches!(record.from, MountRecord::FROM_SLOT | MountRecord::FROM_OPENED);
    assert!(!needs_slot || record.slot != MountRecord::NO_SLOT, "{record:?}");
    assert_eq!(record.from == MountRecord::FROM_FILESYSTEM, record.what != MountRecord::NO_TEXT, "{record:?}");
    let start = record.options as usize;
    let options = &plan.words[start..start + 2 * record.option_count as usize];
    let texts = [record.what, record.source, record.target];
    texts.into_iter().chain(options.iter().copied()).filter(|text| *text != MountRecord::NO_TEXT).map(Text).collect()
}

/// What init reads is what was planned.
fn the_frame_says_the_same(plan: &Plan) {
    let steps: Vec<Step> = plan.steps().collect();
    let mut words = plan.words.clone();
    words.extend((0..plan.slots.len()).map(|slot| u32::try_from(slot).expect("few slots") + 100));
    let texts = plan.texts.bytes();
    let parts = Parts { steps: &steps, words: &words, texts, slots: plan.slot_words(), gate: 7 };
    let layout = Layout::new(steps.len(), words.len(), texts.len()).expect("it is small");
    let mut bytes = vec![0; layout.slate];
    assert!(write(&parts, &layout, &mut bytes));
    let reader = Reader::new(&bytes, layout.len).expect("it is a Frame of this build");
    let read: Vec<Step> = (0..reader.steps()).map(|index| reader.step(index).expect("every step is known")).collect();
    assert_eq!(read, steps);
    for slot in 0..u32::try_from(plan.slots.len()).expect("few slots") {
        assert_eq!(reader.slot(Slot(slot)).0.cast_unsigned(), slot + 100);
    }
}

/// Notes below the columns are prose, and as long as they have to be.
fn columns_fit_a_terminal(plan: &Plan) {
    let prose = |line: &&str| line.starts_with("note: ");
    let text = plan.to_string();
    let widest = text.lines().filter(|line| !prose(line)).map(|line| line.chars().count()).max();
    assert!(widest.is_some_and(|columns| columns <= 120), "{widest:?}: {plan}");
}

fn check(plan: &Plan, spec: &Value) {
    gates_pair_up(plan);
    the_host_helps_with_mounts(plan);
    births_are_in_order(plan, spec);
    the_usher_is_careful(plan, spec);
    the_root_closes_behind(plan);
    the_terminal_is_the_containers(plan, spec);
    privileges_fall_in_order(plan);
    devices_are_restricted_in_time(plan);
    tables_hold_what_steps_name(plan);
    the_frame_says_the_same(plan);
    columns_fit_a_terminal(plan);
    lines_say_who_asked(plan);
}

/// How much of what is generated must be planned, so that the laws are about something.
const ENOUGH: usize = 400;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_keeps_the_laws(spec in any_spec(), machine in any_machine()) {
        if let Ok(plan) = plan(&spec, &machine) {
            check(&plan, &spec);
        }
    }

    #[test]
    fn planning_is_deterministic(spec in any_spec(), machine in any_machine()) {
        let [one, other] = [plan(&spec, &machine), plan(&spec, &machine)];
        match (one, other) {
            (Ok(one), Ok(other)) => {
                prop_assert_eq!(&one.lines, &other.lines);
                prop_assert_eq!((&one.words, one.texts.bytes()), (&other.words, other.texts.bytes()));
                prop_assert_eq!(one.to_string(), other.to_string());
                prop_assert_eq!(one.to_json(), other.to_json());
            }
            (Err(one), Err(other)) => prop_assert_eq!(one.to_string(), other.to_string()),
            (one, other) => prop_assert!(false, "{:?} {:?}", one.is_ok(), other.is_ok()),
        }
    }

    /// Whatever the values are: an error, or a plan; never a panic.
    #[test]
    fn planning_never_panics(spec in specs::broken_spec(), machine in any_machine()) {
        if let Ok(plan) = plan(&spec, &machine) {
            drop(plan.to_string());
        }
    }
}

#[test]
fn the_generator_makes_things_that_can_be_planned() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut planned = 0;
    for _ in 0..1024 {
        let spec = any_spec().new_tree(&mut runner).expect("a spec").current();
        let machine = any_machine().new_tree(&mut runner).expect("a machine").current();
        planned += usize::from(plan(&spec, &machine).is_ok());
    }
    assert!(planned >= ENOUGH, "only {planned} of 1024 are planned");
}
