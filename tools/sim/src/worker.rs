//! The worker of each node: the real processor, fed from the simulated ring.

use mpg_policy::{steal_after_ns, steal_half, Balance, Look, NodeView, Paces, Params, Processor};

use crate::kernel::Kernel;

/// Decisions that a node's ring holds, as on the wire.
const DECISION_SLOTS: usize = 1_024;

fn view(kernel: &Kernel, node: usize) -> NodeView {
    NodeView {
        vclock: kernel.nodes[node].vclock,
        primed: kernel.nodes[node].primed.len() as u32,
        custody: kernel.nodes[node].custody.len() as u32,
        idle_cpus: kernel.idle_cpus(node) as u32,
        cpus: kernel.cpus_of(node) as u32,
    }
}

fn look(kernel: &Kernel, node: usize) -> Look {
    Look {
        vclock: kernel.nodes[node].vclock,
        cpus: kernel.cpus_of(node) as u32,
        free_cpus: kernel.idle_cpus(node) as u32,
        ran_dry: kernel.nodes[node].ran_dry,
    }
}

/// Reads all, steps once, writes all.
pub(crate) fn step(
    kernel: &mut Kernel,
    processors: &mut [Processor<'_>],
    node: usize,
    distance: u32,
) {
    let now_ns = kernel.now_ns;
    let params: Params = kernel.params;
    let seen = view(kernel, node);
    let edition = kernel.edition;
    let mut room = DECISION_SLOTS - kernel.nodes[node].decisions.len();
    kernel.report.steps += 1;
    while room > 0 {
        let Some(event) = kernel.nodes[node].ring.pop_front() else {
            break;
        };
        if let Some(decision) = processors[node].on_event(now_ns, &event, &seen, &params) {
            kernel.nodes[node].decisions.push_back((edition, decision));
            room -= 1;
        }
    }
    let one_queue = processors[node].policy().one_queue();
    if !one_queue && processors[node].p().is_empty() && seen.idle_cpus > 0 {
        let neighbours = *processors[node].neighbours();
        for victim in neighbours.iter().map(usize::from) {
            let victim_view = view(kernel, victim);
            let [thief, victim_p] = processors
                .get_disjoint_mut([node, victim])
                .expect("two nodes that are there");
            let leave = steal_after_ns(params.steal_after_ns, distance);
            if steal_half(victim_p, thief, now_ns, leave, &victim_view, &seen) > 0 {
                kernel.nodes[victim].queued = processors[victim].p().len();
                break;
            }
        }
    }
    let decisions = &mut kernel.nodes[node].decisions;
    processors[node].decide_up_to(room, now_ns, &seen, &params, &mut |decision| {
        decisions.push_back((edition, decision))
    });
    kernel.nodes[node].queued = processors[node].p().len();
}

/// Has nodes take Gs of others, as src/balancer.rs.
pub(crate) fn balance(
    kernel: &mut Kernel,
    processors: &[Processor<'_>],
    balances: &mut [(Balance, Paces)],
) {
    let (now_ns, nodes) = (kernel.now_ns, kernel.nodes.len());
    for (node, (balance, paces)) in balances.iter_mut().enumerate() {
        if processors[node].policy().one_queue() {
            continue;
        }
        let look = |node| look(kernel, usize::from(node));
        if let Some(wish) = paces.wish(now_ns, node as u16, nodes, look) {
            kernel.nodes[node].pull = Some(wish);
        }
        let own_wait_ns = kernel.nodes[node].average_wait_ns;
        let differs = |&victim: &usize| {
            balance.grants(now_ns, own_wait_ns, kernel.nodes[victim].average_wait_ns)
        };
        let mut neighbours = processors[node].neighbours().iter().map(usize::from);
        if let Some(victim) = neighbours.find(differs) {
            kernel.grants[node * nodes + victim] = true;
        }
    }
}
