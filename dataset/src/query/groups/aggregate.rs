//! What is asked of a group, and its answer.

use polars::prelude::{AggExpr, Expr, IdxSize, NamedFrom, PlSmallStr, Series};

/// What is asked of each group.
pub(super) enum Aggregate {
    Rows,
    Count(PlSmallStr),
    Mean(PlSmallStr),
    Min(PlSmallStr),
    Max(PlSmallStr),
}

/// An aggregate with the name of its result.
pub(super) fn aggregate(expression: &Expr) -> Option<(PlSmallStr, Aggregate)> {
    if let Expr::Alias(inner, name) = expression {
        return Some((name.clone(), aggregate(inner)?.1));
    }
    let column = |input: &Expr| match input {
        Expr::Column(name) => Some(name.clone()),
        _ => None,
    };
    let (name, aggregate) = match expression {
        Expr::Len => (PlSmallStr::from("len"), Aggregate::Rows),
        Expr::Agg(AggExpr::Count {
            input,
            include_nulls: false,
        }) => (column(input)?, Aggregate::Count(column(input)?)),
        Expr::Agg(AggExpr::Mean(input)) => (column(input)?, Aggregate::Mean(column(input)?)),
        Expr::Agg(AggExpr::Min {
            input,
            propagate_nans: false,
        }) => (column(input)?, Aggregate::Min(column(input)?)),
        Expr::Agg(AggExpr::Max {
            input,
            propagate_nans: false,
        }) => (column(input)?, Aggregate::Max(column(input)?)),
        _ => return None,
    };
    Some((name, aggregate))
}

impl Aggregate {
    /// The column that it needs.
    pub fn column(&self) -> Option<&str> {
        match self {
            Self::Rows => None,
            Self::Count(name) | Self::Mean(name) | Self::Min(name) | Self::Max(name) => Some(name),
        }
    }

    /// The results of all groups in the type that polars gives them.
    pub fn series(&self, name: PlSmallStr, totals: impl Iterator<Item = Total>, kind: Kind) -> Series {
        let some = |total: Total, value: f64| (total.count > 0).then_some(value);
        // Sums of 32-bit numbers and their extremes are exact in f64.
        let values: Vec<Option<f64>> = match self {
            Self::Rows | Self::Count(_) => {
                let counts: Vec<IdxSize> = totals.map(|total| total.count).collect();
                return Series::new(name, counts);
            }
            Self::Mean(_) => totals
                .map(|total| some(total, total.value / f64::from(total.count)))
                .collect(),
            Self::Min(_) | Self::Max(_) => totals.map(|total| some(total, total.value)).collect(),
        };
        match (self, kind) {
            (Self::Mean(_), Kind::Int32) => Series::new(name, values),
            (_, Kind::Int32) => {
                let values: Vec<Option<i32>> = values.into_iter().map(|value| Some(value? as i32)).collect();
                Series::new(name, values)
            }
            _ => {
                let values: Vec<Option<f32>> = values.into_iter().map(|value| Some(value? as f32)).collect();
                Series::new(name, values)
            }
        }
    }
}

/// The type of a column that is aggregated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// Only counted.
    Any,
    Int32,
    Float32,
}

/// What was found of one group for one aggregate: cells that are not null, and
/// their sum or extreme.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Total {
    pub count: IdxSize,
    pub value: f64,
}

impl Total {
    /// Adds cells that are not null.
    pub fn add_all(&mut self, values: impl Iterator<Item = f64>, aggregate: &Aggregate) {
        let mut total = *self;
        match aggregate {
            Aggregate::Min(_) => values.for_each(|value| total.extreme(value, |new, old| new < old)),
            Aggregate::Max(_) => values.for_each(|value| total.extreme(value, |new, old| new > old)),
            _ => values.for_each(|value| {
                total.value += value;
                total.count += 1;
            }),
        }
        *self = total;
    }

    /// As in polars, NaN counts only where there is nothing else.
    fn extreme(&mut self, value: f64, better: impl Fn(f64, f64) -> bool) {
        if self.count == 0 || self.value.is_nan() || better(value, self.value) {
            self.value = value;
        }
        self.count += 1;
    }
}
