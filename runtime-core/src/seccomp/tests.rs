//! Compiled programs, interpreted, against what the profiles say.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::interpreter::{Call, run};
use super::*;
use crate::bundle::Bundle;
use crate::error::Result;
use crate::plan::profile_of;

const KILL: u32 = 0;
const NO_SUCH_CALL: u32 = 0x0005_0026;
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;
const X32_BIT: u32 = 1 << 30;

fn bundle(seccomp: &Value) -> Result<Bundle> {
    let process = json!({"cwd": "/", "args": ["x"], "user": {"uid": 0, "gid": 0}});
    let spec = json!({"ociVersion": "1.3.0", "root": {"path": "r"}, "process": process, "linux": {"seccomp": seccomp}});
    Bundle::parse("/bundle".into(), spec.to_string().into_bytes())
}

fn profile(seccomp: &Value) -> Result<Profile> {
    profile_of(&bundle(seccomp)?).map(|(profile, _)| profile)
}

fn real(name: &str) -> Profile {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs").join(name);
    let config: Value = serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON");
    profile(&config["linux"]["seccomp"]).expect("engines write profiles that are right")
}

fn holds(condition: &Condition, call: &Call, bits: u64) -> bool {
    let argument = call.args[condition.index as usize] & bits;
    let (value, second) = (condition.value & bits, condition.second & bits);
    match condition.operator {
        Operator::NotEqual => argument != value,
        Operator::Less => argument < value,
        Operator::LessOrEqual => argument <= value,
        Operator::Equal => argument == value,
        Operator::GreaterOrEqual => argument >= value,
        Operator::Greater => argument > value,
        Operator::MaskedEqual => argument & value == second & value,
    }
}

/// A profile with the entries of each name, so that thousands of calls can be judged.
struct Meaning<'a> {
    profile: &'a Profile,
    abi: Abi,
    rules: BTreeMap<u32, Vec<(Entry, &'a Rule)>>,
}

impl<'a> Meaning<'a> {
    fn new(profile: &'a Profile, abi: Abi) -> Self {
        let mut rules: BTreeMap<u32, Vec<(Entry, &Rule)>> = BTreeMap::new();
        for rule in &profile.rules {
            for entry in rule.names.iter().flat_map(|name| abi.entries(name)) {
                rules.entry(entry.number).or_default().push((entry, rule));
            }
        }
        Self { profile, abi, rules }
    }

    /// The call is newer than the profile.
    fn is_new(&self, call: &Call) -> bool {
        let default = self.profile.default;
        let open = matches!(default, Action::Allow | Action::Log | Action::Trace(_) | Action::Errno(38));
        !open && self.rules.last_key_value().is_some_and(|(newest, _)| call.number > *newest)
    }

    /// The actions of all rules that hold, the strictest first; of those without conditions only the first counts, and
    /// then no other.
    fn holding(&self, call: &Call) -> Vec<u32> {
        let mut found = Vec::new();
        let rules = self.rules.get(&call.number).into_iter().flatten();
        for (entry, rule) in rules.filter(|(_, rule)| rule.action != self.profile.default) {
            let first = entry.first_argument;
            if first.is_none() && rule.conditions.is_empty() {
                return vec![rule.action.value()];
            }
            let is_it = first.is_none_or(|first| call.args[0] & 0xffff_ffff == first);
            let judged = |c: &&Condition| first.is_none() || c.index != 0;
            let all = |all: &&[Condition]| all.iter().filter(judged).all(|c| holds(c, call, self.abi.bits()));
            if is_it && rule.alternatives().iter().any(all) {
                found.push(rule.action.value());
            }
        }
        found.sort_by_key(|value| (value & 0xffff_0000).cast_signed());
        found
    }

    /// What the profile says.
    fn of(&self, call: &Call) -> u32 {
        match self.holding(call).first() {
            _ if !self.profile.abis.contains(&self.abi) => KILL,
            _ if self.is_new(call) => NO_SUCH_CALL,
            Some(found) => *found,
            None => self.profile.default.value(),
        }
    }
}

