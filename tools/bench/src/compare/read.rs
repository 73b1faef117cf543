//! Reading a comparison back. What comes out of here is fit to be rendered: every list is as long as the others say.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::result::{Bucket, Comparison, Distribution, Heat, Load, VERSION};

/// The one field that every version of the file has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Comparison {
    /// Reads a file that `mpg-bench compare` wrote. An error is one sentence: what is wrong, and what to do.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Self::parse(&text).map_err(|why| format!("{} {why}", path.display()))
    }

    /// Reads JSON; the error continues a sentence that begins with the name of the file.
    fn parse(text: &str) -> Result<Self, String> {
        const REMEDY: &str = "give a file that `mpg-bench compare` wrote";
        // The version goes first: a file of another one may differ in any field, and should be told by its number.
        let versioned: Versioned = serde_json::from_str(text)
            .map_err(|error| format!("holds no comparison ({error}); {REMEDY}"))?;
        if versioned.version != VERSION {
            return Err(wrong_version(versioned.version));
        }
        let comparison: Comparison = serde_json::from_str(text).map_err(|error| {
            format!("is not a whole comparison of version {VERSION} ({error}); {REMEDY}")
        })?;
        comparison
            .validate()
            .map_err(|why| format!("contradicts itself: {why}; {REMEDY}, unchanged"))?;
        Ok(comparison)
    }

    /// Whether the parts fit together; the error says which do not, and what was expected.
    pub fn validate(&self) -> Result<(), String> {
        if self.version != VERSION {
            return Err(wrong_version(self.version));
        }
        if self.schedulers.is_empty() {
            return Err("it names no scheduler, and at least the reference was expected".into());
        }
        for load in &self.loads {
            load.validate(self.schedulers.len())
                .map_err(|why| format!("in load {:?}, {why}", load.label))?;
        }
        Ok(())
    }
}

fn wrong_version(version: u32) -> String {
    format!(
        "is a comparison of version {version}, and this program reads version {VERSION}; \
         use the mpg-bench that wrote it, or compare again"
    )
}

impl Load {
    fn validate(&self, schedulers: usize) -> Result<(), String> {
        for metric in &self.metrics {
            as_many(&metric.name, metric.of.len(), schedulers)?;
        }
        for distribution in &self.distributions {
            distribution.validate(schedulers)?;
        }
        for heat in &self.heat {
            heat.validate(schedulers)?;
        }
        Ok(())
    }
}

impl Distribution {
    fn validate(&self, schedulers: usize) -> Result<(), String> {
        as_many(&self.name, self.of.len(), schedulers)?;
        for buckets in self.of.iter().chain(&self.floor) {
            let rising = buckets.windows(2).all(|two| two[0].0 < two[1].0);
            if !rising || buckets.iter().any(|&Bucket(longest, _)| longest < 0.0) {
                return Err(format!(
                    "the buckets of {:?} were expected in rising order from 0, and are not",
                    self.name
                ));
            }
        }
        Ok(())
    }
}

impl Heat {
    fn validate(&self, schedulers: usize) -> Result<(), String> {
        if self.scheduler >= schedulers {
            return Err(format!(
                "a heat map is of scheduler {}, and {schedulers} schedulers are numbered from 0",
                self.scheduler
            ));
        }
        if self.every_s.is_nan() || self.every_s <= 0.0 {
            return Err(format!(
                "a heat map has a column every {} s, and a time above 0 was expected",
                self.every_s
            ));
        }
        Ok(())
    }
}

fn as_many(name: &str, found: usize, schedulers: usize) -> Result<(), String> {
    if found == schedulers {
        return Ok(());
    }
    Err(format!(
        "{name:?} has entries of {found} schedulers where {schedulers} were expected"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::made_up;

    fn why(text: &str) -> String {
        match Comparison::parse(text) {
            Ok(_) => panic!("accepted: {text}"),
            Err(why) => why,
        }
    }

    /// What is said of the made-up comparison after `change`.
    fn why_changed(change: impl FnOnce(&mut Comparison)) -> String {
        let mut comparison = made_up::small();
        change(&mut comparison);
        match serde_json::to_string(&comparison) {
            Ok(text) => why(&text),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn what_was_written_is_read() -> Result<(), Box<dyn std::error::Error>> {
        let comparison = made_up::small();
        let text = serde_json::to_string(&comparison)?;
        assert_eq!(Comparison::parse(&text)?, comparison);
        Ok(())
    }

    #[test]
    fn what_is_no_comparison_is_told_in_one_sentence() {
        assert!(why("").contains("holds no comparison"));
        assert!(why("[1, 2]").contains("holds no comparison"));
        assert!(why("{\"version\": 1}").contains("is not a whole comparison of version 1"));
        assert!(why("{\"version\": 7, \"new\": []}").contains("of version 7"));
        assert!(!why("{\"version\": 1}").contains('\n'));
    }

    #[test]
    fn parts_that_do_not_fit_together_are_refused() {
        let short = why_changed(|c| {
            c.loads[0].metrics[1].of.pop();
        });
        assert!(
            short.contains("has entries of 2 schedulers where 3 were expected"),
            "{short}"
        );
        let none = why_changed(|c| c.schedulers.clear());
        assert!(none.contains("names no scheduler"), "{none}");
        let falling = why_changed(|c| c.loads[0].distributions[0].of[1].reverse());
        assert!(falling.contains("rising order"), "{falling}");
        let missing = why_changed(|c| {
            c.loads[0].distributions[0].of.pop();
        });
        assert!(missing.contains("where 3 were expected"), "{missing}");
        let stranger = why_changed(|c| c.loads[0].heat[0].scheduler = 3);
        assert!(stranger.contains("numbered from 0"), "{stranger}");
        let standing = why_changed(|c| c.loads[0].heat[0].every_s = 0.0);
        assert!(standing.contains("above 0"), "{standing}");
    }
}
