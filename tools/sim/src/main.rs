//! Runs random machines: `mpg_sim [HOW MANY [FIRST SEED]]`. Prints what the first violation needs
//! to be found again, and one number that is the same for the same runs.

use std::process::ExitCode;

use mpg_sim::{run, Shape};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>());
    let (Ok(count), Ok(first)) = (args.next().unwrap_or(Ok(100)), args.next().unwrap_or(Ok(0)))
    else {
        eprintln!("usage: mpg_sim [HOW MANY [FIRST SEED]], both whole numbers");
        return ExitCode::FAILURE;
    };
    let mut all = 0u64;
    for seed in (0..count).map(|step| first.wrapping_add(step)) {
        let shape = Shape::random(seed);
        match run(&shape, seed) {
            Ok(report) => all = all.rotate_left(1) ^ report.trace,
            Err(violation) => {
                eprintln!("seed {seed}: {violation}\n{shape:#?}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{count} runs from seed {first}: {all:016x}");
    ExitCode::SUCCESS
}
