//! Which picture blocks belong to which caption.

use super::geometry::Rect;

/// Where captions stand relative to their pictures; one page keeps to one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placement {
    Below,
    Above,
    Beside,
}

/// For each block the index of its caption, or `None` when the page has no captions.
pub fn assign_blocks(blocks: &[Rect], captions: &[Rect]) -> Vec<Option<usize>> {
    if captions.len() <= 1 {
        let only = (!captions.is_empty()).then_some(0);
        return vec![only; blocks.len()];
    }
    let best = [Placement::Below, Placement::Above, Placement::Beside]
        .into_iter()
        .map(|placement| {
            let choice: Vec<Option<(usize, i32)>> =
                blocks.iter().map(|block| nearest(block, captions, placement)).collect();
            let unserved = choice.iter().filter(|c| c.is_none()).count();
            let idle = (0..captions.len())
                .filter(|i| !choice.iter().flatten().any(|(c, _)| c == i))
                .count();
            let distance: i64 = choice.iter().flatten().map(|(_, d)| i64::from(*d)).sum();
            ((unserved + idle, distance), choice)
        })
        .min_by_key(|(cost, _)| *cost)
        .map(|(_, choice)| choice)
        .unwrap_or_default();
    blocks
        .iter()
        .zip(best)
        .map(|(block, choice)| {
            choice.map(|(index, _)| index).or_else(|| {
                (0..captions.len()).min_by_key(|&i| block.gap_x(&captions[i]).max(block.gap_y(&captions[i])))
            })
        })
        .collect()
}

fn nearest(block: &Rect, captions: &[Rect], placement: Placement) -> Option<(usize, i32)> {
    // Boxes of print and picture may touch by a few pixels.
    let slack = block.height() / 20;
    captions
        .iter()
        .enumerate()
        .filter_map(|(index, caption)| {
            let (distance, in_column) = match placement {
                Placement::Below => (caption.y0 - block.y1, block.overlap_x(caption) > 0),
                Placement::Above => (block.y0 - caption.y1, block.overlap_x(caption) > 0),
                Placement::Beside => (block.gap_x(caption), block.overlap_y(caption) > 0),
            };
            if placement == Placement::Beside && (block.overlap_x(caption) > 0 || !in_column) {
                return None;
            }
            (distance >= -slack).then_some((index, distance.max(0), in_column))
        })
        .min_by_key(|(_, distance, in_column)| (!in_column, *distance))
        .map(|(index, distance, _)| (index, distance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_below_above_and_beside() {
        let upper = Rect::new(0, 0, 300, 200);
        let lower = Rect::new(0, 300, 300, 500);
        let second = Rect::new(310, 300, 600, 500);
        let blocks = [upper, lower, second];
        let below = [Rect::new(0, 210, 300, 250), Rect::new(0, 510, 600, 550)];
        assert_eq!(assign_blocks(&blocks, &below), [Some(0), Some(1), Some(1)]);
        let above = [Rect::new(0, -60, 300, -10), Rect::new(0, 250, 600, 290)];
        assert_eq!(assign_blocks(&blocks, &above), [Some(0), Some(1), Some(1)]);
        let beside = [Rect::new(700, 0, 900, 200), Rect::new(700, 300, 900, 500)];
        assert_eq!(assign_blocks(&blocks, &beside), [Some(0), Some(1), Some(1)]);
        assert_eq!(assign_blocks(&blocks, &[]), [None, None, None]);
    }
}
