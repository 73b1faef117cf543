// SPDX-License-Identifier: GPL-2.0-only
//! The config file: what the command line can say, in TOML.
//!
//! ```toml
//! policy = "mpg"
//! slice-us = 4000
//! class = ["comm=nginx:latency", "cgroup=/batch.slice:batch"]
//! ```
//!
//! Keys are the options' names, `_` is as good as `-`. A file says what is chosen before the command
//! line is looked at; what neither names is at its default. Bytes come from outside: [`judge`] takes
//! any, and answers with a sentence that names the key.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use toml::{Table, Value};

use crate::memory::{self, MemorySettings};
use crate::patch::Patch;
use crate::sentence::tame;
use crate::settings::{param_index, SettingError, Settings};

/// Largest file that is read, in bytes: a thousand rules and their comments.
const MAX_BYTES: u64 = 256 * 1024;

/// What is chosen by one source, the file or the command line. What is not named stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// What can be changed later, too.
    pub patch: Patch,
    /// Milliseconds after which a silent worker is taken for dead.
    pub fallback_after_ms: Option<u64>,
    /// Whether only tasks of class SCHED_EXT are scheduled.
    pub partial: Option<bool>,
    /// Whether pages follow their process.
    pub migrate_memory: Option<bool>,
    /// Numbers of [`memory::NUMBERS`], by name.
    pub memory: Vec<(&'static str, u64)>,
}

/// Settings from the defaults and what each of `choices` names, later ones over earlier ones.
pub fn settings<'a>(
    choices: impl IntoIterator<Item = &'a Choice>,
) -> Result<Settings, SettingError> {
    let mut settings = Settings::default();
    for choice in choices {
        choice.patch.resolve()?.apply(&mut settings);
        if let Some(value) = choice.fallback_after_ms {
            settings.fallback_after_ms = value;
        }
        if let Some(value) = choice.partial {
            settings.partial = value;
        }
        if let Some(value) = choice.migrate_memory {
            settings.memory.migrate = value;
        }
        for (name, value) in &choice.memory {
            put_number(&mut settings.memory, name, *value);
        }
    }
    settings.validate()?;
    Ok(settings)
}

fn put_number(memory: &mut MemorySettings, name: &str, value: u64) {
    if let Some(number) = memory::NUMBERS.iter().find(|number| number.name == name) {
        (number.set)(memory, value);
    }
}

/// Why a config file is refused: one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// Settings from the config file at `path`, and what `line`, the command line, says instead.
pub fn load(path: &Path, line: &Choice) -> Result<Settings, ConfigError> {
    let named = |why: String| ConfigError(format!("{}: {why}", path.display()));
    let bytes = read(path).map_err(named)?;
    judge(&bytes, line).map_err(named)
}

/// Settings from the bytes of a file and from `line`; the error is a sentence.
fn judge(bytes: &[u8], line: &Choice) -> Result<Settings, String> {
    let judged = parse(bytes).and_then(|file| settings([&file, line]).map_err(|e| e.to_string()));
    judged.map_err(|sentence| tame(&sentence))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |e: io::Error| format!("cannot be read: {e}");
    let meta = fs::metadata(path).map_err(unreadable)?;
    if !meta.is_file() {
        return Err("is no file, expected one in TOML".to_string());
    }
    if meta.len() > MAX_BYTES {
        let len = meta.len();
        return Err(format!("has {len} bytes, expected {MAX_BYTES} or fewer"));
    }
    fs::read(path).map_err(unreadable)
}

fn parse(bytes: &[u8]) -> Result<Choice, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let line = 1 + bytes[..e.valid_up_to()]
            .iter()
            .filter(|&&b| b == b'\n')
            .count();
        format!("line {line} is not UTF-8, expected text in TOML")
    })?;
    let table: Table = text.parse().map_err(|e| syntax(text, &e))?;
    let mut choice = Choice::default();
    for (key, value) in &table {
        let name = key.replace('_', "-");
        choice
            .take(&name, value)
            .map_err(|expected| match expected {
                Some(expected) => {
                    format!("{key} is {}, expected {expected}", shown(value))
                }
                None => format!(
                    "there is no setting {key:?}: keys are the options' names, such as slice-us \
                     (see scx_mpg --help)"
                ),
            })?;
    }
    Ok(choice)
}

