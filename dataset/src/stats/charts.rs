//! Bar charts as SVG.

use crate::error::{DatasetError, Result};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Width of all charts in pixels.
const WIDTH: u32 = 760;
/// Height of charts with upright bars.
const HEIGHT: u32 = 380;
/// Height of one lying bar.
const ROW: u32 = 21;
const FONT: &str = "Helvetica, Arial, 'Noto Sans CJK SC', sans-serif";
const INK: RGBColor = RGBColor(51, 51, 51);
const RULE: RGBColor = RGBColor(225, 225, 225);

/// One colour's bars of a chart.
pub(super) struct Series {
    pub name: String,
    /// `#rrggbb`.
    pub color: &'static str,
    /// A value for each group.
    pub values: Vec<f64>,
}

fn color_of(hex: &str) -> RGBColor {
    let part = |at: usize| {
        hex.get(at..at + 2)
            .and_then(|two| u8::from_str_radix(two, 16).ok())
            .unwrap_or(0)
    };
    RGBColor(part(1), part(3), part(5))
}

fn failed<E: std::fmt::Display>(error: E) -> DatasetError {
    DatasetError::invalid("chart", error.to_string())
}

fn style(size: i32, h: HPos, v: VPos) -> TextStyle<'static> {
    (FONT, size).into_font().color(&INK).pos(Pos::new(h, v))
}

/// Upright bars in groups, with a legend above.
pub(super) fn grouped(title: &str, groups: &[String], series: &[Series], unit: &str) -> Result<String> {
    let mut text = String::new();
    draw_grouped(&mut text, title, groups, series, unit)?;
    Ok(text)
}

fn draw_grouped(text: &mut String, title: &str, groups: &[String], series: &[Series], unit: &str) -> Result<()> {
    let root = SVGBackend::with_string(text, (WIDTH, HEIGHT)).into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    let heading = style(17, HPos::Left, VPos::Top);
    root.draw(&Text::new(title.to_owned(), (14, 10), heading))
        .map_err(failed)?;
    let mut x = 14;
    for one in series.iter().filter(|_| series.len() > 1) {
        let box_style = color_of(one.color).filled();
        root.draw(&Rectangle::new([(x, 39), (x + 11, 50)], box_style))
            .map_err(failed)?;
        let label = Text::new(one.name.clone(), (x + 16, 45), style(13, HPos::Left, VPos::Center));
        root.draw(&label).map_err(failed)?;
        x += 34 + 9 * one.name.chars().count() as i32;
    }
    let largest = series.iter().flat_map(|one| &one.values).copied().fold(0.0, f64::max);
    let top = if largest > 0.0 { largest * 1.12 } else { 1.0 };
    let mut chart = ChartBuilder::on(&root)
        .margin_left(10)
        .margin_right(14)
        .margin_top(60)
        .margin_bottom(8)
        .x_label_area_size(34)
        .y_label_area_size(58)
        .build_cartesian_2d(0.0..groups.len().max(1) as f64, 0.0..top)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RULE)
        .axis_style(RULE)
        .y_labels(6)
        .y_desc(unit)
        .y_label_style(style(12, HPos::Left, VPos::Center))
        .axis_desc_style(style(12, HPos::Left, VPos::Center))
        .y_label_formatter(&|value| short(*value))
        .draw()
        .map_err(failed)?;
    let wide = 0.82 / series.len().max(1) as f64;
    let many = groups.len() * series.len() > 24;
    for (at, one) in series.iter().enumerate() {
        for (group, &value) in one.values.iter().enumerate() {
            let left = group as f64 + 0.09 + at as f64 * wide;
            let bar = Rectangle::new([(left, 0.0), (left + wide * 0.94, value)], color_of(one.color).filled());
            chart.draw_series([bar]).map_err(failed)?;
            if value > 0.0 && !many {
                let (x, y) = chart.backend_coord(&(left + wide * 0.47, value));
                let label = Text::new(short(value), (x, y - 3), style(11, HPos::Center, VPos::Bottom));
                root.draw(&label).map_err(failed)?;
            }
        }
    }
    for (group, name) in groups.iter().enumerate() {
        let (x, y) = chart.backend_coord(&(group as f64 + 0.5, 0.0));
        let label = Text::new(name.clone(), (x, y + 8), style(12, HPos::Center, VPos::Top));
        root.draw(&label).map_err(failed)?;
    }
    root.present().map_err(failed)
}

