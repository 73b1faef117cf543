// SPDX-License-Identifier: GPL-2.0-only
//! What goes over the control socket: one line of JSON each way, with the protocol's version.
//!
//! ```text
//! {"version":1,"request":{"set":{"slice_us":3000,"for_s":60}}}
//! {"version":1,"request":{"undo":{}}}                 {"version":1,"request":{"show":{}}}
//! {"version":1,"request":{"watch":{"over_us":300}}}
//! {"version":1,"ok":{"policy":"mpg","slice_us":3000,...}}   {"version":1,"error":"a sentence"}
//! {"version":1,"ok":{"rings":[41,42],"logs":43,"idle_cpus":[2,3]}}
//! ```
//!
//! The version is read before anything else, so that two releases that do not understand each
//! other say so. Bytes come from outside: every function here takes any, and answers with a
//! sentence.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{json, Map, Value};

use crate::patch::Patch;
use crate::sentence::tame;
use crate::settings::Settings;

/// The version that this release speaks; raised when an old peer would misread a line.
pub const VERSION: u64 = 1;
/// Longest line that either side reads, in bytes, its newline included.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Change settings, all of those named or none.
    Set(Change),
    /// Take the last change back.
    Undo {},
    /// Tell the settings in force.
    Show {},
    /// Record what CPUs do and who waits, for as long as the connection lasts.
    Watch(Watch),
}

impl Request {
    /// Whether it changes nothing.
    pub fn is_reading(&self) -> bool {
        matches!(self, Self::Show {})
    }
}

/// What `set` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// After so many seconds the change goes back by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_s: Option<u64>,
    /// What to change.
    #[serde(flatten)]
    pub patch: Patch,
}

/// What `watch` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// Waits of more than so many microseconds are told of.
    pub over_us: u64,
}

/// Where the records of a watch are to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watching {
    /// The kernel's ids of the ring buffers, one for each node, in the order of nodes.
    pub rings: Vec<u32>,
    /// The kernel's id of the array of the logs of all CPUs.
    pub logs: u32,
    /// CPUs that were idle when it began.
    pub idle_cpus: Vec<u16>,
}

/// The settings in force once the request is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// All of them.
    #[serde(flatten)]
    pub settings: Settings,
    /// In how many seconds a change that passes goes back, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returns_in_s: Option<u64>,
}

impl fmt::Display for Reply {
    /// One setting to a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.settings)?;
        match self.returns_in_s {
            Some(seconds) => write!(f, "\nreturns-in-s {seconds}"),
            None => Ok(()),
        }
    }
}

/// The line that asks for it, newline included.
pub fn encode_request(request: &Request) -> String {
    line(json!({ "version": VERSION, "request": request }))
}

/// The line that answers, newline included.
pub fn encode_response(response: &Result<impl Serialize, String>) -> String {
    line(match response {
        Ok(reply) => json!({ "version": VERSION, "ok": reply }),
        Err(sentence) => json!({ "version": VERSION, "error": tame(sentence) }),
    })
}

/// Reads a request; the error is the sentence to answer with.
pub fn parse_request(line: &[u8]) -> Result<Request, String> {
    let mut fields = envelope(line, "request")?;
    let request = fields
        .remove("request")
        .ok_or("the request asks for nothing")?;
    only_known(&fields, "request")?;
    serde_json::from_value(request)
        .map_err(|e| tame(&format!("the request is not understood: {e}")))
}

/// Reads a response; the outer error says that it is none, the inner one is the daemon's.
pub fn parse_response<T: DeserializeOwned>(line: &[u8]) -> Result<Result<T, String>, String> {
    let mut fields = envelope(line, "answer")?;
    match (fields.remove("ok"), fields.remove("error")) {
        (Some(reply), None) => serde_json::from_value(reply)
            .map(Ok)
            .map_err(|e| tame(&format!("the answer is not understood: {e}"))),
        (None, Some(Value::String(sentence))) => Ok(Err(sentence)),
        _ => Err("the answer holds neither \"ok\" nor \"error\" as it should".to_string()),
    }
}

