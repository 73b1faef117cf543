// SPDX-License-Identifier: GPL-2.0-only
//! Numbers as people read them, each in at most seven characters up to sizes that nobody reaches.

/// What stands for a number that there is not.
pub const NONE: &str = "-";

const US_PER_MS: f64 = 1e3;
const US_PER_S: f64 = 1e6;

/// A time in microseconds with its unit, such as `1.2 ms`; whole microseconds below a millisecond.
pub fn time(us: f64) -> String {
    // A number is what is shown of it: 999.6 us are 1.0 ms.
    match us {
        _ if !us.is_finite() || us < 0.0 => NONE.to_string(),
        _ if us.round() < US_PER_MS => format!("{us:.0} us"),
        _ if us < 99.95 * US_PER_MS => format!("{:.1} ms", us / US_PER_MS),
        _ if us < 999.5 * US_PER_MS => format!("{:.0} ms", us / US_PER_MS),
        _ if us < 99.95 * US_PER_S => format!("{:.1} s", us / US_PER_S),
        _ => format!("{:.0} s", us / US_PER_S),
    }
}

/// A count, such as `12.3k`; whole below ten thousand.
pub fn count(count: f64) -> String {
    match count {
        _ if !count.is_finite() || count < 0.0 => NONE.to_string(),
        _ if count.round() < 1e4 => format!("{count:.0}"),
        _ if count < 999.95e3 => format!("{:.1}k", count / 1e3),
        _ if count < 999.95e6 => format!("{:.1}M", count / 1e6),
        _ => format!("{:.0}G", count / 1e9),
    }
}

/// A count a second; below ten with a decimal, so that one in ten seconds is not none.
pub fn rate(of: f64, seconds: f64) -> String {
    let per_second = if seconds > 0.0 { of / seconds } else { 0.0 };
    match per_second {
        _ if per_second == 0.0 => "0".to_string(),
        _ if (0.0..9.95).contains(&per_second) => format!("{per_second:.1}"),
        _ => count(per_second),
    }
}

/// An average that is mostly below a hundred; `-` if there was nothing to average.
pub fn average(value: f64) -> String {
    match value {
        _ if value == 0.0 => NONE.to_string(),
        _ if (0.0..99.95).contains(&value) => format!("{value:.1}"),
        _ => count(value),
    }
}

/// Hundredths.
pub fn percent(value: f64) -> String {
    match value {
        _ if !value.is_finite() || value < 0.0 => NONE.to_string(),
        _ if value < 99.95 => format!("{value:.1}%"),
        _ => format!("{value:.0}%"),
    }
}

/// How long something has lasted, in its two largest units.
pub fn lasted(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_change_where_the_number_gets_long() {
        let times = [0.0, 999.4, 999.5, 99_940.0, 99_960.0, 999_600.0, 2e8];
        let seen = times.map(time).join(", ");
        assert_eq!(seen, "0 us, 999 us, 1.0 ms, 99.9 ms, 100 ms, 1.0 s, 200 s");
        let counts = [0.0, 9_999.0, 12_345.0, 999_949.0, 999_951.0, 3e9];
        let seen = counts.map(count).join(", ");
        assert_eq!(seen, "0, 9999, 12.3k, 999.9k, 1.0M, 3G");
        let seen = [0.0, 1.0, 9.94, 9.96].map(|of| rate(of, 1.0)).join(", ");
        assert_eq!(seen, "0, 1.0, 9.9, 10");
        assert_eq!(rate(5.0, 0.0), "0");
        assert_eq!([0.0, 6.25, 500.0].map(average).join(", "), "-, 6.2, 500");
        assert_eq!([0.8, 100.0].map(percent).join(", "), "0.8%, 100%");
        let seen = [59.9, 60.0, 11_520.0, 442_800.0].map(lasted).join(", ");
        assert_eq!(seen, "59 s, 1 min, 3 h 12 min, 5 d 3 h");
    }

    proptest! {
        #[test]
        fn every_number_has_a_short_text(value in any::<f64>(), sane in 0.0..1e11_f64) {
            for text in [time(value), count(value), average(value), percent(value), rate(value, 1.0)] {
                prop_assert!(!text.is_empty() && !text.contains("inf") && !text.contains("NaN"), "{}", text);
            }
            for text in [time(sane / 1e2), count(sane), average(sane), rate(sane, 1.0)] {
                prop_assert!(text.len() <= 8, "{}", text);
            }
        }
    }
}
