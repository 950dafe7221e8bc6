//! How much memory a runtime needs for itself, and how little its containers can live with.

use crate::subjects::{Name, Subject, bundle};
use crate::table::{Figure, Figures};
use serde_json::json;
use std::process::{Command, Stdio};

/// The greatest resident set of a whole `run`, by GNU time, whose own is 1.3 MiB.
pub fn peaks(subjects: &[Subject]) -> Result<Figures, String> {
    let plain = bundle("peak", &["/bin/true"]);
    let peak = |subject: &Subject| {
        let call = subject.run(&plain, "peak");
        let mut wrapped = Command::new("/usr/bin/time");
        wrapped.args(["--format", "%M"]).arg(call.get_program()).args(call.get_args());
        wrapped.envs(call.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = wrapped.stdin(Stdio::null()).output().map_err(|error| format!("time: {error}"))?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let kibibytes = text.trim().parse().map_err(|_| format!("{}: {text}", subject.name.text()))?;
        Ok((subject.name, Figure::Memory(kibibytes)))
    };
    subjects.iter().filter(|subject| subject.name != Name::Floor).map(peak).collect()
}

/// The smallest of some `memory.limit`s under which a container starts and ends well.
pub fn smallest_limits(subjects: &[Subject]) -> Result<Figures, String> {
    let mut bundle = bundle("limit", &["/bin/true"]);
    let mut figures = Figures::new();
    for subject in subjects.iter().filter(|subject| subject.name != Name::Floor) {
        let smallest = (6..16).map(|power| 1_u64 << power).find(|kibibytes| {
            bundle.set("/linux/resources/memory", json!({"limit": kibibytes * 1024}));
            (0..3).all(|round| {
                let id = format!("limit-{kibibytes}-{round}");
                let ran = subject.run(&bundle, &id).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
                if !ran {
                    let _ = subject.call(&["delete", "--force", &id]).stderr(Stdio::null()).status();
                }
                ran
            })
        });
        let kibibytes = smallest.ok_or(format!("{}: no limit up to 32 MiB is enough", subject.name.text()))?;
        figures.push((subject.name, Figure::Memory(kibibytes)));
    }
    Ok(figures)
}
