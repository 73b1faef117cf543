//! What a CPU runs next: ops.dispatch, with bpf/take.bpf.h and bpf/balance.bpf.h.

use mpg_policy::{clock, Class, Wish, NEVER};

use super::{Kernel, Node};
use crate::queue::Queue;

/// The node looks for Gs that wait beyond the starvation bound this often in each bound.
const OVERDUE_LOOKS: u64 = 8;

/// Gs of a queue looked at for one that ran on the CPU last.
const WARM_SEARCH: usize = 8;

/// A G that ran for so many slices since its last wakeup does not sleep.
const PULL_SLICES: u64 = 2;

impl Kernel {
    /// ops.dispatch: what runs next on a CPU, and with whose leave. `prev` is the G that ran here
    /// and could go on.
    pub(crate) fn dispatch(&mut self, cpu: usize, prev: Option<usize>) {
        let node = self.node_of(cpu);
        self.execute_all(node);
        if let Some(g) = self.left_over(cpu) {
            self.start(g, cpu);
            if let Some(g) = prev {
                self.gs[g].woken = false;
                self.enqueue(g);
            }
            return;
        }
        let overdue = self.pull(cpu, node).or_else(|| self.overdue(cpu, node));
        if let Some(g) = prev {
            if overdue.is_none() && self.may(g, cpu) && self.still_first(g, cpu, node) {
                self.start(g, cpu);
                return;
            }
        }
        let found = overdue.or_else(|| self.first_of(cpu, node));
        if let Some(g) = found {
            self.gs[g].helped = overdue.is_some();
            self.start(g, cpu);
        }
        let taken = found.is_some();
        let few = self.nodes[node].primed.len() * 2 <= self.cpus_of(node);
        if self.nodes[node].queued > 0 && few {
            self.nodes[node].call = true;
        }
        match (taken, prev) {
            (true, None) => {}
            (true, Some(g)) => {
                self.gs[g].woken = false;
                self.enqueue(g);
            }
            (false, Some(g)) if self.may(g, cpu) => self.start(g, cpu),
            (false, prev) => {
                self.nodes[node].ran_dry = self.nodes[node].ran_dry.wrapping_add(1);
                self.steal(cpu, node);
                if let Some(g) = prev {
                    self.gs[g].woken = false;
                    self.enqueue(g);
                }
            }
        }
    }

    /// A G of another node that is to come here, as the worker wished.
    fn pull(&mut self, cpu: usize, node: usize) -> Option<usize> {
        let Wish { victim, weight } = self.nodes[node].pull.take()?;
        let victim_node = &self.nodes[usize::from(victim)];
        let awake_ns = PULL_SLICES * self.params.slice_ns;
        let may_go = |&g: &usize| {
            self.may(g, cpu) && self.gs[g].weight <= weight && self.gs[g].run_ns >= awake_ns
        };
        let waiting = victim_node.primed.iter().chain(victim_node.custody.iter());
        let g = waiting
            .filter(may_go)
            .max_by_key(|&g| (self.gs[g].weight, g))?;
        let weight = weight - self.gs[g].weight;
        self.nodes[node].pull = (weight > 0).then_some(Wish { victim, weight });
        self.report.balanced += 1;
        Some(g)
    }

    /// A G that a change left in a queue where it might not be looked for any more:
    /// bpf/queues.bpf.h.
    fn left_over(&self, cpu: usize) -> Option<usize> {
        let own = self.cpus[cpu].own_node;
        let left = if self.one_queue { own } else { 0 };
        let Node {
            primed, custody, ..
        } = &self.nodes[left];
        let is_stranger = |g: usize| self.allowed_nodes(g) & 1 == 0;
        let is_left = self.one_queue || primed.iter().chain(custody.iter()).any(is_stranger);
        if own == 0 || !is_left {
            return None;
        }
        self.first_of(cpu, left)
    }

    fn still_first(&self, g: usize, cpu: usize, node: usize) -> bool {
        let mine = self.gs[g].deadline();
        let state = &self.nodes[node];
        // Which has used up a slice that none of its kind needs.
        if self.gs[g].class == Class::Latency {
            return false;
        }
        [&state.primed, &state.custody, &self.cpus[cpu].pinned]
            .into_iter()
            .filter_map(Queue::first_deadline)
            .all(|other| clock::before(mine, other))
    }

