//! Steps without a clock, for callgrind to count: `steps QUEUED CPUS NODES DECISION_NS DECISIONS`, the
//! last rounded up to whole steps. See tools/policy-instructions.

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
    let &[queued, cpus, nodes, decision_ns, decisions] = numbers.as_slice() else {
        eprintln!("usage: steps QUEUED CPUS NODES DECISION_NS DECISIONS, all whole numbers");
        return ExitCode::from(2);
    };
    let machine = Machine { cpus, nodes };
    let mut memory = Memory::of(machine.slots(queued));
    let mut load = Load::new(memory.lend(), queued, machine, decision_ns.into());
    for _ in 0..u64::from(decisions).div_ceil(load.batch()) {
        load.step();
    }
    ExitCode::SUCCESS
}
