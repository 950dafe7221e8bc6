//! Compiled programs, interpreted, against what the profiles say.

#![forbid(unsafe_code)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::interpreter::{Call, run};
use super::stub::{AUDIT_ARCH_I386, AUDIT_ARCH_X86_64, X32_BIT};
use super::*;
use crate::bundle::Bundle;
use crate::error::Result;
use crate::plan::profile_of;

const KILL: u32 = 0;
const NO_SUCH_CALL: u32 = 0x0005_0026;
/// Of x86: `socketcall` and `ipc`, and the calls that exist beside them too. By name the library knows the first only,
/// but it makes rules for both.
const MULTIPLEXED: [std::ops::RangeInclusive<u32>; 6] =
    [102..=102, 117..=117, 337..=337, 345..=345, 359..=373, 393..=402];

fn bundle(seccomp: &Value) -> Result<Bundle> {
    let process = json!({"cwd": "/", "args": ["x"], "user": {"uid": 0, "gid": 0}});
    let spec = json!({"ociVersion": "1.3.0", "root": {"path": "r"}, "process": process, "linux": {"seccomp": seccomp}});
    Bundle::parse("/bundle".into(), spec.to_string().into_bytes())
}

fn profile(seccomp: &Value) -> Result<Profile> {
    profile_of(&bundle(seccomp)?)
}

fn real(name: &str) -> Profile {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs").join(name);
    let config: Value = serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON");
    profile(&config["linux"]["seccomp"]).expect("engines write profiles that are right")
}

fn returned(action: Action) -> u32 {
    match action {
        Action::KillThread => KILL,
        Action::KillProcess => 0x8000_0000,
        Action::Trap => 0x0003_0000,
        Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
        Action::Trace(message) => 0x7ff0_0000 | u32::from(message),
        Action::Log => 0x7ffc_0000,
        Action::Allow => 0x7fff_0000,
    }
}

fn holds(condition: &Condition, call: &Call) -> bool {
    let (argument, value) = (call.args[condition.index as usize], condition.value);
    match condition.operator {
        Operator::NotEqual => argument != value,
        Operator::Less => argument < value,
        Operator::LessOrEqual => argument <= value,
        Operator::Equal => argument == value,
        Operator::GreaterOrEqual => argument >= value,
        Operator::Greater => argument > value,
        Operator::MaskedEqual => argument & value == condition.second & value,
    }
}

/// A profile with the number of each name, so that thousands of calls can be judged.
struct Meaning<'a> {
    profile: &'a Profile,
    abi: Abi,
    rules: Vec<(Vec<u32>, &'a Rule)>,
    newest: Option<u32>,
}

impl<'a> Meaning<'a> {
    fn new(profile: &'a Profile, abi: Abi) -> Self {
        let numbers = |rule: &Rule| rule.names.iter().filter_map(|name| abi.number(name)).collect::<Vec<_>>();
        let rules: Vec<_> = profile.rules.iter().map(|rule| (numbers(rule), rule)).collect();
        let newest = rules.iter().flat_map(|(numbers, _)| numbers).max().copied();
        Self { profile, abi, rules, newest }
    }

