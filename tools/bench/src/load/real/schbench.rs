//! What schbench prints: percentiles of two latencies, of the requests per second, and the average of those.
//!
//! It prints them anew every ten seconds, from the start on; the last ones are those of the whole run.

use super::number_after;
use crate::latency::Percentiles;

/// Its figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schbench {
    /// Wakeup latency.
    pub wakeup: Percentiles,
    /// Request latency.
    pub request: Percentiles,
    /// Requests per second, on average.
    pub requests_per_second: f64,
}

/// The figures, where all are there.
pub fn parse(output: &str) -> Option<Schbench> {
    Some(Schbench {
        wakeup: percentiles(output, "Wakeup Latencies percentiles")?,
        request: percentiles(output, "Request Latencies percentiles")?,
        requests_per_second: number_after(output, "average rps:")?,
    })
}

fn percentiles(output: &str, title: &str) -> Option<Percentiles> {
    let (_, rest) = output.rsplit_once(title)?;
    let (head, body) = rest.split_once('\n')?;
    let (_, samples) = head.rsplit_once('(')?;
    // The lines of this table are indented, the next title is not.
    let body: Vec<&str> = body
        .lines()
        .take_while(|line| line.starts_with(char::is_whitespace))
        .collect();
    let body = body.join("\n");
    let at = |key| number_after(&body, key);
    Some(Percentiles {
        p50_us: at("50.0th:")?,
        p90_us: at("90.0th:")?,
        p99_us: at("99.0th:")?,
        p999_us: at("99.9th:")?,
        max_us: at("max=")?,
        samples: samples.split(' ').next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTURED: &str = include_str!("captured/schbench.txt");

    #[test]
    fn real_output_is_understood() {
        let figures = Schbench {
            wakeup: Percentiles {
                p50_us: 4.0,
                p90_us: 15.0,
                p99_us: 46.0,
                p999_us: 2148.0,
                max_us: 5659.0,
                samples: 17351,
            },
            request: Percentiles {
                p50_us: 181.0,
                p90_us: 197.0,
                p99_us: 328.0,
                p999_us: 4120.0,
                max_us: 9469.0,
                samples: 17377,
            },
            requests_per_second: 8688.5,
        };
        assert_eq!(parse(CAPTURED), Some(figures));
        // Figures that were printed on the way are not the run's.
        let earlier = CAPTURED.replace("50.0th: ", "50.0th: 9");
        assert_eq!(parse(&format!("{earlier}{CAPTURED}")), Some(figures));
    }

    #[test]
    fn other_output_is_not() {
        assert_eq!(parse(""), None);
        assert_eq!(parse(&CAPTURED.replace("max=", "longest=")), None);
        assert_eq!(parse(&CAPTURED.replace("Request", "Other")), None);
    }
}
