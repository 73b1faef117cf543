//! Decisions are carried out: bpf/execute.bpf.h.

use mpg_policy::{clock, Decision};

use super::enqueue::REPORTS_PER_LEASE;
use super::{Kernel, Place};

/// Decisions carried out in one dispatch, as on the wire.
const DECISIONS_PER_DISPATCH: usize = 64;

impl Kernel {
    pub(super) fn execute_all(&mut self, node: usize) {
        for _ in 0..DECISIONS_PER_DISPATCH {
            let Some((edition, mut decision)) = self.nodes[node].decisions.pop_front() else {
                return;
            };
            if self.rng.percent(self.astray_percent) {
                decision.node = self.rng.between(0, self.nodes.len() as u64) as u16;
            }
            self.execute(&decision, edition, node);
            if self.rng.percent(self.doubled_percent) {
                self.execute(&decision, edition, node);
            }
        }
    }

    /// `node` is whose worker decided, and on whose clock the deadline is.
    fn execute(&mut self, decision: &Decision, edition: u64, node: usize) {
        let g = decision.pid as usize;
        let target = match self.one_queue {
            true => 0,
            false => usize::from(decision.node),
        };
        let ahead = self.gs[g].generation.wrapping_sub(decision.generation);
        let covered = ahead <= u32::from(decision.lease) && edition == self.edition;
        if !covered || self.gs[g].place == Place::Gone {
            self.report.refused_stale += 1;
            return;
        }
        if target >= self.nodes.len() || !self.may_wait_in(g, target) {
            self.report.refused_affinity += 1;
            return;
        }
        let now = self.edition;
        self.require(edition == now, || {
            format!("I2: a decision of edition {edition} is carried out in edition {now}")
        });
        let to_target = clock::ahead(self.nodes[target].vclock, self.nodes[node].vclock);
        let deadline = clock::moved(decision.deadline, to_target);
        let this = &mut self.gs[g];
        this.slice_ns = decision.slice_ns;
        this.deadline_offset = decision.deadline_offset;
        this.cookie = decision.cookie;
        this.class = decision.class;
        this.edition = edition;
        this.lease_last = decision.generation.wrapping_add(u32::from(decision.lease));
        this.lease = u32::from(decision.lease);
        this.report_at = decision
            .generation
            .wrapping_add(this.lease / REPORTS_PER_LEASE + 1);
        this.as_expected = true;
        self.report
            .trace(&[self.now_ns, 1, g as u64, deadline, decision.slice_ns]);
        match self.gs[g].place {
            Place::Custody(from) if ahead == 0 => {
                self.report.executed += 1;
                let (waits, meant) = (self.gs[g].generation, decision.generation);
                self.require(waits == meant, || {
                    format!("I2: G {g} waits in enqueue {waits}, the decision was about {meant}")
                });
                self.nodes[from].custody.remove(g);
                self.nodes[target].primed.insert(g, deadline);
                self.gs[g].place = Place::Primed(target);
                self.wake_idle(g, target);
            }
            _ if decision.lease > 0 => self.report.renewed += 1,
            _ => self.report.refused_stale += 1,
        }
    }
}
