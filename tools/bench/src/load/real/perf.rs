//! What `perf bench sched pipe` prints: `... usecs/op` and `... ops/sec`, the number before its unit.

/// Its figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Perf {
    /// Time per round trip, in microseconds.
    pub us_per_operation: f64,
    /// Round trips per second.
    pub operations_per_second: f64,
}

/// The figures, where both are there.
pub fn parse(output: &str) -> Option<Perf> {
    let before = |unit| {
        let line = output
            .lines()
            .find_map(|line| line.trim().strip_suffix(unit))?;
        line.trim().parse().ok()
    };
    Some(Perf {
        us_per_operation: before("usecs/op")?,
        operations_per_second: before("ops/sec")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_output_is_understood() {
        let figures = Perf {
            us_per_operation: 6.496,
            operations_per_second: 153_940.0,
        };
        assert_eq!(parse(include_str!("captured/perf.txt")), Some(figures));
        assert_eq!(parse("1 usecs/op"), None);
    }
}
