// SPDX-License-Identifier: GPL-2.0-only
//! Threads that the scheduler does not go on without, the workers first of all: started one after
//! the other, looked after, and waited for.
//!
//! One that ends before it was told to has a fault, be it an error or a panic. Whoever looks
//! after the crew finds out by [`Crew::has_fault`], tells the others to end, and is told the fault
//! by [`Crew::dismiss`]. The panic itself stays in its thread.

use std::any::Any;
use std::sync::mpsc::{channel, Sender};
use std::thread::{Builder, JoinHandle};

use anyhow::{anyhow, Context, Result};

/// Threads, each with what it is called where it is spoken of.
#[derive(Default)]
pub struct Crew {
    threads: Vec<(String, JoinHandle<Result<()>>)>,
}

/// What a thread tells its start with.
pub struct Ready(Sender<()>);

impl Ready {
    /// The thread has all that it needs.
    pub fn tell(self) {
        // Whoever started the thread waits for this.
        self.0.send(()).ok();
    }
}

impl Crew {
    /// Starts the worker of the next node, and waits until it is ready or has ended.
    ///
    /// # Errors
    /// If the thread cannot be started. If it ended before it was ready, which
    /// [`dismiss`](Self::dismiss) then tells more of.
    pub fn hire(
        &mut self,
        stack_bytes: usize,
        work: impl FnOnce(Ready) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let node = self.threads.len();
        let who = format!("the worker of node {node}");
        self.hire_as(&format!("mpg-worker/{node}"), &who, stack_bytes, work)
    }

    /// Starts a thread called `name`, spoken of as `who`, and waits until it is ready or has ended.
    ///
    /// # Errors
    /// As [`hire`](Self::hire).
    pub fn hire_as(
        &mut self,
        name: &str,
        who: &str,
        stack_bytes: usize,
        work: impl FnOnce(Ready) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let (ready, is_ready) = channel();
        let thread = Builder::new()
            .name(name.to_string())
            .stack_size(stack_bytes)
            .spawn(move || work(Ready(ready)))
            .with_context(|| format!("cannot start {who}"))?;
        self.threads.push((who.to_string(), thread));
        is_ready
            .recv()
            .map_err(|_| anyhow!("{who} ended before it began"))
    }

    /// Whether one has ended, which before the order to end only a fault makes it do.
    pub fn has_fault(&self) -> bool {
        self.threads.iter().any(|(_, thread)| thread.is_finished())
    }

    /// Waits for all, who have been told to end.
    ///
    /// # Errors
    /// The fault of the first that had one.
    pub fn dismiss(&mut self) -> Result<()> {
        let mut first = Ok(());
        for (who, thread) in self.threads.drain(..) {
            let ended = thread
                .join()
                .unwrap_or_else(|panic| Err(anyhow!("{who} panicked: {}", words(&*panic))));
            first = first.and(ended);
        }
        first
    }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    const STACK_BYTES: usize = 64 * 1024;

    /// A worker that does as it is told.
    fn good(stop: &Arc<AtomicBool>) -> impl FnOnce(Ready) -> Result<()> + Send + 'static {
        let stop = Arc::clone(stop);
        move |ready| {
            ready.tell();
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        }
    }

    /// What the daemon does: looks, then has all end. Returns whether there was a fault to see.
    fn looked_after(crew: &Crew, stop: &AtomicBool) -> bool {
        let until = Instant::now() + Duration::from_secs(10);
        while !crew.has_fault() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        let seen = crew.has_fault();
        stop.store(true, Ordering::Relaxed);
        seen
    }

    #[test]
    fn a_panic_ends_the_crew_and_is_told_with_its_node_and_words() {
        let (mut crew, stop) = (Crew::default(), Arc::default());
        crew.hire(STACK_BYTES, good(&stop)).unwrap();
        crew.hire(STACK_BYTES, |ready| {
            ready.tell();
            panic!("slot {} is taken", 7)
        })
        .unwrap();
        crew.hire(STACK_BYTES, good(&stop)).unwrap();
        assert!(looked_after(&crew, &stop));
        let told = crew.dismiss().unwrap_err().to_string();
        assert_eq!(told, "the worker of node 1 panicked: slot 7 is taken");
        assert!(!crew.has_fault(), "nobody is left");
    }

    #[test]
    fn an_error_is_told_as_it_is_and_the_first_one_counts() {
        let (mut crew, stop) = (Crew::default(), Arc::default());
        crew.hire(STACK_BYTES, good(&stop)).unwrap();
        for what in ["the ring is gone", "so is this one"] {
            crew.hire(STACK_BYTES, move |ready| {
                ready.tell();
                Err(anyhow!(what))
            })
            .unwrap();
        }
        assert!(looked_after(&crew, &stop));
        assert_eq!(crew.dismiss().unwrap_err().to_string(), "the ring is gone");
    }

    #[test]
    fn whoever_ends_before_it_began_is_no_worker() {
        let mut crew = Crew::default();
        let hired = crew.hire(STACK_BYTES, |_| Err(anyhow!("there is no memory")));
        let told = hired.unwrap_err().to_string();
        assert_eq!(told, "the worker of node 0 ended before it began");
        assert_eq!(
            crew.dismiss().unwrap_err().to_string(),
            "there is no memory"
        );
        let hired = crew.hire(STACK_BYTES, |_| panic!("no memory at all"));
        hired.unwrap_err();
        assert_eq!(
            crew.dismiss().unwrap_err().to_string(),
            "the worker of node 0 panicked: no memory at all"
        );
    }

    #[test]
    fn a_crew_that_ends_when_it_is_told_has_no_fault() {
        let (mut crew, stop) = (Crew::default(), Arc::<AtomicBool>::default());
        for _ in 0..3 {
            crew.hire(STACK_BYTES, good(&stop)).unwrap();
        }
        assert!(!crew.has_fault());
        stop.store(true, Ordering::Relaxed);
        crew.dismiss().unwrap();
    }
}
