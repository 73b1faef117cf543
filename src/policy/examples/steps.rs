//! Steps without a clock, for callgrind to count: `steps QUEUED CPUS NODES STEPS`. See
//! tools/policy-instructions.

#[path = "../benches/load/mod.rs"]
mod load;
#[path = "../tests/memory/mod.rs"]
mod memory;

use std::process::ExitCode;

use load::{Load, Machine};
use memory::Memory;

fn main() -> ExitCode {
    let numbers: Vec<u32> = std::env::args()
        .skip(1)
        .filter_map(|arg| arg.parse().ok())
        .collect();
    let &[queued, cpus, nodes, steps] = numbers.as_slice() else {
        eprintln!("usage: steps QUEUED CPUS NODES STEPS, all whole numbers");
        return ExitCode::from(2);
    };
    let mut memory = Memory::of((queued + cpus) as usize);
    let mut load = Load::new(memory.lend(), queued, Machine { cpus, nodes });
    for _ in 0..steps {
        load.step();
    }
    ExitCode::SUCCESS
}
