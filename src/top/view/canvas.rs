// SPDX-License-Identifier: GPL-2.0-only
//! A rectangle of the screen to write text into: nothing gets out of it.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;

/// Spaces between two pieces of a line.
const GAP: u16 = 2;

/// A part of a buffer, its upper left corner at 0, 0.
pub struct Canvas<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
}

impl<'a> Canvas<'a> {
    /// The part of `buffer` that is in `area`.
    pub fn new(buffer: &'a mut Buffer, area: Rect) -> Self {
        let area = area.intersection(buffer.area);
        Self { buffer, area }
    }

    /// A part of this one.
    pub fn part(&mut self, x: u16, y: u16, width: u16, height: u16) -> Canvas<'_> {
        let area = Rect {
            x: self.area.x.saturating_add(x),
            y: self.area.y.saturating_add(y),
            width,
            height,
        };
        Canvas {
            area: area.intersection(self.area),
            buffer: self.buffer,
        }
    }

    /// How many columns it has.
    pub fn width(&self) -> u16 {
        self.area.width
    }

    /// How many lines it has.
    pub fn height(&self) -> u16 {
        self.area.height
    }

    /// Writes a text and says where it ended; what does not fit is cut off.
    pub fn put(&mut self, x: u16, y: u16, text: &str, style: Style) -> u16 {
        if x >= self.area.width || y >= self.area.height {
            return x;
        }
        let (left, top) = (self.area.x + x, self.area.y + y);
        let room = usize::from(self.area.width - x);
        let (end, _) = self.buffer.set_stringn(left, top, text, room, style);
        end - self.area.x
    }

    /// Writes one character.
    pub fn dot(&mut self, x: u16, y: u16, character: char, style: Style) {
        let at = Position::new(self.area.x.saturating_add(x), self.area.y.saturating_add(y));
        if self.area.contains(at) {
            self.buffer[at].set_char(character).set_style(style);
        }
    }

    /// Gives a whole line a style.
    pub fn paint(&mut self, y: u16, style: Style) {
        let (x, y) = (self.area.x, self.area.y.saturating_add(y));
        let line = Rect::new(x, y, self.area.width, 1).intersection(self.area);
        self.buffer.set_style(line, style);
    }

    /// Writes those of the pieces that fit, whole ones only, the first with the first right.
    pub fn pieces(&mut self, y: u16, pieces: &[(String, Style)]) {
        let mut x = 1;
        for (text, style) in pieces {
            let ends = usize::from(x) + text.chars().count();
            if !text.is_empty() && ends <= usize::from(self.area.width) {
                x = self.put(x, y, text, *style) + GAP;
            }
        }
    }
}
