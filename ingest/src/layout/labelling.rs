//! Which label belongs to which panel: by printed letter, by position, by order.

use super::geometry::Rect;
use super::letters::PrintedLetter;

/// How the labels of a figure were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Labelling {
    /// The caption names no labels.
    None,
    /// Letters printed at the panels name them all.
    Printed,
    /// Numbers agree and the letters that could be read fit the reading order.
    Order,
    /// Numbers agree, but no letter that was read tells rows from columns.
    RowsOrColumns,
    /// Position words (left, 右) fit the places of the panels.
    Position,
    /// The caption names another number of panels than the picture shows.
    CountDiffers,
    /// Letters that were read contradict each other or the order.
    Contradiction,
}

impl Labelling {
    /// True when every panel has its label without doubt.
    pub fn is_sure(self) -> bool {
        !matches!(self, Self::CountDiffers | Self::Contradiction | Self::RowsOrColumns)
    }
}

/// Gives each panel (page boxes in reading order) its label out of `labels`
/// (caption order). `printed` holds what was read at each panel.
pub fn label_panels(
    panels: &[Rect],
    labels: &[String],
    printed: &[Option<PrintedLetter>],
) -> (Vec<Option<String>>, Labelling) {
    if labels.is_empty() {
        // Letters without a caption that names them still name the panels.
        let names = printed.iter().map(|p| p.as_ref().map(|p| p.label.clone())).collect();
        return (names, Labelling::None);
    }
    if labels.len() != panels.len() {
        return (by_print_alone(labels, printed), Labelling::CountDiffers);
    }
    if let Some(order) = by_position(panels, labels) {
        let names = order.into_iter().map(|i| Some(labels[i].clone())).collect();
        return (names, Labelling::Position);
    }
    by_order(panels, labels, printed)
}

/// Only letters that were read, and each at most once.
fn by_print_alone(labels: &[String], printed: &[Option<PrintedLetter>]) -> Vec<Option<String>> {
    let read = |i: usize| printed[i].as_ref().map(|p| p.label.as_str());
    (0..printed.len())
        .map(|i| {
            let label = read(i)?;
            let once = (0..printed.len()).filter(|&j| read(j) == Some(label)).count() == 1;
            (once && labels.iter().any(|l| l == label)).then(|| label.to_owned())
        })
        .collect()
}

/// Row by row or column by column: whichever the printed letters speak for.
fn by_order(panels: &[Rect], labels: &[String], printed: &[Option<PrintedLetter>]) -> (Vec<Option<String>>, Labelling) {
    let rows: Vec<usize> = (0..panels.len()).collect();
    let columns = column_order(panels);
    let agreement = |order: &[usize]| -> (usize, usize) {
        // order[k] = panel that shows label k
        order
            .iter()
            .enumerate()
            .fold((0, 0), |(yes, no), (k, &panel)| match &printed[panel] {
                Some(p) if p.label == labels[k] => (yes + 1, no),
                Some(_) => (yes, no + 1),
                None => (yes, no),
            })
    };
    let (row_yes, row_no) = agreement(&rows);
    let (col_yes, col_no) = agreement(&columns);
    // Only full grids are now and then named down their columns, and what stands beside a panel of two rows.
    let either = (is_grid(panels) || columns != rows && one_spans_rows(panels)) && row_no == 0 && col_no == 0;
    let (order, yes, no) = if columns != rows && col_yes > row_yes && col_no < row_no {
        (columns, col_yes, col_no)
    } else {
        (rows, row_yes, row_no)
    };
    let mut names = vec![None; panels.len()];
    for (k, &panel) in order.iter().enumerate() {
        names[panel] = Some(labels[k].clone());
    }
    if no == 0 {
        let how = if yes == panels.len() {
            Labelling::Printed
        } else if either {
            Labelling::RowsOrColumns
        } else {
            Labelling::Order
        };
        return (names, how);
    }
    // An order of its own, read in full and without repeats, is taken as printed.
    let full = by_print_alone(labels, printed);
    if full.iter().all(Option::is_some) {
        return (full, Labelling::Printed);
    }
    // A single misread letter does not overturn an order that the others confirm.
    if no == 1 && yes >= 2 {
        return (names, Labelling::Order);
    }
    (names, Labelling::Contradiction)
}

