//! `linux.resources.devices`: what the container's processes may do with devices.

use super::cgroup_memory::not_written;
use integration::{Container, Runtime};
use serde_json::{Value, json};

cases! {
    Any:
        lnx_69_rules_apply_in_their_order,
        lnx_69_letters_are_decided_one_by_one,
        lnx_70_allow_is_required,
        lnx_71_absent_numbers_match_any_device,
        lnx_71_absent_type_matches_both_kinds,
        lnx_71_unknown_types_are_refused,
        lnx_72_access_is_made_of_r_w_m,
        lnx_72_reading_and_writing_are_two_things,
        point_7_everything_is_denied_at_first,
        point_7_fixed_allowances_come_last,
    ;
}

/// Major number without a driver: a permitted open says ENXIO, a denied one EPERM.
const MAJOR: u32 = 241;

/// What the container with these rules may do with `/dev/probe`: some of `r`, `w` and, for both at once, `b`.
fn access(container: &mut Container, rules: Option<Value>, path: &str) -> String {
    let script = r#"try() { case $( (eval "$2") 2>&1) in *"ot permitted"*) ;; *"No such device"*) printf %s $1 ;; *) echo odd;; esac; }
        try r ': <"$0"'; try w ': >"$0"'; try b ': <>"$0"'"#;
    container.bundle.args(["/bin/sh", "-c", script, path]).edit(drop_rules);
    if let Some(rules) = rules {
        container.bundle.set("/linux/resources", json!({"devices": rules}));
    }
    container.run().ok().stdout
}

fn drop_rules(config: &mut Value) {
    config["linux"].as_object_mut().expect("linux").remove("resources");
}

fn with_probe(runtime: &Runtime) -> Container {
    let mut container = Container::new(runtime);
    for (path, kind, minor) in [("/dev/probe", "c", 7), ("/dev/other", "c", 8), ("/dev/block", "b", 7)] {
        let device = json!({"path": path, "type": kind, "major": MAJOR, "minor": minor, "fileMode": 438, "uid": 0, "gid": 0});
        container.bundle.push("/linux/devices", device);
    }
    container
}

fn rule(allow: bool, access: &str) -> Value {
    json!({"allow": allow, "type": "c", "major": MAJOR, "minor": 7, "access": access})
}

fn deny_all() -> Value {
    json!({"allow": false, "access": "rwm"})
}

fn lnx_69_rules_apply_in_their_order(runtime: &Runtime) {
    let mut container = with_probe(runtime);
    let (yes, no) = (rule(true, "r"), rule(false, "r"));
    assert_eq!(access(&mut container, Some(json!([deny_all(), yes, no])), "/dev/probe"), "");
    assert_eq!(access(&mut container, Some(json!([deny_all(), no, yes])), "/dev/probe"), "r");
    assert_eq!(access(&mut container, Some(json!([yes, deny_all()])), "/dev/probe"), "");
    let everything = json!({"allow": true, "access": "rwm"});
    assert_eq!(access(&mut container, Some(json!([deny_all(), everything])), "/dev/probe"), "rwb");
    assert_eq!(access(&mut container, Some(json!([everything, rule(false, "rwm")])), "/dev/probe"), "");
    assert_eq!(access(&mut container, Some(json!([everything, rule(false, "rwm")])), "/dev/other"), "rwb");
}

fn lnx_69_letters_are_decided_one_by_one(runtime: &Runtime) {
    let mut container = with_probe(runtime);
    let rules = json!([deny_all(), rule(true, "rw"), rule(false, "w")]);
    assert_eq!(access(&mut container, Some(rules), "/dev/probe"), "r");
    let rules = json!([deny_all(), rule(true, "r"), rule(true, "w")]);
    assert_eq!(access(&mut container, Some(rules), "/dev/probe"), "rwb");
}

fn lnx_70_allow_is_required(runtime: &Runtime) {
    not_written(runtime, &json!({"devices": [{"access": "rwm"}]}), "allow");
}

