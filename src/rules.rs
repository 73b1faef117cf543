// SPDX-License-Identifier: GPL-2.0-only
//! The user's rules: which tasks are taken for which class, whatever they do.
//!
//! A rule is `WHAT=WHOM:CLASS`, such as `comm=nginx:latency`. The kernel half asks them in their
//! order and the first that matches counts (`bpf/rules.bpf.h`); what becomes of it is for the
//! policy to say. A rule is read, and its cgroup looked up, in one place, [`Rule::from_str`], so
//! that a bad one is refused with the same sentence everywhere.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};
use std::str::FromStr;

use mpg_policy::Class;

use crate::bpf_intf::{
    mpg_limits_MPG_MAX_RULES, mpg_rule, mpg_rule_kind_MPG_RULE_CGROUP, mpg_rule_kind_MPG_RULE_COMM,
    mpg_rule_kind_MPG_RULE_NONE, mpg_rule_kind_MPG_RULE_PROCESS, mpg_rule_kind_MPG_RULE_UID,
};

/// Rules that there is room for.
pub const MAX_RULES: usize = mpg_limits_MPG_MAX_RULES as usize;
/// Bytes of a task's name, the zero at its end included, as the kernel keeps it.
const NAME_BYTES: usize = 16;
/// Where the cgroups of version 2 are.
const CGROUPS: &str = "/sys/fs/cgroup";

/// A rule of no kind.
const MATCHES_NOTHING: mpg_rule = mpg_rule {
    kind: mpg_rule_kind_MPG_RULE_NONE,
    class: 0,
    number: 0,
    level: 0,
    text: [0; 2],
    mask: [0; 2],
};

/// Classes by the names that rules have for them.
const CLASSES: [(&str, Class); 3] = [
    ("latency", Class::Latency),
    ("normal", Class::Normal),
    ("batch", Class::Batch),
];

/// One rule, as the user wrote it and as the kernel half asks it.
#[derive(Clone, Debug)]
pub struct Rule {
    text: String,
    wire: mpg_rule,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Rule {}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a rule is refused: one sentence that names it and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError(String);

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RuleError {}

impl Rule {
    /// A rule that a daemon told of: its text, which need not be valid here or any more.
    pub fn told(text: String) -> Self {
        let wire = MATCHES_NOTHING;
        Rule { text, wire }
    }

