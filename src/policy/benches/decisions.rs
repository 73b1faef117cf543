//! What a decision costs: one event in, one decision out, by depth of the queue and machine.

mod load;
#[path = "../tests/memory/mod.rs"]
mod memory;

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
            group.bench_function(name, |bencher| bencher.iter(|| load.step()));
        }
    }
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
