//! The load `pipe`: two tasks that send four bytes to and fro through two pipes, in the model of `perf bench sched pipe`.
//!
//! An operation is one round trip: each of the two has written once and read once, so each has slept and been woken. The
//! two are processes, or threads with `--threaded`. They work for the window, or until a number of operations is done;
//! the time per operation is then from the first to the last of them, as perf counts it.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::mem::size_of;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use anyhow::{bail, Context, Result};
use serde::Serialize;

use super::{real, Load, Stage};
use crate::clock::Clock;
use crate::crew::{self, Job};
use crate::gate::Gate;
use crate::priority::{self, Priority};
use crate::report::{row, Figures, Row};
use crate::topology::Topology;
use crate::window::{Measured, Own, Window};

/// Operations of the real program where none are asked for: it knows no time to run for, and a slow guest takes 2 s.
const REAL_LOOPS: u64 = 10_000;
/// Length of a message, as perf's.
const MESSAGE_BYTES: usize = size_of::<u32>();

/// The flags of the load, with perf's names.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub struct Args {
    /// Do so many operations, however long they take; 0 for as many as fit into the run (with --real: 10000)
    #[arg(short = 'l', long = "loop", value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u64).range(0..=1_000_000_000))]
    loops: u64,
    /// Play with two threads of one process instead of two processes
    #[arg(short = 'T', long)]
    threaded: bool,
    /// Run `perf bench sched pipe` itself, where it is installed, and report its figures
    #[arg(long)]
    real: bool,
}

/// What the load measured.
#[derive(Debug, Serialize)]
pub struct PipeFigures {
    operations: u64,
    /// `None` where no operation was done.
    us_per_operation: Option<f64>,
    operations_per_second: f64,
}

impl PipeFigures {
    fn new(operations: u64, seconds: f64) -> Self {
        PipeFigures {
            operations,
            us_per_operation: (operations > 0).then(|| seconds * 1e6 / operations as f64),
            operations_per_second: operations as f64 / seconds,
        }
    }
}

impl Figures for PipeFigures {
    fn rows(&self) -> Vec<Row> {
        vec![
            row("us_per_operation", self.us_per_operation),
            row("operations_per_second", Some(self.operations_per_second)),
        ]
    }
}

impl Load for Args {
    const NAME: &'static str = "pipe";
    type Figures = PipeFigures;

    fn fixed_work(&self) -> bool {
        self.loops > 0
    }

    fn real(&self) -> bool {
        self.real
    }

    fn run(&self, stage: Stage<'_>) -> Result<(PipeFigures, Measured)> {
        if self.real {
            return self.run_perf(stage);
        }
        let clock = Clock::start();
        let court = Shared::new()?;
        let (service, answer) = players()?;
        let measured = if self.threaded {
            self.play_as_threads(stage, &clock, court.get(), service, answer)?
        } else {
            self.play_as_processes(stage, &clock, court.get(), service, answer)?
        };
        let figures = if self.fixed_work() {
            PipeFigures::new(court.get().operations(), court.get().seconds())
        } else {
            PipeFigures::new(measured.completed, measured.runtime_s)
        };
        Ok((figures, measured))
    }
}

impl Args {
    fn run_perf(&self, stage: Stage<'_>) -> Result<(PipeFigures, Measured)> {
        let loops = match self.loops {
            0 => REAL_LOOPS,
            loops => loops,
        };
        let mut arguments: Vec<String> = ["bench", "sched", "pipe", "-l"].map(str::to_owned).into();
        arguments.push(loops.to_string());
        if self.threaded {
            arguments.push("-T".to_owned());
        }
        let (perf, measured) = real::run("perf", arguments, stage, real::perf::parse)?;
        let figures = PipeFigures {
            operations: loops,
            us_per_operation: Some(perf.us_per_operation),
            operations_per_second: perf.operations_per_second,
        };
        Ok((figures, measured))
    }

