//! Which scheduler the kernel says it runs.

use std::fs;
use std::path::Path;

/// sched_ext as it stood at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// "enabled", "disabled" or a state between; `None` on a kernel without sched_ext.
    pub state: Option<String>,
    /// Name of the loaded scheduler; `None` while none is loaded.
    pub ops: Option<String>,
}

impl State {
    /// Reads the state from sysfs.
    pub fn read() -> Self {
        Self::read_at(Path::new("/sys/kernel/sched_ext"))
    }

    fn read_at(root: &Path) -> Self {
        let line = |name: &str| {
            let text = fs::read_to_string(root.join(name)).ok()?;
            let text = text.trim();
            (!text.is_empty()).then(|| text.to_owned())
        };
        State {
            state: line("state"),
            ops: line("root/ops"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_it_gives_none() {
        let state = State::read_at(Path::new("/nonexistent"));
        assert_eq!(
            state,
            State {
                state: None,
                ops: None
            }
        );
    }
}
