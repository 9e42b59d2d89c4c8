//! Charts as SVG, readable on light and on dark pages, written by hand: no fonts, scripts or files beside them.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
/// Where bars begin, behind their labels.
const LEFT: f64 = 190.0;
const ROW: f64 = 24.0;
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#24292f}.t{font-weight:600}.s{fill:#57606a;font-size:11px}.g{stroke:#8c959f;stroke-opacity:.35}\
.p{fill:#8c959f}.d{fill:#d1442f}.l{fill:none;stroke:#d1442f;stroke-width:2}.m{fill:none;stroke:#3577c4;stroke-width:2}.n{fill:#3577c4}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.s{fill:#9198a1}.p{fill:#767e88}.d{fill:#f0704f}.l{stroke:#f0704f}.m{stroke:#6ea8ee}.n{fill:#6ea8ee}}";

/// One client's bar.
#[derive(Debug, Clone)]
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) value: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Dragon's own.
    pub(crate) ours: bool,
}

/// Bars that can be compared with each other.
#[derive(Debug, Clone)]
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) unit: String,
    pub(crate) bars: Vec<Bar>,
}

/// A figure with about three digits.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        value if value >= 1000.0 => crate::workload::count(value.round() as u64),
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 1.0 => format!("{value:.2}"),
        value => format!("{value:.3}"),
    }
}

fn text(out: &mut String, x: f64, y: f64, class: &str, anchor: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    // Writing to a String cannot fail.
    let _ = writeln!(out, r#"<text x="{x:.1}" y="{y:.1}" class="{class}" text-anchor="{anchor}">{text}</text>"#);
}

fn document(height: f64, label: &str, inner: &str) -> String {
    let label = label.replace('&', "&amp;").replace('"', "&quot;");
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" role=\"img\" aria-label=\"{label}\">\n<style>{STYLE}</style>\n{inner}</svg>\n"
    )
}

/// Panels of horizontal bars, one below the other: shorter is better.
pub(crate) fn bars(panels: &[Panel]) -> String {
    let mut inner = String::new();
    let mut y = 8.0;
    for panel in panels {
        y += 18.0;
        text(&mut inner, 8.0, y, "t", "start", &panel.title);
        text(&mut inner, WIDTH - 8.0, y, "s", "end", &format!("{}, shorter is better", panel.unit));
        y += 8.0;
        let most = panel.bars.iter().map(|bar| bar.max).fold(f64::MIN_POSITIVE, f64::max);
        let scale = (WIDTH - LEFT - 90.0) / most;
        for bar in &panel.bars {
            text(&mut inner, LEFT - 8.0, y + 16.0, if bar.ours { "t" } else { "" }, "end", &bar.label);
            let class = if bar.ours { "d" } else { "p" };
            let length = (bar.value * scale).max(1.0);
            let _ = writeln!(inner, r#"<rect x="{LEFT}" y="{:.1}" width="{length:.1}" height="16" rx="2" class="{class}"/>"#, y + 3.0);
            let (min, max, middle) = (LEFT + bar.min * scale, LEFT + bar.max * scale, y + 11.0);
            if bar.max > bar.min {
                let _ = writeln!(inner, r#"<line x1="{min:.1}" x2="{max:.1}" y1="{middle:.1}" y2="{middle:.1}" class="g"/>"#);
            }
            text(&mut inner, max.max(LEFT + length) + 6.0, y + 16.0, if bar.ours { "t" } else { "" }, "start", &figure(bar.value));
            y += ROW;
        }
        y += 10.0;
    }
    document(y, "CPU time of Dragon and its peers", &inner)
}

/// A line: what one key or object costs, for so many of them.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) label: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Lines over a logarithmic count: a cost that does not grow is level.
pub(crate) fn lines(title: &str, unit: &str, series: &[Series]) -> String {
    let (height, top, bottom) = (300.0, 50.0, 40.0);
    let points = || series.iter().flat_map(|series| &series.points);
    let (low, high) = points().fold((f64::INFINITY, 1.0_f64), |(low, high), (x, _)| (low.min(x.log10()), high.max(x.log10())));
    let most = points().map(|(_, y)| *y).fold(f64::MIN_POSITIVE, f64::max) * 1.15;
    let (left, right) = (60.0, WIDTH - 150.0);
    let at_x = |x: f64| left + (x.log10() - low) / (high - low).max(1e-9) * (right - left);
    let at_y = |y: f64| height - bottom - y / most * (height - bottom - top);
    let mut inner = String::new();
    text(&mut inner, 8.0, 22.0, "t", "start", title);
    text(&mut inner, 8.0, 40.0, "s", "start", unit);
    for step in 0..=4 {
        let value = most / 1.15 * f64::from(step) / 4.0;
        let y = at_y(value);
        let _ = writeln!(inner, r#"<line x1="{left}" x2="{right}" y1="{y:.1}" y2="{y:.1}" class="g"/>"#);
        text(&mut inner, left - 6.0, y + 4.0, "s", "end", &figure(value));
    }
    let mut decade = low.round() as i32;
    while f64::from(decade) <= high + 1e-9 {
        let count = 10_f64.powi(decade);
        text(&mut inner, at_x(count), height - bottom + 18.0, "s", "middle", &crate::workload::count(count as u64));
        decade += 1;
    }
    for (series, (line, dot)) in series.iter().zip([("l", "d"), ("m", "n")].into_iter().cycle()) {
        let path: Vec<String> = series.points.iter().map(|(x, y)| format!("{:.1},{:.1}", at_x(*x), at_y(*y))).collect();
        let _ = writeln!(inner, r#"<polyline points="{}" class="{line}"/>"#, path.join(" "));
        for (x, y) in &series.points {
            let _ = writeln!(inner, r#"<circle cx="{:.1}" cy="{:.1}" r="3.5" class="{dot}"/>"#, at_x(*x), at_y(*y));
        }
        if let Some((x, y)) = series.points.last() {
            text(&mut inner, at_x(*x) + 10.0, at_y(*y) + 4.0, "", "start", &series.label);
        }
    }
    document(height, title, &inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        assert_eq!([0.3361, 1.219, 12.06, 120.6, 12_345.6].map(figure), ["0.336", "1.22", "12.1", "121", "12,346"]);
    }

    #[test]
    fn a_bar_is_as_long_as_its_value() {
        let bar = |value: f64| Bar { label: "a & b".into(), value, min: value, max: value, ours: false };
        let svg = bars(&[Panel { title: "t".into(), unit: "u".into(), bars: vec![bar(1.0), bar(2.0)] }]);
        let widths: Vec<f64> = svg.lines().filter_map(|line| line.strip_prefix("<rect")?.split("width=\"").nth(1)?.split('"').next()?.parse().ok()).collect();
        assert_eq!(widths, [240.0, 480.0]);
        assert!(svg.contains("a &amp; b"));
    }
}