fn lnx_71_absent_numbers_match_any_device(runtime: &Runtime) {
    let mut container = with_probe(runtime);
    for numbers in [json!({}), json!({"major": MAJOR}), json!({"minor": 8}), json!({"major": -1, "minor": -1}), json!({"major": MAJOR, "minor": -1})] {
        let mut rule = json!({"allow": true, "type": "c", "access": "rw"});
        rule.as_object_mut().unwrap().extend(numbers.as_object().unwrap().clone());
        assert_eq!(access(&mut container, Some(json!([deny_all(), rule])), "/dev/other"), "rwb", "{numbers}");
    }
    let other = json!([deny_all(), {"allow": true, "type": "c", "major": MAJOR - 1, "access": "rw"}]);
    assert_eq!(access(&mut container, Some(other), "/dev/other"), "");
}

fn lnx_71_absent_type_matches_both_kinds(runtime: &Runtime) {
    let mut container = with_probe(runtime);
    for (kind, on_char, on_block) in [(None, "rwb", "rwb"), (Some("a"), "rwb", "rwb"), (Some("c"), "rwb", ""), (Some("b"), "", "rwb")] {
        let mut rule = json!({"allow": true, "access": "rw"});
        if let Some(kind) = kind {
            rule["type"] = json!(kind);
        }
        let rules = json!([deny_all(), rule]);
        assert_eq!(access(&mut container, Some(rules.clone()), "/dev/probe"), on_char, "{kind:?}");
        assert_eq!(access(&mut container, Some(rules), "/dev/block"), on_block, "{kind:?}");
    }
}

fn lnx_71_unknown_types_are_refused(runtime: &Runtime) {
    for kind in ["z", "char", "u", "p"] {
        not_written(runtime, &json!({"devices": [{"allow": true, "type": kind, "access": "rwm"}]}), "type");
    }
}

fn lnx_72_access_is_made_of_r_w_m(runtime: &Runtime) {
    for access in ["x", "rwx", "R", "", "r w"] {
        not_written(runtime, &json!({"devices": [{"allow": true, "access": access}]}), "access");
    }
}

fn lnx_72_reading_and_writing_are_two_things(runtime: &Runtime) {
    let mut container = with_probe(runtime);
    for (letters, wanted) in [("r", "r"), ("w", "w"), ("m", ""), ("rw", "rwb"), ("wrm", "rwb")] {
        assert_eq!(access(&mut container, Some(json!([deny_all(), rule(true, letters)])), "/dev/probe"), wanted, "{letters}");
    }
}

fn point_7_everything_is_denied_at_first(runtime: &Runtime) {
    let mut container = with_probe(runtime);
    for rules in [None, Some(json!([])), Some(json!([deny_all()]))] {
        assert_eq!(access(&mut container, rules, "/dev/probe"), "");
    }
}

/// mknod of anything, and the usual devices, even against a rule.
fn point_7_fixed_allowances_come_last(runtime: &Runtime) {
    let script = r#"for node in null:3 zero:5 full:7 random:8 urandom:9; do : <>/dev/${node%:*} && mknod /dev/n${node#*:} c 1 ${node#*:} && : <>/dev/n${node#*:} && echo ${node%:*}; done
        : <>/dev/ptmx && echo ptmx
        mknod /dev/sd b 8 0 && echo made; cat /dev/sd
        mknod /dev/tun c 10 200 && echo made; cat /dev/tun; cat /dev/tty"#;
    let mut container = Container::sh(runtime, script);
    let list = json!(["CAP_MKNOD"]);
    container.bundle.set("/process/capabilities", json!({"bounding": list, "permitted": list, "effective": list}));
    let deny_null = json!({"allow": false, "type": "c", "major": 1, "minor": 3, "access": "rwm"});
    for rules in [json!([deny_all()]), json!([]), json!([deny_null, deny_all()])] {
        container.bundle.set("/linux/resources", json!({"devices": rules}));
        let output = container.run();
        assert_eq!(output.stdout, "null\nzero\nfull\nrandom\nurandom\nptmx\nmade\nmade\n", "{output}");
        let denied: Vec<&str> = output.stderr.lines().filter(|line| line.contains("not permitted")).collect();
        assert!(denied.len() == 1 && denied[0].contains("/dev/sd"), "{output}");
    }
}
