//! A word on which one thread sleeps until another rings.

use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

const QUIET: u32 = 0;
const RUNG: u32 = 1;

/// One sleeper's bell. A ring while nobody sleeps is kept, a second one is not: it holds one ring at most.
#[derive(Default)]
pub struct Bell(AtomicU32);

impl Bell {
    /// Forgets a ring that nobody took. Only the sleeper calls this, before it tells anyone where to ring.
    pub fn hush(&self) {
        self.0.store(QUIET, Ordering::SeqCst);
    }

    /// Wakes the sleeper, or lets its next [`Bell::wait`] pass. Without a system call when the bell has been rung already.
    pub fn ring(&self) {
        if self
            .0
            .compare_exchange(QUIET, RUNG, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
        {
            // SAFETY: the word lives as long as `self`, is aligned, and FUTEX_WAKE does not write to it. The call
            // cannot fail with these arguments.
            unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    self.0.as_ptr(),
                    libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
                    1,
                );
            }
        }
    }

    /// Sleeps until the bell is rung, and takes the ring. Only the sleeper calls this.
    pub fn wait(&self) {
        while self
            .0
            .compare_exchange(RUNG, QUIET, Ordering::SeqCst, Ordering::SeqCst)
            .is_err()
        {
            // SAFETY: the word lives as long as `self`, is aligned, and FUTEX_WAIT only reads it; the null timeout
            // means none. The loop makes every early return (signal, the word changed meanwhile) harmless.
            unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    self.0.as_ptr(),
                    libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
                    QUIET,
                    ptr::null::<libc::timespec>(),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_before_the_wait_is_kept() {
        let bell = Bell::default();
        bell.ring();
        bell.ring();
        bell.wait();
        assert_eq!(bell.0.load(Ordering::SeqCst), QUIET);
    }

    #[test]
    fn a_ring_wakes_the_sleeper() {
        let bell = Bell::default();
        std::thread::scope(|scope| {
            scope.spawn(|| bell.wait());
            bell.ring();
        });
    }
}
