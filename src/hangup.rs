// SPDX-License-Identifier: GPL-2.0-only
//! SIGHUP as "read your config file again", for a daemon that has one.
//!
//! The signal is blocked in every thread and asked for where the main thread looks anyway: no
//! handler runs, so nothing of the daemon has to be safe in one. Without a config file SIGHUP ends
//! the scheduler, as a terminal that is closed should.

use std::io;

/// SIGHUP, blocked.
pub struct Hangup(libc::sigset_t);

impl Hangup {
    /// Blocks the signal in this thread, and in those that it starts from here on.
    pub fn block() -> io::Result<Self> {
        // SAFETY: a sigset_t is plain data, and sigemptyset makes a valid one of any.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: `set` is valid for writing, and SIGHUP is a signal.
        unsafe {
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGHUP);
        }
        // SAFETY: `set` is initialised, and the old mask is not asked for.
        match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) } {
            0 => Ok(Self(set)),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// Whether the signal came since the last call.
    pub fn came(&self) -> bool {
        let at_once = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: set and time are valid for the call, and who sent it is not asked for.
        unsafe { libc::sigtimedwait(&self.0, std::ptr::null_mut(), &at_once) == libc::SIGHUP }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_told_of_once() {
        let hangup = Hangup::block().unwrap();
        assert!(!hangup.came());
        // SAFETY: sends this thread a signal that it has blocked.
        unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGHUP) };
        assert!(hangup.came());
        assert!(!hangup.came());
    }
}
