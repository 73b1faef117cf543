//! What a decision costs: one event in, one decision out, by depth of the queue and machine. Time is
//! that of the thread on its CPU: what else runs here meanwhile takes from the caches only.

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

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decision");
    for machine in MACHINES {
        for queued in DEPTHS {
            let mut memory = Memory::of((queued + machine.cpus) as usize);
            let mut load = Load::new(memory.lend(), queued, machine);
            // Every G has been queued again and again before the first figure.
            for _ in 0..8 * queued {
                load.step();
            }
            let name = BenchmarkId::new(format!("{} cpus", machine.cpus), queued);
            group.bench_function(name, |bencher| {
                bencher.iter_custom(|steps| {
                    let begun = cpu_time();
                    (0..steps).for_each(|_| load.step());
                    cpu_time() - begun
                })
            });
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