/// The object's fields without its version, which is checked here.
fn envelope(line: &[u8], what: &str) -> Result<Map<String, Value>, String> {
    if line.len() > MAX_LINE_BYTES {
        return Err(format!("the {what} is longer than {MAX_LINE_BYTES} bytes"));
    }
    let value: Value =
        serde_json::from_slice(line).map_err(|e| tame(&format!("the {what} is not JSON: {e}")))?;
    let Value::Object(mut fields) = value else {
        return Err(format!("the {what} is not a JSON object"));
    };
    match fields.remove("version") {
        Some(version) if version.as_u64() == Some(VERSION) => Ok(fields),
        Some(version) => Err(tame(&format!(
            "the {what} is of version {version} of the control protocol and this scx_mpg speaks \
             version {VERSION}: use the same release on both sides"
        ))),
        None => Err(format!(
            "the {what} names no \"version\": this scx_mpg speaks {VERSION}"
        )),
    }
}

fn only_known(rest: &Map<String, Value>, what: &str) -> Result<(), String> {
    match rest.keys().next() {
        None => Ok(()),
        Some(name) => Err(tame(&format!(
            "the {what} has the unknown field {name:?}: it takes \"version\" and \"{what}\""
        ))),
    }
}

fn line(value: Value) -> String {
    let mut text = value.to_string();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{assert_sentence, fuzz};
    use crate::history::History;
    use crate::sentence;
    use proptest::prelude::*;

    fn set(values: &[(&str, u64)]) -> Request {
        let params = values
            .iter()
            .map(|&(name, value)| (name.to_string(), value))
            .collect();
        let patch = Patch {
            params,
            ..Patch::default()
        };
        Request::Set(Change { for_s: None, patch })
    }

    fn refusal(line: &str) -> String {
        parse_request(line.as_bytes()).unwrap_err()
    }

    #[test]
    fn requests_are_as_documented() {
        let set = set(&[("slice_us", 3000)]);
        let text = r#"{"request":{"set":{"slice_us":3000}},"version":1}"#;
        assert_eq!(encode_request(&set), format!("{text}\n"));
        assert_eq!(parse_request(text.as_bytes()), Ok(set));
        let show = br#"{"version":1,"request":{"show":{}}}"#;
        assert_eq!(parse_request(show), Ok(Request::Show {}));
        let prefix = r#"    {"version":1,"request""#;
        let docs = include_str!("../../docs/TUNING.md").lines();
        let told: Vec<_> = docs.filter(|line| line.starts_with(prefix)).collect();
        assert_eq!(told.len(), 5);
        for line in told {
            parse_request(line.as_bytes()).unwrap();
        }
    }

    #[test]
    fn responses_survive_the_wire() {
        for response in [
            Ok(Reply::default()),
            Ok(Reply {
                returns_in_s: Some(42),
                ..Reply::default()
            }),
            Err("no \"such\" thing: \u{e9}".to_string()),
        ] {
            let text = encode_response(&response);
            assert_eq!(text.matches('\n').count(), 1);
            assert_eq!(parse_response(text.as_bytes()), Ok(response));
        }
        let watching = Watching {
            rings: vec![41, 42],
            logs: 43,
            idle_cpus: vec![0],
        };
        let text = encode_response(&Ok(watching.clone()));
        assert_eq!(parse_response(text.as_bytes()), Ok(Ok(watching)));
    }

    #[test]
    fn what_is_not_understood_is_answered_with_a_sentence() {
        assert!(refusal("").starts_with("the request is not JSON: "));
        assert_eq!(refusal("[]"), "the request is not a JSON object");
        assert_eq!(
            refusal("{}"),
            "the request names no \"version\": this scx_mpg speaks 1"
        );
        assert_eq!(
            refusal(r#"{"version":2,"request":{"dance":{}},"more":1}"#),
            "the request is of version 2 of the control protocol and this scx_mpg speaks version \
             1: use the same release on both sides"
        );
        assert_eq!(
            refusal(r#"{"version":1,"request":{"show":{}},"more":1}"#),
            "the request has the unknown field \"more\": it takes \"version\" and \"request\""
        );
        assert_eq!(
            refusal(r#"{"version":1,"request":{"dance":{}}}"#),
            "the request is not understood: unknown variant `dance`, expected one of `set`, `undo`, `show`, `watch`"
        );
        assert!(refusal(r#"{"version":1,"request":{"show":{"x":1}}}"#).contains("unknown field"));
        assert!(refusal(r#"{"version":1,"request":{"\n\u001b":1}}"#).contains(r"`\n\u{1b}`"));
        assert!(
            refusal(r#"{"version":1,"request":{"set":{"slice_us":-1}}}"#)
                .contains("not understood")
        );
        assert_eq!(refusal(r#"{"version":1}"#), "the request asks for nothing");
    }

    #[test]
    fn depth_and_length_are_bounded() {
        assert!(refusal(&"[".repeat(MAX_LINE_BYTES)).contains("recursion limit"));
        assert!(refusal(&" ".repeat(MAX_LINE_BYTES + 1)).contains("longer than 65536 bytes"));
        let long = format!(r#"{{"version":1,"request":{{"{}":1}}}}"#, "é".repeat(9000));
        assert!(refusal(&long).len() < sentence::MAX_BYTES + 10);
    }

    /// Whatever comes, it is understood as what it would be sent as, or gets a sentence; and
    /// whatever is understood leaves valid settings.
    #[test]
    fn fuzz_lines() {
        const SEEDS: [&str; 9] = [
            r#"{"version":1,"request":{"set":{"slice_us":3000,"lease":7,"for_s":60}}}"#,
            r#"{"version":1,"request":{"set":{"class":["comm=nginx:latency","uid=7:batch"]}}}"#,
            r#"{"version":1,"request":{"set":{"policy":"fifo","profile":"server"}}}"#,
            r#"{"version":1,"request":{"undo":{}}}"#,
            r#"{"version":1,"request":{"show":{}}}"#,
            r#"{"version":1,"ok":{"policy":"mpg","slice_us":3000,"class":[],"partial":false}}"#,
            r#"{"version":1,"error":"a sentence"}"#,
            r#"{"version":1,"request":{"watch":{"over_us":300}}}"#,
            r#"{"version":1,"ok":{"rings":[41,42],"logs":43,"idle_cpus":[2,3]}}"#,
        ];
        const WORDS: [&str; 31] = [
            "version",
            "request",
            "set",
            "show",
            "undo",
            "watch",
            "over_us",
            "rings",
            "for_s",
            "slice_us",
            "profile",
            "class",
            "none",
            "ok",
            "error",
            "{",
            "}",
            "[",
            "]",
            "\"",
            ":",
            ",",
            "1",
            "-1",
            "1e999",
            "null",
            "true",
            "18446744073709551616",
            "\\u0000",
            "\\ud800",
            "\u{1f980}",
        ];
        fuzz(&SEEDS, &WORDS, |line| {
            match parse_request(line) {
                Ok(request) => {
                    let again = parse_request(encode_request(&request).as_bytes());
                    assert_eq!(again.as_ref(), Ok(&request));
                    assert_sentence_or_valid(request);
                }
                Err(sentence) => assert_sentence(&sentence),
            }
            assert_survives::<Reply>(line);
            assert_survives::<Watching>(line);
        });
    }

    fn assert_survives<T: Serialize + DeserializeOwned>(line: &[u8]) {
        match parse_response::<T>(line) {
            Ok(response) => {
                let again = parse_response::<T>(encode_response(&response).as_bytes());
                assert_eq!(again.map(|answer| answer.is_ok()), Ok(response.is_ok()));
            }
            Err(sentence) => assert_sentence(&sentence),
        }
    }

    fn assert_sentence_or_valid(request: Request) {
        let now = std::time::Instant::now();
        let mut history = History::new(Settings::default());
        let done = match request {
            Request::Set(change) => history.set(&change.patch, change.for_s, now),
            Request::Undo {} => history.undo(now),
            Request::Show {} | Request::Watch(_) => Ok(()),
        };
        if let Err(e) = done {
            assert_sentence(&tame(&e.to_string()));
        }
        history.current().validate().unwrap();
    }

    proptest! {
        #[test]
        fn requests_survive_the_wire(
            for_s in proptest::option::of(any::<u64>()),
            profile in proptest::option::of(".*"),
            policy in proptest::option::of(".*"),
            class in proptest::option::of(proptest::collection::vec(".*", 0..4)),
            params in proptest::collection::btree_map("[a-z_]{1,20}x", any::<u64>(), 0..6),
        ) {
            let patch = Patch { profile, policy, params, class };
            let request = Request::Set(Change { for_s, patch });
            prop_assert_eq!(parse_request(encode_request(&request).as_bytes()), Ok(request));
        }
    }
}
