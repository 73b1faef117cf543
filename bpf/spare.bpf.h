/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Gs of SCHED_IDLE: they get the time that nobody else wants.
 *
 * There is nothing to decide about them, so user space is not asked: they wait in a queue of their
 * node's, the spare queue, in the order of arrival, and a CPU looks there once neither its node
 * nor, by the leave of the policy, another has anything else. A CPU that runs one counts as idle
 * for all others: whoever is enqueued takes it from the G at once.
 *
 * They do not starve for ever: one that waited for SPARE_BOUND_NS runs for the shortest slice, at
 * most two of a node for each SPARE_BOUND_NS and G that waits there. Their run time is charged to
 * no virtual time and their starts move no clock, for at their weight either would be far ahead.
 */
#ifndef __MPG_SPARE_BPF_H
#define __MPG_SPARE_BPF_H

#include "state.bpf.h"
#include "idle.bpf.h"

/*
 * Half of what sched_ext's watchdog allows (timeout_ms), and a tick of 4 ms in it is less than a
 * thousandth of a CPU.
 */
#define SPARE_BOUND_NS (5ULL * 1000 * 1000 * 1000)

/* A CPU that found nobody past the bound looks again after this part of it. */
#define SPARE_LOOKS 64

/* Gs of the spare queue looked at for one that may run on a CPU. */
#define SPARE_SEARCH 64

/* How many CPUs are looked at for one that runs a G of SCHED_IDLE. */
#define SPARE_CPUS 128

/*
 * The search of claim_from_spare. Not inlined, for the verifier's sake.
 */
__noinline s32 search_spare(struct task_struct *p __arg_trusted, u32 node)
{
	u32 first = scx_bpf_task_cpu(p), i;
	struct mpg_cpu *c;
	s32 cpu;

	bpf_for(i, 0, SPARE_CPUS) {
		if (i >= nr_cpus)
			break;
		cpu = (first + i) % nr_cpus;
		c = lookup_cpu(cpu);
		/* Claimed by whoever changes the class first. */
		if (c && c->running_class == MPG_CLASS_SPARE && !c->absent &&
		    node_of_cpu(cpu) == node && bpf_cpumask_test_cpu(cpu, p->cpus_ptr) &&
		    __sync_val_compare_and_swap(&c->running_class, MPG_CLASS_SPARE,
						MPG_NR_CLASSES) == MPG_CLASS_SPARE)
			return cpu;
	}
	return -EBUSY;
}

/*
 * Takes a CPU of @node that @p may use from the G of SCHED_IDLE that runs there. Returns a negative
 * number if there is none. Any context; the CPU must be given work or kicked, with preemption.
 */
static __always_inline s32 claim_from_spare(struct task_struct *p, const struct mpg_node *n,
					    u32 node)
{
	return n->spare_running ? search_spare(p, node) : -EBUSY;
}

/* Has a CPU of @node that runs a G of SCHED_IDLE look for other work. Any context. */
static __always_inline bool displace_spare(struct task_struct *p, u32 node)
{
	const struct mpg_node *n = lookup_node(node);
	s32 cpu = n ? claim_from_spare(p, n, node) : -EBUSY;

	if (cpu < 0)
		return false;
	scx_bpf_kick_cpu(cpu, SCX_KICK_PREEMPT);
	return true;
}

/*
 * Puts @p, of SCHED_IDLE, into the spare queue of @node and wakes an idle CPU for it, of another
 * node if need be. Context: enqueue, after the place was noted.
 */
static __always_inline void enqueue_spare(struct task_struct *p, const struct task_ctx *t, u32 node,
					  u64 enq_flags)
{
	u32 i, other, at;

	scx_bpf_dsq_insert(p, spare_dsq(node), t->slice_ns, enq_flags);
	if (wake_idle(p, node))
		return;
	bpf_for(i, 0, MPG_MAX_NODES) {
		if (i + 1 >= nr_nodes)
			break;
		other =
		    neighbours[(node * MPG_MAX_NODES + i) & (MPG_MAX_NODES * MPG_MAX_NODES - 1)];
		at = (other * MPG_MAX_NODES + node) & (MPG_MAX_NODES * MPG_MAX_NODES - 1);
		if (shared.steal_after_ns[at] != ~0ULL && wake_idle(p, other))
			return;
	}
}

/*
 * Moves the G of a spare queue that waited longest, of those that @cpu may run, to the local queue
 * for a slice of @slice_ns, if it waits for longer than the bound. Returns whether there was one.
 * Not inlined, for the verifier's sake. Context: dispatch.
 */
__noinline int take_overdue_spare(u64 dsq, s32 cpu, u64 now, u64 slice_ns)
{
	struct bpf_iter_scx_dsq it;
	struct task_struct *p;
	struct task_ctx *t;
	int taken = 0;
	u32 i;

	if (!bpf_iter_scx_dsq_new(&it, dsq, 0)) {
		bpf_for(i, 0, SPARE_SEARCH) {
			p = bpf_iter_scx_dsq_next(&it);
			if (!p)
				break;
			if (!bpf_cpumask_test_cpu(cpu, p->cpus_ptr))
				continue;
			/* The first one that may is the one that waited longest. */
			t = lookup_task(p);
			if (!t || time_before(now, t->queued_at_ns + SPARE_BOUND_NS))
				break;
			scx_bpf_dsq_move_set_slice(&it, slice_ns);
			taken = scx_bpf_dsq_move(&it, p, SCX_DSQ_LOCAL, 0);
			break;
		}
	}
	bpf_iter_scx_dsq_destroy(&it);
	return taken;
}

/*
 * Runs a G of the spare queue that waits for longer than the bound. Returns whether there was one.
 * Context: dispatch.
 */
static __always_inline bool help_spare(struct mpg_node *n, struct mpg_cpu *c, s32 cpu, u32 node,
				       const struct mpg_params *params, u64 now)
{
	if (!n->spare || time_before(now, n->next_spare_ns) || time_before(now, c->next_spare_ns))
		return false;
	c->next_spare_ns = now + SPARE_BOUND_NS / SPARE_LOOKS;
	if (!take_overdue_spare(spare_dsq(node), cpu, now, params->slice_min_ns))
		return false;
	n->next_spare_ns = now + SPARE_BOUND_NS / (2 * (n->spare + 1));
	c->next_spare_ns = n->next_spare_ns;
	count(MPG_COUNT_OVERDUE);
	return true;
}

/*
 * Takes a G of SCHED_IDLE for a CPU that found nothing else, of another node where the policy
 * gives leave. Context: dispatch.
 */
static __always_inline bool take_spare(u32 node)
{
	struct mpg_node *n = lookup_node(node);
	u32 i, other, at;

	if (n && n->spare && scx_bpf_dsq_move_to_local(spare_dsq(node), 0))
		return true;
	bpf_for(i, 0, MPG_MAX_NODES) {
		if (i + 1 >= nr_nodes)
			break;
		other =
		    neighbours[(node * MPG_MAX_NODES + i) & (MPG_MAX_NODES * MPG_MAX_NODES - 1)];
		n = lookup_node(other);
		at = (node * MPG_MAX_NODES + other) & (MPG_MAX_NODES * MPG_MAX_NODES - 1);
		if (n && n->spare && shared.steal_after_ns[at] != ~0ULL &&
		    scx_bpf_dsq_move_to_local(spare_dsq(other), 0))
			return true;
	}
	return false;
}

#endif /* __MPG_SPARE_BPF_H */
