//! What `stress-ng --metrics-brief` prints: a line for the stressor, with its "bogo operations" and their rate.

/// Its figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StressNg {
    /// Bogo operations.
    pub iterations: u64,
    /// The same for each second of real time.
    pub iterations_per_second: f64,
}

/// The figures of the stressor `cpu`: the columns are operations, three times, and the rate by real time and by CPU time.
pub fn parse(output: &str) -> Option<StressNg> {
    output.lines().find_map(|line| {
        let mut words = line
            .split_ascii_whitespace()
            .skip_while(|&word| word != "cpu");
        words.next()?;
        let columns: Vec<&str> = words.collect();
        Some(StressNg {
            iterations: columns.first()?.parse().ok()?,
            iterations_per_second: columns.get(4)?.parse().ok()?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_output_is_understood() {
        let figures = StressNg {
            iterations: 1445,
            iterations_per_second: 1445.02,
        };
        assert_eq!(parse(include_str!("captured/stress-ng.txt")), Some(figures));
        assert_eq!(
            parse("stress-ng: info:  [1] dispatching hogs: 2 cpu\n"),
            None
        );
    }
}
