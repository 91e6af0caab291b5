//! Percentiles.

use serde::Serialize;

/// Percentiles of values. All are 0 if there are no values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The largest value.
    pub max: f64,
}

/// The percentiles of values by nearest rank, so each percentile is one of the values.
pub fn spread(mut values: Vec<f64>) -> Spread {
    values.sort_by(f64::total_cmp);
    let percentile = |percent: usize| {
        let rank = (values.len() * percent).div_ceil(100);
        rank.checked_sub(1).and_then(|index| values.get(index)).copied().unwrap_or_default()
    };
    Spread { p50: percentile(50), p99: percentile(99), max: percentile(100) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_existing_values() {
        assert_eq!(spread((1..=200).rev().map(f64::from).collect()), Spread { p50: 100.0, p99: 198.0, max: 200.0 });
        assert_eq!(spread(vec![3.0]), Spread { p50: 3.0, p99: 3.0, max: 3.0 });
        assert_eq!(spread(Vec::new()), Spread::default());
    }
}
