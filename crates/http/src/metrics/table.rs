//! Every metric, in one list. Names follow Prometheus' conventions: base units, the unit last, counters with `_total`.

use super::text::Samples;
use evenkeel_engine::{Measures, MovingMeasures, ShardMeasures};
use std::collections::BTreeMap;

/// What the metrics are made from.
pub(super) struct Observed {
    pub(super) measures: Measures,
    /// By protocol.
    pub(super) connections: Vec<(&'static str, usize)>,
    /// Answers over HTTP by status.
    pub(super) answered: Vec<(u16, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric.
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    pub(super) section: &'static str,
    pub(super) help: &'static str,
    /// Its values.
    pub(super) of: fn(&Observed, &mut Samples<'_>),
}

const STATEMENTS: &str = "Statements";
const CLIENTS: &str = "Clients";
const SHARDS: &str = "Shards";
const BALANCE: &str = "Balance";
const MIGRATIONS: &str = "Jobs and migrations";

/// The order in which they are shown.
pub(super) const SECTIONS: [&str; 5] = [STATEMENTS, CLIENTS, SHARDS, BALANCE, MIGRATIONS];

const SHARD: &[&str] = &["shard"];
const MIGRATION: &[&str] = &["migration", "source", "target"];

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "evenkeel_statement_duration_seconds",
        kind: Kind::Histogram,
        labels: &["class"],
        section: STATEMENTS,
        help: "How long statements took from their start to their last row, those that failed included.",
        of: |observed, samples| {
            for (class, histogram) in &observed.measures.statements {
                samples.histogram(&[&class.name()], histogram);
            }
        },
    },
    Metric {
        name: "evenkeel_statement_failures_total",
        kind: Kind::Counter,
        labels: &["class", "sqlstate_class"],
        section: STATEMENTS,
        help: "Statements that failed, by the first two characters of their SQLSTATE: 23 a constraint, 40 a conflict, 53 no room.",
        of: |observed, samples| {
            for (class, state, count) in &observed.measures.failures {
                samples.push(&[&class.name(), state], *count as f64);
            }
        },
    },
    Metric {
        name: "evenkeel_build_info",
        kind: Kind::Gauge,
        labels: &["version"],
        section: CLIENTS,
        help: "Always 1; the label says which version answers.",
        of: |_, samples| samples.push(&[&env!("CARGO_PKG_VERSION")], 1.0),
    },
    Metric {
        name: "evenkeel_sessions",
        kind: Kind::Gauge,
        labels: &["state"],
        section: CLIENTS,
        help: "Sessions that are open, by what they do.",
        of: |observed, samples| by_name(&observed.measures.sessions, samples),
    },
    Metric {
        name: "evenkeel_connections",
        kind: Kind::Gauge,
        labels: &["protocol"],
        section: CLIENTS,
        help: "Connections that are open.",
        of: |observed, samples| {
            observed.connections.iter().for_each(|(protocol, count)| samples.push(&[protocol], *count as f64));
        },
    },
    Metric {
        name: "evenkeel_http_answers_total",
        kind: Kind::Counter,
        labels: &["status"],
        section: CLIENTS,
        help: "Requests over HTTP that were answered, by status.",
        of: |observed, samples| {
            observed.answered.iter().for_each(|(status, count)| samples.push(&[status], *count as f64));
        },
    },
    Metric {
        name: "evenkeel_shard_rows",
        kind: Kind::Gauge,
        labels: SHARD,
        section: SHARDS,
        help: "Live rows of all tables, counted exactly.",
        of: |observed, samples| by_shard(observed, samples, |shard| shard.rows as f64),
    },
    Metric {
        name: "evenkeel_shard_live_bytes",
        kind: Kind::Gauge,
        labels: SHARD,
        section: SHARDS,
        help: "Bytes of live keys and rows, before compression, counted exactly.",
        of: |observed, samples| by_shard(observed, samples, |shard| shard.live_bytes as f64),
    },
    Metric {
        name: "evenkeel_shard_storage_bytes",
        kind: Kind::Gauge,
        labels: SHARD,
        section: SHARDS,
        help: "Bytes of the shard's files, logs and replaced versions included.",
        of: |observed, samples| by_shard(observed, samples, |shard| shard.storage_bytes as f64),
    },
    Metric {
        name: "evenkeel_shard_history_bytes",
        kind: Kind::Gauge,
        labels: SHARD,
        section: SHARDS,
        help: "Bytes of replaced versions in the shard's sorted files.",
        of: |observed, samples| by_shard(observed, samples, |shard| shard.history_bytes as f64),
    },
    Metric {
        name: "evenkeel_shard_memory_bytes",
        kind: Kind::Gauge,
        labels: SHARD,
        section: SHARDS,
        help: "Bytes of the shard's write buffers in memory.",
        of: |observed, samples| by_shard(observed, samples, |shard| shard.memory_bytes as f64),
    },
    Metric {
        name: "evenkeel_shard_read_rows_total",
        kind: Kind::Counter,
        labels: SHARD,
        section: SHARDS,
        help: "Rows read.",
        of: |observed, samples| by_shard(observed, samples, |shard| shard.read_rows as f64),
    },
    Metric {
        name: "evenkeel_shard_written_rows_total",
        kind: Kind::Counter,
        labels: SHARD,
        section: SHARDS,
        help: "Rows written by commits; bulk loads are not counted.",
        of: |observed, samples| by_shard(observed, samples, |shard| shard.written_rows as f64),
    },
    Metric {
        name: "evenkeel_shard_cpu_seconds_total",
        kind: Kind::Counter,
        labels: SHARD,
        section: SHARDS,
        help: "Time that threads were busy in the shard: scans, and preparing commits.",
        of: |observed, samples| by_shard(observed, samples, |shard| shard.busy_seconds),
    },
    Metric {
        name: "evenkeel_shard_lock_waits_total",
        kind: Kind::Counter,
        labels: SHARD,
        section: SHARDS,
        help: "How often a commit has waited for a key that another one held.",
        of: |observed, samples| by_shard(observed, samples, |shard| shard.lock_waits as f64),
    },
    Metric {
        name: "evenkeel_shard_lock_wait_seconds_total",
        kind: Kind::Counter,
        labels: SHARD,
        section: SHARDS,
        help: "How long commits have waited for keys that others held.",
        of: |observed, samples| by_shard(observed, samples, |shard| shard.lock_wait_seconds),
    },
    Metric {
        name: "evenkeel_shard_slots",
        kind: Kind::Gauge,
        labels: SHARD,
        section: BALANCE,
        help: "Slots that the shard owns.",
        of: |observed, samples| by_shard(observed, samples, |shard| shard.slots as f64),
    },
    Metric {
        name: "evenkeel_shard_pinned",
        kind: Kind::Gauge,
        labels: SHARD,
        section: BALANCE,
        help: "1 where the shard's slots stay where they are and no others come, else 0.",
        of: |observed, samples| by_shard(observed, samples, |shard| f64::from(u8::from(shard.pinned))),
    },
    Metric {
        name: "evenkeel_imbalance_ratio",
        kind: Kind::Gauge,
        labels: &[],
        section: BALANCE,
        help: "The largest deviation of a shard from its fair share, in the dimensions of rebalance_strategy: 0.15 is 15 %.",
        of: |observed, samples| samples.push(&[], observed.measures.imbalance),
    },
    Metric {
        name: "evenkeel_shard_max_min_ratio",
        kind: Kind::Gauge,
        labels: &["dimension"],
        section: BALANCE,
        help: "What the fullest shard holds, divided by what the emptiest holds; 1 where nothing is stored.",
        of: |observed, samples| {
            let shards = &observed.measures.shards;
            let ratio = |of: fn(&ShardMeasures) -> i64| {
                let (most, least) =
                    (shards.iter().map(of).max().unwrap_or(0), shards.iter().map(of).min().unwrap_or(0));
                if most == least { 1.0 } else { most as f64 / least.max(0) as f64 }
            };
            samples.push(&[&"rows"], ratio(|shard| shard.rows));
            samples.push(&[&"bytes"], ratio(|shard| shard.live_bytes));
        },
    },
    Metric {
        name: "evenkeel_balancer_decisions_total",
        kind: Kind::Counter,
        labels: &["trigger", "decision", "reason"],
        section: BALANCE,
        help: "What was decided about moving, by what asked for it, whether something was started, and why.",
        of: |observed, samples| {
            for decided in &observed.measures.decided {
                let labels: [&dyn std::fmt::Display; 3] = [&decided.trigger, &decided.decision, &decided.reason];
                samples.push(&labels, decided.count as f64);
            }
        },
    },
    Metric {
        name: "evenkeel_jobs",
        kind: Kind::Gauge,
        labels: &["state"],
        section: MIGRATIONS,
        help: "Jobs of SYSTEM.JOBS by their state; the last 1,000 that are over stay.",
        of: |observed, samples| by_name(&observed.measures.jobs, samples),
    },
    Metric {
        name: "evenkeel_migrations",
        kind: Kind::Gauge,
        labels: &["phase"],
        section: MIGRATIONS,
        help: "Migrations that are not over, by their phase.",
        of: |observed, samples| {
            let mut phases = BTreeMap::<_, u64>::new();
            observed.measures.moving.iter().for_each(|moving| *phases.entry(moving.phase).or_default() += 1);
            by_name(&phases, samples);
        },
    },
    Metric {
        name: "evenkeel_migrations_stuck",
        kind: Kind::Gauge,
        labels: &[],
        section: MIGRATIONS,
        help: "Migrations in which nothing has moved for stuck_migration_timeout.",
        of: |observed, samples| {
            let after = observed.measures.stuck_after_seconds;
            let stuck = |moving: &&MovingMeasures| after > 0.0 && moving.idle_seconds >= after;
            samples.push(&[], observed.measures.moving.iter().filter(stuck).count() as f64);
        },
    },
    Metric {
        name: "evenkeel_migrations_throttled",
        kind: Kind::Gauge,
        labels: &[],
        section: MIGRATIONS,
        help: "Migrations that are slowed down for the sake of statements, or by a limit.",
        of: |observed, samples| {
            samples.push(&[], observed.measures.moving.iter().filter(|moving| moving.throttled).count() as f64);
        },
    },
    Metric {
        name: "evenkeel_migration_idle_seconds",
        kind: Kind::Gauge,
        labels: MIGRATION,
        section: MIGRATIONS,
        help: "Time since something last moved in a migration that is not over.",
        of: |observed, samples| by_migration(observed, samples, |moving| moving.idle_seconds),
    },
    Metric {
        name: "evenkeel_migration_copied_rows",
        kind: Kind::Gauge,
        labels: MIGRATION,
        section: MIGRATIONS,
        help: "Rows that the target of a migration that is not over has received.",
        of: |observed, samples| by_migration(observed, samples, |moving| moving.copied_rows as f64),
    },
    Metric {
        name: "evenkeel_migration_phase_duration_seconds",
        kind: Kind::Histogram,
        labels: &["phase"],
        section: MIGRATIONS,
        help: "How long migrations were in each phase that they have left: copying, switching, verifying …",
        of: |observed, samples| {
            for (phase, histogram) in &observed.measures.phases {
                samples.histogram(&[phase], histogram);
            }
        },
    },
    Metric {
        name: "evenkeel_migration_cutover_duration_seconds",
        kind: Kind::Histogram,
        labels: &[],
        section: MIGRATIONS,
        help: "How long cutovers held writes to the slots that moved, those that were given up included.",
        of: |observed, samples| samples.histogram(&[], &observed.measures.cutovers),
    },
];

fn by_shard(observed: &Observed, samples: &mut Samples<'_>, value: fn(&ShardMeasures) -> f64) {
    observed.measures.shards.iter().for_each(|shard| samples.push(&[&shard.id], value(shard)));
}

fn by_migration(observed: &Observed, samples: &mut Samples<'_>, value: fn(&MovingMeasures) -> f64) {
    for moving in &observed.measures.moving {
        samples.push(&[&moving.id, &moving.source, &moving.target], value(moving));
    }
}

fn by_name(counts: &BTreeMap<&'static str, u64>, samples: &mut Samples<'_>) {
    counts.iter().for_each(|(name, count)| samples.push(&[name], *count as f64));
}