    fn play_as_threads(
        &self,
        stage: Stage<'_>,
        clock: &Clock,
        court: &Court,
        service: Player,
        answer: Player,
    ) -> Result<Measured> {
        let (start, done, end) = (Gate::default(), Gate::default(), Gate::default());
        let job = |mut player: Player, first: bool| {
            let (start, done, end, priority) = (&start, &done, &end, stage.priority);
            let loops = self.loops;
            Job::new("mpg-player", move |ready| {
                priority.take()?;
                drop(ready);
                start.wait();
                let played = player.play(first, loops, court, clock);
                drop(player);
                if first {
                    done.open();
                }
                // The thread must be there when the window closes, for its migrations to be known as the load's.
                end.wait();
                played.context("the pipe broke")
            })
        };
        let jobs = vec![job(service, true), job(answer, false)];
        let measure = || {
            let begin = || start.open();
            self.measure(stage.window, stage.topology, clock, court, begin, &done)
        };
        let release = || {
            court.stop();
            start.open();
            end.open();
        };
        let (_, measured) = crew::run(clock, jobs, measure, release)?;
        Ok(measured)
    }

    fn play_as_processes(
        &self,
        stage: Stage<'_>,
        clock: &Clock,
        court: &Court,
        service: Player,
        answer: Player,
    ) -> Result<Measured> {
        let Stage {
            topology,
            window,
            priority,
        } = stage;
        // Each child waits for the end of this pipe, which is when this process drops it: the start.
        let (start, starter) = io::pipe().context("a pipe was refused")?;
        let mut players = [Some((service, true)), Some((answer, false))];
        let mut children = Vec::with_capacity(players.len());
        for place in 0..players.len() {
            // SAFETY: this process has no other thread yet, so the child may do what any program may.
            match unsafe { libc::fork() } {
                0 => {
                    // The ends that are not this child's are closed, so that it sees the other's end.
                    let own = players[place].take();
                    drop(players);
                    drop(starter);
                    let code = own.map_or(1, |own| {
                        child(own, start, priority, self.loops, court, clock)
                    });
                    // SAFETY: _exit does not return and runs nothing of the parent's.
                    unsafe { libc::_exit(code) }
                }
                -1 => {
                    let error = io::Error::last_os_error();
                    // Stopped, the child that runs already ends as soon as it starts.
                    court.stop();
                    drop((players, starter));
                    wait_for(&children)?;
                    return Err(error).context("fork was refused");
                }
                child => children.push(child),
            }
        }
        drop((players, start));

        let done = Gate::default();
        let window = window.counting(Own::Processes(children.clone()));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let ended = wait_for(&children);
                if !court.stopping() && self.loops == 0 {
                    clock.stop();
                }
                done.open();
                ended
            });
            let begin = || drop(starter);
            let measured = self.measure(window, topology, clock, court, begin, &done);
            court.stop();
            match waiting.join() {
                Ok(ended) => ended.map(|()| measured),
                Err(_) => bail!("the thread that waits for the players panicked"),
            }
        })
    }

    fn measure(
        &self,
        window: Window,
        topology: &Topology,
        clock: &Clock,
        court: &Court,
        begin: impl FnOnce(),
        done: &Gate,
    ) -> Measured {
        if self.fixed_work() {
            window.measure_work(clock, topology, begin, done)
        } else {
            begin();
            window.measure(clock, topology, || court.operations())
        }
    }
}

/// What a child process does; returns its exit code.
fn child(
    own: (Player, bool),
    mut start: PipeReader,
    priority: Priority,
    loops: u64,
    court: &Court,
    clock: &Clock,
) -> i32 {
    let (mut player, first) = own;
    let mut nothing = [0];
    let ready = priority::die_with_parent()
        .and_then(|()| priority.set())
        .and_then(|()| start.read(&mut nothing));
    let played = ready.and_then(|_| player.play(first, loops, court, clock));
    i32::from(played.is_err())
}

/// Waits for processes to end, all of them; an error if one failed.
fn wait_for(children: &[i32]) -> Result<()> {
    let mut failed = false;
    for &child in children {
        let mut status = 0;
        // SAFETY: the kernel writes into `status`, which is ours.
        while unsafe { libc::waitpid(child, &mut status, 0) } == -1 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                bail!("a player cannot be waited for: {error}");
            }
        }
        failed |= status != 0;
    }
    if failed {
        bail!("a player's process failed");
    }
    Ok(())
}

