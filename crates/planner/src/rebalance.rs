//! REBALANCE SHARDS: the balancer's plan as a job.

use crate::job::{Draft, JobKind};
use crate::planning::Planning;
use crate::words::{counted, hint, nobody_hint, percent, said_of, thousands};
use crate::{Nothing, Outcome};
use evenkeel_model::Result;
use evenkeel_pql::ast::Assignment;
use evenkeel_rebalancer::balance::{Decision, Problem, Reason, Strategy, measure, plan, rebalance};

impl Planning<'_> {
    pub fn rebalance(&self, options: &[Assignment]) -> Result<Outcome> {
        let wanted = self.wanted(options)?;
        let mut problem = self.problem.clone();
        problem.strategy = wanted.strategy;
        problem.target_imbalance = wanted.target_imbalance;
        problem.limits.moves_max = self.snapshot.moves_left(wanted.max_migrations_per_hour);
        let (decision, made) = rebalance(&problem, self.snapshot.previous.as_ref());
        let Some(plan) = made else { return Ok(Outcome::Nothing(self.idle(&problem, decision))) };
        let mut draft = Draft::new(JobKind::Rebalance, problem);
        plan.moves.iter().for_each(|step| draft.add(step.clone()));
        let job = draft.job();
        if plan.cut {
            job.notices.push("the plan is cut short by its limits: REBALANCE SHARDS again will find more to do".into());
        }
        job.notices.extend(self.said_of_traffic(wanted.strategy));
        let given = wanted.max_migrations_per_hour;
        job.max_migrations_per_hour = (given != self.snapshot.defaults.max_migrations_per_hour).then_some(given);
        (job.plan, job.decision) = (Some(plan), Some(decision));
        Ok(Outcome::Start(Box::new(draft.finish(self.snapshot.bytes_per_second))))
    }

    /// What somebody should know of the measurements that a plan goes by.
    fn said_of_traffic(&self, strategy: Strategy) -> Option<String> {
        let traffic = self.snapshot.balancer.traffic?;
        if matches!(strategy, Strategy::Rows | Strategy::Size | Strategy::Uniform) {
            return None;
        }
        if traffic.measurements == 0 {
            return Some("nothing was measured of the traffic yet: the plan goes by rows and bytes alone".into());
        }
        traffic.is_changing().then(|| {
            let (newest, smoothed) = (thousands(traffic.newest_qps as u64), thousands(traffic.smoothed_qps as u64));
            let measurements = counted(traffic.measurements as u64, "measurement");
            format!(
                "the traffic changes: {newest} rows a second at the last of {measurements}, {smoothed} in the mean that \
                 the plan goes by"
            )
        })
    }

    /// Why the balancer would move nothing.
    fn idle(&self, problem: &Problem, decision: Decision) -> Nothing {
        let left_alone = plan(problem, self.snapshot.previous.as_ref()).left_alone;
        let (reason, hint) = match (&decision.reason, decision.shard) {
            _ if measure(problem).shard.is_none() => (Reason::NobodyTakesPart.to_string(), Some(nobody_hint(problem))),
            (Reason::OverBudget, _) if problem.limits.moves_max == Some(0) => self.hour_is_full(),
            (Reason::WithinTarget { deviation, .. }, _) if *deviation <= problem.target_imbalance => {
                let (worst, target) = (percent(*deviation), percent(problem.target_imbalance));
                let reason =
                    format!("in balance: the worst shard is {worst} from its fair share, the target allows {target}");
                (reason, (*deviation > 0.0).then(|| "a smaller target_imbalance asks for more".to_string()))
            }
            (reason, Some(shard)) => (said_of(reason, shard), hint(reason, shard)),
            (reason, None) => (reason.to_string(), None),
        };
        Nothing { reason, hint, left_alone, decision: Some(decision) }
    }

    fn hour_is_full(&self) -> (String, Option<String>) {
        let started = counted(self.snapshot.started_last_hour, "migration");
        let reason = format!("{started} were started in the last hour, as many as max_migrations_per_hour allows");
        (reason, Some("REBALANCE SHARDS WITH max_migrations_per_hour = …, or wait".into()))
    }
}
