//! A bar chart as SVG.

use maud::{Markup, html};

use super::words;

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 90.0;

/// Bars of bytes, the oldest first, each over so many seconds; `ends` label the time axis.
pub(super) fn bars(title: &str, bytes: &[u64], seconds: f64, ends: &[&str; 2]) -> Markup {
    let rate = |bytes: u64| bytes as f64 / seconds;
    let most = bytes.iter().copied().max().unwrap_or(0);
    let step = WIDTH / bytes.len().max(1) as f64;
    let top = format!("{}/s", words::bytes(rate(most) as u64));
    let total = words::bytes(bytes.iter().sum());
    html! {
        figure {
            figcaption { (title) ": " (total) @if most > 0 { ", at most " (top) } }
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT + 16.0) } role="img" aria-label={ "Throughput of " (title) ": " (total) ", at most " (top) } {
                line .axis x1="0" y1=(HEIGHT) x2=(WIDTH) y2=(HEIGHT) {}
                @if most > 0 {
                    @for (at, bytes) in bytes.iter().enumerate().filter(|(_, bytes)| **bytes > 0) {
                        @let height = (*bytes as f64 / most as f64 * (HEIGHT - 2.0)).max(1.0);
                        rect .bar x=(format!("{:.1}", at as f64 * step)) y=(format!("{:.1}", HEIGHT - height)) width=(format!("{:.1}", (step - 1.0).max(0.5))) height=(format!("{height:.1}")) {}
                    }
                }
                text x="0" y=(HEIGHT + 13.0) { (ends[0]) }
                text x=(WIDTH) y=(HEIGHT + 13.0) text-anchor="end" { (ends[1]) }
            }
        }
    }
}
