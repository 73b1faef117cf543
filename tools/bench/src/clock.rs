//! The run's clock and its measured window, as every thread of a load sees them.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A time that no clock reading of a run reaches.
const NEVER_NS: u64 = u64::MAX;
/// Nanoseconds of a second.
const SECOND_NS: u64 = 1_000_000_000;

/// The clock that a load's threads share, the edges of the measured window on it, and the order to stop.
///
/// All of it is written a handful of times in a run, so that reading it costs the measured path nothing.
pub struct Clock {
    /// On CLOCK_MONOTONIC.
    origin_ns: u64,
    opened_ns: AtomicU64,
    closed_ns: AtomicU64,
    stopping: AtomicBool,
}

impl Clock {
    /// Starts the clock at zero, with the window not yet open.
    pub fn start() -> Self {
        Clock {
            origin_ns: monotonic_ns(),
            opened_ns: AtomicU64::new(NEVER_NS),
            closed_ns: AtomicU64::new(NEVER_NS),
            stopping: AtomicBool::new(false),
        }
    }

    /// Nanoseconds since the clock was started.
    pub fn now_ns(&self) -> u64 {
        monotonic_ns().saturating_sub(self.origin_ns)
    }

    /// Sleeps until the clock reads `at_ns`, by an absolute timer, and not at all when that is past.
    pub fn sleep_until(&self, at_ns: u64) {
        let at_ns = self.origin_ns.saturating_add(at_ns);
        let at = libc::timespec {
            tv_sec: libc::time_t::try_from(at_ns / SECOND_NS).unwrap_or(libc::time_t::MAX),
            // Below a second, so it fits.
            tv_nsec: (at_ns % SECOND_NS) as libc::c_long,
        };
        // A signal ends the sleep early; nothing else does.
        // SAFETY: the kernel only reads `at`, which outlives the call; the null pointer asks for no remainder.
        while unsafe {
            libc::clock_nanosleep(
                libc::CLOCK_MONOTONIC,
                libc::TIMER_ABSTIME,
                &at,
                ptr::null_mut(),
            )
        } == libc::EINTR
        {}
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

fn monotonic_ns() -> u64 {
    nanoseconds_of(libc::CLOCK_MONOTONIC)
}

/// CPU time that the calling thread has used, in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    nanoseconds_of(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn nanoseconds_of(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes into the structure, which is ours. Both clocks are there on every kernel.
    unsafe {
        libc::clock_gettime(clock, &mut now);
    }
    // Neither part is negative; 64 bits hold 584 years of nanoseconds.
    now.tv_sec as u64 * SECOND_NS + now.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_ends_at_its_time_and_one_into_the_past_at_once() {
        let clock = Clock::start();
        let at_ns = clock.now_ns() + 2_000_000;
        clock.sleep_until(at_ns);
        assert!(clock.now_ns() >= at_ns);
        clock.sleep_until(0);
    }

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
