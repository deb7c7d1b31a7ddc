//! Rectangles in whole pixels; `x1` and `y1` are exclusive.

use dataset::record::BoundingBox;

/// A half-open rectangle of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rect {
    /// Left edge.
    pub x0: i32,
    /// Top edge.
    pub y0: i32,
    /// First column to the right of the rectangle.
    pub x1: i32,
    /// First row below the rectangle.
    pub y1: i32,
}

impl Rect {
    /// A rectangle from its four edges.
    pub const fn new(x0: i32, y0: i32, x1: i32, y1: i32) -> Self {
        Self { x0, y0, x1, y1 }
    }

    /// Width in pixels, never negative.
    pub fn width(&self) -> i32 {
        (self.x1 - self.x0).max(0)
    }

    /// Height in pixels, never negative.
    pub fn height(&self) -> i32 {
        (self.y1 - self.y0).max(0)
    }

    /// Number of pixels inside.
    pub fn area(&self) -> i64 {
        i64::from(self.width()) * i64::from(self.height())
    }

    /// Smaller of width and height.
    pub fn short_side(&self) -> i32 {
        self.width().min(self.height())
    }

    /// True when no pixel lies inside.
    pub fn is_empty(&self) -> bool {
        self.x1 <= self.x0 || self.y1 <= self.y0
    }

    /// Middle column.
    pub fn center_x(&self) -> i32 {
        (self.x0 + self.x1) / 2
    }

    /// Middle row.
    pub fn center_y(&self) -> i32 {
        (self.y0 + self.y1) / 2
    }

    /// Pixels common to both.
    pub fn intersection(&self, other: &Self) -> Self {
        Self::new(
            self.x0.max(other.x0),
            self.y0.max(other.y0),
            self.x1.min(other.x1),
            self.y1.min(other.y1),
        )
    }

    /// Smallest rectangle around both.
    pub fn union(&self, other: &Self) -> Self {
        Self::new(
            self.x0.min(other.x0),
            self.y0.min(other.y0),
            self.x1.max(other.x1),
            self.y1.max(other.y1),
        )
    }

    /// Grown by `margin` on every side.
    pub fn grown(&self, margin: i32) -> Self {
        Self::new(self.x0 - margin, self.y0 - margin, self.x1 + margin, self.y1 + margin)
    }

    /// Clipped to an image of `width` x `height`.
    pub fn clipped(&self, width: u32, height: u32) -> Self {
        self.intersection(&Self::new(0, 0, width as i32, height as i32))
    }

    /// Shared pixels over pixels of the union, 0..=1.
    pub fn iou(&self, other: &Self) -> f64 {
        let both = self.intersection(other);
        if both.is_empty() {
            return 0.0;
        }
        let both = both.area() as f64;
        both / (self.area() as f64 + other.area() as f64 - both)
    }

    /// Columns shared by both, 0 when they lie apart.
    pub fn overlap_x(&self, other: &Self) -> i32 {
        (self.x1.min(other.x1) - self.x0.max(other.x0)).max(0)
    }

    /// Rows shared by both, 0 when they lie apart.
    pub fn overlap_y(&self, other: &Self) -> i32 {
        (self.y1.min(other.y1) - self.y0.max(other.y0)).max(0)
    }

    /// Empty columns between both, 0 when they overlap in x.
    pub fn gap_x(&self, other: &Self) -> i32 {
        (self.x0.max(other.x0) - self.x1.min(other.x1)).max(0)
    }

    /// Empty rows between both, 0 when they overlap in y.
    pub fn gap_y(&self, other: &Self) -> i32 {
        (self.y0.max(other.y0) - self.y1.min(other.y1)).max(0)
    }

    /// True when `other` lies inside.
    pub fn contains(&self, other: &Self) -> bool {
        self.x0 <= other.x0 && self.y0 <= other.y0 && self.x1 >= other.x1 && self.y1 >= other.y1
    }

    /// As the four numbers of the contract's `bbox`.
    pub fn to_array(&self) -> [i32; 4] {
        [self.x0, self.y0, self.x1, self.y1]
    }

    /// As the dataset's box.
    pub fn to_bounding_box(&self) -> BoundingBox {
        BoundingBox {
            x0: self.x0,
            y0: self.y0,
            x1: self.x1,
            y1: self.y1,
        }
    }
}

/// Smallest rectangle around all of `rects`; `None` for none.
pub fn hull<'a>(rects: impl IntoIterator<Item = &'a Rect>) -> Option<Rect> {
    rects.into_iter().copied().reduce(|a, b| a.union(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_and_gaps() {
        let a = Rect::new(0, 0, 10, 10);
        let b = Rect::new(12, 5, 20, 15);
        assert_eq!(a.gap_x(&b), 2);
        assert_eq!(a.overlap_y(&b), 5);
        assert_eq!(a.iou(&b), 0.0);
        assert!((a.iou(&Rect::new(0, 0, 10, 5)) - 0.5).abs() < 1e-9);
        assert_eq!(a.union(&b), Rect::new(0, 0, 20, 15));
        assert!(a.intersection(&b).is_empty());
    }
}
