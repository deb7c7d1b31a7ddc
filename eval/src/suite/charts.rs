//! Charts of a suite as SVG text: bars with intervals, radar, reliability.

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::prelude::*;

/// Colours of models, in suite order (Okabe-Ito, safe for colour-blind readers).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(120, 120, 120),
];
const INK: RGBColor = RGBColor(60, 60, 67);
const GRID: RGBColor = RGBColor(222, 222, 228);

/// One bar: value and interval, fractions.
#[derive(Debug, Clone, Copy)]
pub struct Bar {
    /// Height.
    pub value: f64,
    /// 95 % interval.
    pub interval: Option<(f64, f64)>,
}

/// Bars in groups: `bars[group][series]`.
pub struct BarGroups<'a> {
    /// Axis title.
    pub axis: &'a str,
    /// Group names (data sets).
    pub groups: &'a [String],
    /// Series names (models).
    pub series: &'a [String],
    /// Values; `None` where a model has none.
    pub bars: &'a [Vec<Option<Bar>>],
    /// Level of guessing for each group.
    pub chance: &'a [Option<f64>],
}

/// Colour of a series; from the eighth on the colours come again, each time paler.
fn colour(series: usize) -> RGBColor {
    let RGBColor(r, g, b) = COLOURS[series % COLOURS.len()];
    let share = 0.6f64.powi((series / COLOURS.len()) as i32);
    let paler = |c: u8| (255.0 - share * f64::from(255 - c)).round() as u8;
    RGBColor(paler(r), paler(g), paler(b))
}