/// Arguments around every value that the profile compares with.
fn interesting(profile: &Profile) -> Vec<u64> {
    let conditions = || profile.rules.iter().flat_map(|rule| &rule.conditions);
    let mut values: Vec<u64> = conditions()
        .flat_map(|c| [c.value, c.second])
        .flat_map(|v| [v, v.wrapping_add(1), v.wrapping_sub(1), !v, v | 1 << 40])
        .chain([0, 1, u64::MAX, 0xffff_ffff])
        .collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// The calls of these numbers, with interesting arguments.
fn calls(profile: &Profile, abi: Abi, numbers: impl Iterator<Item = u32>) -> impl Iterator<Item = Call> {
    let (architecture, base) = match abi {
        Abi::X86_64 => (AUDIT_ARCH_X86_64, 0),
        Abi::X86 => (AUDIT_ARCH_I386, 0),
        Abi::X32 => (AUDIT_ARCH_X86_64, X32_BIT),
    };
    // The kernel gives a filter the lower halves only where the caller is of 32 bits.
    let fits = |value: &u64| abi != Abi::X86 || u32::try_from(*value).is_ok();
    let values: Vec<u64> = interesting(profile).into_iter().filter(fits).collect();
    numbers.flat_map(move |number| {
        let values = values.clone();
        (0..values.len()).map(move |index| {
            let mut args = [values[index]; 6];
            args[index % 6] = values[(index * 7 + 3) % values.len()];
            Call { number: base | number, architecture, args }
        })
    })
}

/// The program does what the profile says.
fn agrees(profile: &Profile, program: &[u64], abi: Abi, numbers: impl Iterator<Item = u32>) {
    let meaning = Meaning::new(profile, abi);
    for call in calls(profile, abi, numbers) {
        let (is, wanted) = (run(program, &call), meaning.of(&call));
        assert_eq!(is, wanted, "{abi:?} {call:?}: {is:#x}, the profile says {wanted:#x}");
    }
}

/// So does that of libseccomp, as far as it goes: it knows nothing of newer calls, and of two rules that hold it may take
/// either.
fn agrees_with_library(profile: &Profile, program: &[u64], abi: Abi, numbers: impl Iterator<Item = u32>) {
    let (meaning, library) = (Meaning::new(profile, abi), oracle::program(profile));
    for call in calls(profile, abi, numbers).filter(|call| !meaning.is_new(call)) {
        let (ours, theirs) = (run(program, &call), run(&library, &call));
        let open = meaning.holding(&call);
        let either = open.len() > 1 && open.contains(&theirs) && open.contains(&ours);
        assert!(ours == theirs || either, "{abi:?} {call:?}: ours {ours:#x}, libseccomp's {theirs:#x}");
    }
}

const ABIS: [Abi; 3] = [Abi::X86_64, Abi::X86, Abi::X32];

const REAL: [&str; 4] = ["docker-default", "containerd-userns-limits", "podman-default", "bench-seccomp"];

#[test]
fn real_profiles_mean_what_they_say() {
    for name in REAL {
        let profile = real(&format!("{name}.json"));
        let program = profile.compile().expect(name);
        assert!(program.len() <= 1000, "{name}: {}", program.len());
        for abi in ABIS {
            agrees(&profile, &program, abi, (0..1100).chain([5000, 0x1fff_ffff]));
        }
    }
}

#[test]
fn real_profiles_are_compiled_as_by_libseccomp() {
    for name in REAL {
        let profile = real(&format!("{name}.json"));
        let program = profile.compile().expect(name);
        for abi in ABIS {
            agrees_with_library(&profile, &program, abi, (0..1100).chain([5000, 0x1fff_ffff, u32::MAX]));
        }
    }
}

/// Sockets have two ways in on x86, by number and by the first argument of `socketcall`.
#[test]
fn multiplexed_calls_are_filtered_both_ways() {
    let rule = json!({"names": ["sendto", "close_range"], "action": "SCMP_ACT_ALLOW"});
    let seccomp = json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"], "syscalls": [rule]});
    let program = profile(&seccomp).expect("it is right").compile().expect("it compiles");
    let call =
        |number, first| run(&program, &Call { number, architecture: AUDIT_ARCH_I386, args: [first, 0, 0, 0, 0, 0] });
    assert_eq!([call(369, 0), call(102, 11), call(102, 99)], [0x7fff_0000, 0x7fff_0000, 0x0005_0001]);
}

#[test]
fn foreign_architectures_are_killed() {
    let program = real("docker-default.json").compile().expect("it compiles");
    for architecture in [0xc000_00b7, 0x4000_0028, 0] {
        assert_eq!(run(&program, &Call { number: 1, architecture, args: [0; 6] }), KILL);
    }
}

#[test]
fn newer_calls_do_not_exist_where_the_default_refuses() {
    let with = |default: Value, abis: &[&str]| {
        let mut seccomp =
            json!({"architectures": abis, "syscalls": [{"names": ["read", "mkdir"], "action": "SCMP_ACT_LOG"}]});
        for (key, value) in default.as_object().expect("an object") {
            seccomp[key] = value.clone();
        }
        let program = profile(&seccomp).expect("it is right").compile().expect("it compiles");
        move |number, architecture| run(&program, &Call { number, architecture, args: [0; 6] })
    };
    for (default, action) in
        [("SCMP_ACT_ERRNO", 0x0005_0001), ("SCMP_ACT_KILL_PROCESS", 0x8000_0000), ("SCMP_ACT_TRAP", 0x0003_0000)]
    {
        let call = with(json!({"defaultAction": default}), &[]);
        let native = [1, 82, 84, 400].map(|number| call(number, AUDIT_ARCH_X86_64));
        assert_eq!(native, [action, action, NO_SUCH_CALL, NO_SUCH_CALL], "{default}");
        assert_eq!(call(83, AUDIT_ARCH_X86_64), 0x7ffc_0000);
        assert_eq!(call(500, AUDIT_ARCH_I386), KILL, "an ABI that the profile does not name");
        assert_eq!(call(X32_BIT | 500, AUDIT_ARCH_X86_64), KILL, "as above");
    }
    let call = with(json!({"defaultAction": "SCMP_ACT_ERRNO"}), &["SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    assert_eq!([call(39, AUDIT_ARCH_I386), call(40, AUDIT_ARCH_I386)], [0x7ffc_0000, NO_SUCH_CALL]);
    assert_eq!([X32_BIT | 83, X32_BIT | 84].map(|n| call(n, AUDIT_ARCH_X86_64)), [0x7ffc_0000, NO_SUCH_CALL]);
    assert_eq!([83, 84].map(|n| call(n, AUDIT_ARCH_X86_64)), [0x7ffc_0000, NO_SUCH_CALL]);
    for (default, errno) in [("SCMP_ACT_ALLOW", None), ("SCMP_ACT_TRACE", None), ("SCMP_ACT_ERRNO", Some(38))] {
        let call = with(json!({"defaultAction": default, "defaultErrnoRet": errno}), &[]);
        assert_eq!(call(400, AUDIT_ARCH_X86_64), call(1, AUDIT_ARCH_X86_64), "{default}");
    }
}

#[test]
fn a_profile_without_rules_is_its_default() {
    for (action, value) in [("SCMP_ACT_ALLOW", 0x7fff_0000), ("SCMP_ACT_ERRNO", 0x0005_0001), ("SCMP_ACT_KILL", KILL)] {
        let program = profile(&json!({"defaultAction": action})).expect("it is right").compile().expect("it compiles");
        for number in [0, 1, 500] {
            assert_eq!(run(&program, &Call { number, architecture: AUDIT_ARCH_X86_64, args: [0; 6] }), value);
        }
    }
}

#[test]
fn a_filter_that_is_too_long_is_an_error() {
    let entry = |value: u64| json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": value << 30, "op": "SCMP_CMP_EQ"}]});
    let rules: Vec<Value> = (0..3000).map(entry).collect();
    let error =
        profile(&json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})).expect("each is right").compile();
    let error = error.expect_err("more than the kernel takes").to_string();
    assert!(error.starts_with("linux.seccomp: the filter has ") && error.contains("4096"), "{error}");
}

/// LNX-129 to 144: what is wrong is named.
#[test]
fn wrong_profiles_are_errors() {
    let rule = |members: Value| {
        let mut rule = json!({"names": ["read"], "action": "SCMP_ACT_ERRNO"});
        for (key, value) in members.as_object().expect("an object") {
            rule[key] = value.clone();
        }
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
    };
    let arg = |index: u32| json!([{"index": index, "value": 1, "op": "SCMP_CMP_EQ"}]);
    let cases = [
        (json!({}), "linux.seccomp.defaultAction"),
        (json!({"defaultAction": "SCMP_ACT_STRANGE"}), "linux.seccomp.defaultAction"),
        (json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}), "linux.seccomp.defaultErrnoRet"),
        (json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}), "linux.seccomp.defaultErrnoRet"),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_STRANGE"]}),
            "linux.seccomp.architectures[0]",
        ),
        (json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["STRANGE"]}), "linux.seccomp.flags[0]"),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}),
            "linux.seccomp.flags[0]",
        ),
        (json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}), "linux.seccomp.listenerMetadata"),
        (json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/a"}), "linux.seccomp.defaultAction"),
        (rule(json!({"action": "SCMP_ACT_NOTIFY"})), "linux.seccomp.listenerPath"),
        (rule(json!({"names": []})), "linux.seccomp.syscalls[0].names"),
        (rule(json!({"names": null})), "linux.seccomp.syscalls[0].names"),
        (rule(json!({"names": ["read", ""]})), "linux.seccomp.syscalls[0].names[1]"),
        (rule(json!({"action": null})), "linux.seccomp.syscalls[0].action"),
        (rule(json!({"action": "SCMP_ACT_KILL", "errnoRet": 2})), "linux.seccomp.syscalls[0].errnoRet"),
        (rule(json!({"args": arg(6)})), "linux.seccomp.syscalls[0].args[0].index"),
        (rule(json!({"args": [{"value": 1, "op": "SCMP_CMP_EQ"}]})), "linux.seccomp.syscalls[0].args[0].index"),
        (rule(json!({"args": [{"index": 1, "op": "SCMP_CMP_EQ"}]})), "linux.seccomp.syscalls[0].args[0].value"),
        (rule(json!({"args": [{"index": 1, "value": 1}]})), "linux.seccomp.syscalls[0].args[0].op"),
        (rule(json!({"args": [{"index": 1, "value": 1, "op": "STRANGE"}]})), "linux.seccomp.syscalls[0].args[0].op"),
    ];
    for (seccomp, at) in cases {
        let error = profile(&seccomp).expect_err(at).to_string();
        assert!(error.starts_with(&format!("{at}: ")), "{seccomp} gives: {error}");
    }
}

