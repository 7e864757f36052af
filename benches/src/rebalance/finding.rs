//! What a work found out, and what it should have.

use super::Work;
use super::load::Window;
use crate::figures::Figure;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    RowsPerSecond,
    /// Of a hundred.
    Percent,
    Milliseconds,
    Count,
    /// Times as much.
    Times,
}

impl Unit {
    /// How the unit is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::RowsPerSecond => "rows/s",
            Self::Percent => "%",
            Self::Milliseconds => "ms",
            Self::Count => "",
            Self::Times => "×",
        }
    }

    fn digits(self, value: f64) -> String {
        match self {
            Self::RowsPerSecond | Self::Count => thousands(value),
            Self::Percent => format!("{value:.1}"),
            Self::Milliseconds | Self::Times => format!("{value:.2}"),
        }
    }

    /// A value with its unit.
    pub fn text(self, value: f64) -> String {
        format!("{} {}", self.digits(value), self.name()).trim_end().to_string()
    }
}

/// A whole number with commas.
pub fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value <= -0.5 { format!("-{text}") } else { text }
}

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
    /// Exactly nothing.
    None,
}

/// One figure of a work: the median of its runs, or of what was compared in them, counts.
#[derive(Clone, Debug)]
pub struct Finding {
    pub what: &'static str,
    pub unit: Unit,
    pub runs: Vec<f64>,
    /// They are comparisons, many in a run: what is told beside their median is how sure it is.
    pub is_compared: bool,
    pub target: Option<Target>,
}

impl Finding {
    /// A figure that is worth knowing.
    pub fn of(what: &'static str, unit: Unit, runs: Vec<f64>) -> Self {
        Self { what, unit, runs, is_compared: false, target: None }
    }

    /// A figure of many comparisons, each of which says little.
    pub fn compared(what: &'static str, unit: Unit, comparisons: Vec<f64>) -> Self {
        Self { is_compared: true, ..Self::of(what, unit, comparisons) }
    }

    /// With what it should be.
    pub fn should(self, target: Target) -> Self {
        Self { target: Some(target), ..self }
    }

    /// Median, least and greatest, or the median of comparisons and where it is with 95 % confidence; `None` without any.
    pub fn figure(&self) -> Option<Figure> {
        if self.is_compared { Figure::sure(&self.runs) } else { Figure::of(&self.runs) }
    }

    /// Whether the target is met; `None` where there is no target or figure.
    pub fn met(&self) -> Option<bool> {
        let median = self.figure()?.median;
        Some(match self.target? {
            Target::AtLeast(least) => median >= least,
            Target::AtMost(limit) => median <= limit,
            Target::Below(limit) => median < limit,
            Target::None => median == 0.0,
        })
    }

    /// The figure for people.
    pub fn text(&self) -> String {
        let Some(Figure { median, min, max }) = self.figure() else { return "–".to_string() };
        let (least, greatest) = (self.unit.digits(min), self.unit.digits(max));
        let sure = if self.is_compared { "95 %: " } else { "" };
        let range = if least == greatest { String::new() } else { format!(" ({sure}{least} to {greatest})") };
        format!("{}{range}", self.unit.text(median))
    }

    /// The target for people.
    pub fn target_text(&self) -> String {
        match self.target {
            Some(Target::AtLeast(least)) => format!("≥ {}", self.unit.text(least)),
            Some(Target::AtMost(limit)) => format!("≤ {}", self.unit.text(limit)),
            Some(Target::Below(limit)) => format!("< {}", self.unit.text(limit)),
            Some(Target::None) => "none".to_string(),
            None => "–".to_string(),
        }
    }

    /// `yes`, `NO`, or nothing to say.
    pub fn met_text(&self) -> &'static str {
        self.met().map_or("–", |met| if met { "yes" } else { "NO" })
    }
}

/// How a stretch of time felt to the sessions.
#[derive(Clone, Debug)]
pub struct Period {
    pub name: &'static str,
    pub window: Window,
}

/// Requests over time, and when something moved.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// End of the slice in seconds, requests a second, p99 in µs.
    pub points: Vec<(f64, f64, f64)>,
    /// From when to when something moved, in seconds.
    pub moving: Vec<(f64, f64)>,
}

/// All that a work found out.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub work: Work,
    pub findings: Vec<Finding>,
    pub periods: Vec<Period>,
    /// What else is worth knowing, a line each.
    pub notes: Vec<String>,
    pub timeline: Option<Timeline>,
    /// Milliseconds for which writes were held back, one a cutover.
    pub pauses_ms: Vec<f64>,
}

impl Outcome {
    /// Of nothing yet.
    pub fn new(work: Work) -> Self {
        Self {
            work,
            findings: Vec::new(),
            periods: Vec::new(),
            notes: Vec::new(),
            timeline: None,
            pauses_ms: Vec::new(),
        }
    }

    /// Whether some target was missed.
    pub fn has_missed(&self) -> bool {
        self.findings.iter().any(|finding| finding.met() == Some(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_meets_the_target_or_does_not() {
        let rate = Finding::of("rate", Unit::RowsPerSecond, vec![1.0, 500_000.0, 1_234_567.0]);
        assert_eq!(rate.text(), "500,000 rows/s (1 to 1,234,567)");
        assert_eq!((rate.met(), rate.target_text().as_str()), (None, "–"));
        let rate = rate.should(Target::AtLeast(500_000.0));
        assert_eq!((rate.met(), rate.target_text().as_str()), (Some(true), "≥ 500,000 rows/s"));
        let errors = Finding::of("errors", Unit::Count, vec![1.0]).should(Target::None);
        assert_eq!((errors.met_text(), errors.text().as_str()), ("NO", "1"));
        assert_eq!(Finding::of("pause", Unit::Milliseconds, Vec::new()).should(Target::Below(20.0)).met(), None);
        let slower = Finding::compared("slower", Unit::Percent, (0..100).map(f64::from).collect());
        assert_eq!(slower.text(), "49.5 % (95 %: 40.0 to 59.0)");
        assert_eq!((thousands(-1_000.0).as_str(), thousands(-0.1).as_str()), ("-1,000", "0"));
    }
}