    /// The G that waits longest of those that wait beyond the bound. Each CPU looks through the
    /// queues eight times in a bound, and no sooner than two slices after it found one, so that a
    /// node where all are overdue still knows an order.
    fn overdue(&mut self, cpu: usize, node: usize) -> Option<usize> {
        let (now_ns, params) = (self.now_ns, self.params);
        if now_ns < self.cpus[cpu].next_search_ns {
            return None;
        }
        let since_ns = |g: usize| self.gs[g].queued_at_ns;
        let overdue = |g: usize| now_ns - since_ns(g) > params.starvation_bound_ns;
        let (state, this) = (&self.nodes[node], &self.cpus[cpu]);
        let found = [&state.primed, &state.custody, &this.pinned]
            .into_iter()
            .flat_map(Queue::iter)
            .filter(|&g| self.may(g, cpu) && overdue(g))
            .min_by_key(|&g| (since_ns(g), g));
        let this = &mut self.cpus[cpu];
        this.next_search_ns = now_ns
            + match found {
                None => params.starvation_bound_ns / OVERDUE_LOOKS,
                Some(_) => 2 * params.slice_ns,
            };
        found
    }

    /// Primed before undecided, unless that is due more than a slice earlier: it would be one that
    /// the worker does not know of. The CPU's own queue comes first if it is due no later.
    fn first_of(&self, cpu: usize, node: usize) -> Option<usize> {
        let Node {
            primed, custody, ..
        } = &self.nodes[node];
        let decided = primed.first(|g| self.may(g, cpu));
        let undecided = custody.first(|g| self.may(g, cpu));
        let own = &self.cpus[cpu].pinned;
        let pinned = own.first(|_| true);
        let slack_ns = self.params.slice_ns;
        let (first, by) = match (primed.first_deadline(), custody.first_deadline()) {
            (Some(decided_by), Some(by))
                if clock::before(by.wrapping_add(slack_ns), decided_by) =>
            {
                (undecided, Some(by))
            }
            (Some(by), _) => (decided, Some(by)),
            (None, by) => (undecided, by),
        };
        let pinned_first = match (own.first_deadline(), by) {
            (Some(own_by), Some(by)) => !clock::before(by, own_by),
            (own_by, _) => own_by.is_some(),
        };
        let first = match pinned_first {
            true => pinned,
            false if self.cpus_of(node) == 1 => first,
            // The queue that `first` comes from, whether it may run here or not.
            false if custody.first_deadline() == by && primed.first_deadline() != by => {
                self.warm(custody, cpu).or(first)
            }
            false => self.warm(primed, cpu).or(first),
        };
        first.or(pinned).or(decided).or(undecided)
    }

    /// Of the first Gs of a queue one that ran on this CPU last: due by half a slice after the first,
    /// with no longer slice, and woken if that was.
    fn warm(&self, queue: &Queue, cpu: usize) -> Option<usize> {
        let (first, due) = queue.in_order().next()?;
        let latest = due.wrapping_add(self.params.slice_ns / 2);
        let (slice_ns, woken) = (self.gs[first].slice_ns, self.gs[first].woken);
        queue
            .in_order()
            .take(WARM_SEARCH)
            .take_while(|&(_, due)| !clock::before(latest, due))
            .map(|(g, _)| g)
            .filter(|&g| self.gs[g].last_cpu == cpu && self.may(g, cpu))
            .find(|&g| {
                let this = &self.gs[g];
                g == first || this.slice_ns <= slice_ns && (this.woken || !woken)
            })
    }

    fn steal(&mut self, cpu: usize, thief: usize) {
        for victim in self.others(thief) {
            let leave = self.leave_ns(thief, victim);
            let node = &self.nodes[victim];
            let empty = node.primed.is_empty() && node.custody.is_empty();
            if leave == NEVER || empty {
                continue;
            }
            let grant = thief * self.nodes.len() + victim;
            let granted = self.node_wait_ns(victim) < leave;
            if granted && !self.grants[grant] {
                continue;
            }
            let custody = node.custody.first(|g| self.may(g, cpu));
            if let Some(g) = custody.or_else(|| node.primed.first(|g| self.may(g, cpu))) {
                match granted {
                    true => {
                        self.grants[grant] = false;
                        self.report.balanced += 1;
                    }
                    false => self.report.stolen += 1,
                }
                self.start(g, cpu);
                return;
            }
        }
    }

    pub(super) fn node_wait_ns(&self, node: usize) -> u64 {
        let node = &self.nodes[node];
        match node.primed.is_empty() && node.custody.is_empty() {
            true => 0,
            false => node
                .last_wait_ns
                .max(self.now_ns.saturating_sub(node.last_taken_at_ns)),
        }
    }

    pub(super) fn leave_ns(&self, thief: usize, victim: usize) -> u64 {
        self.leave[thief * self.nodes.len() + victim]
    }

    /// The nodes after `node`, in the order in which it looks at them.
    pub(super) fn others(&self, node: usize) -> impl Iterator<Item = usize> {
        let nodes = self.nodes.len();
        (1..nodes).map(move |step| (node + step) % nodes)
    }
}
