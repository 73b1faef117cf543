//! The few shapes that the plots are made of.

use super::escape;

/// Each plot is drawn twice, and the style sheet shows one: text in a drawing made for a desk is too small on a phone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Size {
    /// For a desk, and for paper.
    Wide,
    /// For a phone.
    Narrow,
}

impl Size {
    /// Width of the drawing, in the units of its text.
    pub fn width(self) -> f64 {
        match self {
            Size::Wide => 1040.0,
            Size::Narrow => 440.0,
        }
    }

    /// One of two values.
    pub fn pick<T>(self, wide: T, narrow: T) -> T {
        match self {
            Size::Wide => wide,
            Size::Narrow => narrow,
        }
    }
}

/// Both drawings, of which one is shown.
pub fn both(draw: impl Fn(Size) -> String) -> String {
    format!(
        "<div class=\"wide\">{}</div>\n<div class=\"narrow\">{}</div>\n",
        draw(Size::Wide),
        draw(Size::Narrow)
    )
}

/// A whole drawing; `label` says what it shows to those who do not see it.
pub fn drawing(size: Size, height: f64, label: &str, content: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">{content}</svg>",
        number(size.width()),
        number(height),
        escape(label)
    )
}

/// A coordinate. A tenth is finer than any screen shows.
pub fn number(value: f64) -> String {
    let text = format!("{:.1}", if value.is_finite() { value } else { 0.0 });
    match text.strip_suffix(".0") {
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

/// Where a text stands to its place.
#[derive(Clone, Copy, Debug)]
pub enum Anchor {
    /// It begins there.
    Start,
    /// Its middle is there.
    Middle,
    /// It ends there.
    End,
}

/// A line of text.
pub fn text(x: f64, y: f64, anchor: Anchor, class: &str, content: &str) -> String {
    let anchor = match anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    };
    format!(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"{anchor}\" class=\"{class}\">{}</text>",
        number(x),
        number(y),
        escape(content)
    )
}

/// A straight line.
pub fn line(from: (f64, f64), to: (f64, f64), class: &str) -> String {
    format!(
        "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" class=\"{class}\"/>",
        number(from.0),
        number(from.1),
        number(to.0),
        number(to.1)
    )
}

/// A filled rectangle; `tip` shows where the pointer rests on it.
pub fn rectangle(at: (f64, f64), size: (f64, f64), class: &str, tip: &str) -> String {
    let place = format!(
        "x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" class=\"{class}\"",
        number(at.0),
        number(at.1),
        number(size.0.max(0.0)),
        number(size.1.max(0.0))
    );
    match tip {
        "" => format!("<rect {place}/>"),
        tip => format!("<rect {place}>{}</rect>", title(tip)),
    }
}

/// A line through points. Points that fall onto the one before are left out: the file shall stay small.
pub fn path(points: &[(f64, f64)], class: &str) -> String {
    let mut steps = String::new();
    let mut last: Option<(f64, f64)> = None;
    for (i, &(x, y)) in points.iter().enumerate() {
        let near = last.is_some_and(|(a, b)| (a - x).abs() < 0.7 && (b - y).abs() < 0.7);
        if near && i + 1 < points.len() {
            continue;
        }
        let step = if last.is_none() { 'M' } else { 'L' };
        steps.push_str(&format!("{step}{} {}", number(x), number(y)));
        last = Some((x, y));
    }
    if steps.is_empty() {
        return steps;
    }
    format!("<path d=\"{steps}\" class=\"{class}\"/>")
}

/// The mark of the scheduler with this number: its shape tells it on paper too.
pub fn mark(scheduler: usize, at: (f64, f64), radius: f64, class: &str) -> String {
    let (x, y, r) = (at.0, at.1, radius);
    let corners: Vec<(f64, f64)> = match scheduler % 4 {
        0 => {
            return format!(
                "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" class=\"{class}\"/>",
                number(x),
                number(y),
                number(r)
            );
        }
        1 => vec![(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        2 => vec![(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)],
        _ => vec![(0.0, -1.2), (1.15, 0.9), (-1.15, 0.9)],
    };
    let points: Vec<String> = corners
        .iter()
        .map(|(dx, dy)| format!("{},{}", number(x + dx * r), number(y + dy * r)))
        .collect();
    format!(
        "<polygon points=\"{}\" class=\"{class}\"/>",
        points.join(" ")
    )
}

/// A group with a class and a text that shows where the pointer rests on it.
pub fn group(class: &str, tip: &str, content: &str) -> String {
    let tip = if tip.is_empty() {
        String::new()
    } else {
        title(tip)
    };
    format!("<g class=\"{class}\">{tip}{content}</g>")
}

fn title(tip: &str) -> String {
    format!("<title>{}</title>", escape(tip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_keeps_its_ends_and_drops_what_nobody_sees() {
        let points = [(0.0, 0.0), (0.1, 0.0), (5.0, 1.0), (5.1, 1.0)];
        assert_eq!(
            path(&points, "a"),
            "<path d=\"M0 0L5 1L5.1 1\" class=\"a\"/>"
        );
        assert_eq!(path(&[], "a"), "");
    }

    #[test]
    fn no_number_is_one_that_no_browser_reads() {
        assert_eq!(number(f64::NAN), "0");
        assert_eq!(number(12.34), "12.3");
        assert_eq!(number(-4.0), "-4");
    }
}
