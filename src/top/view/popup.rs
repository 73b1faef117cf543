// SPDX-License-Identifier: GPL-2.0-only
//! What is in front of the picture: help, a choice, a sentence.

use mpg_policy::POLICIES;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::widgets::{Block, Clear, Widget};

use super::canvas::Canvas;
use super::theme::Theme;
use crate::sentence::tame;
use crate::top::model::Popup;

/// Columns of text in front.
const WIDTH: u16 = 60;

/// What the keys do and the words mean.
const HELP: &str = "\
q, Esc   quit
p        choose a policy; Enter is scx_mpg set --policy
u        take the last change back: scx_mpg set --undo
+ -      look less often, more often
space    pause, go on
arrows   scroll nodes; also Tab, Page Up and Down, Home, End

P        tasks noted in the node's run queue in user space
PRIMED   wait in the kernel half, decided; CUSTODY undecided
PINNED   wait for one CPU and no other; SPARE of SCHED_IDLE
WAIT     mean wait of who started, the last 64 counting most
DUE      how long who is due first has waited
WORKER   CPU time of the worker, of one CPU
DEC/S    its decisions a second; BATCH: in one step

Below each node are its CPUs (Ms) and the WAIT of each look,
the newest right. An arrow: tasks that a node took from
another, and how far that is, as the firmware says it.
scx_mpg --help-stats and docs/OBSERVING.md have the rest.";

/// Draws it in the middle of `area`.
pub fn draw(popup: &Popup, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let width = WIDTH.min(area.width.saturating_sub(4));
    let mut lines: Vec<(String, Style)> = Vec::new();
    let title = match popup {
        Popup::Help => {
            lines.extend(HELP.lines().map(|line| (line.to_string(), Style::new())));
            " scx_mpg top: any key closes "
        }
        Popup::Policies(chosen) => {
            for (at, policy) in POLICIES.iter().enumerate() {
                let (mark, style) = match at == *chosen {
                    true => ('>', theme.head()),
                    false => (' ', Style::new()),
                };
                lines.push((format!("{mark} {:<12}", policy.name()), style));
            }
            lines.push((String::new(), Style::new()));
            let about = POLICIES.get(*chosen).map_or("", |policy| policy.about());
            let about = wrap(about, width.into());
            // As many lines for each of them, so that the choice stands still.
            let most = POLICIES
                .iter()
                .map(|p| wrap(p.about(), width.into()).len())
                .max();
            let missing = most.unwrap_or(0).saturating_sub(about.len());
            lines.extend(about.into_iter().map(|line| (line, theme.aside())));
            lines.extend((0..missing).map(|_| (String::new(), Style::new())));
            " policy: p next, Enter sets, Esc leaves "
        }
        Popup::Sentence(sentence) => {
            let sentence = wrap(&tame(sentence), width.into());
            lines.extend(sentence.into_iter().map(|line| (line, theme.strong())));
            " any key closes "
        }
    };
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX);
    let height = height.saturating_add(2).min(area.height);
    let frame = Rect {
        x: area.x + (area.width - (width + 4).min(area.width)) / 2,
        y: area.y + (area.height - height) / 2,
        width: (width + 4).min(area.width),
        height,
    };
    Clear.render(frame, buffer);
    Block::bordered()
        .border_set(theme.border())
        .title(title)
        .render(frame, buffer);
    let inner = Rect {
        x: frame.x + 2,
        y: frame.y + 1,
        width: frame.width.saturating_sub(4),
        height: frame.height.saturating_sub(2),
    };
    let mut canvas = Canvas::new(buffer, inner);
    for (y, (line, style)) in (0..).zip(lines) {
        canvas.put(0, y, &line, style);
    }
}

/// The text in lines of at most `width` characters, between words where it can be.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            lines.push(String::new());
            used = 0;
        }
        for (at, c) in word.chars().enumerate() {
            if at == 0 && used > 0 {
                push(&mut lines, ' ');
                used += 1;
            } else if used == width {
                lines.push(String::new());
                used = 0;
            }
            push(&mut lines, c);
            used += 1;
        }
    }
    lines
}

fn push(lines: &mut [String], c: char) {
    if let Some(line) = lines.last_mut() {
        line.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_help_fits_where_everything_else_does() {
        for line in HELP.lines() {
            assert!(line.chars().count() <= WIDTH.into(), "{line}");
        }
        assert!(HELP.lines().count() + 2 <= 24);
    }

    proptest! {
        #[test]
        fn wrapping_loses_nothing_and_keeps_the_width(text in ".{0,80}", width in 1usize..50) {
            let lines = wrap(&text, width);
            prop_assert!(lines.iter().all(|line| line.chars().count() <= width), "{:?}", lines);
            let letters = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(letters(&lines.concat()), letters(&text));
        }
    }
}
