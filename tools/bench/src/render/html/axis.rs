//! Axes on which equal factors are equal lengths.

/// A logarithmic axis from one value to another, drawn from one place to another.
#[derive(Clone, Copy, Debug)]
pub struct LogAxis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl LogAxis {
    /// An axis over `values`, both finite and above 0, the first below the second.
    pub fn new(values: (f64, f64), places: (f64, f64)) -> Self {
        debug_assert!(values.0 > 0.0 && values.0 < values.1 && values.1.is_finite());
        LogAxis {
            low: values.0.ln(),
            high: values.1.ln(),
            from: places.0,
            to: places.1,
        }
    }

    /// Where a value lies, at an end of the axis where it is beyond; `None` for one that has no logarithm.
    pub fn at(&self, value: f64) -> Option<f64> {
        if !value.is_finite() || value <= 0.0 {
            return None;
        }
        let share = ((value.ln() - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        Some(self.from + share * (self.to - self.from))
    }

    /// Whether a value lies on the axis, not beyond.
    pub fn holds(&self, value: f64) -> bool {
        let slack = 1e-9 * (self.high - self.low);
        value > 0.0 && (self.low - slack..=self.high + slack).contains(&value.ln())
    }

    /// Values to write at the axis with their places, at least `apart` from each other: first those of the first list
    /// that fit, then those of the next.
    pub fn ticks(&self, lists: &[Vec<f64>], apart: f64) -> Vec<(f64, f64)> {
        let mut ticks: Vec<(f64, f64)> = Vec::new();
        for list in lists {
            // As a whole or not at all: half of a list would look like a mistake.
            let fits = |ticks: &[(f64, f64)], place: f64| {
                ticks
                    .iter()
                    .all(|&(_, other)| (other - place).abs() >= apart)
            };
            let mut more = ticks.clone();
            let all = list
                .iter()
                .filter(|&&value| self.holds(value))
                .all(|&value| {
                    let Some(place) = self.at(value) else {
                        return true;
                    };
                    let fit = fits(&more, place);
                    more.push((value, place));
                    fit
                });
            if all {
                ticks = more;
            } else if ticks.is_empty() {
                // Even the coarsest list is too dense: every so many of it.
                for &value in list.iter().filter(|&&value| self.holds(value)) {
                    if let Some(place) = self.at(value).filter(|&place| fits(&ticks, place)) {
                        ticks.push((value, place));
                    }
                }
            }
        }
        ticks.sort_by(|a, b| a.0.total_cmp(&b.0));
        ticks
    }
}

/// Powers of ten, then their doubles and halves, then what lies between.
pub fn decades() -> Vec<Vec<f64>> {
    let times = |factors: &[f64]| -> Vec<f64> {
        let powers = (-12..=15).map(|power| 10f64.powi(power));
        powers
            .flat_map(|ten| factors.iter().map(move |factor| factor * ten))
            .collect()
    };
    vec![
        times(&[1.0]),
        times(&[2.0, 5.0]),
        times(&[1.5, 3.0, 4.0, 7.0]),
    ]
}

/// Values around 1, the plainest first, each with its counterpart on the other side.
pub fn ratios() -> Vec<Vec<f64>> {
    vec![
        vec![1.0],
        vec![0.01, 100.0],
        vec![0.1, 10.0],
        vec![0.5, 2.0],
        vec![0.2, 5.0],
        vec![0.02, 50.0],
        vec![0.05, 20.0],
        vec![0.8, 1.25],
        vec![0.9, 1.1],
        vec![0.7, 1.4],
        vec![0.3, 3.0],
        vec![0.95, 1.05],
        vec![0.98, 1.02],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_factors_are_equal_lengths() {
        let axis = LogAxis::new((1.0, 100.0), (0.0, 200.0));
        assert_eq!(axis.at(1.0), Some(0.0));
        assert!(axis.at(10.0).is_some_and(|x| (x - 100.0).abs() < 1e-9));
        assert_eq!(axis.at(1e9), Some(200.0));
        assert_eq!(axis.at(0.0), None);
        assert_eq!(axis.at(f64::NAN), None);
        assert!(axis.holds(100.0) && !axis.holds(101.0) && !axis.holds(0.0));
    }

    #[test]
    fn ticks_keep_apart() {
        let axis = LogAxis::new((1.0, 1e6), (0.0, 600.0));
        let values = |apart| -> Vec<f64> {
            axis.ticks(&decades(), apart)
                .into_iter()
                .map(|(value, _)| value)
                .collect()
        };
        assert_eq!(values(60.0).len(), 7);
        assert!(values(25.0).contains(&2.0));
        assert!(values(150.0).len() < 7);
    }
}