fn draw(
    width: u32,
    height: u32,
    paint: impl FnOnce(&DrawingArea<SVGBackend<'_>, Shift>) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        paint(&area)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("chart: {error}")
}

/// Height of one line of the key, pixels.
const LEGEND_LINE: i32 = 20;

/// Places of the names in the key, in lines of `width` pixels from `left` on.
fn legend_places(names: &[String], left: i32, width: i32) -> Vec<(i32, i32)> {
    let (mut x, mut y) = (left, 8);
    let place = |name: &String| {
        let needed = 36 + 7 * name.chars().count() as i32;
        if x > left && x + needed > width {
            (x, y) = (left, y + LEGEND_LINE);
        }
        let own = (x, y);
        x += needed;
        own
    };
    names.iter().map(place).collect()
}

/// Height of the key with its margins, pixels.
fn legend_height(places: &[(i32, i32)]) -> i32 {
    places.last().map_or(8, |p| p.1) + LEGEND_LINE + 2
}

/// Key to the colours, along the top.
fn legend(area: &DrawingArea<SVGBackend<'_>, Shift>, names: &[String], places: &[(i32, i32)]) -> anyhow::Result<()> {
    for (i, (name, &(x, y))) in names.iter().zip(places).enumerate() {
        area.draw(&Rectangle::new([(x, y), (x + 12, y + 12)], colour(i).filled()))
            .map_err(failed)?;
        area.draw(&Text::new(
            name.clone(),
            (x + 17, y),
            ("sans-serif", 13).into_font().color(&INK),
        ))
        .map_err(failed)?;
    }
    Ok(())
}

/// Grouped bars from 0 to 100 %, whiskers for intervals, dashed line for chance.
pub fn bars(data: &BarGroups<'_>) -> anyhow::Result<String> {
    let count = data.groups.len();
    let width = (170 + 150 * count as u32).clamp(420, 1100);
    let places = legend_places(data.series, 56, width as i32);
    let top = legend_height(&places);
    draw(width, 300 + top as u32, |area| {
        legend(area, data.series, &places)?;
        let mut chart = ChartBuilder::on(area)
            .margin_top(top)
            .margin_right(14)
            .x_label_area_size(30)
            .y_label_area_size(52)
            .build_cartesian_2d(0.0..count as f64, 0.0..100.0)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .disable_x_axis()
            .y_labels(6)
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .y_desc(data.axis)
            .y_label_formatter(&|v| format!("{v:.0}"))
            .label_style(("sans-serif", 13).into_font().color(&INK))
            .draw()
            .map_err(failed)?;
        let step = 0.8 / data.series.len().max(1) as f64;
        for (g, group) in data.bars.iter().enumerate() {
            for (s, bar) in group.iter().enumerate() {
                let Some(bar) = bar else { continue };
                let left = g as f64 + 0.1 + s as f64 * step;
                let (middle, right) = (left + 0.45 * step, left + 0.9 * step);
                chart
                    .draw_series([Rectangle::new(
                        [(left, 0.0), (right, 100.0 * bar.value)],
                        colour(s).mix(0.85).filled(),
                    )])
                    .map_err(failed)?;
                if let Some((low, high)) = bar.interval {
                    let ends = [
                        vec![(middle, 100.0 * low), (middle, 100.0 * high)],
                        cap(middle, step, low),
                        cap(middle, step, high),
                    ];
                    chart
                        .draw_series(ends.map(|line| PathElement::new(line, INK.stroke_width(1))))
                        .map_err(failed)?;
                }
            }
            if let Some(chance) = data.chance.get(g).copied().flatten() {
                let ends = [(g as f64 + 0.05, 100.0 * chance), (g as f64 + 0.95, 100.0 * chance)];
                chart
                    .draw_series(DashedLineSeries::new(ends, 5, 4, INK.stroke_width(1)))
                    .map_err(failed)?;
            }
            let (x, y) = chart.backend_coord(&(g as f64 + 0.5, 0.0));
            let style = ("sans-serif", 13)
                .into_font()
                .color(&INK)
                .pos(plotters::style::text_anchor::Pos::new(
                    plotters::style::text_anchor::HPos::Center,
                    plotters::style::text_anchor::VPos::Top,
                ));
            area.draw(&Text::new(data.groups[g].clone(), (x, y + 8), style))
                .map_err(failed)?;
        }
        Ok(())
    })
}

fn cap(middle: f64, step: f64, at: f64) -> Vec<(f64, f64)> {
    vec![(middle - 0.12 * step, 100.0 * at), (middle + 0.12 * step, 100.0 * at)]
}

/// Radar: one axis a metric or data set, one polygon a model, with gaps where the model has no value; values are fractions.
pub fn radar(axes: &[String], series: &[String], values: &[Vec<Option<f64>>]) -> anyhow::Result<String> {
    const WIDTH: i32 = 600;
    const RADIUS: f64 = 130.0;
    let places = legend_places(series, 12, WIDTH);
    let top = legend_height(&places);
    let centre = (f64::from(WIDTH) / 2.0, f64::from(top) + 1.12 * RADIUS + 14.0);
    let point = |axis: usize, value: f64| {
        let angle = std::f64::consts::TAU * axis as f64 / axes.len() as f64 - std::f64::consts::FRAC_PI_2;
        (
            (centre.0 + RADIUS * value * angle.cos()).round() as i32,
            (centre.1 + RADIUS * value * angle.sin()).round() as i32,
        )
    };
    let ring = |value: f64| {
        (0..=axes.len())
            .map(|a| point(a % axes.len(), value))
            .collect::<Vec<_>>()
    };
    draw(WIDTH as u32, (2.0 * centre.1) as u32 - top as u32, |area| {
        legend(area, series, &places)?;
        for step in 1..=4 {
            let value = 0.25 * f64::from(step);
            area.draw(&PathElement::new(ring(value), GRID.stroke_width(1)))
                .map_err(failed)?;
            let (x, y) = point(0, value);
            area.draw(&Text::new(
                format!("{}", 25 * step),
                (x + 3, y - 4),
                ("sans-serif", 10).into_font().color(&INK),
            ))
            .map_err(failed)?;
        }
        for (a, name) in axes.iter().enumerate() {
            area.draw(&PathElement::new(
                vec![point(a, 0.0), point(a, 1.0)],
                GRID.stroke_width(1),
            ))
            .map_err(failed)?;
            let (x, y) = point(a, 1.12);
            let side = match x - centre.0 as i32 {
                d if d > 20 => plotters::style::text_anchor::HPos::Left,
                d if d < -20 => plotters::style::text_anchor::HPos::Right,
                _ => plotters::style::text_anchor::HPos::Center,
            };
            let pos = plotters::style::text_anchor::Pos::new(side, plotters::style::text_anchor::VPos::Center);
            area.draw(&Text::new(
                name.clone(),
                (x, y),
                ("sans-serif", 12).into_font().color(&INK).pos(pos),
            ))
            .map_err(failed)?;
        }
        for (s, of) in values.iter().enumerate() {
            let known: Vec<Option<(i32, i32)>> = of.iter().enumerate().map(|(a, v)| v.map(|v| point(a, v))).collect();
            if let Some(polygon) = known.iter().copied().collect::<Option<Vec<(i32, i32)>>>() {
                area.draw(&Polygon::new(polygon, colour(s).mix(0.10))).map_err(failed)?;
            }
            for (a, from) in known.iter().enumerate() {
                let Some(from) = *from else { continue };
                area.draw(&Circle::new(from, 2, colour(s).filled())).map_err(failed)?;
                if let Some(to) = known[(a + 1) % known.len()] {
                    area.draw(&PathElement::new(vec![from, to], colour(s).stroke_width(2)))
                        .map_err(failed)?;
                }
            }
        }
        Ok(())
    })
}

/// Reliability: accuracy against confidence; `bins` holds (rows, confidence, accuracy).
pub fn reliability(bins: &[(u64, f64, f64)]) -> anyhow::Result<String> {
    let most = bins.iter().map(|b| b.0).max().unwrap_or(1).max(1) as f64;
    draw(260, 230, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .x_label_area_size(34)
            .y_label_area_size(40)
            .build_cartesian_2d(0.0..1.0, 0.0..1.0)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_labels(5)
            .y_labels(5)
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .x_desc("confidence")
            .y_desc("share right")
            .label_style(("sans-serif", 11).into_font().color(&INK))
            .draw()
            .map_err(failed)?;
        let width = 1.0 / bins.len() as f64;
        let shares = bins.iter().enumerate().filter(|(_, b)| b.0 > 0).map(|(i, b)| {
            let left = i as f64 * width;
            Rectangle::new([(left, 0.0), (left + width, 0.25 * b.0 as f64 / most)], GRID.filled())
        });
        chart.draw_series(shares).map_err(failed)?;
        chart
            .draw_series([PathElement::new(
                vec![(0.0, 0.0), (1.0, 1.0)],
                INK.mix(0.5).stroke_width(1),
            )])
            .map_err(failed)?;
        let points: Vec<(f64, f64)> = bins.iter().filter(|b| b.0 > 0).map(|b| (b.1, b.2)).collect();
        chart
            .draw_series([PathElement::new(points.clone(), colour(0).stroke_width(2))])
            .map_err(failed)?;
        chart
            .draw_series(points.into_iter().map(|p| Circle::new(p, 3, colour(0).filled())))
            .map_err(failed)?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_long_key_goes_on_in_the_next_line() {
        let names: Vec<String> = (0..9).map(|i| format!("a model with a long name {i}")).collect();
        let places = legend_places(&names, 12, 600);
        assert!(
            places
                .iter()
                .zip(&names)
                .all(|(p, n)| p.0 + 36 + 7 * n.len() as i32 <= 600)
        );
        assert!(places.windows(2).all(|w| w[0].1 < w[1].1 || w[0].0 < w[1].0));
        assert_eq!(legend_height(&places), places[8].1 + 22);
        assert_ne!(colour(1), colour(8));
    }

    #[test]
    fn a_model_without_a_value_on_one_axis_is_still_drawn() {
        let axes = ["x", "y", "z"].map(String::from);
        let series = ["whole", "gap"].map(String::from);
        let svg = radar(
            &axes,
            &series,
            &[vec![Some(0.5), Some(0.6), Some(0.7)], vec![Some(0.5), None, Some(0.7)]],
        )
        .unwrap();
        assert_eq!(svg.matches("<circle").count(), 5, "{svg}");
        assert_eq!(svg.matches("<polygon").count(), 1);
    }
}