/// Two or more rows of equally many panels, two or more.
fn is_grid(panels: &[Rect]) -> bool {
    let mut rest: Vec<&Rect> = panels.iter().collect();
    let mut rows: Vec<usize> = Vec::new();
    while let Some(first) = rest.first().copied() {
        let before = rest.len();
        rest.retain(|p| 2 * p.overlap_y(first) < p.height().min(first.height()));
        if rest.len() == before {
            return false;
        }
        rows.push(before - rest.len());
    }
    rows.len() >= 2 && rows[0] >= 2 && rows.iter().all(|n| *n == rows[0])
}

/// True when a panel stands beside two of which one is under the other.
fn one_spans_rows(panels: &[Rect]) -> bool {
    let beside = |a: &Rect, b: &Rect| 2 * a.overlap_y(b) >= a.height().min(b.height());
    panels.iter().any(|tall| {
        let next: Vec<&Rect> = panels.iter().filter(|p| *p != tall && beside(p, tall)).collect();
        next.iter().any(|a| next.iter().any(|b| a != b && !beside(a, b)))
    })
}

/// Panels sorted into columns from the left, each from the top.
fn column_order(panels: &[Rect]) -> Vec<usize> {
    let mut rest: Vec<usize> = (0..panels.len()).collect();
    rest.sort_by_key(|&i| (panels[i].x0, panels[i].y0));
    let mut out = Vec::new();
    while !rest.is_empty() {
        let first = panels[rest[0]];
        let (mut column, others): (Vec<usize>, Vec<usize>) = rest
            .into_iter()
            .partition(|&i| 2 * panels[i].overlap_x(&first) >= panels[i].width().min(first.width()));
        column.sort_by_key(|&i| (panels[i].y0, panels[i].x0));
        out.extend(column);
        rest = others;
    }
    out
}

/// Horizontal and vertical place named by a position label, each -1, 0 or 1.
pub fn place_of(label: &str) -> Option<(f64, f64)> {
    let lower = label.to_lowercase();
    let cleaned: String = lower
        .chars()
        .filter(|c| !matches!(c, '图' | '侧' | '方' | '面' | '边' | '部' | '-' | ' ' | '_'))
        .collect();
    let mut rest = cleaned.as_str();
    let (mut x, mut y) = (None, None);
    let words: [(&str, Option<f64>, Option<f64>); 20] = [
        ("upper", None, Some(-1.0)),
        ("lower", None, Some(1.0)),
        ("bottom", None, Some(1.0)),
        ("top", None, Some(-1.0)),
        ("left", Some(-1.0), None),
        ("right", Some(1.0), None),
        ("middle", Some(0.0), Some(0.0)),
        ("center", Some(0.0), Some(0.0)),
        ("centre", Some(0.0), Some(0.0)),
        ("central", Some(0.0), Some(0.0)),
        ("panel", None, None),
        ("image", None, None),
        ("左", Some(-1.0), None),
        ("右", Some(1.0), None),
        ("上", None, Some(-1.0)),
        ("下", None, Some(1.0)),
        ("中", Some(0.0), Some(0.0)),
        ("间", None, None),
        ("央", None, None),
        ("row", None, None),
    ];
    while !rest.is_empty() {
        let (word, dx, dy) = words.iter().find(|(w, _, _)| rest.starts_with(w))?;
        // "middle left" is left of the middle row.
        x = match (x, dx) {
            (Some(old), Some(new)) if *new == 0.0 => Some(old),
            (old, new) => new.or(old),
        };
        y = match (y, dy) {
            (Some(old), Some(new)) if *new == 0.0 => Some(old),
            (old, new) => new.or(old),
        };
        rest = &rest[word.len()..];
    }
    (x.is_some() || y.is_some()).then(|| (x.unwrap_or(0.0), y.unwrap_or(0.0)))
}

/// For each panel the index of the position label that fits its place best.
fn by_position(panels: &[Rect], labels: &[String]) -> Option<Vec<usize>> {
    let places: Vec<(f64, f64)> = labels.iter().map(|l| place_of(l)).collect::<Option<_>>()?;
    let all = super::geometry::hull(panels)?;
    let at = |p: &Rect| {
        let x = f64::from(p.center_x() - all.center_x()) * 2.0 / f64::from(all.width().max(1));
        let y = f64::from(p.center_y() - all.center_y()) * 2.0 / f64::from(all.height().max(1));
        (x, y)
    };
    let mut order: Vec<usize> = (0..labels.len()).collect();
    let mut best: Option<(f64, Vec<usize>)> = None;
    // Position labels name at most a handful of panels; more are left to order.
    if labels.len() > 7 {
        return None;
    }
    permute(&mut order, 0, &mut |order| {
        let cost: f64 = panels
            .iter()
            .zip(order)
            .map(|(p, &l)| {
                let ((px, py), (lx, ly)) = (at(p), places[l]);
                (px - lx * 0.5).powi(2) + (py - ly * 0.5).powi(2)
            })
            .sum();
        if best.as_ref().is_none_or(|(least, _)| cost < *least - 1e-9) {
            best = Some((cost, order.to_vec()));
        }
    });
    best.map(|(_, order)| order)
}