impl Choice {
    /// Takes over one key; the error says what was expected, or that nothing is called so.
    fn take(&mut self, name: &str, value: &Value) -> Result<(), Option<&'static str>> {
        match name {
            "policy" => self.patch.policy = Some(string(value)?),
            "profile" => self.patch.profile = Some(string(value)?),
            "class" => self.patch.class = Some(strings(value)?),
            "partial" => self.partial = Some(boolean(value)?),
            "migrate-memory" => self.migrate_memory = Some(boolean(value)?),
            "fallback-after-ms" => self.fallback_after_ms = Some(number(value)?),
            _ => {
                if let Some(known) = memory::NUMBERS.iter().find(|known| known.name == name) {
                    self.memory.push((known.name, number(value)?));
                } else if param_index(name).is_ok() {
                    self.patch.params.insert(name.to_string(), number(value)?);
                } else {
                    return Err(None);
                }
            }
        }
        Ok(())
    }
}

fn string(value: &Value) -> Result<String, Option<&'static str>> {
    let text = value.as_str().ok_or(Some("a name in quotes"))?;
    Ok(text.to_string())
}

fn strings(value: &Value) -> Result<Vec<String>, Option<&'static str>> {
    let expected = Some("a list such as [\"comm=nginx:latency\"]");
    let rules = value.as_array().ok_or(expected)?;
    let text = |rule: &Value| rule.as_str().map(str::to_string).ok_or(expected);
    match rules.is_empty() {
        true => Ok(vec!["none".to_string()]),
        false => rules.iter().map(text).collect(),
    }
}

fn boolean(value: &Value) -> Result<bool, Option<&'static str>> {
    value.as_bool().ok_or(Some("true or false"))
}

fn number(value: &Value) -> Result<u64, Option<&'static str>> {
    let number = value.as_integer().and_then(|n| u64::try_from(n).ok());
    number.ok_or(Some("a whole number of 0 or more"))
}

/// A value as a sentence can hold it.
fn shown(value: &Value) -> String {
    match value {
        Value::Table(_) => "a table".to_string(),
        Value::Array(_) => "a list".to_string(),
        value => {
            // Debug keeps to one line what TOML may write in several.
            let text = match value {
                Value::String(text) => format!("{text:?}"),
                other => other.to_string(),
            };
            match text.char_indices().nth(64) {
                Some((end, _)) => format!("{}...", &text[..end]),
                None => text,
            }
        }
    }
}

