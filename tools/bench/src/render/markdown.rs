//! A comparison as a section of docs/MEASUREMENTS.md.

use super::text;
use crate::compare::result::{Comparison, Load, Metric, Setting, Values, Verdict};

/// The line after which the newest section goes.
pub const MARKER: &str = "<!-- newest comparison first -->";

/// The section, from its heading to a newline after its last line.
pub fn section(comparison: &Comparison) -> String {
    let setting = &comparison.setting;
    let mut out = format!(
        "## {}: {}, {}, {} time\n\n",
        escape(&text::date(setting)),
        escape(&setting.kernel),
        text::shape(setting),
        escape(&setting.time)
    );
    if let Some(partial) = text::partial(comparison) {
        out.push_str(&format!("**{partial}**\n\n"));
    }
    out.push_str(&provenance(setting));
    out.push_str(&format!("\n    {}\n", text::clean(&setting.command)));
    for load in &comparison.loads {
        out.push('\n');
        push_load(&mut out, comparison, load);
    }
    out
}

/// The document with the section put in as its newest; `None` where it has no line that says where.
pub fn with_newest(document: &str, section: &str) -> Option<String> {
    let mut before = 0;
    for line in document.split_inclusive('\n') {
        before += line.len();
        if line.trim() == MARKER {
            let (head, rest) = document.split_at(before);
            let (head, rest) = (head.trim_end(), rest.trim_start_matches('\n'));
            let gap = if rest.is_empty() { "" } else { "\n" };
            return Some(format!("{head}\n\n{section}{gap}{rest}"));
        }
    }
    None
}

fn provenance(setting: &Setting) -> String {
    let commit = match &setting.commit {
        Some(commit) => format!("Commit {}", escape(commit)),
        None => "Commit unknown".into(),
    };
    format!(
        "{commit}, {}, {} MiB, {} to a core, {}.\n\
         Medians; ratios with the bootstrap's 95% interval, in bold where outside of noise:\n",
        escape(&setting.processor),
        setting.memory_mib,
        text::count(setting.threads_per_core, "thread"),
        text::rounds(setting)
    )
}

fn push_load(out: &mut String, comparison: &Comparison, load: &Load) {
    let floor = text::has_floor(load);
    let mut heading = vec![in_cell(&code(&load.label))];
    for (i, scheduler) in comparison.schedulers.iter().enumerate() {
        heading.push(escape(&scheduler.label));
        match i {
            0 if floor => heading.push("floor".into()),
            0 => {}
            _ => heading.push("ratio".into()),
        }
    }
    push_row(out, &heading);
    let rule: Vec<String> = (0..heading.len())
        .map(|i| if i == 0 { "---" } else { "--:" }.into())
        .collect();
    out.push_str(&format!("|{}|\n", rule.join("|")));
    for metric in &load.metrics {
        push_row(out, &row(comparison, metric, floor));
        if text::above_floor(metric, text::values(metric, 0)).is_some() {
            push_row(out, &row_above_floor(comparison, metric));
        }
    }
    let findings = escape(&text::findings(load, &comparison.schedulers));
    out.push_str(&format!("\n{findings}\n"));
}

fn row(comparison: &Comparison, metric: &Metric, floor: bool) -> Vec<String> {
    let mut row = vec![escape(&text::title(metric))];
    for i in 0..comparison.schedulers.len() {
        let values = text::values(metric, i);
        let median = values.median.map(|m| text::figure(m, metric.kind));
        row.push(median.unwrap_or_default());
        if i == 0 {
            if floor {
                let floor = metric.floor.map(|f| text::figure(f, metric.kind));
                row.push(floor.unwrap_or_default());
            }
            continue;
        }
        row.push(ratio(values));
    }
    row
}

fn ratio(values: &Values) -> String {
    let Some(ratio) = text::Ratio::new(values) else {
        return String::new();
    };
    let mut cell = match values.verdict {
        Verdict::None | Verdict::Same => ratio.value,
        _ => format!("**{}**", ratio.value),
    };
    if let Some((low, high)) = ratio.interval {
        cell.push_str(&format!(" ({low}–{high})"));
    }
    cell
}

fn row_above_floor(comparison: &Comparison, metric: &Metric) -> Vec<String> {
    let mut row = vec!["… above the floor".into()];
    for i in 0..comparison.schedulers.len() {
        let above = text::above_floor(metric, text::values(metric, i));
        let above = above.map(|above| text::figure(above, metric.kind));
        row.push(above.unwrap_or_default());
        // The floor's column, or that of the ratio.
        row.push(String::new());
    }
    row
}

fn push_row(out: &mut String, cells: &[String]) {
    out.push('|');
    for cell in cells {
        match cell.as_str() {
            "" => out.push_str(" |"),
            cell => out.push_str(&format!(" {cell} |")),
        }
    }
    out.push('\n');
}

/// Foreign text as Markdown that shows it as it is, also in a cell.
pub fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text::clean(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' | '$' | '@' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// Foreign text as code: its fence is longer than any row of backticks within.
fn code(text: &str) -> String {
    let text = text::clean(text);
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    // A backtick at an end would become part of the fence, and nothing between fences is no code.
    let pad = if longest > 0 || text.trim().is_empty() {
        " "
    } else {
        ""
    };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// Code in a cell: there the bar ends the cell even between backticks.
fn in_cell(code: &str) -> String {
    code.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_text() {
        assert_eq!(escape("a|b <i>*c*_d_"), "a\\|b &lt;i&gt;\\*c\\*\\_d\\_");
        assert_eq!(code("wake -m 2"), "`wake -m 2`");
        assert_eq!(code("a``b"), "``` a``b ```");
        assert_eq!(in_cell(&code("a|b")), "`a\\|b`");
    }

    #[test]
    fn a_new_section_stands_before_the_older_ones() {
        let document = "# Title\n\n<!-- newest comparison first -->\n\n## old\n\ntext\n";
        let with = with_newest(document, "## new\n\nfigures\n");
        let expected =
            "# Title\n\n<!-- newest comparison first -->\n\n## new\n\nfigures\n\n## old\n\ntext\n";
        assert_eq!(with.as_deref(), Some(expected));
        let bare = with_newest("<!-- newest comparison first -->", "## new\n");
        assert_eq!(
            bare.as_deref(),
            Some("<!-- newest comparison first -->\n\n## new\n")
        );
        assert_eq!(with_newest("# Title\n", "## new\n"), None);
    }
}