/// What the two players and the main thread share, in whatever process they are. The line is of the first player, who
/// writes to it; the others look at the end, or twice in a run.
#[derive(Default)]
#[repr(align(64))]
struct Court {
    /// Written by the first player only, as are the two times.
    operations: AtomicU64,
    begun_ns: AtomicU64,
    ended_ns: AtomicU64,
    stopping: AtomicBool,
}

impl Court {
    fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    /// Tells the first player to end; the second one follows when the first one's pipe does.
    fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// From the first operation to the last.
    fn seconds(&self) -> f64 {
        let (begun, ended) = (&self.begun_ns, &self.ended_ns);
        let ns = ended
            .load(Ordering::Relaxed)
            .saturating_sub(begun.load(Ordering::Relaxed));
        ns as f64 / 1e9
    }
}

/// A [`Court`] in memory that a forked child shares with its parent.
struct Shared(NonNull<Court>);

impl Shared {
    fn new() -> Result<Self> {
        // SAFETY: a new mapping, at an address that the kernel chooses, harms nothing.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size_of::<Court>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("shared memory was refused");
        }
        let court = NonNull::new(address.cast()).context("shared memory is at address 0")?;
        Ok(Shared(court))
    }

    fn get(&self) -> &Court {
        // SAFETY: the mapping is as large as a court, aligned to a page, lives as long as `self`, and began as zeros,
        // which are a valid court. All its fields are atomic.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping is our own, and no reference into it outlives `self`.
        unsafe {
            libc::munmap(self.0.as_ptr().cast(), size_of::<Court>());
        }
    }
}

/// One end of each pipe.
struct Player {
    out: File,
    back: File,
}

/// The two players: what one writes the other reads.
fn players() -> Result<(Player, Player)> {
    let pipe = || -> Result<(PipeReader, PipeWriter)> { io::pipe().context("a pipe was refused") };
    let ((to_second, of_first), (to_first, of_second)) = (pipe()?, pipe()?);
    let player = |out: PipeWriter, back: PipeReader| Player {
        out: File::from(std::os::fd::OwnedFd::from(out)),
        back: File::from(std::os::fd::OwnedFd::from(back)),
    };
    Ok((player(of_first, to_first), player(of_second, to_second)))
}

impl Player {
    /// Plays until stopped, or as many operations as `loops` says, if that is not 0.
    fn play(&mut self, first: bool, loops: u64, court: &Court, clock: &Clock) -> io::Result<()> {
        let mut message = [0; MESSAGE_BYTES];
        if !first {
            while self.back.read(&mut message)? == MESSAGE_BYTES {
                self.out.write_all(&message)?;
            }
            return Ok(());
        }
        court.begun_ns.store(clock.now_ns(), Ordering::Relaxed);
        let mut done = 0;
        while !court.stopping() && (loops == 0 || done < loops) {
            self.out.write_all(&message)?;
            self.back.read_exact(&mut message)?;
            done += 1;
            court.operations.store(done, Ordering::Relaxed);
        }
        court.ended_ns.store(clock.now_ns(), Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(loops: u64) -> Result<(PipeFigures, Measured)> {
        // Threads only: the test harness has threads of its own, beside which no process may be forked that goes on.
        crate::load::short_run(&Args {
            loops,
            threaded: true,
            real: false,
        })
    }

    #[test]
    fn a_short_run_gives_figures() -> Result<()> {
        let (figures, measured) = run(0)?;
        assert!(figures.operations > 0 && figures.us_per_operation > Some(0.0));
        assert!(measured.runtime_s >= 0.1);
        Ok(())
    }

    #[test]
    fn a_number_of_operations_is_done_whatever_the_time() -> Result<()> {
        let (figures, _) = run(50)?;
        assert_eq!(figures.operations, 50);
        let Some(us) = figures.us_per_operation else {
            panic!("no time")
        };
        assert!((us * figures.operations_per_second - 1e6).abs() < 1.0);
        Ok(())
    }
}
