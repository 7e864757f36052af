//! What happened, line by line, for whoever has to understand a seed that failed.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// Lines that are told of a failure.
const LINES_MAX: usize = 60;

/// The names of `docs/architecture.md`, and four that only a simulation can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    AckedIsDurable,
    OneOwner,
    NoStaleRead,
    ExactlyOnceVisible,
    NoResurrection,
    SnapshotIsolation,
    CountersExact,
    Terminal,
    PinnedStays,
    VerifiedBeforeDrop,
    StaleEpochRefused,
    /// More migrations at once, or at one shard, than the settings allow.
    WithinLimits,
    /// A move has overtaken one that it rests on.
    InOrder,
    /// In fair weather a client is refused where waiting would have done, or a job fails.
    Undisturbed,
    /// The code panics.
    NoPanic,
}

impl Invariant {
    pub fn name(self) -> &'static str {
        match self {
            Self::AckedIsDurable => "acked-is-durable",
            Self::OneOwner => "one-owner",
            Self::NoStaleRead => "no-stale-read",
            Self::ExactlyOnceVisible => "exactly-once-visible",
            Self::NoResurrection => "no-resurrection",
            Self::SnapshotIsolation => "snapshot-isolation",
            Self::CountersExact => "counters-exact",
            Self::Terminal => "terminal",
            Self::PinnedStays => "pinned-stays",
            Self::VerifiedBeforeDrop => "verified-before-drop",
            Self::StaleEpochRefused => "stale-epoch-refused",
            Self::WithinLimits => "within-limits",
            Self::InOrder => "in-order",
            Self::Undisturbed => "undisturbed",
            Self::NoPanic => "no-panic",
        }
    }
}

/// What may never happen has happened.
#[derive(Clone, Debug)]
pub struct Violation {
    pub invariant: Invariant,
    pub what: String,
}

struct Line {
    at: Duration,
    actor: String,
    what: String,
}

/// The last lines, or all of them.
pub struct History {
    lines: VecDeque<Line>,
    /// Nothing is noted where nobody will read it.
    pub is_kept: bool,
    lines_max: usize,
}

impl History {
    pub fn silent() -> Self {
        Self { lines: VecDeque::new(), is_kept: false, lines_max: 0 }
    }

    pub fn last_lines() -> Self {
        Self { lines: VecDeque::new(), is_kept: true, lines_max: LINES_MAX }
    }

    pub fn whole() -> Self {
        Self { lines: VecDeque::new(), is_kept: true, lines_max: usize::MAX }
    }

    pub fn note(&mut self, at: Duration, actor: &str, what: String) {
        if self.lines.len() == self.lines_max {
            self.lines.pop_front();
        }
        self.lines.push_back(Line { at, actor: actor.to_string(), what });
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Line { at, actor, what } in &self.lines {
            writeln!(f, "{:>12.6}  {actor:<14}  {what}", at.as_secs_f64())?;
        }
        Ok(())
    }
}
