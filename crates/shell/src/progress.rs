//! Progress bars on the terminal, one a label. Where standard error is no terminal nothing is drawn.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::connection::{Progress, ProgressUnit};

/// How often a bar without news is redrawn, so that its clock goes on.
const REDRAW_INTERVAL: Duration = Duration::from_millis(200);

/// The bars of the statement that runs.
pub struct Bars {
    drawing: MultiProgress,
    bars: Vec<(String, ProgressBar)>,
}

impl Bars {
    /// Bars on standard error, or none.
    pub fn new(visible: bool) -> Self {
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { drawing: MultiProgress::with_draw_target(target), bars: Vec::new() }
    }

    /// Draws what is known now.
    pub fn show(&mut self, progress: &Progress) {
        if self.drawing.is_hidden() {
            return;
        }
        let position = self.bars.iter().position(|(label, _)| *label == progress.label);
        let position = position.unwrap_or_else(|| {
            let bar = self.drawing.add(ProgressBar::no_length());
            bar.set_style(style(progress));
            bar.set_prefix(progress.label.clone());
            bar.enable_steady_tick(REDRAW_INTERVAL);
            self.bars.push((progress.label.clone(), bar));
            self.bars.len() - 1
        });
        let (_, bar) = &self.bars[position];
        if let Some(total) = progress.total {
            bar.set_length(total);
        }
        bar.set_position(progress.done);
        if let Some(rows) = progress.rows {
            bar.set_message(format!("{rows} rows"));
        }
    }

    /// Takes the bars off the screen: the statement is over, or has something to print.
    pub fn clear(&mut self) {
        for (_, bar) in self.bars.drain(..) {
            bar.finish_and_clear();
            self.drawing.remove(&bar);
        }
    }
}

/// Bytes or rows, with an end in sight or without.
fn style(progress: &Progress) -> ProgressStyle {
    let template = match (progress.unit, progress.total.is_some()) {
        (ProgressUnit::Bytes, true) => {
            "{prefix} [{bar:30}] {percent:>3}% {bytes}/{total_bytes} {bytes_per_sec} ETA {eta} {msg}"
        }
        (ProgressUnit::Bytes, false) => "{prefix} {spinner} {bytes} {bytes_per_sec} {elapsed} {msg}",
        (ProgressUnit::Rows, true) => {
            "{prefix} [{bar:30}] {percent:>3}% {human_pos}/{human_len} rows {per_sec} ETA {eta}"
        }
        (ProgressUnit::Rows, false) => "{prefix} {spinner} {human_pos} rows {per_sec} {elapsed}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_progress_has_a_valid_template_and_hidden_bars_stay_away() {
        for unit in [ProgressUnit::Bytes, ProgressUnit::Rows] {
            for total in [None, Some(10)] {
                let progress = Progress { label: "COPY flights".to_string(), done: 5, total, unit, rows: Some(1) };
                style(&progress);
                let mut bars = Bars::new(false);
                bars.show(&progress);
                assert!(bars.bars.is_empty());
            }
        }
    }
}
