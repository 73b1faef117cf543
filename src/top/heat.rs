// SPDX-License-Identifier: GPL-2.0-only
//! How hot a wait is, and the characters that show it, with colour and without.

/// Where each level but the first begins, microseconds: two to a decade, so that a level is a change
/// that somebody would feel, and the last begins where people do.
pub const EDGES_US: [f64; 7] = [10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0];
/// How many levels there are.
pub const LEVELS: usize = EDGES_US.len() + 1;
/// One character for each level.
pub const BLOCKS: [char; LEVELS] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The same where the terminal has ASCII only.
pub const ASCII: [char; LEVELS] = ['.', ':', '-', '=', '+', '*', '#', '@'];

/// The level of a wait in microseconds, below [`LEVELS`].
pub fn level(wait_us: f64) -> usize {
    EDGES_US.iter().take_while(|&&edge| wait_us >= edge).count()
}

/// What the rows of a column show, from the top: the higher the more of them, in eighths of a row,
/// `None` where nothing is. With one row it is the level's own character.
pub fn column(wait_us: f64, rows: usize, ramp: &[char; LEVELS]) -> Vec<Option<char>> {
    let steps = rows * LEVELS;
    let filled = ((fraction(wait_us) * steps as f64) as usize + 1).min(steps);
    let cell = |row: usize| {
        let below = (rows - 1 - row) * LEVELS;
        let eighths = filled.saturating_sub(below).min(LEVELS);
        eighths.checked_sub(1).map(|at| ramp[at])
    };
    (0..rows).map(cell).collect()
}

/// The level and how far it is to the next, of all levels, 0 to 1.
fn fraction(wait_us: f64) -> f64 {
    let level = level(wait_us);
    let from = if level == 0 { 1.0 } else { EDGES_US[level - 1] };
    // The last goes on as the others do.
    let to = EDGES_US.get(level).copied().unwrap_or(from * 10.0);
    let within = (wait_us.max(from) / from).log10() / (to / from).log10();
    // Rounding must not lift a wait to the next level.
    (level as f64 + within.clamp(0.0, 0.999)) / LEVELS as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn levels_begin_at_their_edges() {
        assert_eq!(level(0.0), 0);
        assert_eq!(level(f64::NAN), 0);
        for (at, edge) in EDGES_US.into_iter().enumerate() {
            assert_eq!((level(edge * 0.999), level(edge)), (at, at + 1));
        }
        assert_eq!(level(f64::INFINITY), LEVELS - 1);
    }

    fn height(column: &[Option<char>]) -> usize {
        let eighths = |cell: &Option<char>| BLOCKS.iter().position(|c| Some(*c) == *cell);
        column.iter().filter_map(eighths).map(|at| at + 1).sum()
    }

    proptest! {
        #[test]
        fn one_row_is_the_level_and_more_rise_with_the_wait(
            wait in 0.0..1e8_f64, more in 1.0..1e3_f64, rows in 1usize..12,
        ) {
            prop_assert_eq!(column(wait, 1, &BLOCKS), vec![Some(BLOCKS[level(wait)])]);
            let (low, high) = (column(wait, rows, &BLOCKS), column(wait * more, rows, &BLOCKS));
            prop_assert_eq!(low.len(), rows);
            prop_assert!(height(&low) >= 1 && height(&low) <= height(&high));
            // It fills from the bottom: nothing hangs in the air.
            let full = |cell: &Option<char>| *cell == Some('█');
            let top = low.iter().position(Option::is_some).unwrap();
            prop_assert!(low[top + 1..].iter().all(full));
        }
    }
}
