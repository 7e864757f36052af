//! Stories of clusters that get out of balance, as scripts in `tests/balancer`: what is there, what is asked, what the
//! balancer says. `UPDATE_GOLDENFILES=1 cargo test -p evenkeel-rebalancer --test balancer` writes the answers anew.
//!
//! | command | does |
//! |---|---|
//! | `shards n`, `slots n`, `add shard` | a new cluster with equal runs of slots; one more shard, empty |
//! | `load [slots=a-b] [shard=n] rows= bytes= qps= cpu=` | what each of these slots carries from now on |
//! | `own slots shard`, `moving slots to=n`, `pending slots shard=n` | who has slots, gets them, has yet to drop them |
//! | `pin`, `unpin`, `drains`, `lost`, `back` `shard` | a shard's state |
//! | `cool shard until=s`, `free shard bytes`, `capacity shard bytes` | a shard's cooldown, disk and weight |
//! | `limit moves= bytes= move_bytes=`, `pass s` | budgets; time goes by |
//! | `plan [strategy=] [target=]`, `drain shard`, `apply`, `explain shard` | a plan, carried out, explained |
//! | `check [auto=off]` | what the regular check decides, a minute after the last one |
//! | `move slots from= to=`, `split shard into=a,b [at=load]`, `merge a b`, `cold bytes=` | by hand |
//! | `assert balanced`, `assert steady`, `show` | no shard beyond the target; nothing left to do; the cluster |

use evenkeel_model::{ShardId, Slot, SlotSet};
use evenkeel_rebalancer::balance::{
    Load, Move, PendingDrop, Plan, Problem, ShardRole, ShardState, SlotState, SplitAt, Strategy, Verdict, Watch, admit,
    check, drain, explain, in_parts, measure, merge, mergeable, plan, split,
};
use goldenscript::{ArgumentConsumer, Command, Context, Runner};
use std::error::Error;
use std::fmt::Write as _;

type Answer = Result<String, Box<dyn Error>>;

struct Story {
    problem: Problem,
    watch: Watch,
    plan: Option<Plan>,
    carried_out: Option<Plan>,
}

impl Story {
    fn new() -> Self {
        let problem = Problem::new(0, Vec::new(), Vec::new());
        Self { problem, watch: Watch::default(), plan: None, carried_out: None }
    }

    fn shard(&mut self, id: &str) -> Result<&mut ShardState, Box<dyn Error>> {
        let id = ShardId(id.parse()?);
        self.problem.shards.iter_mut().find(|shard| shard.id == id).ok_or_else(|| format!("no shard {id}").into())
    }

    /// Sets up the cluster; `None` if the command is not of that kind.
    fn arrange(&mut self, name: &str, args: &mut ArgumentConsumer) -> Result<Option<()>, Box<dyn Error>> {
        let first = args.next_pos().unwrap_or_default();
        match name {
            "shards" => self.problem.shards = (1..=first.parse()?).map(|id| ShardState::new(ShardId(id))).collect(),
            "add" => self.problem.shards.push(ShardState::new(ShardId(first.parse()?))),
            "slots" => self.lay_out(first.parse()?),
            "own" => {
                let owner = ShardId(args.next_pos().ok_or("who?")?.parse()?);
                slots(first)?.iter().for_each(|slot| self.problem.slots[slot.0 as usize].owner = owner);
            }
            "moving" => {
                let target = args.take_key("to").map(str::parse).transpose()?.map(ShardId);
                slots(first)?.iter().for_each(|slot| self.problem.slots[slot.0 as usize].moving_to = target);
            }
            "pending" => {
                let shard = ShardId(args.take_key("shard").ok_or("which shard?")?.parse()?);
                self.problem.pending_drops.push(PendingDrop { slots: slots(first)?, shard });
            }
            "dropped" => self.problem.pending_drops.clear(),
            "pin" | "unpin" => self.shard(first)?.pinned = name == "pin",
            "drains" => self.shard(first)?.role = ShardRole::Draining,
            "lost" => self.shard(first)?.role = ShardRole::Unavailable,
            "back" => self.shard(first)?.role = ShardRole::Active,
            "cool" => {
                let until_s: i64 = args.take_key("until").ok_or("until when?")?.parse()?;
                self.shard(first)?.cooling_until_ms = Some(until_s * 1_000);
            }
            "free" => self.shard(first)?.free_bytes = Some(size(args.next_pos().ok_or("how much?")?)? as u64),
            "capacity" => self.shard(first)?.capacity.bytes = size(args.next_pos().ok_or("how much?")?)?,
            "limit" => {
                self.problem.limits.moves_max = args.take_key("moves").map(str::parse).transpose()?;
                self.problem.limits.bytes_max = args.take_key("bytes").map(size).transpose()?.map(|bytes| bytes as u64);
                self.problem.limits.move_bytes_max =
                    args.take_key("move_bytes").map(size).transpose()?.map(|b| b as u64);
            }
            "pass" => self.problem.now_ms += first.parse::<i64>()? * 1_000,
            "load" => self.load(args)?,
            _ => return Ok(None),
        }
        Ok(Some(()))
    }

