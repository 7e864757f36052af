//! Statements that plan nothing: they say something about one shard or job, and are checked against how it stands.

use crate::job::JobStatus;
use crate::place::Subject;
use crate::planning::{Planning, not_as_things_are, nothing, wait_or_cancel};
use crate::snapshot::JobState;
use crate::{Outcome, WaitFor};
use evenkeel_model::settings::parse_duration_ms;
use evenkeel_model::{Error, JobId, Result, SqlState};
use evenkeel_pql::ast::JobReference;

impl Planning<'_> {
    /// Not while slots go to it or leave it: they would have to stop on the way.
    pub fn pin(&self, number: u64) -> Result<Outcome> {
        let shard = self.shard(number, Subject::Shard(0))?;
        if self.problem.shard(shard).is_some_and(|state| state.pinned) {
            return Ok(nothing(format!("shard {shard} is pinned already")));
        }
        let removing = self.snapshot.jobs.iter().find(|job| job.is_removing(shard));
        let error = match (removing, self.snapshot.toucher(shard)) {
            (Some(_), _) => self.draining(shard),
            (None, Some(job)) => not_as_things_are(format!("job {} is moving slots of shard {shard}", job.id))
                .with_hint(wait_or_cancel(job.id)),
            (None, None) => return Ok(Outcome::Pin(shard)),
        };
        Err(self.text.at(error, Subject::Shard(0)))
    }

    pub fn unpin(&self, number: u64) -> Result<Outcome> {
        let shard = self.shard(number, Subject::Shard(0))?;
        let is_pinned = self.problem.shard(shard).is_some_and(|state| state.pinned);
        Ok(if is_pinned { Outcome::Unpin(shard) } else { nothing(format!("shard {shard} is not pinned")) })
    }

    pub fn verify(&self, number: u64) -> Result<Outcome> {
        let shard = self.shard(number, Subject::Shard(0))?;
        self.reachable(shard, Subject::Shard(0))?;
        Ok(Outcome::Verify(shard))
    }

    pub fn pause(&self, number: u64) -> Result<Outcome> {
        let job = self.job(number)?;
        match job.status {
            JobStatus::Running => Ok(Outcome::Pause(job.id)),
            JobStatus::Paused => {
                Err(self.job_is(job, "is paused already", Some(format!("RESUME JOB {} lets it go on", job.id))))
            }
            JobStatus::Cancelling => Err(self.being_cancelled(job)),
            JobStatus::Done | JobStatus::Cancelled | JobStatus::Failed => Err(self.job_is_over(job)),
        }
    }

    pub fn resume(&self, number: u64) -> Result<Outcome> {
        let job = self.job(number)?;
        match job.status {
            JobStatus::Paused => Ok(Outcome::Resume(job.id)),
            JobStatus::Running => Err(self.job_is(job, "is not paused", None)),
            JobStatus::Cancelling => Err(self.being_cancelled(job)),
            JobStatus::Done | JobStatus::Cancelled | JobStatus::Failed => Err(self.job_is_over(job)),
        }
    }

    pub fn cancel(&self, number: u64) -> Result<Outcome> {
        let job = self.job(number)?;
        match job.status {
            JobStatus::Running | JobStatus::Paused => Ok(Outcome::Cancel(job.id)),
            JobStatus::Cancelling => Err(self.being_cancelled(job)),
            JobStatus::Done | JobStatus::Cancelled | JobStatus::Failed => Err(self.job_is_over(job)),
        }
    }

    fn being_cancelled(&self, job: &JobState) -> Error {
        self.job_is(job, "is being cancelled", Some(format!("WAIT FOR JOB {} waits for its end", job.id)))
    }

    pub fn wait(&self, reference: JobReference, timeout: Option<&str>) -> Result<Outcome> {
        let timeout_ms = timeout.map(|text| self.timeout_ms(text)).transpose()?;
        let jobs = match reference {
            JobReference::Id(number) => vec![self.job(number)?.id],
            JobReference::Last => vec![self.last_job()?],
            JobReference::All => self.unfinished(),
        };
        Ok(Outcome::Wait(WaitFor { jobs, timeout_ms }))
    }

    fn timeout_ms(&self, text: &str) -> Result<u64> {
        parse_duration_ms(text).ok_or_else(|| {
            let error = Error::new(SqlState::InvalidParameterValue, format!("\"{text}\" is not a duration"));
            let hint = "seconds, or text such as '250ms', '30s', '10min', '1h'";
            self.text.at(error.with_hint(hint), Subject::Behind("TIMEOUT"))
        })
    }

    fn last_job(&self) -> Result<JobId> {
        self.snapshot.jobs.iter().map(|job| job.id).max().ok_or_else(|| {
            let error = Error::new(SqlState::UndefinedObject, "there has been no job yet");
            self.text.at(error.with_hint("REBALANCE SHARDS starts one"), Subject::Behind("JOB"))
        })
    }

    fn unfinished(&self) -> Vec<JobId> {
        let mut jobs: Vec<_> =
            self.snapshot.jobs.iter().filter(|job| !job.status.is_over()).map(|job| job.id).collect();
        jobs.sort_unstable();
        jobs
    }
}