    /// As the kernel half asks it.
    pub fn wire(&self) -> &mpg_rule {
        &self.wire
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let refused = |why: &str| RuleError(format!("the rule {text:?} {why}"));
        let (whom, class) = text
            .rsplit_once(':')
            .ok_or_else(|| refused("names no class, expected such as comm=nginx:latency"))?;
        let class = CLASSES
            .iter()
            .find(|(name, _)| *name == class)
            .map(|&(_, class)| class as u32)
            .ok_or_else(|| refused("is for no class, expected :latency, :normal or :batch"))?;
        let (what, whom) = whom.split_once('=').unwrap_or((whom, ""));
        let wire = match what {
            "comm" => name(whom, mpg_rule_kind_MPG_RULE_COMM),
            "process" => name(whom, mpg_rule_kind_MPG_RULE_PROCESS),
            "cgroup" => cgroup(whom),
            "uid" => uid(whom),
            _ => Err("is about nothing known, expected comm=, process=, cgroup= or uid=".into()),
        };
        let wire = wire.map_err(|why| refused(&why))?;
        Ok(Rule {
            text: text.to_string(),
            wire: mpg_rule { class, ..wire },
        })
    }
}

/// A rule about names: exact, or of all that begin with what is before a `*` at the end.
fn name(whom: &str, kind: u32) -> Result<mpg_rule, String> {
    let (name, counts) = match whom.strip_suffix('*') {
        Some(start) => (start, start.len()),
        // The zero at the end counts too: nothing follows.
        None => (whom, whom.len() + 1),
    };
    if whom.is_empty() || name.len() >= NAME_BYTES || name.contains('\0') {
        return Err(format!(
            "names no task, expected 1 to {} bytes, or fewer and a * at the end",
            NAME_BYTES - 1
        ));
    }
    let mut text = [0; NAME_BYTES];
    text[..name.len()].copy_from_slice(name.as_bytes());
    let mut mask = [0; NAME_BYTES];
    mask[..counts].fill(0xff);
    Ok(mpg_rule {
        kind,
        text: words(text),
        mask: words(mask),
        ..MATCHES_NOTHING
    })
}

fn words(bytes: [u8; NAME_BYTES]) -> [u64; 2] {
    let (words, _) = bytes.as_chunks::<8>();
    [words[0], words[1]].map(u64::from_ne_bytes)
}

/// A rule about a cgroup and those below it. The kernel's id of a cgroup is its inode number.
fn cgroup(whom: &str) -> Result<mpg_rule, String> {
    let expected = "expected its path below /sys/fs/cgroup, such as /batch.slice";
    let path = Path::new(whom);
    let below: Vec<_> = path.components().skip(1).collect();
    let plain = below
        .iter()
        .all(|component| matches!(component, Component::Normal(_)));
    if !path.is_absolute() || !plain {
        return Err(format!("has no path of a cgroup, {expected}"));
    }
    let full = below
        .iter()
        .fold(Path::new(CGROUPS).to_path_buf(), |full, name| {
            full.join(name)
        });
    let found = std::fs::metadata(&full).ok().filter(|found| found.is_dir());
    let found = found.ok_or_else(|| format!("is about a cgroup that is not there, {expected}"))?;
    Ok(mpg_rule {
        kind: mpg_rule_kind_MPG_RULE_CGROUP,
        number: found.ino(),
        level: below.len() as u64,
        ..MATCHES_NOTHING
    })
}

fn uid(whom: &str) -> Result<mpg_rule, String> {
    let number: u32 = whom
        .parse()
        .map_err(|_| "has no user, expected a number such as uid=1000".to_string())?;
    Ok(mpg_rule {
        kind: mpg_rule_kind_MPG_RULE_UID,
        number: number.into(),
        ..MATCHES_NOTHING
    })
}

/// Reads a list of rules; `none` by itself is the empty one.
pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Vec<Rule>, RuleError> {
    if let [only] = texts {
        if only.as_ref() == "none" {
            return Ok(Vec::new());
        }
    }
    if texts.len() > MAX_RULES {
        return Err(RuleError(format!(
            "there are {} rules, expected {MAX_RULES} or fewer: let one name many with a * or a \
             cgroup",
            texts.len()
        )));
    }
    texts.iter().map(|text| text.as_ref().parse()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal(text: &str) -> String {
        text.parse::<Rule>().expect_err(text).to_string()
    }

    /// What `bpf/rules.bpf.h` makes of a name.
    fn matches(rule: &Rule, name: &str) -> bool {
        let mut bytes = [0; NAME_BYTES];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        let wire = rule.wire();
        let words = words(bytes);
        (0..2).all(|at| (words[at] ^ wire.text[at]) & wire.mask[at] == 0)
    }

    #[test]
    fn a_bad_rule_is_told_with_what_was_expected() {
        assert!(refusal("").contains("names no class, expected such as"));
        assert!(refusal("comm=nginx").contains("names no class"));
        assert!(refusal("comm=nginx:fast").contains(":latency, :normal or :batch"));
        assert!(refusal("name=nginx:batch").contains("expected comm=, process=, cgroup= or uid="));
        assert!(refusal("comm=:batch").contains("expected 1 to 15 bytes"));
        assert!(refusal("comm=a-name-too-long-:batch").contains("expected 1 to 15 bytes"));
        assert!(refusal("uid=root:batch").contains("expected a number"));
        assert!(refusal("uid=-1:batch").contains("expected a number"));
        assert!(refusal("cgroup=batch:batch").contains("expected its path below"));
        assert!(refusal("cgroup=/../etc:batch").contains("expected its path below"));
        assert!(refusal("cgroup=/not/there:batch").contains("is not there"));
        let many = vec!["uid=1:batch"; MAX_RULES + 1];
        assert!(parse(&many)
            .expect_err("too many")
            .to_string()
            .contains("64 or fewer"));
        assert_eq!(parse(&["none"]), Ok(Vec::new()));
        assert!(parse(&["none", "uid=1:batch"]).is_err());
    }

    #[test]
    fn names_match_exactly_or_by_their_beginning() {
        let exact: Rule = "comm=nginx:latency".parse().expect("a rule");
        assert!(matches(&exact, "nginx") && !matches(&exact, "nginx2") && !matches(&exact, "ngin"));
        let begins: Rule = "process=kworker/*:batch".parse().expect("a rule");
        assert!(matches(&begins, "kworker/0:1") && !matches(&begins, "kworker"));
        let all: Rule = "comm=*:normal".parse().expect("a rule");
        assert!(matches(&all, "") && matches(&all, "fifteen-letters"));
        let colon: Rule = "comm=kworker/0:1:batch".parse().expect("a rule");
        assert!(matches(&colon, "kworker/0:1"));
        assert_eq!(exact.to_string(), "comm=nginx:latency");
    }

    proptest! {
        #[test]
        fn any_text_is_a_rule_or_gets_a_sentence(text in ".{0,40}") {
            match text.parse::<Rule>() {
                Ok(rule) => prop_assert_eq!(rule.to_string(), text),
                Err(e) => prop_assert!(e.to_string().contains("expected")),
            }
        }

        #[test]
        fn a_name_matches_its_own_rule_and_no_other(a in "[a-z]{1,15}", b in "[a-z]{1,15}") {
            let rule: Rule = format!("comm={a}:batch").parse().expect("a rule");
            prop_assert!(matches(&rule, &a));
            prop_assert_eq!(matches(&rule, &b), a == b);
        }
    }
}
