//! The figures of all cases, as text, and what they must not exceed.

use crate::subjects::{Name, Subject};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What one case has shown for one subject.
#[derive(Clone, Copy, Debug)]
pub enum Figure {
    /// A median time; it is shown as a ratio to the floor.
    Time(Duration),
    /// An amount of memory, in KiB.
    Memory(u64),
    /// A ratio of two times of the same subject.
    Ratio(f64),
}

/// What a case yields: one figure for each subject that can do it.
pub type Figures = Vec<(Name, Figure)>;

/// Ratios to the floor (or KiB, or plain ratios) that `--check` lets ours have. The targets are
/// lower: these are what a change must not lose, on a machine that is busy with something else.
const LIMITS: [(&str, f64); 13] = [
    ("run", 2.5),
    ("run, idle gaps", 2.5),
    ("run, seccomp and devices, warm", 3.2),
    ("run, seccomp and devices, cold", 3.2),
    ("create", 2.2),
    ("start", 0.8),
    ("delete", 0.8),
    ("exec true", 1.4),
    ("state", 0.55),
    ("100 run at once", 2.6),
    ("run, 1000 alive", 2.8),
    ("peak memory", 3.5 * 1024.0),
    ("caller of 2 GiB / of 2 MiB", 1.4),
];

/// The rows, in the order in which they were measured.
#[derive(Debug)]
pub struct Table {
    subjects: Vec<Name>,
    filter: String,
    rows: Vec<(String, BTreeMap<&'static str, Figure>)>,
}

impl Table {
    /// An empty table for these subjects, which takes only cases whose name contains `filter`.
    pub fn new(subjects: &[Subject], filter: &str) -> Table {
        Table {
            subjects: subjects.iter().map(|subject| subject.name).collect(),
            filter: filter.to_string(),
            rows: Vec::new(),
        }
    }

    /// Carries out a case and keeps its figures, unless it is filtered away.
    pub fn measure(&mut self, case: &str, act: impl FnOnce(&str) -> Result<Figures, String>) -> Result<(), String> {
        if !case.contains(&self.filter) {
            return Ok(());
        }
        eprintln!("bench: {case} …");
        let figures = act(case).map_err(|error| format!("{case}: {error}"))?;
        self.rows.push((case.to_string(), figures.into_iter().map(|(name, figure)| (name.text(), figure)).collect()));
        Ok(())
    }

    /// Names of the subjects, in order.
    pub fn subjects(&self) -> impl Iterator<Item = &'static str> {
        self.subjects.iter().map(|name| name.text())
    }

    /// The cases with the ratio of each subject to the floor, as far as they are times.
    pub fn ratios(&self) -> impl Iterator<Item = (&str, Vec<(&'static str, f64)>)> {
        self.rows.iter().filter_map(|(case, figures)| {
            let ratios: Vec<_> = self
                .subjects()
                .filter_map(|name| match figures.get(name)? {
                    Figure::Time(time) => Some((name, time.as_secs_f64() / self.floor(case)?.as_secs_f64())),
                    _ => None,
                })
                .collect();
            (!ratios.is_empty()).then_some((case.as_str(), ratios))
        })
    }

    /// What the floor took in the same case: the machine's speed changes between cases.
    fn floor(&self, case: &str) -> Option<Duration> {
        let (_, figures) = self.rows.iter().find(|(name, _)| name == case)?;
        match figures.get(Name::Floor.text())? {
            Figure::Time(time) => Some(*time),
            _ => None,
        }
    }

    fn cell(&self, case: &str, figure: Option<&Figure>) -> String {
        match (figure, self.floor(case)) {
            (Some(Figure::Time(time)), Some(floor)) => format!("{:.2}", time.as_secs_f64() / floor.as_secs_f64()),
            (Some(Figure::Time(time)), None) => format!("{:.2} ms", time.as_secs_f64() * 1e3),
            (Some(Figure::Memory(kibibytes)), _) if *kibibytes < 1024 => format!("{kibibytes} KiB"),
            (Some(Figure::Memory(kibibytes)), _) => {
                format!("{}.{} MiB", kibibytes / 1024, kibibytes % 1024 * 10 / 1024)
            }
            (Some(Figure::Ratio(ratio)), _) => format!("{ratio:.2}"),
            (None, _) => "–".to_string(),
        }
    }

    /// A sentence for each figure of ours that is above its limit.
    pub fn above_their_limits(&self) -> Vec<String> {
        let found = LIMITS.iter().filter_map(|(case, limit)| {
            let (_, figures) = self.rows.iter().find(|(name, _)| name == case)?;
            let value = match figures.get(Name::Ours.text())? {
                Figure::Time(time) => time.as_secs_f64() / self.floor(case)?.as_secs_f64(),
                Figure::Memory(kibibytes) => f64::from(u32::try_from(*kibibytes).unwrap_or(u32::MAX)),
                Figure::Ratio(ratio) => *ratio,
            };
            (value > *limit).then(|| format!("{case}: {value:.2} is above the limit {limit:.2}"))
        });
        found.collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|(case, _)| case.chars().count()).max().unwrap_or(0).max(4);
        write!(f, "{:width$}  {:>9}", "case", "floor/ms")?;
        for name in self.subjects().skip(1) {
            write!(f, "  {name:>8}")?;
        }
        writeln!(f)?;
        for (case, figures) in &self.rows {
            let floor = self.floor(case).filter(|_| figures.values().any(|figure| matches!(figure, Figure::Time(_))));
            let floor = floor.map_or("–".to_string(), |time| format!("{:.2}", time.as_secs_f64() * 1e3));
            write!(f, "{case:width$}  {floor:>9}")?;
            for name in self.subjects().skip(1) {
                write!(f, "  {:>8}", self.cell(case, figures.get(name)))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
