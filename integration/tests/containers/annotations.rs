//! `annotations`.

use super::config_errors::refuses;
use integration::{Container, Runtime};
use serde_json::json;

cases! {
    Any:
        cfg_117_values_are_texts,
        cfg_118_absent_and_empty_annotations_are_fine,
        cfg_119_empty_keys_are_refused,
        cfg_120_any_other_key_is_accepted,
        cfg_121_reserved_keys_are_ignored,
        cfg_122_stop_signal_is_the_callers_business,
        cfg_123_unknown_keys_are_ignored,
        cfg_124_values_may_be_empty,
    ;
}

fn cfg_117_values_are_texts(runtime: &Runtime) {
    for value in [json!(1), json!(true), json!({}), json!(["x"]), json!(null)] {
        let message = refuses(runtime, |bundle| bundle.set("/annotations", json!({"org.example.key": value})));
        assert!(message.contains("annotations"), "{value}: {message}");
    }
    for value in [json!("x"), json!(["x"])] {
        refuses(runtime, |bundle| bundle.set("/annotations", value));
    }
}

fn cfg_118_absent_and_empty_annotations_are_fine(runtime: &Runtime) {
    let mut container = Container::sleeper(runtime);
    assert!(container.bundle.config().get("annotations").is_none());
    container.create().ok().silent();
    container.delete_force().ok();
    container.bundle.set("/annotations", json!({}));
    container.create().ok().silent();
}

fn cfg_119_empty_keys_are_refused(runtime: &Runtime) {
    let message = refuses(runtime, |bundle| bundle.set("/annotations", json!({"": "x", "org.example": "y"})));
    assert!(message.contains("annotations"), "{message}");
}

/// The annotations come back in the state, and the container runs.
fn comes_back(runtime: &Runtime, annotations: &serde_json::Value) {
    let mut container = Container::sleeper(runtime);
    container.bundle.set("/annotations", annotations.clone());
    container.create().ok().silent();
    assert_eq!(&container.state()["annotations"], annotations);
    container.start().ok().silent();
    assert_eq!(container.status(), "running");
}

fn cfg_120_any_other_key_is_accepted(runtime: &Runtime) {
    comes_back(runtime, &json!({"a": "1", "no domain": "2", "UPPER/slash:colon": "3", " ": "4", "k\n": "5", "日本": "6"}));
}

fn cfg_121_reserved_keys_are_ignored(runtime: &Runtime) {
    comes_back(runtime, &json!({
        "org.opencontainers.image.os": "windows",
        "org.opencontainers.image.architecture": "s390x",
        "org.opencontainers.image.created": "no time",
        "org.opencontainers.image.exposedPorts": "http",
        "org.opencontainers.not.in.any.list": "x",
    }));
}

fn cfg_122_stop_signal_is_the_callers_business(runtime: &Runtime) {
    let mut container = Container::sh(runtime, "trap 'exit 15' TERM; trap 'exit 10' USR1; echo ready; while :; do sleep 1000 & wait; done");
    container.bundle.set("/annotations", json!({"org.opencontainers.image.stopSignal": "SIGUSR1"}));
    container.run_detached().ok();
    container.wait_stdout("ready");
    let pid = container.pid();
    container.call(["kill", &container.id]).run().ok();
    assert_eq!(container.reap(pid), 15);
}

fn cfg_123_unknown_keys_are_ignored(runtime: &Runtime) {
    comes_back(runtime, &json!({"com.example.unknown": "value", "run.oci.unknown": "1", "io.kubernetes.x": "{\"a\":1}"}));
}

fn cfg_124_values_may_be_empty(runtime: &Runtime) {
    comes_back(runtime, &json!({"org.example.empty": ""}));
}
