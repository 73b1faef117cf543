//! What a decision costs, one event in and one decision out, in whole steps of a worker, by depth of
//! the queue and machine. Time is that of the thread on its CPU: what else runs here meanwhile takes
//! from the caches only.

mod load;
#[path = "../tests/memory/mod.rs"]
mod memory;

use std::time::Duration;

use criterion::{criterion_group, criterion_main, BenchmarkId, Criterion};
use load::{Load, Machine};
use memory::Memory;

/// Two small nodes, and as many as 1,024 CPUs come in.
const MACHINES: [Machine; 2] = [
    Machine { cpus: 4, nodes: 2 },
    Machine {
        cpus: 1_024,
        nodes: 16,
    },
];
/// Gs queued.
const DEPTHS: [u32; 3] = [10, 1_000, 100_000];

/// How Gs are served, and the time between two decisions that makes it so: short enough for 100,000
/// Gs, some of which wait for six rounds; or so long that half of them go by age, of 1,000 none.
const SERVED: [(&str, u64); 2] = [("by deadline", 100), ("overdue", 2_000)];

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decision");
    for (served, decision_ns) in SERVED {
        for machine in MACHINES {
            for queued in DEPTHS {
                let mut memory = Memory::of(machine.slots(queued));
                let mut load = Load::new(memory.lend(), queued, machine, decision_ns);
                // Every G has been queued again and again before the first figure.
                for _ in 0..8 * u64::from(queued) / load.batch() {
                    load.step();
                }
                let name = BenchmarkId::new(format!("{served}, {} cpus", machine.cpus), queued);
                group.bench_function(name, |bencher| {
                    bencher.iter_custom(|decisions| {
                        let steps = decisions.div_ceil(load.batch());
                        let begun = cpu_time();
                        (0..steps).for_each(|_| load.step());
                        let done = steps * load.batch();
                        (cpu_time() - begun).mul_f64(decisions as f64 / done as f64)
                    })
                });
            }
        }
    }
    group.finish();
}

/// What the calling thread has used of a CPU.
fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the clock is there on every Linux, and `time` is where it may write.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

criterion_group!(benches, decisions);
criterion_main!(benches);
