//! Progress bars on the terminal, one for each thing that is under way. Where standard error is no terminal nothing is drawn.
//!
//! A label may say after a comma what is done at present: `shard 1 → 2, copying`. What stands before it names the bar, so that
//! a migration keeps its bar from phase to phase, and migrations that run at the same time have one each.

use std::fmt;
use std::time::{Duration, Instant};

use evenkeel_model::Progress;
use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// How often a bar without news is redrawn, so that its clock goes on.
const REDRAW_INTERVAL: Duration = Duration::from_millis(200);
/// A bar without news for so long, while others have some, belongs to something that is over.
const STALE_AFTER: Duration = Duration::from_secs(1);

/// The bars of the statement that runs.
pub struct Bars {
    drawing: MultiProgress,
    bars: Vec<Bar>,
}

struct Bar {
    name: String,
    drawn: ProgressBar,
    /// When it last had news.
    seen: Instant,
}

impl Bars {
    /// Bars on standard error, or none.
    pub fn new(visible: bool) -> Self {
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { drawing: MultiProgress::with_draw_target(target), bars: Vec::new() }
    }

    /// Draws what is known now.
    pub fn show(&mut self, progress: &Progress) {
        if !self.drawing.is_hidden() {
            self.draw(progress, Instant::now());
        }
    }

    fn draw(&mut self, progress: &Progress, now: Instant) {
        let (name, step) = parts(&progress.label);
        let position = self.bars.iter().position(|bar| bar.name == name);
        let position = position.unwrap_or_else(|| {
            let drawn = self.drawing.add(ProgressBar::no_length());
            drawn.set_style(style(progress));
            drawn.set_prefix(name.to_string());
            drawn.enable_steady_tick(REDRAW_INTERVAL);
            self.bars.push(Bar { name: name.to_string(), drawn, seen: now });
            self.bars.len() - 1
        });
        let bar = &mut self.bars[position];
        bar.seen = now;
        if let Some(total) = progress.total {
            bar.drawn.set_length(total);
        }
        bar.drawn.set_position(progress.done);
        match step {
            Some(step) => bar.drawn.set_message(step.to_string()),
            None if progress.in_bytes => bar.drawn.set_message(format!("{} rows", progress.rows)),
            None => {}
        }
        let (stale, live) = self.bars.drain(..).partition(|bar| now.duration_since(bar.seen) >= STALE_AFTER);
        self.bars = live;
        self.take_off(stale);
    }

    /// Takes the bars off the screen: the statement is over, or has something to print.
    pub fn clear(&mut self) {
        let bars = std::mem::take(&mut self.bars);
        self.take_off(bars);
    }

    fn take_off(&self, bars: Vec<Bar>) {
        for bar in bars {
            bar.drawn.finish_and_clear();
            self.drawing.remove(&bar.drawn);
        }
    }
}

/// What a label names, and what is done with it at present: a word in lower case after the last comma.
fn parts(label: &str) -> (&str, Option<&str>) {
    let is_step = |step: &str| !step.is_empty() && step.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    match label.rsplit_once(", ") {
        Some((name, step)) if is_step(step) => (name, Some(step)),
        _ => (label, None),
    }
}

/// Bytes or rows, with an end in sight or without.
fn style(progress: &Progress) -> ProgressStyle {
    let template = match (progress.in_bytes, progress.total.is_some()) {
        (true, true) => "{prefix} [{bar:30}] {percent:>3}% {bytes}/{total_bytes} {bytes_per_sec} ETA {eta} {msg}",
        (true, false) => "{prefix} {spinner} {bytes} {bytes_per_sec} {elapsed} {msg}",
        (false, true) => "{prefix} [{bar:30}] {percent:>3}% {human_pos}/{human_len} rows {speed} ETA {eta} {msg}",
        (false, false) => "{prefix} {spinner} {human_pos} rows {speed} {elapsed} {msg}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    // Whole rows: what moves is not known more closely.
    let speed = |state: &ProgressState, out: &mut dyn fmt::Write| {
        let _ = write!(out, "{}/s", HumanCount(state.per_sec() as u64));
    };
    style.with_key("speed", speed).progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_progress_has_a_valid_template_and_hidden_bars_stay_away() {
        for in_bytes in [true, false] {
            for total in [None, Some(10)] {
                let progress = Progress { label: "COPY flights".to_string(), done: 5, total, in_bytes, rows: 1 };
                style(&progress);
                let mut bars = Bars::new(false);
                bars.show(&progress);
                assert!(bars.bars.is_empty());
            }
        }
    }

    fn at(label: &str, done: u64) -> Progress {
        Progress { label: label.to_string(), done, total: Some(100), in_bytes: false, rows: done }
    }

    fn drawn(bars: &Bars) -> Vec<String> {
        let line = |bar: &Bar| format!("{} {} {}", bar.drawn.prefix(), bar.drawn.position(), bar.drawn.message());
        bars.bars.iter().map(line).collect()
    }

    #[test]
    fn migrations_at_the_same_time_have_a_bar_each_that_stays_from_phase_to_phase() {
        let mut bars = Bars::new(false);
        let start = Instant::now();
        bars.draw(&at("shard 1 → 2, copying", 10), start);
        bars.draw(&at("shard 3 → 4, copying", 20), start);
        bars.draw(&at("shard 1 → 2, catching_up", 100), start);
        assert_eq!(drawn(&bars), ["shard 1 → 2 100 catching_up", "shard 3 → 4 20 copying"]);
        let later = start + STALE_AFTER;
        bars.draw(&at("shard 3 → 4, verifying", 100), later);
        assert_eq!(drawn(&bars), ["shard 3 → 4 100 verifying"], "the first is over");
        bars.clear();
        assert!(bars.bars.is_empty());
    }

    #[test]
    fn only_a_word_after_the_comma_is_a_step() {
        assert_eq!(parts("shard 1 → 2, catching_up"), ("shard 1 → 2", Some("catching_up")));
        assert_eq!(parts("COPY \"a, B\""), ("COPY \"a, B\"", None));
        assert_eq!(parts("building"), ("building", None));
    }
}