#[test]
fn flags_become_bits() {
    let bits = |flags: Value| {
        profile_of(&bundle(&json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags}))?).map(|(_, flags)| flags)
    };
    let [log, spec, tsync] = ["LOG", "SPEC_ALLOW", "TSYNC"].map(|flag| format!("SECCOMP_FILTER_FLAG_{flag}"));
    for (flags, wanted) in
        [(json!(null), 4), (json!([]), 0), (json!([log]), 2), (json!([log, spec]), 6), (json!([tsync]), 0)]
    {
        assert_eq!(bits(flags).expect("they are known"), wanted);
    }
}

fn any_condition() -> impl Strategy<Value = Value> {
    let operators = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"].map(|op| format!("SCMP_CMP_{op}"));
    let value = || prop_oneof![0..4_u64, Just(0x7e02_0000), Just(u64::MAX), any::<u64>()];
    (0..6_u32, value(), value(), prop::sample::select(operators.to_vec()))
        .prop_map(|(index, value, two, op)| json!({"index": index, "value": value, "valueTwo": two, "op": op}))
}

fn any_profile() -> impl Strategy<Value = Value> {
    let actions =
        || prop::sample::select(vec!["KILL", "KILL_PROCESS", "TRAP", "ERRNO", "TRACE", "ALLOW", "LOG", "NOTIFY"]);
    let names = ["read", "mkdir", "clone", "clone3", "socket", "socketcall", "mmap2", "ipc", "semop", "chown32", "foo"];
    let names = prop::collection::vec(prop::sample::select(names.to_vec()), 1..4);
    let abis =
        prop::sample::subsequence(vec!["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_S390X"], 0..4);
    let rule = (names, actions(), prop::collection::vec(any_condition(), 0..3)).prop_map(
        |(names, action, args)| json!({"names": names, "action": format!("SCMP_ACT_{action}"), "args": args}),
    );
    let default = actions().prop_filter("no default action", |action| *action != "NOTIFY");
    (default, abis, prop::collection::vec(rule, 0..6)).prop_map(|(default, abis, rules)| {
        json!({"defaultAction": format!("SCMP_ACT_{default}"), "architectures": abis, "syscalls": rules,
            "listenerPath": "/run/agent"})
    })
}

