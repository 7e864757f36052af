//! Where rows came from, by their ordinal.

use parking_lot::Mutex;
use std::sync::Arc;

/// Runs kept at most: a file that changes its rhythm more often is told by record from there on.
const RUNS_MAX: usize = 1 << 20;

/// Says where the row of an ordinal came from. Clones see what is read later.
#[derive(Clone, Debug)]
pub(crate) struct RowOrigin {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    file: String,
    /// Runs of rows that lie evenly; empty for files that have rows and no lines.
    runs: Mutex<Vec<Run>>,
}

/// Rows from `ordinal` on begin at `line` and every `stride` lines after.
#[derive(Clone, Copy, Debug)]
struct Run {
    ordinal: u64,
    line: u64,
    stride: u64,
}

impl Run {
    fn line(&self, ordinal: u64) -> u64 {
        self.line + (ordinal - self.ordinal) * self.stride
    }
}

impl RowOrigin {
    pub(super) fn new(file: &str) -> Self {
        Self { shared: Arc::new(Shared { file: file.to_string(), runs: Mutex::new(Vec::new()) }) }
    }

    /// `flights.csv, line 17`, or `planes.parquet, row 17`; rows are counted from 0 here and from 1 there.
    pub(crate) fn place(&self, ordinal: u64) -> String {
        let file = &self.shared.file;
        let runs = self.shared.runs.lock();
        match runs.partition_point(|run| run.ordinal <= ordinal) {
            0 => format!("{file}, row {}", ordinal + 1),
            after if after == RUNS_MAX => format!("{file}, record {}", ordinal + 1),
            after => format!("{file}, line {}", runs[after - 1].line(ordinal)),
        }
    }
}

/// Notes the lines of rows as they are read.
#[derive(Debug)]
pub(super) struct LineLog {
    origin: RowOrigin,
    last: Option<Run>,
    rows: u64,
}

impl LineLog {
    pub(super) fn new(origin: RowOrigin) -> Self {
        Self { origin, last: None, rows: 0 }
    }

    /// The next row begins at this line.
    #[inline]
    pub(super) fn note(&mut self, line: u64) {
        let ordinal = self.rows;
        self.rows += 1;
        if self.last.is_none_or(|run| run.line(ordinal) != line) {
            self.correct(ordinal, line);
        }
    }

    fn correct(&mut self, ordinal: u64, line: u64) {
        let mut runs = self.origin.shared.runs.lock();
        let full = runs.len() >= RUNS_MAX;
        match runs.last_mut() {
            // The second row of a run says how far apart its rows are.
            Some(run) if run.ordinal + 1 == ordinal => run.stride = line - run.line,
            _ if full => {}
            _ => runs.push(Run { ordinal, line, stride: 1 }),
        }
        self.last = runs.last().copied();
    }

    /// The place of the row noted last.
    pub(super) fn place(&self) -> String {
        self.origin.place(self.rows.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_as_runs() {
        let mut log = LineLog::new(RowOrigin::new("a.csv"));
        let even = (0..1000).map(|row| 2 + row);
        let wide = (0..1000).map(|row| 1005 + row * 3);
        let lines: Vec<u64> = even.chain(wide).collect();
        lines.iter().for_each(|line| log.note(*line));
        for (ordinal, line) in lines.iter().enumerate() {
            assert_eq!(log.origin.place(ordinal as u64), format!("a.csv, line {line}"));
        }
        assert_eq!(log.origin.shared.runs.lock().len(), 2);
        assert_eq!(RowOrigin::new("a.parquet").place(0), "a.parquet, row 1");
    }
}