/// What is wrong with the syntax, in one line with the line's number.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| span.start);
    let line = 1 + text.as_bytes()[..at.min(text.len())]
        .iter()
        .filter(|&&b| b == b'\n')
        .count();
    let why = error.message().split_whitespace().collect::<Vec<_>>();
    format!("line {line} is not TOML: {}", why.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{assert_sentence, fuzz};

    fn refusal(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err()
    }

    fn judged(text: &str) -> Result<Settings, String> {
        judge(text.as_bytes(), &Choice::default())
    }

    #[test]
    fn a_file_says_what_the_options_say() {
        let settings = judged(
            "policy = \"fifo\"\nslice_us = 3000\nslice-min-us = 700\nclass = [\"uid=7:batch\"]\n\
             partial = true\nmemory-permille = 3\nfallback-after-ms = 80 # a comment\n",
        )
        .unwrap();
        assert_eq!(settings.policy, "fifo");
        assert_eq!(settings.param("slice-us"), Some(3000));
        assert_eq!(settings.param("slice-min-us"), Some(700));
        assert_eq!(settings.rules.len(), 1);
        assert_eq!((settings.partial, settings.fallback_after_ms), (true, 80));
        assert_eq!(settings.memory.permille, 3);
        assert_eq!(judged(""), Ok(Settings::default()));
        assert_eq!(judged("class = []"), Ok(Settings::default()));
    }

    #[test]
    fn the_documented_file_is_read() {
        let docs = include_str!("../docs/TUNING.md");
        let (_, file) = docs.split_once("# /etc/scx_mpg.toml").unwrap();
        let (file, _) = file.split_once("\n\n").unwrap();
        let choice = parse(format!("#{file}").as_bytes()).unwrap();
        assert_eq!(choice.patch.class.map(|rules| rules.len()), Some(2));
    }

    #[test]
    fn later_choices_win_and_a_profile_comes_before_what_is_named() {
        let file = parse(b"profile = \"lowlatency\"\nslice-us = 3000").unwrap();
        let line = parse(b"slice-us = 4000").unwrap();
        let settings = settings([&file, &line]).unwrap();
        assert_eq!(settings.policy, "latency");
        assert_eq!(settings.param("slice-us"), Some(4000));
        assert_eq!(settings.param("slice-min-us"), Some(500));
    }

    #[test]
    fn each_refusal_names_the_key_and_what_was_expected() {
        assert_eq!(
            refusal("slice-us = \"x\""),
            "slice-us is \"x\", expected a whole number of 0 or more"
        );
        assert_eq!(
            refusal("slice_us = -1"),
            "slice_us is -1, expected a whole number of 0 or more"
        );
        assert_eq!(
            refusal("partial = 1"),
            "partial is 1, expected true or false"
        );
        assert_eq!(
            refusal("slice-us = \"\"\"\n4\"\"\""),
            "slice-us is \"4\", expected a whole number of 0 or more"
        );
        assert_eq!(
            refusal("slice-us = \"4\\n\""),
            "slice-us is \"4\\n\", expected a whole number of 0 or more"
        );
        assert!(refusal("[slice]\nus = 1").starts_with("there is no setting \"slice\": "));
        assert!(refusal("class = \"x\"").contains("expected a list such as"));
        assert!(refusal("policy = []").contains("policy is a list, expected a name"));
        assert!(refusal("a = 1\nslice-us = = 2").starts_with("line 2 is not TOML: "));
        assert!(refusal("slice-us = 1\nslice-us = 2").starts_with("line 2 is not TOML: "));
        assert_eq!(
            parse(b"\n\xff").unwrap_err(),
            "line 2 is not UTF-8, expected text in TOML"
        );
        assert!(judged("slice-us = 5")
            .unwrap_err()
            .starts_with("slice-us is 5, expected 100"));
        assert!(judged("profile = \"x\"")
            .unwrap_err()
            .contains("choose one of gaming, server"));
    }

    #[test]
    fn files_that_are_none_are_refused_with_their_name() {
        let refusal = |path: &str| {
            let loaded = load(Path::new(path), &Choice::default());
            loaded.unwrap_err().to_string()
        };
        assert!(refusal("/nonexistent.toml").starts_with("/nonexistent.toml: cannot be read: "));
        assert_eq!(refusal("/dev"), "/dev: is no file, expected one in TOML");
    }

    /// Whatever a file holds, it makes valid settings or gets a sentence.
    #[test]
    fn fuzz_files() {
        const SEEDS: [&str; 4] = [
            "policy = \"mpg\"\nslice-us = 4000\nclass = [\"comm=nginx:latency\", \"uid=7:batch\"]\n",
            "# comment\nprofile = \"server\"\npartial = false\nmigrate_memory = true\n",
            "fallback-after-ms = 80\nmemory-permille = 3\nslice_min_us = 1_000\nlease = 0x20\n",
            "[slice]\nus = 1\n[[class]]\na.b = { c = 1979-05-27T07:32:00Z, d = 1e9 }\n",
        ];
        const WORDS: [&str; 24] = [
            "slice-us",
            "class",
            "policy",
            "profile",
            "partial",
            "true",
            "=",
            "\n",
            "[",
            "]",
            "[[",
            "{",
            "}",
            "\"",
            "\"\"\"",
            "'''",
            "\\u0000",
            "\\U0010ffff",
            "#",
            ".",
            ",",
            "9223372036854775808",
            "-1",
            "inf",
        ];
        fuzz(&SEEDS, &WORDS, |bytes| {
            match judge(bytes, &Choice::default()) {
                Ok(settings) => settings.validate().unwrap(),
                Err(sentence) => assert_sentence(&sentence),
            }
        });
    }
}
