//! The cases that are measured in time.

use crate::subjects::{CGROUPS, Name, Subject, bundle, ended, timed};
use crate::table::{Figure, Figures, Table};
use integration::bundle::Bundle;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// Rounds that are not counted: caches fill, the processor wakes up.
const WARM_UP: usize = 3;

/// How long a caller rests between two calls in the cases with gaps.
const GAP: Duration = Duration::from_millis(150);

const ALIVE: usize = 1000;
const AT_ONCE: usize = 100;

type Samples = BTreeMap<Name, Vec<Duration>>;

/// Measures all cases in turn.
pub fn measure(table: &mut Table, subjects: &[Subject], rounds: usize) -> Result<(), String> {
    let plain = bundle("true", &["/bin/true"]);
    let runs = |subject: &Subject, round: usize| timed(subject.run(&plain, &format!("run-{round}")));
    table.measure("run", |_| interleaved(subjects, rounds, runs))?;
    table.measure("run, idle gaps", |_| {
        interleaved(subjects, rounds.min(20), |subject, round| {
            std::thread::sleep(GAP);
            runs(subject, round)
        })
    })?;
    filters(table, subjects, rounds)?;
    phases(table, subjects, rounds, &plain)?;
    beside(table, subjects, rounds, &plain)?;
    table
        .measure("100 run at once", |_| interleaved(subjects, rounds.min(8), |subject, _| at_once(subject, &plain)))?;
    crowd(table, subjects, rounds, &plain)
}

