//! Stories of statements about shards, as scripts in `tests/stories`: what is there, what is said, what comes of it.
//! `UPDATE_GOLDENFILES=1 cargo test -p evenkeel-planner --test stories` writes the answers anew.
//!
//! | command | does |
//! |---|---|
//! | `> STATEMENT` | what the statement comes to; with EXPLAIN the rows, and the answers of SHOW BALANCER and EXPLAIN SHARD |
//! | `shards n`, `slots n` | a new cluster with equal runs of slots |
//! | `load [slots=a-b] [shard=n] rows= bytes= qps= cpu=` | what each of these slots carries from now on |
//! | `own slots shard`, `pending slots shard=n` | who has slots, who has yet to drop an old copy of them |
//! | `pin`, `unpin`, `lost`, `drains`, `back` `shard` | a shard's state |
//! | `free shard bytes`, `cool shard until=s`, `pass s` | a shard's disk and cooldown; time goes by |
//! | `set strategy= target= per_hour= at_once= fanout= move_bytes= auto=` | settings |
//! | `rate bytes`, `started n`, `check` | measured copying, starts in the last hour, the balancer looks |
//! | `job id kind status [slots= from= to= phase=] [new=] [removes=]` | a job, or one more migration of it |
//! | `carry out`, `begin` | the last plan becomes a job that is done, or that has just begun |
//! | `show` | who has what |

mod world;

use evenkeel_model::Error;
use evenkeel_planner::{ExplainRow, Outcome, explain, plan, show_balancer};
use evenkeel_pql::ast::{Show, StatementKind};
use evenkeel_pql::{parse_statement, render};
use goldenscript::{Command, Context, Runner};
use std::fmt::Write as _;
use world::World;

#[derive(Default)]
struct Story {
    world: World,
    last: Option<Outcome>,
}

impl Story {
    fn say(&mut self, text: &str) -> String {
        self.answer(text).unwrap_or_else(|error| render(&error, text, None))
    }

    fn answer(&mut self, text: &str) -> Result<String, Error> {
        let snapshot = &self.world.snapshot;
        match parse_statement(text)?.kind {
            StatementKind::Show(Show::Balancer) => Ok(table(&show_balancer(snapshot))),
            StatementKind::Explain { statement, .. } => match statement.kind {
                StatementKind::Shard(statement) => Ok(table(&explain(&statement, text, snapshot)?)),
                _ => Ok("not a statement about shards".into()),
            },
            StatementKind::Shard(statement) => {
                let outcome = plan(&statement, text, snapshot)?;
                let shown = show(&outcome);
                self.last = Some(outcome);
                Ok(shown)
            }
            _ => Ok("not a statement about shards".into()),
        }
    }
}

impl Runner for Story {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn std::error::Error>> {
        let (name, mut args) = (command.name.as_str(), command.consume_args());
        let answer = match name {
            "carry" | "begin" => {
                let _ = args.next_pos();
                let Some(Outcome::Start(job)) = self.last.take() else { return Err("there is no job to start".into()) };
                if name == "carry" { self.world.carry_out(&job) } else { self.world.begin(&job) }
            }
            "show" => self.world.show(),
            name if name.starts_with(|c: char| c.is_ascii_uppercase()) => self.say(name),
            name => self.world.arrange(name, &mut args)?,
        };
        args.reject_next()?;
        Ok(answer)
    }
}

fn show(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Start(job) => {
            let summary = job.summary;
            let percent = |part: f64| format!("{:.1} %", part * 100.0);
            let (before, after) = (percent(summary.imbalance_before), percent(summary.imbalance_after));
            let mut text = format!("start {}, imbalance {before} → {after}", job.kind);
            if let Some(seconds) = summary.seconds_estimated {
                let _ = write!(text, ", {seconds:.1} s");
            }
            for (what, shards) in [("new shards", &job.new_shards), ("removes", &job.removes)] {
                if !shards.is_empty() {
                    let ids: Vec<_> = shards.iter().map(ToString::to_string).collect();
                    let _ = write!(text, ", {what} {}", ids.join(", "));
                }
            }
            job.max_migrations_per_hour.iter().for_each(|max| _ = write!(text, ", at most {max} migrations an hour"));
            let _ = writeln!(text);
            job.moves.iter().for_each(|step| _ = writeln!(text, "  {} → {}: {}", step.source, step.target, step.slots));
            job.notices.iter().for_each(|notice| _ = writeln!(text, "  notice: {notice}"));
            text
        }
        Outcome::Rows(rows) => table(rows),
        Outcome::Nothing(nothing) => {
            let mut text = format!("nothing to do: {}\n", nothing.reason);
            nothing.hint.iter().for_each(|hint| _ = writeln!(text, "  hint: {hint}"));
            text
        }
        Outcome::Wait(wait) => {
            let ids: Vec<_> = wait.jobs.iter().map(ToString::to_string).collect();
            let at_most = wait.timeout_ms.map_or_else(|| "as long as it takes".into(), |ms| format!("{ms} ms at most"));
            format!("wait for jobs [{}], {at_most}", ids.join(", "))
        }
        Outcome::Pin(shard) => format!("pin shard {shard}"),
        Outcome::Unpin(shard) => format!("unpin shard {shard}"),
        Outcome::AddShard(shard) => format!("add shard {shard}"),
        Outcome::Verify(shard) => format!("verify shard {shard}"),
        Outcome::Pause(job) => format!("pause job {job}"),
        Outcome::Resume(job) => format!("resume job {job}"),
        Outcome::Cancel(job) => format!("cancel job {job}"),
    }
}

fn table(rows: &[ExplainRow]) -> String {
    let mut cells = vec![["item", "what", "why", "hint"].map(str::to_string)];
    let cell =
        |row: &ExplainRow| [row.item.clone(), row.what.clone(), row.why.clone(), row.hint.clone().unwrap_or_default()];
    cells.extend(rows.iter().map(cell));
    let width = |at: usize| cells.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3].map(width);
    let mut text = String::new();
    for row in &cells {
        let padded = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let _ = writeln!(text, "{}", padded.collect::<Vec<_>>().join(" | ").trim_end_matches([' ', '|']));
    }
    text
}

macro_rules! stories {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() -> std::io::Result<()> {
            goldenscript::run(&mut Story::default(), concat!("tests/stories/", stringify!($name), ".script"))
        })*
    };
}

stories! {
    rebalance,
    rebalance_options,
    nothing_to_do,
    split,
    merge,
    move_slots,
    pin_and_add,
    remove,
    undo,
    jobs,
    jobs_at_work,
    a_shard_explained,
    the_balancer,
}