    /// Every result that the profile allows for; more than one where rules of different actions hold.
    fn of(&self, call: &Call) -> Vec<u32> {
        if !self.profile.abis.contains(&self.abi) {
            return vec![KILL];
        }
        let open = matches!(self.profile.default, Action::Allow | Action::Log | Action::Trace(_) | Action::Errno(38));
        if !open && self.newest.is_some_and(|newest| call.number > newest) {
            return vec![NO_SUCH_CALL];
        }
        let rules = || {
            let named = |(numbers, _): &&(Vec<u32>, &Rule)| numbers.contains(&call.number);
            self.rules.iter().filter(named).map(|(_, rule)| *rule).filter(|rule| rule.action != self.profile.default)
        };
        let hold = |rule: &&Rule| rule.alternatives().iter().any(|all| all.iter().all(|c| holds(c, call)));
        let found: Vec<u32> = rules().filter(hold).map(|rule| returned(rule.action)).collect();
        // The first rule without conditions makes the library forget all others.
        match rules().find(|rule| rule.conditions.is_empty()) {
            Some(rule) => vec![returned(rule.action)],
            None if found.is_empty() => vec![returned(self.profile.default)],
            None => found,
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

fn agrees(profile: &Profile, program: &[u64], abi: Abi, numbers: impl Iterator<Item = u32>) {
    let meaning = Meaning::new(profile, abi);
    let (architecture, base) = match abi {
        Abi::X86_64 => (AUDIT_ARCH_X86_64, 0),
        Abi::X86 => (AUDIT_ARCH_I386, 0),
        Abi::X32 => (AUDIT_ARCH_X86_64, X32_BIT),
    };
    // A 32-bit ABI has 32-bit arguments.
    let fits = |value: &u64| abi == Abi::X86_64 || u32::try_from(*value).is_ok();
    let values: Vec<u64> = interesting(profile).into_iter().filter(fits).collect();
    for number in numbers {
        if abi == Abi::X86 && MULTIPLEXED.iter().any(|range| range.contains(&number)) {
            continue;
        }
        for (index, value) in values.iter().enumerate() {
            let mut args = [*value; 6];
            args[index % 6] = values[(index * 7 + 3) % values.len()];
            let call = Call { number: base | number, architecture, args };
            let (is, wanted) = (run(program, &call), meaning.of(&call));
            assert!(wanted.contains(&is), "{abi:?} {call:?}: {is:#x}, the profile says {wanted:x?}");
        }
    }
}

const ABIS: [Abi; 3] = [Abi::X86_64, Abi::X86, Abi::X32];

#[test]
fn real_profiles_mean_what_they_say() {
    for name in ["docker-default", "containerd-userns-limits", "podman-default", "bench-seccomp"] {
        let profile = real(&format!("{name}.json"));
        let start = std::time::Instant::now();
        let program = profile.compile().expect(name);
        println!(
            "{name}: {} names, {:?}, {} instructions in {:?}",
            profile.names(),
            profile.abis,
            program.len(),
            start.elapsed()
        );
        assert!(program.len() <= 4096);
        for abi in ABIS {
            agrees(&profile, &program, abi, (0..1100).chain([5000, 0x1fff_ffff]));
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
    let bits = |flags: Value| profile(&json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags})).map(|p| p.flags);
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
    let actions = || prop::sample::select(vec!["KILL", "KILL_PROCESS", "TRAP", "ERRNO", "TRACE", "ALLOW", "LOG"]);
    let names = ["read", "mkdir", "clone", "clone3", "socket", "socketcall", "mmap2", "ipc", "semop", "chown32", "foo"];
    let names = prop::collection::vec(prop::sample::select(names.to_vec()), 1..4);
    let abis =
        prop::sample::subsequence(vec!["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_S390X"], 0..4);
    let rule = (names, actions(), prop::collection::vec(any_condition(), 0..3)).prop_map(
        |(names, action, args)| json!({"names": names, "action": format!("SCMP_ACT_{action}"), "args": args}),
    );
    (actions(), abis, prop::collection::vec(rule, 0..6)).prop_map(|(default, abis, rules)| {
        json!({"defaultAction": format!("SCMP_ACT_{default}"), "architectures": abis, "syscalls": rules})
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// An error or a program that ends with an action, whatever the profile. Few rules: libseccomp 2.5 takes exponential
    /// time for many conditions on the same call.
    #[test]
    fn compiling_never_panics(seccomp in any_profile(), args: [u64; 6]) {
        if let Ok(program) = profile(&seccomp).expect("each part is right").compile() {
            for number in [0, 1, 41, 56, 83, 102, 435, 1000, X32_BIT | 1] {
                for architecture in [AUDIT_ARCH_X86_64, AUDIT_ARCH_I386, 1] {
                    run(&program, &Call { number, architecture, args });
                }
            }
        }
    }

    /// One rule at a time, so that no two can contradict each other; and an argument at most once: of several
    /// comparisons by size, libseccomp 2.5 forgets some.
    #[test]
    fn a_rule_means_what_it_says(mut args in prop::collection::vec(any_condition(), 0..4)) {
        let mut seen = BTreeSet::new();
        args.retain(|arg| seen.insert(arg["index"].as_u64()));
        let rule = json!({"names": ["read", "clone", "mmap"], "action": "SCMP_ACT_ALLOW", "args": args});
        let profile = profile(&json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]})).expect("it is right");
        let program = profile.compile().expect("it compiles");
        agrees(&profile, &program, Abi::X86_64, [0, 1, 9, 56, 57].into_iter());
    }
}
