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
 * Takes a CPU of @node that @p may use from the G of SCHED_IDLE that runs there. Returns a negative
 * number if there is none. Any context; the CPU must be given work or kicked, with preemption.
 */
static __always_inline s32 claim_from_spare(const struct task_struct *p, const struct mpg_node *n,
					    u32 node)
{
	s32 cpu = scx_bpf_task_cpu(p);
	struct mpg_cpu *c;
	u32 i;

	if (!n->spare_running)
		return -EBUSY;
	bpf_for(i, 0, SPARE_CPUS) {
		if (i >= nr_cpus)
			break;
		c = lookup_cpu(cpu);
		/* Claimed by whoever changes the class first. */
		if (c && c->running_class == MPG_CLASS_SPARE && !c->absent &&
		    node_of_cpu(cpu) == node && bpf_cpumask_test_cpu(cpu, p->cpus_ptr) &&
		    __sync_val_compare_and_swap(&c->running_class, MPG_CLASS_SPARE,
						MPG_NR_CLASSES) == MPG_CLASS_SPARE)
			return cpu;
		if (++cpu >= nr_cpus)
			cpu = 0;
	}
	return -EBUSY;
}

/* Has a CPU of @node that runs a G of SCHED_IDLE look for other work. Any context. */
static __always_inline bool displace_spare(const struct task_struct *p, u32 node)
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
					  const struct mpg_shared *s, u64 enq_flags)
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
		if (s->steal_after_ns[at] != ~0ULL && wake_idle(p, other))
			return;
	}
}

/*
 * Runs the G of the spare queue that waited longest, of those that @cpu may run, if that is past
 * the bound. Returns whether there was one. Context: dispatch.
 */
static __always_inline bool help_spare(struct mpg_node *n, struct mpg_cpu *c, s32 cpu, u32 node,
				       const struct mpg_params *params, u64 now)
{
	struct task_struct *p;
	struct task_ctx *t;
	bool taken = false;
	u32 seen = 0;

	if (!n->spare || time_before(now, n->next_spare_ns) || time_before(now, c->next_spare_ns))
		return false;
	c->next_spare_ns = now + SPARE_BOUND_NS / SPARE_LOOKS;
	bpf_for_each(scx_dsq, p, spare_dsq(node), 0) {
		if (++seen > SPARE_SEARCH)
			break;
		if (!bpf_cpumask_test_cpu(cpu, p->cpus_ptr))
			continue;
		/* The first one that may is the one that waited longest. */
		t = lookup_task(p);
		if (!t || time_before(now, t->queued_at_ns + SPARE_BOUND_NS))
			break;
		scx_bpf_dsq_move_set_slice(BPF_FOR_EACH_ITER, params->slice_min_ns);
		taken = scx_bpf_dsq_move(BPF_FOR_EACH_ITER, p, SCX_DSQ_LOCAL, 0);
		break;
	}
	if (!taken)
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
static __always_inline bool take_spare(u32 node, const struct mpg_shared *s)
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
		if (n && n->spare && s->steal_after_ns[at] != ~0ULL &&
		    scx_bpf_dsq_move_to_local(spare_dsq(other), 0))
			return true;
	}
	return false;
}

#endif /* __MPG_SPARE_BPF_H */
