//! Where threads wait for each other outside the measured path: a gate that opens once, and a muster.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A gate that is shut at first, and stays open once opened.
#[derive(Default)]
pub struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    /// Lets all through that wait and that will come.
    pub fn open(&self) {
        *lock(&self.open) = true;
        self.opened.notify_all();
    }

    /// Waits until the gate is open.
    pub fn wait(&self) {
        let mut open = lock(&self.open);
        while !*open {
            open = self
                .opened
                .wait(open)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until the gate is open, but no longer than `limit`, and tells whether it is.
    pub fn wait_for(&self, limit: Duration) -> bool {
        let (open, _) = self
            .opened
            .wait_timeout_while(lock(&self.open), limit, |open| !*open)
            .unwrap_or_else(PoisonError::into_inner);
        *open
    }
}

/// Counts those who are still to come.
pub struct Muster {
    missing: Mutex<usize>,
    complete: Gate,
}

/// One who is to come, and has come when this is dropped: also by an error or a panic, so nobody waits in vain.
pub struct Ready<'a>(&'a Muster);

impl Muster {
    /// Waits for so many to come; each needs a [`Muster::expected`] of its own.
    pub fn of(expected: usize) -> Self {
        let complete = Gate::default();
        if expected == 0 {
            complete.open();
        }
        Muster {
            missing: Mutex::new(expected),
            complete,
        }
    }

    /// The mark of one who is to come.
    pub fn expected(&self) -> Ready<'_> {
        Ready(self)
    }

    /// Waits until all have come.
    pub fn wait(&self) {
        self.complete.wait();
    }
}

impl Drop for Ready<'_> {
    fn drop(&mut self) {
        let mut missing = lock(&self.0.missing);
        *missing = missing.saturating_sub(1);
        if *missing == 0 {
            self.0.complete.open();
        }
    }
}

/// The lock, also after a thread panicked with it: a flag and a count cannot be left half written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn an_open_gate_stays_open() {
        let gate = Gate::default();
        assert!(!gate.wait_for(Duration::from_millis(1)));
        gate.open();
        gate.wait();
        assert!(gate.wait_for(Duration::ZERO));
    }

    #[test]
    fn a_muster_ends_when_the_last_has_come_or_failed() {
        Muster::of(0).wait();
        let muster = Muster::of(2);
        thread::scope(|scope| {
            let (one, other) = (muster.expected(), muster.expected());
            scope.spawn(move || drop(one));
            let failing = scope.spawn(move || {
                let _ready = other;
                std::panic::resume_unwind(Box::new(()));
            });
            muster.wait();
            assert!(failing.join().is_err());
        });
    }
}
