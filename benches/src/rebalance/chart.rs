//! A line chart as SVG: one line, round numbers at the axes, stretches that are shaded, a limit.

use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 40.0;
/// So many steps at an axis, about.
const STEPS: f64 = 5.0;

/// What is drawn. Both axes begin at 0.
#[derive(Clone, Debug)]
pub struct Chart<'c> {
    pub title: &'c str,
    /// What the axis to the right counts.
    pub across: &'c str,
    pub points: Vec<(f64, f64)>,
    /// Between two places of the axis to the right.
    pub shaded: Vec<(f64, f64)>,
    /// A value that should not be reached.
    pub limit: Option<f64>,
}

impl Chart<'_> {
    /// The chart as an `svg` element; its colours are those of the page's classes.
    pub fn svg(&self) -> String {
        let across = Axis::up_to(self.points.iter().map(|point| point.0).fold(0.0, f64::max), LEFT, WIDTH - RIGHT);
        let highest = self.points.iter().map(|point| point.1).chain(self.limit).fold(0.0, f64::max);
        let up = Axis::up_to(highest, HEIGHT - BOTTOM, TOP);
        let (floor, ceiling, left, right) = (HEIGHT - BOTTOM, TOP, LEFT, WIDTH - RIGHT);
        let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\"><title>{0}</title>\n", self.title);
        let mut draw = |text: std::fmt::Arguments<'_>| {
            // Writing to a String can't fail.
            let _ = writeln!(svg, "{text}");
        };
        draw(format_args!("<text class=\"title\" x=\"{left}\" y=\"16\">{}</text>", self.title));
        for &(from, to) in &self.shaded {
            let (from, to) = (across.place(from), across.place(to));
            let (width, height) = (to - from, floor - ceiling);
            draw(format_args!(
                "<rect class=\"shade\" x=\"{from:.1}\" y=\"{ceiling}\" width=\"{width:.1}\" height=\"{height}\"/>"
            ));
        }
        for value in up.marks() {
            let (y, text) = (up.place(value), label(value));
            draw(format_args!("<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"));
            draw(format_args!("<text class=\"mark end\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>", left - 6.0, y + 4.0));
        }
        for value in across.marks() {
            let (x, text) = (across.place(value), label(value));
            draw(format_args!("<text class=\"mark middle\" x=\"{x:.1}\" y=\"{:.1}\">{text}</text>", floor + 16.0));
        }
        draw(format_args!(
            "<text class=\"mark middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            f64::midpoint(left, right),
            floor + 34.0,
            self.across
        ));
        if let Some(limit) = self.limit {
            let y = up.place(limit);
            draw(format_args!("<line class=\"limit\" x1=\"{left}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"));
        }
        let place = |(x, y): &(f64, f64)| format!("{:.1},{:.1}", across.place(*x), up.place(*y));
        let points: Vec<String> = self.points.iter().map(place).collect();
        draw(format_args!("<polyline class=\"line\" points=\"{}\"/>", points.join(" ")));
        svg.push_str("</svg>\n");
        svg
    }
}

/// From 0 at one end to a round number at the other.
struct Axis {
    step: f64,
    top: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn up_to(highest: f64, from: f64, to: f64) -> Self {
        let highest = if highest > 0.0 { highest } else { 1.0 };
        let magnitude = 10_f64.powf((highest / STEPS).log10().floor());
        let fits = |step: &f64| highest / step <= STEPS + 1.0;
        let step = [1.0, 2.0, 5.0, 10.0].map(|step| step * magnitude).into_iter().find(fits);
        let step = step.unwrap_or(10.0 * magnitude);
        Self { step, top: (highest / step).ceil() * step, from, to }
    }

    fn place(&self, value: f64) -> f64 {
        self.from + (self.to - self.from) * (value / self.top).clamp(0.0, 1.0)
    }

    fn marks(&self) -> impl Iterator<Item = f64> {
        let step = self.step;
        (0..=(self.top / step).round() as u32).map(move |at| f64::from(at) * step)
    }
}

/// A number at an axis, short.
fn label(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", short(value / 1e6)),
        value if value >= 1e4 => format!("{}k", short(value / 1e3)),
        value => short(value),
    }
}

fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        let marks = |highest| Axis::up_to(highest, 0.0, 100.0).marks().map(label).collect::<Vec<_>>().join(" ");
        assert_eq!(marks(9.3), "0 2 4 6 8 10");
        assert_eq!(marks(123_456.0), "0 50k 100k 150k");
        assert_eq!(marks(0.0), "0 0.2 0.4 0.6 0.8 1");
        assert_eq!(Axis::up_to(10.0, 20.0, 120.0).place(5.0), 70.0);
    }

    #[test]
    fn a_chart_draws_every_point() {
        let points = vec![(0.0, 0.0), (5.0, 10.0), (10.0, 5.0)];
        let chart = Chart { title: "t", across: "s", points, shaded: vec![(2.0, 4.0), (6.0, 7.0)], limit: Some(8.0) };
        let svg = chart.svg();
        assert!(svg.contains("64.0,180.0 344.0,28.0 624.0,104.0"), "{svg}");
        assert!(
            svg.matches("class=\"shade\"").count() == 2
                && svg.contains("class=\"shade\" x=\"176.0\"")
                && svg.contains("class=\"limit\""),
            "{svg}"
        );
        assert!(Chart { points: Vec::new(), ..chart }.svg().ends_with("</svg>\n"));
    }
}
