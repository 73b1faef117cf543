/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Threads that never go through user space.
 */
#ifndef __MPG_SYSTEM_BPF_H
#define __MPG_SYSTEM_BPF_H

#include "state.bpf.h"
#include "idle.bpf.h"
#include "spare.bpf.h"

/* Slice of threads that never go through user space: long enough for a step of a worker. */
#define OWN_SLICE_NS (5ULL * 1000 * 1000)

/*
 * Threads that keep the machine and this scheduler running. Kernel threads go to their CPU at
 * once, before batch work; our own wait in a queue that every dispatch looks at first.
 * Context: enqueue.
 */
static __always_inline void enqueue_system(struct task_struct *p, struct task_ctx *t, u64 enq_flags)
{
	s32 prev_cpu = scx_bpf_task_cpu(p);
	u32 node = own_node_of_cpu(prev_cpu);
	const struct mpg_cpu *c = lookup_cpu(prev_cpu);

	if (is_own(p)) {
		count(MPG_COUNT_OWN);
		if (t)
			move_place(t, place_at(PLACE_OWN, node));
		scx_bpf_dsq_insert(p, own_dsq(node), OWN_SLICE_NS, enq_flags);
		if (!wake_idle(p, node) && !displace_spare(p, node_of_cpu(prev_cpu)) && c &&
		    c->running_class == MPG_CLASS_BATCH)
			scx_bpf_kick_cpu(prev_cpu, SCX_KICK_PREEMPT);
		return;
	}
	count(MPG_COUNT_KTHREADS);
	/* Its CPU was taken, and it may use others: the node's queue that is looked at first. */
	if (t && (enq_flags & SCX_ENQ_REENQ) && p->nr_cpus_allowed > 1) {
		enter(t, PLACE_OWN, node);
		scx_bpf_dsq_insert(p, own_dsq(node), OWN_SLICE_NS, enq_flags);
		wake_idle(p, node);
		return;
	}
	if (c && (c->running_class == MPG_CLASS_BATCH || c->running_class == MPG_CLASS_SPARE))
		enq_flags |= SCX_ENQ_PREEMPT;
	scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, OWN_SLICE_NS, enq_flags);
}

#endif /* __MPG_SYSTEM_BPF_H */