    fn lay_out(&mut self, count: usize) {
        let shards = &self.problem.shards;
        let owner = |at: usize| shards[at * shards.len() / count].id;
        let load = Load::of_slot(0.0, 0.0, 0.0, 0.0);
        self.problem.slots = (0..count).map(|at| SlotState { owner: owner(at), load, moving_to: None }).collect();
    }

    fn load(&mut self, args: &mut ArgumentConsumer) -> Result<(), Box<dyn Error>> {
        let chosen = args.take_key("slots").map(slots).transpose()?;
        let owner = args.take_key("shard").map(str::parse).transpose()?.map(ShardId);
        let mut amounts = Vec::new();
        while let Some((key, amount)) = args.next_key() {
            amounts.push((key, size(amount)?));
        }
        for (at, slot) in self.problem.slots.iter_mut().enumerate() {
            let is_meant = chosen.as_ref().is_none_or(|slots| slots.contains(Slot(at as u32)));
            if !is_meant || owner.is_some_and(|owner| owner != slot.owner) {
                continue;
            }
            for (key, amount) in &amounts {
                match *key {
                    "rows" => slot.load.rows = *amount,
                    "bytes" => slot.load.bytes = *amount,
                    "qps" => slot.load.qps = *amount,
                    "cpu" => slot.load.cpu = *amount,
                    other => return Err(format!("no dimension {other}").into()),
                }
            }
        }
        Ok(())
    }

    fn make_plan(&mut self, args: &mut ArgumentConsumer) -> Answer {
        if let Some(name) = args.take_key("strategy") {
            self.problem.strategy = Strategy::find(name).ok_or("no such strategy")?;
        }
        if let Some(target) = args.take_key("target") {
            self.problem.target_imbalance = target.parse()?;
        }
        let made = plan(&self.problem, self.carried_out.as_ref());
        let text = show_plan(&made);
        self.plan = Some(made);
        Ok(text)
    }

    fn apply(&mut self) -> Answer {
        let made = self.plan.take().ok_or("there is no plan")?;
        self.problem = made.outcome(&self.problem);
        self.carried_out = Some(made);
        Ok(self.show())
    }

    fn check(&mut self, args: &mut ArgumentConsumer) -> Answer {
        self.problem.now_ms += 60_000;
        self.watch = self.watch.next(&measure(&self.problem));
        let auto_rebalance = args.take_key("auto") != Some("off");
        let (decision, made) = check(&self.problem, self.watch, self.carried_out.as_ref(), auto_rebalance);
        let mut text = format!("{decision}\n");
        if decision.verdict == Verdict::Started {
            self.watch = Watch::default();
            made.iter().flat_map(|made| &made.moves).try_for_each(|step| writeln!(text, "  {step}"))?;
        }
        self.plan = made.or(self.plan.take());
        Ok(text)
    }

    fn by_hand(&mut self, name: &str, args: &mut ArgumentConsumer) -> Answer {
        let first = args.next_pos().unwrap_or_default();
        let shard = |id: Option<&str>| Ok::<_, Box<dyn Error>>(ShardId(id.ok_or("which shard?")?.parse()?));
        let moves = match name {
            "move" => {
                let (source, target) = (shard(args.take_key("from"))?, shard(args.take_key("to"))?);
                admit(&self.problem, source, target, &slots(first)?).map(|step| in_parts(&self.problem, &step))
            }
            "split" => {
                let into = args.take_key("into").ok_or("into which shards?")?.split(',');
                let into: Vec<_> = into.map(|id| shard(Some(id))).collect::<Result<_, _>>()?;
                let at = if args.take_key("at") == Some("load") { SplitAt::LoadMidpoint } else { SplitAt::Rows };
                split(&self.problem, shard(Some(first))?, &into, at)
            }
            _ => merge(&self.problem, shard(Some(first))?, shard(args.next_pos())?)
                .map(|step| in_parts(&self.problem, &step)),
        };
        Ok(match moves {
            Ok(moves) => moves.iter().map(|step| format!("{step}\n")).collect(),
            Err(reason) => format!("refused: {reason}\n"),
        })
    }

