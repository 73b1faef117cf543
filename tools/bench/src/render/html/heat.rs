//! How busy each node was over the time of one run.

use super::svg::{self, Anchor, Size};
use super::{colour, short};
use crate::compare::result::{Comparison, Heat, Load};

/// Shades of the scale.
const SHADES: usize = 10;
/// Height of a node's strip.
const STRIP: f64 = 18.0;

/// The heat map of a load with its heading; nothing where no run was watched.
pub fn plot(comparison: &Comparison, load: &Load) -> String {
    let heats: Vec<&Heat> = load.heat.iter().filter(|heat| columns(heat) > 0).collect();
    if heats.is_empty() {
        return String::new();
    }
    let mut out = String::from("<h3>Load by node over the time of one run</h3>\n");
    out.push_str(&svg::both(|size| draw(size, comparison, &heats)));
    out
}

fn columns(heat: &Heat) -> usize {
    heat.nodes.iter().map(Vec::len).max().unwrap_or(0)
}

fn seconds(heat: &Heat) -> f64 {
    let every = if heat.every_s.is_finite() {
        heat.every_s.clamp(1e-6, 1e6)
    } else {
        1.0
    };
    every * columns(heat) as f64
}

fn draw(size: Size, comparison: &Comparison, heats: &[&Heat]) -> String {
    let (left, right) = size.pick((230.0, 900.0), (58.0, 392.0));
    let longest = heats.iter().map(|heat| seconds(heat)).fold(0.0, f64::max);
    let mut out = scale(left);
    let mut y = 44.0;
    for heat in heats {
        let label = match comparison.schedulers.get(heat.scheduler) {
            Some(scheduler) => short(&scheduler.label, size.pick(19, 40)),
            None => format!("scheduler {}", heat.scheduler),
        };
        let at = match size {
            Size::Wide => (0.0, y + 13.0),
            Size::Narrow => {
                y += 18.0;
                (left, y - 5.0)
            }
        };
        let label = svg::text(at.0, at.1, Anchor::Start, "own", &label);
        out.push_str(&svg::group(&colour(heat.scheduler), "", &label));
        for (node, shares) in heat.nodes.iter().enumerate() {
            let name = format!("node {node}");
            out.push_str(&svg::text(left - 8.0, y + 13.0, Anchor::End, "tick", &name));
            let every = (right - left) * seconds(heat) / longest / columns(heat) as f64;
            let place = Strip {
                left,
                y,
                every,
                every_s: seconds(heat) / columns(heat) as f64,
            };
            out.push_str(&place.draw(size, shares));
            let mean = shares.iter().sum::<f64>() / shares.len() as f64;
            if mean.is_finite() {
                let mean = size.pick("mean ", "").to_owned() + &percent(mean);
                out.push_str(&svg::text(
                    right + 8.0,
                    y + 13.0,
                    Anchor::Start,
                    "tick",
                    &mean,
                ));
            }
            y += STRIP + 2.0;
        }
        y += 12.0;
    }
    out.push_str(&clock(longest, (left, right), y - 8.0));
    svg::drawing(size, y + 14.0, "Load by node over time", &out)
}

/// Where a node's strip is, and the time and width of one of its columns.
struct Strip {
    left: f64,
    y: f64,
    every: f64,
    every_s: f64,
}

impl Strip {
    /// One rectangle for each stretch of one shade; columns narrower than a pixel are averaged first.
    fn draw(&self, size: Size, shares: &[f64]) -> String {
        let merged = (size.pick(1.5, 2.0) / self.every).ceil().max(1.0) as usize;
        let cells: Vec<(usize, f64)> = shares
            .chunks(merged)
            .map(|chunk| (chunk.len(), chunk.iter().sum::<f64>() / chunk.len() as f64))
            .collect();
        let mut out = String::new();
        let mut begin = 0;
        for run in cells.chunk_by(|a, b| shade(a.1) == shade(b.1)) {
            let length: usize = run.iter().map(|&(length, _)| length).sum();
            let mean = run.iter().map(|&(n, share)| n as f64 * share).sum::<f64>() / length as f64;
            let tip = format!(
                "{:.1} to {:.1} s: {}",
                begin as f64 * self.every_s,
                (begin + length) as f64 * self.every_s,
                percent(mean)
            );
            let x = self.left + begin as f64 * self.every;
            let class = format!("h{}", shade(mean));
            // A little under the next one, or a seam shows between two.
            let under = if begin + length < shares.len() {
                0.6
            } else {
                0.0
            };
            let wide = length as f64 * self.every + under;
            out.push_str(&svg::rectangle((x, self.y), (wide, STRIP), &class, &tip));
            begin += length;
        }
        out
    }
}

/// The shade of a share; what is no share of anything has the lightest.
fn shade(share: f64) -> usize {
    // A cast of what is not a number gives 0.
    ((share * SHADES as f64) as usize).min(SHADES - 1)
}

fn percent(share: f64) -> String {
    format!("{:.0}%", (share * 100.0).clamp(0.0, 999.0))
}

/// The colours and what they mean.
fn scale(left: f64) -> String {
    let mut out = svg::text(left, 12.0, Anchor::Start, "tick", "idle");
    for shade in 0..SHADES {
        let x = left + 30.0 + 18.0 * shade as f64;
        let tip = format!("{}% to {}% busy", shade * 10, shade * 10 + 10);
        out.push_str(&svg::rectangle(
            (x, 2.0),
            (18.0, 12.0),
            &format!("h{shade}"),
            &tip,
        ));
    }
    let end = left + 36.0 + 18.0 * SHADES as f64;
    out.push_str(&svg::text(
        end,
        12.0,
        Anchor::Start,
        "tick",
        "all CPUs busy",
    ));
    out
}

/// The seconds along the bottom.
fn clock(longest: f64, xs: (f64, f64), y: f64) -> String {
    let step = [
        0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 300.0, 1800.0,
    ]
    .into_iter()
    .find(|step| longest / step <= 8.0)
    .unwrap_or(longest);
    let mut out = String::new();
    for i in 0..=8 {
        let at = f64::from(i) * step;
        if at > longest * 1.0001 {
            break;
        }
        let x = xs.0 + (xs.1 - xs.0) * at / longest;
        out.push_str(&svg::line((x, y - 4.0), (x, y + 1.0), "one"));
        // Steps are short decimals, their multiples not always.
        let label = format!("{} s", (at * 100.0).round() / 100.0);
        out.push_str(&svg::text(x, y + 14.0, Anchor::Middle, "tick", &label));
    }
    out
}
