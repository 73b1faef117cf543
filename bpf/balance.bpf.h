/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Balance by weight: a node whose Gs get more takes some of a node whose Gs get less, as the user
 * half wished.
 *
 * Unlike a theft this does not wait for a CPU that runs dry, for where all nodes are full none
 * does. It names the node and how much the Gs may weigh together; who they are is found here, among
 * those that wait: such as never sleep, for of others the weight counts now and then only, and such
 * as have no memory there, to which they would go back.
 */
#ifndef __MPG_BALANCE_BPF_H
#define __MPG_BALANCE_BPF_H

#include "state.bpf.h"
#include "stats.bpf.h"

/* Gs of a queue that are looked at for the heaviest that may go. */
#define PULL_SEARCH 64

/* A G that ran for so many slices since its last wakeup does not sleep. */
#define PULL_SLICES 2

/*
 * The pid of the heaviest G of a queue of @node, up to @weight, that may go to @cpu in the lower
 * half, and its weight in the upper; 0 if there is none. Not inlined, for the verifier's sake.
 * Context: dispatch.
 */
__noinline u64 heaviest(u64 dsq, u32 node, s32 cpu, u32 weight, u64 awake_ns)
{
	struct bpf_iter_scx_dsq it;
	struct task_struct *p;
	struct task_ctx *t;
	u32 best = 0, i;
	s32 pid = 0;

	if (!bpf_iter_scx_dsq_new(&it, dsq, 0)) {
		bpf_for(i, 0, PULL_SEARCH) {
			p = bpf_iter_scx_dsq_next(&it);
			if (!p)
				break;
			if (p->scx.weight > weight || p->scx.weight <= best ||
			    !bpf_cpumask_test_cpu(cpu, p->cpus_ptr))
				continue;
			t = lookup_task(p);
			if (!t || t->run_ns < awake_ns || t->memory_home == node)
				continue;
			best = p->scx.weight;
			pid = p->pid;
		}
	}
	bpf_iter_scx_dsq_destroy(&it);
	return (u64)best << 32 | (u32)pid;
}

/* Moves a G of a queue to the local queue. Returns whether it was still there. Context: dispatch.
 */
static __always_inline bool pull_pid(u64 dsq, s32 pid)
{
	struct task_struct *p = bpf_task_from_pid(pid);
	struct bpf_iter_scx_dsq it;
	struct task_ctx *t;
	bool moved = false;

	if (!p)
		return false;
	if (!bpf_iter_scx_dsq_new(&it, dsq, 0))
		moved = scx_bpf_dsq_move(&it, p, SCX_DSQ_LOCAL, 0);
	bpf_iter_scx_dsq_destroy(&it);
	t = lookup_task(p);
	/* It runs out of turn, once this dispatch is over. */
	if (moved && t)
		t->helped = true;
	bpf_task_release(p);
	return moved;
}

/*
 * Carries out what was wished for @n, a G at a time. Returns whether one came. Context:
 * dispatch of a CPU of that node.
 */
static __always_inline bool pull(struct mpg_node *n, s32 cpu, const struct mpg_params *params)
{
	u64 wish = n->pull, found, custody, dsq, awake_ns = PULL_SLICES * params->slice_ns;
	u32 victim, weight = (u32)wish;

	/* One CPU at a time; a wish that finds nobody is over, the next one knows better. */
	if (!wish || __sync_val_compare_and_swap(&n->pull, wish, 0) != wish)
		return false;
	victim = (wish >> 32) & (MPG_MAX_NODES - 1);
	if (victim >= nr_nodes)
		return false;
	dsq = primed_dsq(victim);
	found = heaviest(dsq, victim, cpu, weight, awake_ns);
	custody = heaviest(custody_dsq(victim), victim, cpu, weight, awake_ns);
	if (custody >> 32 > found >> 32) {
		dsq = custody_dsq(victim);
		found = custody;
	}
	if (!found || !pull_pid(dsq, (u32)found))
		return false;
	weight -= found >> 32;
	if (weight)
		__sync_val_compare_and_swap(&n->pull, 0, (u64)victim << 32 | weight);
	count(MPG_COUNT_BALANCED);
	note_taken(victim);
	return true;
}

#endif /* __MPG_BALANCE_BPF_H */
