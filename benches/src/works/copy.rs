//! COPY of the flights into an empty table with its primary key, durable at the end. Evenkeel reads the file itself, a
//! client sends it to PostgreSQL.

use super::Work;
use crate::bench::{Bench, say_run};
use crate::figures::{Measured, Samples, Target, Unit};

/// Measures it.
///
/// # Errors
/// When a contestant complains or rows are missing.
pub async fn measure(bench: &mut Bench) -> anyhow::Result<Measured> {
    let directory = bench.path().to_path_buf();
    let mut samples = Samples::default();
    for run in 0..bench.about.runs {
        let seconds = bench.flights.copy_into_evenkeel(&directory).await?;
        samples.evenkeel.push(seconds);
        let mut said = format!("Evenkeel {seconds:.3} s");
        if let Some(server) = &bench.server {
            let seconds = bench.flights.copy_into_postgres(&directory, server).await?;
            samples.postgres.push(seconds);
            said.push_str(&format!(", PostgreSQL {seconds:.3} s"));
        }
        say_run(run, &said);
    }
    Ok(Work::Copy.report(Unit::Seconds, samples, vec![Target::Postgres(2.0)]))
}
