//! The plot of latency against load.

use std::fmt::Write as _;

use crate::latency::{Curve, Point};
use crate::peers::Peer;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const MARGIN: f64 = 60.0;

/// An SVG with p50 (dashed) and p99 of each peer; both latencies on a logarithmic axis.
pub fn svg(curves: &[Curve]) -> String {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let most = points().map(|point| point.rate).fold(1.0, f64::max);
    let highest = points().map(|point| point.p99).fold(100.0, f64::max).log10().ceil();
    let lowest = points().map(|point| point.p50).fold(1000.0, f64::min).log10().floor();
    let x = |rate: f64| MARGIN + rate / most * (WIDTH - 2.0 * MARGIN);
    let y = |latency: f64| {
        HEIGHT - MARGIN - (latency.max(1.0).log10() - lowest) / (highest - lowest) * (HEIGHT - 2.0 * MARGIN)
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{MARGIN}\" y=\"24\" font-size=\"15\">Latency against load, HTTP/1.1, one core (p99 solid, p50 dashed)</text>\n"
    );
    let mut decade = lowest;
    while decade <= highest {
        let (value, at) = (10_f64.powf(decade), y(10_f64.powf(decade)));
        let told = match value {
            seconds if seconds >= 1e6 => format!("{:.0} s", seconds / 1e6),
            milliseconds if milliseconds >= 1e3 => format!("{:.0} ms", milliseconds / 1e3),
            _ => format!("{value:.0} us"),
        };
        let _ = writeln!(
            svg,
            "<line x1=\"{MARGIN}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{told}</text>",
            WIDTH - MARGIN,
            MARGIN - 6.0,
            at + 4.0
        );
        decade += 1.0;
    }
    for point in curves.first().into_iter().flat_map(|curve| &curve.points) {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{:.1}k</text>",
            x(point.rate),
            HEIGHT - MARGIN + 18.0,
            point.rate / 1000.0
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">requests per second</text>",
        WIDTH / 2.0,
        HEIGHT - 18.0
    );
    for (index, curve) in curves.iter().enumerate() {
        let colour = match curve.peer {
            Peer::Envoy => "#c2410c",
            Peer::Weft => "#0f766e",
            Peer::Relay => "#6b7280",
        };
        let mut line = |latency: fn(&Point) -> f64, dash: &str| {
            let path: Vec<_> =
                curve.points.iter().map(|point| format!("{:.1},{:.1}", x(point.rate), y(latency(point)))).collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>",
                path.join(" ")
            );
        };
        line(|point| point.p99, "");
        line(|point| point.p50, " stroke-dasharray=\"4 4\"");
        let at = 44.0 + 16.0 * index as f64;
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{at}\" fill=\"{colour}\">{}</text>", MARGIN + 8.0, curve.peer.name());
    }
    svg.push_str("</svg>\n");
    svg
}