/// The profile, masks and device rules of an engine: seen before, and never seen on this host.
fn filters(table: &mut Table, subjects: &[Subject], rounds: usize) -> Result<(), String> {
    let bundle = engine_bundle("filter");
    table.measure("run, seccomp and devices, warm", |_| {
        interleaved(subjects, rounds, |subject, round| timed(subject.run(&bundle, &format!("warm-{round}"))))
    })?;
    let mut changing = engine_bundle("changing");
    table.measure("run, seccomp and devices, cold", |_| {
        let mut errno = 1;
        interleaved(subjects, rounds.min(20), |subject, round| {
            errno += 1;
            let rule = json!({"names": ["vserver"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno});
            changing.set("/linux/seccomp/syscalls/0", rule);
            timed(subject.run(&changing, &format!("cold-{round}")))
        })
    })
}

/// What engines write, as in `data/configs/bench-seccomp.json`, with a rule in front to be changed.
fn engine_bundle(name: &str) -> Bundle {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/configs/bench-seccomp.json");
    let text = std::fs::read(path).expect("the configuration of this benchmark");
    let mut config: Value = serde_json::from_slice(&text).expect("JSON");
    config["ociVersion"] = json!("1.0.2");
    let rules = config["linux"]["seccomp"]["syscalls"].as_array_mut().expect("rules");
    rules.insert(0, json!({"names": ["vserver"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}));
    let mut bundle = bundle(name, &[]);
    bundle.edit(|old| *old = config);
    bundle
}

/// `create`, `start` and `delete` of the same container, each for itself.
fn phases(table: &mut Table, subjects: &[Subject], rounds: usize, plain: &Bundle) -> Result<(), String> {
    let sleeper = sleeper("phases", "/bench-phases");
    let mut phases = [("create", Samples::new()), ("start", Samples::new()), ("delete", Samples::new())];
    for round in 0..rounds + WARM_UP {
        for subject in subjects {
            let times = match subject.name {
                Name::Floor => [timed(subject.run(plain, &format!("floor-{round}")))?; 3],
                _ => life(subject, &sleeper, &format!("phases-{round}"))?,
            };
            for ((_, samples), time) in phases.iter_mut().zip(times).filter(|_| round >= WARM_UP) {
                samples.entry(subject.name).or_default().push(time);
            }
        }
    }
    phases.into_iter().try_for_each(|(case, samples)| table.measure(case, |_| Ok(medians(samples))))
}

fn life(subject: &Subject, sleeper: &Bundle, id: &str) -> Result<[Duration; 3], String> {
    let path = sleeper.path().display().to_string();
    let create = timed(subject.call(&["create", "--bundle", &path, id]))?;
    let start = timed(subject.call(&["start", id]))?;
    timed(subject.call(&["kill", id, "KILL"]))?;
    emptied(&Path::new(CGROUPS).join("bench-phases"))?;
    Ok([create, start, timed(subject.call(&["delete", id]))?])
}

/// `exec` and `state` of one container that lives as long as the case.
fn beside(table: &mut Table, subjects: &[Subject], rounds: usize, plain: &Bundle) -> Result<(), String> {
    let others = || subjects.iter().filter(|subject| subject.name != Name::Floor);
    let bundle = |subject: &Subject| {
        sleeper(&format!("beside-{}", subject.name.text()), &format!("/bench-{}", subject.name.text()))
    };
    let bundles: Vec<Bundle> = others().map(bundle).collect();
    for (subject, bundle) in others().zip(&bundles) {
        timed(subject.call(&["run", "--detach", "--bundle", &bundle.path().display().to_string(), "beside"]))?;
    }
    for (case, words) in [("exec true", &["exec", "beside", "/bin/true"][..]), ("state", &["state", "beside"])] {
        table.measure(case, |_| {
            interleaved(subjects, rounds, |subject, round| match subject.name {
                Name::Floor => timed(subject.run(plain, &format!("floor-{round}"))),
                _ => timed(subject.call(words)),
            })
        })?;
    }
    others().try_for_each(|subject| timed(subject.call(&["delete", "--force", "beside"])).map(drop))
}

/// `run` of ours while a thousand of its containers are alive.
fn crowd(table: &mut Table, subjects: &[Subject], rounds: usize, plain: &Bundle) -> Result<(), String> {
    table.measure("run, 1000 alive", |_| {
        let pair: Vec<&Subject> =
            subjects.iter().filter(|subject| matches!(subject.name, Name::Floor | Name::Ours)).collect();
        let ours = pair.iter().find(|subject| subject.name == Name::Ours).ok_or("no runtime")?;
        let bundle = sleeper("crowd", "/bench-crowd");
        let path = bundle.path().display().to_string();
        let ids: Vec<String> = (0..ALIVE).map(|number| format!("alive-{number}")).collect();
        let mut crowded = bundle;
        for id in &ids {
            crowded.set("/linux/cgroupsPath", json!(format!("/bench-{id}")));
            timed(ours.call(&["run", "--detach", "--bundle", &path, id]))?;
        }
        let figures = interleaved(&pair, rounds, |subject, round| timed(subject.run(plain, &format!("crowd-{round}"))));
        for id in &ids {
            timed(ours.call(&["delete", "--force", id]))?;
        }
        figures
    })
}

fn at_once(subject: &Subject, plain: &Bundle) -> Result<Duration, String> {
    let start = Instant::now();
    let mut calls: Vec<_> = (0..AT_ONCE).map(|number| subject.run(plain, &format!("many-{number}"))).collect();
    let children: Result<Vec<_>, String> =
        calls.iter_mut().map(|call| call.spawn().map_err(|error| format!("{call:?}: {error}"))).collect();
    for (child, call) in children?.into_iter().zip(&calls) {
        ended(child, call)?;
    }
    Ok(start.elapsed())
}

fn sleeper(name: &str, cgroup: &str) -> Bundle {
    let mut bundle = bundle(name, &["/bin/sleep", "100000"]);
    bundle.set("/linux/cgroupsPath", json!(cgroup));
    bundle
}

/// Waits until nobody lives in a cgroup.
fn emptied(cgroup: &Path) -> Result<(), String> {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        match std::fs::read_to_string(cgroup.join("cgroup.events")) {
            Ok(text) if text.contains("populated 1") => std::thread::sleep(Duration::from_micros(200)),
            _ => return Ok(()),
        }
    }
    Err(format!("{}: still populated", cgroup.display()))
}

/// Lets each subject act once a round, and every round begin with another one.
fn interleaved<S: std::borrow::Borrow<Subject>>(
    subjects: &[S],
    rounds: usize,
    mut act: impl FnMut(&Subject, usize) -> Result<Duration, String>,
) -> Result<Figures, String> {
    let mut samples = Samples::new();
    for round in 0..rounds + WARM_UP {
        for turn in 0..subjects.len() {
            let subject = subjects[(round + turn) % subjects.len()].borrow();
            let time = act(subject, round)?;
            if round >= WARM_UP {
                samples.entry(subject.name).or_default().push(time);
            }
        }
    }
    Ok(medians(samples))
}

fn medians(samples: Samples) -> Figures {
    samples.into_iter().map(|(name, times)| (name, Figure::Time(median(times)))).collect()
}

/// The middle one of some times, of which there must be one.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