/// Lying bars with their names on the left and values on the right.
pub(super) fn lying(title: &str, bars: &[(String, u64)], color: &str) -> Result<String> {
    let bars: Vec<(String, f64)> = bars.iter().map(|(name, value)| (name.clone(), *value as f64)).collect();
    let mut text = String::new();
    draw_lying(&mut text, title, &bars, color, |value| format!("{value:.0}"))?;
    Ok(text)
}

/// As [`lying`], for numbers with a fraction.
pub(super) fn lying_shares(title: &str, bars: &[(String, f64)], color: &str) -> Result<String> {
    let mut text = String::new();
    draw_lying(&mut text, title, bars, color, |value| format!("{value:.2}"))?;
    Ok(text)
}

fn draw_lying(
    text: &mut String,
    title: &str,
    bars: &[(String, f64)],
    color: &str,
    label: fn(f64) -> String,
) -> Result<()> {
    let height = 46 + ROW * bars.len().max(1) as u32;
    let root = SVGBackend::with_string(text, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    root.draw(&Text::new(title.to_owned(), (14, 10), style(17, HPos::Left, VPos::Top)))
        .map_err(failed)?;
    let names = bars
        .iter()
        .map(|(name, _)| name_width(name))
        .max()
        .unwrap_or(0)
        .clamp(60, 330);
    let left = 14 + names + 8;
    let room = WIDTH as i32 - left - 70;
    let largest = bars.iter().map(|(_, value)| *value).fold(1e-9, f64::max);
    for (row, (name, value)) in bars.iter().enumerate() {
        let y = 40 + (ROW * row as u32) as i32;
        let middle = y + ROW as i32 / 2;
        let name = Text::new(fit(name), (left - 8, middle), style(13, HPos::Right, VPos::Center));
        root.draw(&name).map_err(failed)?;
        let right = left + ((value / largest) * f64::from(room)).round() as i32;
        let bar = Rectangle::new(
            [(left, y + 3), (right.max(left + 1), y + ROW as i32 - 3)],
            color_of(color).filled(),
        );
        root.draw(&bar).map_err(failed)?;
        let value = Text::new(
            label(*value),
            (right.max(left + 1) + 6, middle),
            style(12, HPos::Left, VPos::Center),
        );
        root.draw(&value).map_err(failed)?;
    }
    root.present().map_err(failed)
}

/// Pixels of a name at 13 pixels font size, rather too many than too few.
fn name_width(name: &str) -> i32 {
    name.chars().map(|c| if c.is_ascii() { 8 } else { 14 }).sum()
}

/// Shortens names that would not fit.
fn fit(name: &str) -> String {
    if name_width(name) <= 330 {
        return name.to_owned();
    }
    let mut short = String::new();
    for c in name.chars() {
        if name_width(&short) > 300 {
            break;
        }
        short.push(c);
    }
    short + "…"
}

/// `1234567` as `1.2M`; whole numbers without a point.
fn short(value: f64) -> String {
    let plain = |value: f64| {
        let text = format!("{value:.1}");
        text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
    };
    match value {
        v if v >= 1e6 => format!("{}M", plain(v / 1e6)),
        v if v >= 1e4 => format!("{}k", plain(v / 1e3)),
        v if v > 0.0 && v < 1.0 => format!("{v:.2}"),
        v => plain(v),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn charts_hold_their_names_and_are_the_same_twice() {
        let groups = ["1-25".to_owned(), "26-50".to_owned()];
        let series = || {
            [
                Series {
                    name: "CFP".to_owned(),
                    color: "#c2553f",
                    values: vec![3.0, 0.0],
                },
                Series {
                    name: "OCT".to_owned(),
                    color: "#7a6bb0",
                    values: vec![1.0, 2.5],
                },
            ]
        };
        let picture = grouped("Lengths <all>", &groups, &series(), "captions").unwrap();
        for part in ["Lengths", "CFP", "OCT", "26-50", "2.5", "&lt;all"] {
            assert!(picture.contains(part), "{part}");
        }
        assert_eq!(
            picture,
            grouped("Lengths <all>", &groups, &series(), "captions").unwrap()
        );
        let picture = lying("Terms", &[("黄斑 & co".to_owned(), 12), ("x".to_owned(), 0)], "#333333").unwrap();
        assert!(picture.contains("黄斑 &amp; co") && picture.contains("12"));
        assert!(lying("Nothing", &[], "#333333").unwrap().contains("Nothing"));
        assert!(grouped("Nothing", &[], &[], "").unwrap().contains("Nothing"));
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.256, "0.26"),
            (7.0, "7"),
            (7.25, "7.2"),
            (12_345.0, "12.3k"),
            (2e6, "2M"),
        ] {
            assert_eq!(short(value), text);
        }
    }
}