fn permute(items: &mut Vec<usize>, from: usize, visit: &mut dyn FnMut(&[usize])) {
    if from == items.len() {
        visit(items);
        return;
    }
    for i in from..items.len() {
        items.swap(from, i);
        permute(items, from + 1, visit);
        items.swap(from, i);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(columns: i32, rows: i32) -> Vec<Rect> {
        (0..rows)
            .flat_map(|r| (0..columns).map(move |c| Rect::new(c * 100, r * 100, c * 100 + 90, r * 100 + 90)))
            .collect()
    }

    fn labels(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn read(text: &str) -> Vec<Option<PrintedLetter>> {
        text.split(' ')
            .map(|l| {
                (l != "?").then(|| PrintedLetter {
                    label: l.to_owned(),
                    confidence: 0.9,
                })
            })
            .collect()
    }

    fn names(found: &[Option<String>]) -> String {
        found
            .iter()
            .map(|n| n.as_deref().unwrap_or("?"))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn beside_a_panel_of_two_rows_the_order_is_told_by_letters_alone() {
        let tall = [
            Rect::new(0, 0, 90, 90),
            Rect::new(100, 0, 190, 190),
            Rect::new(0, 100, 90, 190),
        ];
        let abc = labels("A B C");
        assert_eq!(label_panels(&tall, &abc, &read("? ? ?")).1, Labelling::RowsOrColumns);
        let (names_found, how) = label_panels(&tall, &abc, &read("? C ?"));
        assert_eq!((names(&names_found).as_str(), how), ("A C B", Labelling::Order));
        // Rows of two and one leave no doubt.
        let rows = [
            Rect::new(0, 0, 90, 90),
            Rect::new(100, 0, 190, 90),
            Rect::new(50, 100, 140, 190),
        ];
        assert_eq!(label_panels(&rows, &abc, &read("? ? ?")).1, Labelling::Order);
    }

    #[test]
    fn letters_decide_between_rows_and_columns() {
        let cases = [
            ("A B C D", "? ? ? ?", "A B C D", Labelling::RowsOrColumns),
            ("A B C D", "A ? ? D", "A B C D", Labelling::RowsOrColumns),
            ("A B C D", "? B ? ?", "A B C D", Labelling::Order),
            ("A B C D", "A ? B D", "A C B D", Labelling::Order),
            ("A B C D", "A C B D", "A C B D", Labelling::Printed),
            ("A B C D", "A B C B", "A B C D", Labelling::Order),
            ("A B C D", "D C B A", "D C B A", Labelling::Printed),
            ("A B C D", "D ? ? A", "A B C D", Labelling::Contradiction),
        ];
        for (caption, print, expected, how) in cases {
            let (found, labelling) = label_panels(&grid(2, 2), &labels(caption), &read(print));
            assert_eq!(
                (names(&found).as_str(), labelling),
                (expected, how),
                "{caption} | {print}"
            );
        }
    }

    #[test]
    fn rows_columns_and_ragged_figures_have_one_order() {
        let ragged = [grid(2, 1), vec![Rect::new(0, 100, 190, 190)]].concat();
        for panels in [grid(3, 1), grid(1, 3), ragged] {
            let (_, how) = label_panels(&panels, &labels("A B C"), &read("? ? ?"));
            assert_eq!(how, Labelling::Order);
        }
    }

    #[test]
    fn other_counts_keep_only_what_was_read() {
        let (found, how) = label_panels(&grid(3, 1), &labels("A B"), &read("A ? B"));
        assert_eq!((names(&found).as_str(), how), ("A ? B", Labelling::CountDiffers));
    }

    #[test]
    fn positions_name_places() {
        let (found, how) = label_panels(&grid(2, 1), &labels("右 左"), &read("? ?"));
        assert_eq!((names(&found).as_str(), how), ("左 右", Labelling::Position));
        let (found, _) = label_panels(
            &grid(2, 2),
            &labels("upper-right lower-left upper-left lower-right"),
            &read("? ? ? ?"),
        );
        assert_eq!(names(&found), "upper-left upper-right lower-left lower-right");
        assert_eq!(place_of("A"), None);
        assert_eq!(place_of("左上图"), Some((-1.0, -1.0)));
    }
}