/// The numbers of the names above, and of some others.
const NUMBERS: [u32; 24] =
    [0, 1, 3, 39, 40, 41, 56, 57, 64, 65, 83, 84, 102, 117, 120, 192, 212, 359, 360, 435, 436, 1000, 0x1fff_ffff, 541];

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn profiles_mean_what_they_say(seccomp in any_profile()) {
        let profile = profile(&seccomp).expect("each part is right");
        let program = profile.compile().expect("it is short");
        for abi in ABIS {
            agrees(&profile, &program, abi, NUMBERS.into_iter());
        }
    }

    /// Many alternatives on few calls, which reach farther than a jump of BPF.
    #[test]
    fn long_rules_mean_what_they_say(args in prop::collection::vec(any_condition(), 1..300)) {
        let rule = |action: &str| json!({"names": ["read", "clone"], "action": action, "args": args});
        let rules = json!([rule("SCMP_ACT_ALLOW"), rule("SCMP_ACT_LOG")]);
        let profile = profile(&json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules})).expect("it is right");
        if let Ok(program) = profile.compile() {
            agrees(&profile, &program, Abi::X86_64, [0, 1, 56, 57].into_iter());
        }
    }

    /// One rule at a time, and an argument at most once: of several comparisons by size, libseccomp 2.5 forgets some.
    #[test]
    fn a_rule_is_compiled_as_by_libseccomp(
        mut args in prop::collection::vec(any_condition(), 0..4),
        abis in prop::sample::subsequence(vec!["SCMP_ARCH_X86", "SCMP_ARCH_X32"], 0..3),
        name in prop::sample::select(vec!["read", "clone", "mmap", "socket", "sendto", "accept", "semop", "semget"]),
    ) {
        let mut seen = BTreeSet::new();
        args.retain(|arg| seen.insert(arg["index"].as_u64()));
        let rule = json!({"names": [name, "clone3"], "action": "SCMP_ACT_ALLOW", "args": args});
        let seccomp = json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": abis, "syscalls": [rule]});
        let profile = profile(&seccomp).expect("it is right");
        let program = profile.compile().expect("it is short");
        for abi in ABIS {
            agrees_with_library(&profile, &program, abi, NUMBERS.into_iter().chain(350..374));
        }
    }
}
