//! Connected components of a bit mask (8 neighbours), by union-find over rows of runs.

use super::geometry::Rect;

/// One connected component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Smallest rectangle around it.
    pub bbox: Rect,
    /// Pixels that belong to it.
    pub pixels: i64,
}

struct Run {
    row: i32,
    start: i32,
    end: i32, // exclusive
    parent: usize,
}

fn root(runs: &mut [Run], mut index: usize) -> usize {
    while runs[index].parent != index {
        let up = runs[runs[index].parent].parent;
        runs[index].parent = up;
        index = up;
    }
    index
}

/// Components of `mask` (row-major, `width` columns) inside `area`, in reading order of their first pixel.
pub fn components(mask: &[bool], width: usize, area: &Rect) -> Vec<Component> {
    let mut runs: Vec<Run> = Vec::new();
    let mut previous = 0..0;
    for y in area.y0..area.y1 {
        let first = runs.len();
        let line = &mask[y as usize * width..(y as usize + 1) * width];
        let mut x = area.x0;
        while x < area.x1 {
            if !line[x as usize] {
                x += 1;
                continue;
            }
            let start = x;
            while x < area.x1 && line[x as usize] {
                x += 1;
            }
            let index = runs.len();
            runs.push(Run {
                row: y,
                start,
                end: x,
                parent: index,
            });
        }
        let mut above = previous.start;
        for current in first..runs.len() {
            // Runs touch when they overlap or meet at a corner.
            while above < previous.end && runs[above].end < runs[current].start {
                above += 1;
            }
            let mut look = above;
            while look < previous.end && runs[look].start <= runs[current].end {
                let (a, b) = (root(&mut runs, look), root(&mut runs, current));
                let (low, high) = (a.min(b), a.max(b));
                runs[high].parent = low;
                look += 1;
            }
        }
        previous = first..runs.len();
    }
    let mut slot = vec![usize::MAX; runs.len()];
    let mut out: Vec<Component> = Vec::new();
    for index in 0..runs.len() {
        let top = root(&mut runs, index);
        let run = &runs[index];
        let bbox = Rect::new(run.start, run.row, run.end, run.row + 1);
        let pixels = i64::from(run.end - run.start);
        if slot[top] == usize::MAX {
            slot[top] = out.len();
            out.push(Component { bbox, pixels });
        } else {
            let component = &mut out[slot[top]];
            component.bbox = component.bbox.union(&bbox);
            component.pixels += pixels;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(rows: &[&str]) -> (Vec<bool>, usize) {
        let width = rows[0].len();
        (rows.iter().flat_map(|r| r.bytes().map(|b| b == b'#')).collect(), width)
    }

    #[test]
    fn shapes_that_join_late_and_at_corners() {
        let (bits, width) = mask(&["#.#..", "#.#.#", "###..", "...#.", "....."]);
        let found = components(&bits, width, &Rect::new(0, 0, 5, 5));
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].bbox, Rect::new(0, 0, 4, 4));
        assert_eq!(found[0].pixels, 8);
        assert_eq!(found[1].pixels, 1);
    }

    #[test]
    fn the_area_limits_the_search() {
        let (bits, width) = mask(&["##", "##"]);
        let found = components(&bits, width, &Rect::new(1, 0, 2, 1));
        assert_eq!(
            found,
            [Component {
                bbox: Rect::new(1, 0, 2, 1),
                pixels: 1
            }]
        );
    }
}
