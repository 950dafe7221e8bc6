//! `--trace FILE`: every line of the plan that was carried out, by whom and when.

use integration::{Container, Output, Runtime};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

cases! {
    Any:
        rt_48_trace_of_create_and_start_has_every_line_of_the_plan,
        rt_48_trace_of_run_has_every_line_of_the_plan,
        rt_51_trace_of_a_failed_create_ends_where_it_failed,
        rt_55_trace_of_exec_has_all_rows,
        rt_55_trace_behind_a_filter_that_forbids_clocks,
        rt_48_trace_that_cannot_be_written_is_a_warning,
    ;
}

const ROWS: [&str; 3] = ["host", "usher", "init"];

fn file(container: &Container) -> PathBuf {
    container.folder().join("trace.json")
}

/// The words of a call with a trace.
fn traced<'a>(container: &Container, words: impl IntoIterator<Item = &'a str>) -> Output {
    container.call(["--trace"]).arg(file(container)).args(words).run()
}

/// The events of the last trace that have a duration.
fn events(container: &Container) -> Vec<Value> {
    let text = fs::read_to_string(file(container)).unwrap();
    let trace: Value = serde_json::from_str(&text).expect("a trace is JSON");
    let all = trace["traceEvents"].as_array().expect("traceEvents");
    let names: Vec<_> = all.iter().filter(|event| event["name"] == "thread_name").collect();
    let names: Vec<_> = names.iter().map(|event| event["args"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ROWS);
    let timed: Vec<Value> = all.iter().filter(|event| event["ph"] == "X").cloned().collect();
    for event in &timed {
        let row = ROWS.iter().position(|row| event["cat"] == *row).expect("a row");
        assert_eq!((&event["pid"], &event["tid"]), (&json!(1), &json!(row + 1)), "{event}");
        assert!(event["ts"].as_f64().is_some_and(|ts| ts >= 0.0), "{event}");
        assert!(event["dur"].as_f64().is_some_and(|dur| (0.0..60e6).contains(&dur)), "{event}");
    }
    timed
}

/// The steps of these rows as (number, text, field), in the order of their beginnings.
fn steps(events: &[Value], rows: &[&str]) -> Vec<(Value, Value, Value)> {
    let mut steps: Vec<&Value> = events.iter().filter(|event| !event["args"]["step"].is_null()).collect();
    steps.retain(|event| rows.iter().any(|row| event["cat"] == *row));
    steps.sort_by(|a, b| a["ts"].as_f64().unwrap().total_cmp(&b["ts"].as_f64().unwrap()));
    steps.iter().map(|event| (event["args"]["step"].clone(), event["name"].clone(), event["args"]["for"].clone())).collect()
}

/// The lines of one side of the plan, in the same form.
fn planned(container: &Container, side: &str) -> Vec<(Value, Value, Value)> {
    let plan = container.call(["plan", "--json", "--bundle"]).arg(container.bundle.path()).arg(&container.id).run().ok();
    let lines = plan.json()["lines"].as_array().unwrap().clone();
    let of_side = lines.into_iter().filter(|line| line["side"] == side);
    of_side.map(|line| (line["number"].clone(), line["text"].clone(), line["for"].clone())).collect()
}

fn whole(runtime: &Runtime) -> Container {
    let mut container = Container::new(runtime);
    container.bundle.mount("/scratch", "tmpfs", "tmpfs", &["size=64k"]);
    container
}

fn create_words(container: &Container) -> [&str; 4] {
    ["create", "--bundle", container.bundle.path().to_str().unwrap(), &container.id]
}

fn rt_48_trace_of_create_and_start_has_every_line_of_the_plan(runtime: &Runtime) {
    let container = whole(runtime);
    container.record(traced(&container, create_words(&container))).ok().no_complaint();
    let created = events(&container);
    traced(&container, ["start", &container.id]).ok().silent();
    let started = events(&container);
    assert_eq!(steps(&created, &["host"]), planned(&container, "host"));
    let [usher, init, rest] = [steps(&created, &["usher"]), steps(&created, &["init"]), steps(&started, &["init"])];
    assert!(!usher.is_empty() && init.len() > 20 && !rest.is_empty());
    assert_eq!([usher, init, rest].concat(), planned(&container, "init"));
    assert!(created.iter().chain(&started).all(|event| event["args"]["done"].is_null()));
}

fn rt_48_trace_of_run_has_every_line_of_the_plan(runtime: &Runtime) {
    let container = whole(runtime);
    let bundle = container.bundle.path().to_str().unwrap();
    traced(&container, ["run", "--bundle", bundle, &container.id]).ok().no_complaint();
    let events = events(&container);
    assert_eq!(steps(&events, &["host"]), planned(&container, "host"));
    assert_eq!(steps(&events, &["usher", "init"]), planned(&container, "init"));
    let named = |name: &str| events.iter().find(|event| event["name"] == name).expect(name);
    assert!(named("delete")["ts"].as_f64() > named("plan")["ts"].as_f64());
}

fn rt_51_trace_of_a_failed_create_ends_where_it_failed(runtime: &Runtime) {
    let mut container = whole(runtime);
    container.bundle.mount("/late", "tmpfs", "tmpfs", &["no-such-option=1"]);
    let message = traced(&container, create_words(&container)).fails().stderr;
    let events = events(&container);
    let command = events.iter().find(|event| !event["args"]["error"].is_null()).expect("an error");
    assert_eq!(command["args"]["error"].as_str().unwrap(), message.trim_end());
    let last = steps(&events, &["init"]).pop().unwrap();
    let undone: Vec<_> = events.iter().filter(|event| event["args"]["done"] == json!(false)).collect();
    assert!(undone.iter().any(|event| event["cat"] == "init" && event["args"]["step"] == last.0), "{undone:?}");
    let field = last.2.as_str().unwrap();
    assert!(field.starts_with("mounts[") && message.starts_with(field), "{field}: {message}");
}

fn rt_55_trace_of_exec_has_all_rows(runtime: &Runtime) {
    let container = Container::sleeper(runtime);
    container.run_detached().ok();
    traced(&container, ["exec", &container.id, "/bin/true"]).ok().silent();
    let exec = events(&container);
    for row in ROWS {
        let numbers: Vec<_> = steps(&exec, &[row]).into_iter().map(|step| step.0.as_u64().unwrap()).collect();
        assert!(!numbers.is_empty() && numbers.is_sorted(), "{row}: {numbers:?}");
    }
    assert_eq!(steps(&exec, &["init"]).pop().unwrap().1, "execute /bin/true");
    traced(&container, ["exec", &container.id, "/no/such/program"]).exits(255);
    let refused = events(&container);
    assert_eq!(steps(&refused, &["init"]).pop().unwrap().1, "find /no/such/program");
}

/// Behind its filter init must not ask the time.
fn rt_55_trace_behind_a_filter_that_forbids_clocks(runtime: &Runtime) {
    let mut container = whole(runtime);
    let names = ["clock_gettime", "gettimeofday", "time"];
    let profile =
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": names, "action": "SCMP_ACT_KILL_PROCESS"}]});
    container.bundle.set("/linux/seccomp", profile);
    for privileged in [false, true] {
        container.bundle.set("/process/noNewPrivileges", json!(!privileged));
        let bundle = container.bundle.path().to_str().unwrap();
        traced(&container, ["run", "--bundle", bundle, &container.id]).ok().no_complaint();
        let events = events(&container);
        let mut told = steps(&events, &["usher", "init"]);
        told.sort_by_key(|step| step.0.as_u64());
        assert_eq!(told, planned(&container, "init"));
    }
}

fn rt_48_trace_that_cannot_be_written_is_a_warning(runtime: &Runtime) {
    let container = whole(runtime);
    let output = container.call(["--trace", "/no/such/folder/trace", "run", "--bundle"]);
    let output = output.arg(container.bundle.path()).arg(&container.id).run().ok();
    assert!(output.stderr.contains("--trace /no/such/folder/trace"), "{output}");
}