    fn assert(&self, what: Option<&str>) -> Answer {
        match what {
            Some("balanced") => {
                let made = plan(&self.problem, None);
                let worst = format!("worst deviation is {:.1} %", made.before * 100.0);
                if made.before > self.problem.target_imbalance { Err(worst.into()) } else { Ok(worst) }
            }
            Some("steady") => {
                let moves = plan(&self.problem, self.carried_out.as_ref()).moves.len();
                if moves > 0 {
                    Err(format!("{moves} moves are left").into())
                } else {
                    Ok("nothing is left to do".into())
                }
            }
            _ => Err("balanced or steady?".into()),
        }
    }

    fn show(&self) -> String {
        let mut text = String::new();
        for shard in &self.problem.shards {
            let owned = self.problem.slots_of(shard.id);
            let load: Load = owned.iter().map(|slot| self.problem.slots[slot.0 as usize].load).sum();
            let _ = write!(text, "shard {}: {} slots ({owned}), {:.0} rows", shard.id, owned.len(), load.rows);
            let _ = if load.qps > 0.0 { writeln!(text, ", {:.0} queries/s", load.qps) } else { writeln!(text) };
        }
        text
    }
}

impl Runner for Story {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Answer {
        let (name, mut args) = (command.name.as_str(), command.consume_args());
        let answer = match name {
            "plan" => self.make_plan(&mut args),
            "drain" => {
                let shard = ShardId(args.next_pos().ok_or("which shard?")?.parse()?);
                let made = drain(&self.problem, shard, self.carried_out.as_ref());
                let text = show_plan(&made);
                self.plan = Some(made);
                Ok(text)
            }
            "apply" => self.apply(),
            "explain" => {
                let shard = ShardId(args.next_pos().ok_or("which shard?")?.parse()?);
                let made = self.plan.as_ref().or(self.carried_out.as_ref()).ok_or("there is no plan")?;
                Ok(explain(made, shard).join("\n"))
            }
            "check" => self.check(&mut args),
            "move" | "split" | "merge" => self.by_hand(name, &mut args),
            "cold" => {
                let most = Load { bytes: size(args.take_key("bytes").ok_or("how cold?")?)?, ..Load::ZERO };
                Ok(mergeable(&self.problem, most)
                    .map_or("none".into(), |(a, b)| format!("shards {a} and {b} would fit in one")))
            }
            "assert" => self.assert(args.next_pos()),
            "show" => Ok(self.show()),
            _ => self
                .arrange(name, &mut args)?
                .map(|()| String::new())
                .ok_or_else(|| format!("unknown command {name}").into()),
        }?;
        args.reject_next()?;
        Ok(answer)
    }
}

fn show_plan(made: &Plan) -> String {
    let percent = |part: f64| format!("{:.1} %", part * 100.0);
    let mut text = String::new();
    let step = |step: &Move| format!("{step}\n");
    text.extend(made.moves.iter().map(step));
    text.extend(made.left_alone.iter().map(|(shard, reason)| format!("shard {shard} is left alone: {reason}\n")));
    let _ = writeln!(text, "imbalance {} → {}", percent(made.before), percent(made.after));
    text
}

/// `0-9`, `7` or `0-9,20-29`.
fn slots(text: &str) -> Result<SlotSet, Box<dyn Error>> {
    let mut set = SlotSet::new();
    for range in text.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        set = set.union(&SlotSet::range(Slot(first.parse()?), Slot(last.parse()?)));
    }
    Ok(set)
}

/// `250`, `10k`, `64M`, `2G`.
fn size(text: &str) -> Result<f64, Box<dyn Error>> {
    let (digits, factor) = match text.char_indices().last() {
        Some((at, 'k')) => (&text[..at], 1e3),
        Some((at, 'M')) => (&text[..at], 1e6),
        Some((at, 'G')) => (&text[..at], 1e9),
        _ => (text, 1.0),
    };
    Ok(digits.parse::<f64>()? * factor)
}

macro_rules! stories {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() -> std::io::Result<()> {
            goldenscript::run(&mut Story::new(), concat!("tests/balancer/", stringify!($name), ".script"))
        })*
    };
}

stories! {
    one_giant_shard,
    one_hot_tenant,
    an_empty_new_shard,
    everything_pinned,
    no_room_anywhere,
    two_jobs_at_once,
    load_that_moves_around,
    a_drop_that_is_pending,
    by_hand,
    draining,
    budgets_and_cooldowns,
    strategies,
    unequal_shards,
    queries_against_rows,
    coarse_slots,
}
