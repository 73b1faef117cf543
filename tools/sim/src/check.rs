//! The invariants, looked at from outside after every step.

use crate::kernel::{Kernel, Place};

/// Takes stock: every G is where it says, once, and nowhere else.
pub(crate) fn after_step(kernel: &mut Kernel) {
    let mut found = vec![0u32; kernel.gs.len()];
    let mut astray = None;
    let mut see = |g: usize, place: Place| {
        found[g] += 1;
        if kernel.gs[g].place != place {
            astray = Some((g, place));
        }
    };
    for (node, state) in kernel.nodes.iter().enumerate() {
        state
            .custody
            .iter()
            .for_each(|g| see(g, Place::Custody(node)));
        state
            .primed
            .iter()
            .for_each(|g| see(g, Place::Primed(node)));
    }
    for (cpu, state) in kernel.cpus.iter().enumerate() {
        state.pinned.iter().for_each(|g| see(g, Place::Pinned(cpu)));
        state
            .running
            .into_iter()
            .for_each(|g| see(g, Place::Running(cpu)));
    }
    let lost = (0..found.len()).find(|&g| {
        let runnable = !matches!(kernel.gs[g].place, Place::Asleep | Place::Gone);
        found[g] != u32::from(runnable)
    });
    let waits_in_vain = kernel.cpus.iter().enumerate().find_map(|(cpu, state)| {
        let node = &kernel.nodes[kernel.node_of(cpu)];
        let may = |g: usize| kernel.may(g, cpu);
        let queues = [&state.pinned, &node.primed, &node.custody];
        let waiting = queues.into_iter().find_map(|queue| queue.first(may))?;
        state.running.is_none().then_some((waiting, cpu))
    });
    let places = |g: usize, count: u32| format!("in {count} places, {:?}", kernel.gs[g].place);
    let what = if let Some(g) = lost {
        Some(format!("I1: G {g} is {}", places(g, found[g])))
    } else if let Some((g, place)) = astray {
        Some(format!(
            "I1: G {g} is in {place:?} and says {:?}",
            kernel.gs[g].place
        ))
    } else {
        waits_in_vain.map(|(g, cpu)| format!("G {g} waits while CPU {cpu} of its node is idle"))
    };
    if let Some(what) = what {
        kernel.require(false, || what);
    }
}

/// After the run: whoever had something to do has done it.
pub(crate) fn at_end(kernel: &mut Kernel) {
    let left =
        (0..kernel.gs.len()).find(|&g| !matches!(kernel.gs[g].place, Place::Asleep | Place::Gone));
    if let Some(g) = left {
        let place = kernel.gs[g].place;
        kernel.require(false, || format!("I7: G {g} is left behind in {place:?}"));
    }
}
