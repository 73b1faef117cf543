// SPDX-License-Identifier: GPL-2.0-only
//! Colours and characters, as the terminal has them.

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::border;

use crate::top::heat::{ASCII, BLOCKS, LEVELS};

/// Colours of the levels of heat, from cold to hot: of the sixteen that every terminal has.
const HEAT: [Color; LEVELS] = [
    Color::Blue,
    Color::Cyan,
    Color::Green,
    Color::LightGreen,
    Color::Yellow,
    Color::LightYellow,
    Color::LightRed,
    Color::Red,
];

/// A border of characters that every terminal has.
const PLAIN_BORDER: border::Set = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

/// What the terminal can show. What colours say is said in characters too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Colours.
    pub color: bool,
    /// More characters than ASCII.
    pub unicode: bool,
}

impl Theme {
    /// What the environment says: colours unless NO_COLOR says something (no-color.org), and more than
    /// ASCII where the locale has it and the terminal is not the kernel's console, whose fonts do not.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let said = |name| variable(name).filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(said);
        let locale = locale.unwrap_or_default().to_lowercase();
        let utf8 = locale.contains("utf-8") || locale.contains("utf8");
        Self {
            color: said("NO_COLOR").is_none(),
            unicode: utf8 && said("TERM").as_deref() != Some("linux"),
        }
    }

    /// The characters of the levels of heat.
    pub fn ramp(self) -> &'static [char; LEVELS] {
        if self.unicode {
            &BLOCKS
        } else {
            &ASCII
        }
    }

    /// In place of a bar where nobody waited.
    pub fn nobody(self) -> char {
        if self.unicode {
            '·'
        } else {
            '_'
        }
    }

    /// From one node to another.
    pub fn arrow(self) -> &'static str {
        if self.unicode {
            "──▶"
        } else {
            "-->"
        }
    }

    /// Around what is in front.
    pub fn border(self) -> border::Set<'static> {
        if self.unicode {
            border::PLAIN
        } else {
            PLAIN_BORDER
        }
    }

    fn colored(self, color: Color) -> Style {
        if self.color {
            Style::new().fg(color)
        } else {
            Style::new()
        }
    }

    /// Of a level of heat.
    pub fn heat(self, level: usize) -> Style {
        self.colored(HEAT[level.min(LEVELS - 1)])
    }

    /// Of a CPU's letter.
    pub fn cpu(self, letter: char) -> Style {
        self.colored(match letter {
            'l' => Color::LightCyan,
            'n' => Color::Green,
            'b' => Color::Yellow,
            'i' => Color::Blue,
            'o' => Color::Magenta,
            'x' => Color::Red,
            _ => return self.aside(),
        })
    }

    /// Of what tells about the rest: not grey, which some palettes have as their background.
    pub fn aside(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Of who stole from whom.
    pub fn steal(self) -> Style {
        self.colored(Color::Cyan)
    }

    /// Of the line above a table.
    pub fn head(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// Of names, and of what is chosen.
    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Of what is wrong.
    pub fn alarm(self) -> Style {
        self.colored(Color::LightRed)
            .add_modifier(Modifier::BOLD | Modifier::REVERSED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_believed() {
        let theme = |variables: &[(&str, &str)]| {
            let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
            let theme = Theme::of(|name| find(name).map(|(_, value)| value.to_string()));
            (theme.color, theme.unicode)
        };
        assert_eq!(theme(&[]), (true, false));
        assert_eq!(
            theme(&[("LANG", "C.UTF-8"), ("NO_COLOR", "")]),
            (true, true)
        );
        assert_eq!(
            theme(&[("LANG", "de_DE.utf8"), ("NO_COLOR", "1")]),
            (false, true)
        );
        assert_eq!(
            theme(&[("LANG", "C.UTF-8"), ("LC_ALL", "C")]),
            (true, false)
        );
        assert_eq!(
            theme(&[("LANG", "C.UTF-8"), ("TERM", "linux")]),
            (true, false)
        );
    }
}
