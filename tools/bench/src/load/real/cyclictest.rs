//! What `cyclictest -q -h LONGEST` prints: a histogram in microseconds, a column for each thread.

/// Latencies in microseconds and how many of each there were, of all threads. A latency above the histogram's end is told
/// only by its number; it is taken for the longest one that its thread had.
pub fn parse(output: &str) -> Option<Vec<(u64, u64)>> {
    let mut latencies = Vec::new();
    for line in output.lines() {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u64>);
        let Some(Ok(us)) = numbers.next() else {
            continue;
        };
        let count = numbers.sum::<Result<u64, _>>().ok()?;
        if count > 0 {
            latencies.push((us, count));
        }
    }
    let longest = columns(output, "# Max Latencies:")?;
    let above = columns(output, "# Histogram Overflows:")?;
    let above = longest.into_iter().zip(above);
    latencies.extend(above.filter(|&(_, count)| count > 0));
    (!latencies.is_empty()).then_some(latencies)
}

fn columns(output: &str, key: &str) -> Option<Vec<u64>> {
    let line = output.lines().find_map(|line| line.strip_prefix(key))?;
    let numbers = line.split_ascii_whitespace().map(str::parse);
    numbers.collect::<Result<_, _>>().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTURED: &str = include_str!("captured/cyclictest.txt");

    #[test]
    fn real_output_is_understood() {
        let latencies = parse(CAPTURED).unwrap_or_default();
        let samples: u64 = latencies.iter().map(|latency| latency.1).sum();
        let above: u64 = columns(CAPTURED, "# Histogram Overflows:")
            .unwrap_or_default()
            .iter()
            .sum();
        let within: u64 = columns(CAPTURED, "# Total:")
            .unwrap_or_default()
            .iter()
            .sum();
        assert!(within > 100);
        assert_eq!(samples, within + above);
        let longest = columns(CAPTURED, "# Max Latencies:").unwrap_or_default();
        assert_eq!(
            latencies.iter().map(|latency| latency.0).max(),
            longest.into_iter().max()
        );
    }

    #[test]
    fn other_output_is_not() {
        assert_eq!(parse(""), None);
        assert_eq!(
            parse("000001 x\n# Max Latencies: 1\n# Histogram Overflows: 0\n"),
            None
        );
        let cut = CAPTURED.split("# Max").next().unwrap_or_default();
        assert_eq!(parse(cut), None);
    }
}
