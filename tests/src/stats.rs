//! Whether a distribution is as promised: Pearson's chi-square test.

use anyhow::{Result, ensure};

/// Normal quantile of the error accepted: a right distribution is called wrong once in a million.
const QUANTILE: f64 = 4.753;
/// Least expected count for which the test holds.
const LEAST: f64 = 5.0;

/// Judges whether counts come from these weights.
///
/// # Errors
/// When they deviate more than chance does once in a million times, or are too few to judge.
pub fn fits_weights(observed: &[(u64, u32)]) -> Result<()> {
    let total: u64 = observed.iter().map(|(count, _)| count).sum();
    let weights: f64 = observed.iter().map(|(_, weight)| f64::from(*weight)).sum();
    let mut statistic = 0.0;
    for (count, weight) in observed {
        let expected = total as f64 * f64::from(*weight) / weights;
        if *weight == 0 {
            ensure!(*count == 0, "weight 0 got {count}: {observed:?}");
            continue;
        }
        ensure!(expected >= LEAST, "too few to judge: {observed:?}");
        statistic += (*count as f64 - expected).powi(2) / expected;
    }
    let freedom = observed.iter().filter(|(_, weight)| *weight > 0).count().saturating_sub(1);
    ensure!(freedom > 0, "one share is always right: {observed:?}");
    let bound = critical_value(freedom, QUANTILE);
    ensure!(
        statistic <= bound,
        "chi-square {statistic:.1} exceeds {bound:.1}; (count, weight): {observed:?}"
    );
    Ok(())
}

/// The chi-square distribution's quantile for `freedom` degrees of freedom, from the normal
/// distribution's: Wilson and Hilferty's approximation. With few degrees of freedom it errs upwards,
/// towards patience: by 15 % with one, by a few with more.
fn critical_value(freedom: usize, normal_quantile: f64) -> f64 {
    let k = freedom as f64;
    let spread = 2.0 / (9.0 * k);
    k * (1.0 - spread + normal_quantile * spread.sqrt()).powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_critical_value_agrees_with_the_tables() {
        // 0.1 %: normal quantile 3.0902.
        for (freedom, table) in
            [(1, 10.828), (2, 13.816), (5, 20.515), (10, 29.588), (100, 149.449)]
        {
            let value = critical_value(freedom, 3.0902);
            assert!((value / table - 1.0).abs() < 0.04, "{freedom}: {value}, not {table}");
        }
    }

    #[test]
    fn a_fair_draw_fits_and_a_skewed_one_does_not() {
        fits_weights(&[(1010, 1), (990, 1), (2000, 2)]).unwrap();
        fits_weights(&[(0, 0), (512, 1), (488, 1)]).unwrap();
        assert!(fits_weights(&[(1200, 1), (990, 1), (1810, 2)]).is_err());
        assert!(fits_weights(&[(1, 0), (500, 1), (500, 1)]).is_err());
        assert!(fits_weights(&[(3, 1), (3, 1)]).is_err());
        assert!(fits_weights(&[(1000, 1)]).is_err());
    }
}
