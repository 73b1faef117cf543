/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * exec: the best moment to move a G, which has neither memory nor warm caches then.
 *
 * The kernel asks its own scheduler for a CPU at exec and passes sched_ext over, so this comes from
 * the tracepoint. Forks are placed already, so a G moves only if that shortens queues: it stays
 * where nobody waits for its CPU. It is put off its CPU and goes the usual way from there: enqueue
 * finds it an idle CPU of the other node, or it waits there.
 */
#ifndef __MPG_EXEC_BPF_H
#define __MPG_EXEC_BPF_H

#include "state.bpf.h"
#include "clock.bpf.h"
#include "hotplug.bpf.h"
#include "memory.bpf.h"

/* @p has called exec. Context: tracepoint, @p itself, preemption off, interrupts on. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(mpg_exec, struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)
{
	struct task_ctx *t = lookup_task(p);
	u32 node, waiting, cpus, best, best_waiting, best_cpus;
	const struct mpg_node *n;

	/* Real-time Gs are not ours, and a memory policy outlives exec. */
	if (nr_nodes == 1 || !t || is_one_queue() || !(p->scx.flags & SCX_TASK_QUEUED) ||
	    is_spare(p) || is_own(p) || t->policy_node != MPG_NO_NODE)
		return 0;
	best = t->home;
	n = lookup_node(best);
	if (!n || !(n->primed | n->custody))
		return 0;
	best_waiting = n->primed + n->custody;
	best_cpus = cpus_of(best);
	bpf_for(node, 0, nr_nodes) {
		n = lookup_node(node);
		if (!n || node == t->home || !may_run_on(t, node))
			continue;
		/* It would wait there as well, unless a CPU idles. */
		waiting = n->primed + n->custody + !has_idle(p, node);
		cpus = cpus_of(node);
		if (waiting * best_cpus < best_waiting * cpus) {
			best = node;
			best_waiting = waiting;
			best_cpus = cpus;
		}
	}
	if (best == t->home)
		return 0;
	t->moves_to = best + 1;
	scx_bpf_kick_cpu(bpf_get_smp_processor_id(), SCX_KICK_PREEMPT);
	return 0;
}

/*
 * Sends @t to the node that exec found for it, once. What is known of its memory is of memory that
 * is gone. Returns whether it moved. Context: select_cpu and enqueue.
 */
static __always_inline bool go_after_exec(struct task_ctx *t)
{
	u32 node = t->moves_to - 1;

	if (!t->moves_to)
		return false;
	t->moves_to = 0;
	if (is_one_queue() || node == t->home || !may_run_on(t, node))
		return false;
	t->memory_home = MPG_NO_NODE;
	t->homes_version = HOME_UNKNOWN;
	change_home(t, node);
	count(MPG_COUNT_EXEC_MOVES);
	return true;
}

#endif /* __MPG_EXEC_BPF_H */
