// SPDX-License-Identifier: GPL-2.0-only
//! What goes where: how the lines of a terminal are shared out.
//!
//! A function of sizes alone, so that nothing jumps about while numbers change. What comes first here
//! is what a terminal of 80x24 has; the rest comes as there is room.

use ratatui::layout::Rect;

use super::tables;

/// The fewest columns that a picture has room in.
pub const MIN_WIDTH: u16 = 64;
/// The fewest lines.
pub const MIN_HEIGHT: u16 = 12;
/// From this width on steals are beside the classes.
const WIDE: u16 = 130;
/// Nodes that go before everything else.
const FIRST_NODES: u16 = 4;
/// The most lines that one node's waits have: more tells no more.
const MOST_ROWS: u16 = 16;
/// Title, summary, head of the table of nodes, keys.
const FIXED: u16 = 4;
/// Lines that say what characters mean.
const LEGEND: u16 = 2;

/// Places, none of which is outside or in the way of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The table of nodes with its head.
    pub nodes: Rect,
    /// Lines of a node beside its figures.
    pub rows: u16,
    /// What the characters mean.
    pub legend: Option<Rect>,
    /// The table of classes.
    pub classes: Option<Rect>,
    /// Who stole from whom.
    pub steals: Option<Rect>,
    /// All counters.
    pub counters: Option<Rect>,
}

/// Lines that nothing has yet.
struct Lines(u16);

impl Lines {
    /// As many as are wanted, or what is left, but nothing if that is not the least that is of use.
    fn take(&mut self, wanted: u16, least: u16) -> u16 {
        let taken = if self.0 >= least {
            wanted.min(self.0)
        } else {
            0
        };
        self.0 -= taken;
        taken
    }
}

impl Plan {
    /// For a terminal of at least [`MIN_WIDTH`] by [`MIN_HEIGHT`] and so many nodes.
    pub fn new(width: u16, height: u16, nodes: usize) -> Self {
        let nodes = u16::try_from(nodes.max(1)).unwrap_or(u16::MAX);
        let mut left = Lines(height.saturating_sub(FIXED));
        let wide = width >= WIDE;
        let beside = width.saturating_sub(tables::CLASSES_WIDTH);

        let mut of_nodes = left.take(2 * nodes.min(FIRST_NODES), 2);
        let classes = left.take(tables::CLASSES_HEIGHT, tables::CLASSES_HEIGHT);
        let mut steals = match wide {
            true => classes,
            false => left.take(2, 2),
        };
        let legend = left.take(LEGEND, LEGEND);
        of_nodes += left.take(nodes.saturating_mul(2).saturating_sub(of_nodes), 2);
        // Half a node is none.
        left.0 += of_nodes % 2;
        of_nodes -= of_nodes % 2;
        if steals > 0 && !wide {
            let pairs = usize::from(nodes) * usize::from(nodes - 1);
            let all = 1 + pairs.div_ceil(tables::steals_in_line(width)).max(1);
            steals += left.take(
                u16::try_from(all)
                    .unwrap_or(u16::MAX)
                    .saturating_sub(steals),
                1,
            );
        }
        let counters = tables::counters_height(width);
        let counters = left.take(counters, counters);
        let sections = [classes, if wide { 0 } else { steals }, counters];
        let gaps = sections.into_iter().filter(|&lines| lines > 0).count() as u16;
        let gap = u16::from(left.take(gaps, gaps) > 0);
        let mut rows = 1;
        while of_nodes >= nodes.saturating_mul(2) && rows < MOST_ROWS && left.take(nodes, nodes) > 0
        {
            rows += 1;
            of_nodes += nodes;
        }

        let mut y = 2;
        let mut place = |lines: u16, gap: u16| {
            let at = Rect::new(0, y + gap, width, lines);
            if lines > 0 {
                y += gap + lines;
            }
            (lines > 0).then_some(at)
        };
        let nodes = place(1 + of_nodes, 0).unwrap_or_default();
        let legend = place(legend, 0);
        let classes = place(classes, gap);
        let steals = match (wide, classes) {
            (true, Some(at)) => Some(Rect::new(tables::CLASSES_WIDTH, at.y, beside, at.height)),
            (true, None) => None,
            (false, _) => place(steals, gap),
        };
        let counters = place(counters, gap);
        Self {
            nodes,
            rows,
            legend,
            classes: classes.map(|at| Rect {
                width: if wide { tables::CLASSES_WIDTH } else { width },
                ..at
            }),
            steals,
            counters,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn eighty_by_twenty_four_has_four_nodes_and_all_that_is_looked_for() {
        for nodes in [1, 2, 4, 8, 64] {
            let plan = Plan::new(80, 24, nodes);
            let shown = (plan.nodes.height - 1) / (1 + plan.rows);
            assert!(usize::from(shown) >= nodes.min(4), "{plan:?}");
            assert!(plan.legend.is_some() && plan.classes.is_some() && plan.steals.is_some());
        }
        let large = Plan::new(200, 60, 8);
        assert!(large.counters.is_some() && large.rows > 1, "{large:?}");
    }

    proptest! {
        #[test]
        fn nothing_is_outside_or_in_the_way(
            width in MIN_WIDTH..400, height in MIN_HEIGHT..200, nodes in 0usize..100,
        ) {
            let plan = Plan::new(width, height, nodes);
            let parts = [Some(plan.nodes), plan.legend, plan.classes, plan.steals, plan.counters];
            let parts: Vec<Rect> = parts.into_iter().flatten().collect();
            // Above are title and summary, below are the keys.
            let inside = Rect::new(0, 2, width, height - 3);
            for (at, part) in parts.iter().enumerate() {
                prop_assert_eq!(inside.intersection(*part), *part, "{:?}", plan);
                prop_assert!(parts[at + 1..].iter().all(|other| !part.intersects(*other)), "{:?}", plan);
            }
            prop_assert!(plan.nodes.height >= 3 && plan.rows >= 1);
        }
    }
}
