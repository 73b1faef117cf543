//! What hackbench prints: among other lines, `Time: SECONDS`.

use super::number_after;

/// The time that the work took, in seconds.
pub fn parse(output: &str) -> Option<f64> {
    number_after(output, "Time:").filter(|&seconds| seconds > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_output_is_understood() {
        assert_eq!(parse(include_str!("captured/hackbench.txt")), Some(0.013));
        assert_eq!(parse("Time: soon"), None);
        assert_eq!(parse(""), None);
    }
}
