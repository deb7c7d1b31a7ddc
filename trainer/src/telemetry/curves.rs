//! Loss curves of runs as a small SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const MARGIN: f64 = 56.0;
/// Colours that stay apart for colour-blind readers (Okabe and Ito).
const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000",
];

/// One named curve of (step, value) points; points that are not finite are left out.
pub struct Curve {
    /// Name in the legend.
    pub name: String,
    /// Points in order of step.
    pub points: Vec<(f64, f64)>,
}

/// Draws the curves over a common pair of axes.
pub fn svg(title: &str, curves: &[Curve]) -> String {
    let points = || {
        curves
            .iter()
            .flat_map(|curve| &curve.points)
            .filter(|(_, value)| value.is_finite())
    };
    let range = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
            (low.min(v), high.max(v))
        });
        match low < high {
            true => (low, high),
            // One value, or none at all.
            false if low.is_finite() => (low - 0.5, low + 0.5),
            false => (0.0, 1.0),
        }
    };
    let (x_low, x_high) = range(&mut points().map(|(step, _)| *step));
    let (y_low, y_high) = range(&mut points().map(|(_, value)| *value));
    let x = |step: f64| MARGIN + (step - x_low) / (x_high - x_low) * (WIDTH - 2.0 * MARGIN);
    let y = |value: f64| HEIGHT - MARGIN - (value - y_low) / (y_high - y_low) * (HEIGHT - 2.0 * MARGIN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{MARGIN}\" y=\"24\" font-size=\"15\">{}</text>\n\
         <path d=\"M{MARGIN} {MARGIN}V{}H{}\" fill=\"none\" stroke=\"#888\"/>\n",
        escape(title),
        HEIGHT - MARGIN,
        WIDTH - MARGIN
    );
    for i in 0..=4 {
        let share = f64::from(i) / 4.0;
        let (step, value) = (x_low + share * (x_high - x_low), y_low + share * (y_high - y_low));
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{step:.0}</text><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value:.4}</text>",
            x(step),
            HEIGHT - MARGIN + 18.0,
            MARGIN - 6.0,
            y(value) + 4.0
        );
    }
    for (number, curve) in curves.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let path: Vec<String> = curve
            .points
            .iter()
            .filter(|(_, value)| value.is_finite())
            .map(|(step, value)| format!("{:.1},{:.1}", x(*step), y(*value)))
            .collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/><text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\" text-anchor=\"end\">{}</text>",
            path.join(" "),
            WIDTH - MARGIN,
            MARGIN + 16.0 * number as f64,
            escape(&curve.name)
        );
    }
    out.push_str("</svg>\n");
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_drawn_and_odd_values_are_harmless() {
        let curves = [
            Curve {
                name: "a<b".into(),
                points: vec![(1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0)],
            },
            Curve {
                name: "flat".into(),
                points: vec![(1.0, 1.0)],
            },
        ];
        let drawn = svg("loss", &curves);
        assert!(drawn.contains("a&lt;b") && !drawn.contains("NaN"));
        assert_eq!(drawn.matches("<polyline").count(), 2);
        assert!(!svg("empty", &[]).contains("NaN"));
    }
}
