//! The scheduling class of a load's measured threads, and the end of its processes.

use std::io;
use std::thread;

use anyhow::{anyhow, Result};

/// The lowest real-time priority: it is above every ordinary task, and nothing else here is real-time.
pub const FIFO_PRIORITY: i32 = 1;

/// How the measured threads are scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// By the scheduler under test.
    Ordinary,
    /// As SCHED_FIFO, which passes every scheduler of ordinary tasks by.
    Fifo,
}

impl Priority {
    /// Gives the calling thread this priority, and with it all threads and processes that it starts later.
    pub fn take(self) -> Result<()> {
        self.set().map_err(|error| {
            if error.raw_os_error() == Some(libc::EPERM) {
                anyhow!(
                    "SCHED_FIFO is not permitted: run as root, or with a real-time limit (ulimit -r) of {FIFO_PRIORITY} or more"
                )
            } else {
                anyhow!(error).context("SCHED_FIFO cannot be had")
            }
        })
    }

    /// As [`Priority::take`], without allocating: it may be called between fork and exec.
    pub fn set(self) -> io::Result<()> {
        if self == Priority::Ordinary {
            return Ok(());
        }
        let param = libc::sched_param {
            sched_priority: FIFO_PRIORITY,
        };
        // SAFETY: 0 names the calling thread, and the kernel only reads the structure, which outlives the call.
        match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &param) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Tries it out on a thread that is thrown away, so that a refusal is told before anything has started.
    pub fn try_out(self) -> Result<()> {
        thread::spawn(move || self.take())
            .join()
            .unwrap_or_else(|_| Err(anyhow!("the thread that tried SCHED_FIFO panicked")))
    }
}

/// Has the calling process killed when the thread that started it ends, so that none goes on without its load. It may be
/// called between fork and exec.
pub fn die_with_parent() -> io::Result<()> {
    // SAFETY: this option takes a number.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trying_out_leaves_the_caller_as_it_was() {
        assert!(Priority::Ordinary.try_out().is_ok());
        if let Err(refusal) = Priority::Fifo.try_out() {
            assert!(refusal.to_string().contains("SCHED_FIFO"), "{refusal:#}");
        }
        // SAFETY: 0 names the calling thread; nothing is passed but numbers.
        assert_eq!(unsafe { libc::sched_getscheduler(0) }, libc::SCHED_OTHER);
    }
}
