//! The run's clock and its measured window, as every thread of a load sees them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// A time that no clock reading of a run reaches.
const NEVER_NS: u64 = u64::MAX;

/// The clock that a load's threads share, the edges of the measured window on it, and the order to stop.
///
/// All of it is written a handful of times in a run, so that reading it costs the measured path nothing.
pub struct Clock {
    origin: Instant,
    opened_ns: AtomicU64,
    closed_ns: AtomicU64,
    stopping: AtomicBool,
}

impl Clock {
    /// Starts the clock at zero, with the window not yet open.
    pub fn start() -> Self {
        Clock {
            origin: Instant::now(),
            opened_ns: AtomicU64::new(NEVER_NS),
            closed_ns: AtomicU64::new(NEVER_NS),
            stopping: AtomicBool::new(false),
        }
    }

    /// Nanoseconds since the clock was started.
    pub fn now_ns(&self) -> u64 {
        // A run lasts a day at most; 64 bits hold 584 years.
        self.origin.elapsed().as_nanos() as u64
    }

    /// Opens the measured window and returns when, in nanoseconds.
    pub fn open(&self) -> u64 {
        let now = self.now_ns();
        self.opened_ns.store(now, Ordering::Release);
        now
    }

    /// Closes the measured window and returns when, in nanoseconds.
    pub fn close(&self) -> u64 {
        let now = self.now_ns();
        self.closed_ns.store(now, Ordering::Release);
        now
    }

    /// Whether something that began at `begin_ns` belongs to the window. What began inside and ended outside does:
    /// otherwise the longest waits would be the ones left out.
    pub fn covers(&self, begin_ns: u64) -> bool {
        begin_ns >= self.opened_ns.load(Ordering::Acquire)
            && begin_ns < self.closed_ns.load(Ordering::Acquire)
    }

    /// Tells all threads to end.
    ///
    /// Sequentially consistent, as is [`Clock::stopping`]: a load may rest on the order of this flag and its own words.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// Whether the threads were told to end.
    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_covers_what_began_in_it() {
        let clock = Clock::start();
        assert!(!clock.covers(clock.now_ns()));
        let opened = clock.open();
        assert!(clock.covers(opened));
        assert!(!clock.covers(opened.wrapping_sub(1)));
        while clock.now_ns() == opened {}
        let closed = clock.close();
        assert!(clock.covers(closed - 1));
        assert!(!clock.covers(closed));
    }
}
