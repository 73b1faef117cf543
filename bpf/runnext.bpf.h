/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * runnext: a G that wakes another one and sleeps at once leaves it the CPU, warm and without an
 * interrupt, as in Go.
 *
 * The kernel's mark of such a wakeup (WF_SYNC) is a hint that is often wrong: who writes to twenty
 * sockets gives it twenty times. It is followed for wakers that kept the promise several times in a
 * row, across nodes for those that kept it longest, and only within the slice that the waker was
 * given while others wait: the pair shares it, so that two Gs that wake each other cannot shut the
 * rest out. A waker that breaks the promise is put off the CPU by sysmon.
 *
 * Most who sleep at once after a wakeup never say so, a futex has no such mark: who did it for as
 * long as is counted is believed without, while nobody else waits.
 */
#ifndef __MPG_RUNNEXT_BPF_H
#define __MPG_RUNNEXT_BPF_H

#include "state.bpf.h"
#include "hotplug.bpf.h"
#include "prompt.bpf.h"

/* With less than this left of a shared slice, others are served first. */
#define RUNNEXT_LEFT_NS (100ULL * 1000)

/* @t stops: did it keep the promise that its last wakeup was? Context: stopping. */
static __always_inline void judge_promise(struct task_ctx *t, bool runnable, u64 now,
					  const struct mpg_params *params)
{
	if (!t->promised_at_ns)
		return;
	if (runnable || time_after(now, t->promised_at_ns + params->runnext_ns))
		t->promises_kept = 0;
	else if (t->promises_kept < EXPECT_MAX)
		t->promises_kept++;
	t->promised_at_ns = 0;
}

/*
 * Whether @p, which the G on this CPU has just woken, is to run next here, for that one will sleep
 * at once; then @slice_ns is what it has for that. Context: select_cpu.
 */
static __always_inline bool is_runnext(const struct task_struct *p, struct task_ctx *t, s32 cpu,
				       const struct mpg_params *params, u64 *slice_ns)
{
	struct task_ctx *waker = lookup_task(bpf_get_current_task_btf());
	struct mpg_cpu *c = lookup_cpu(cpu);
	u32 node = node_of_cpu(cpu);
	struct mpg_node *n = lookup_node(node);
	bool said = t->waker == WAKER_SYNC, alone;
	u64 now = scx_bpf_now();

	if (!waker || !c || !n)
		return false;
	/* A second promise before the first was kept breaks it. */
	if (waker->promised_at_ns)
		waker->promises_kept = 0;
	waker->promised_at_ns = now;
	if (waker->promises_kept < (said && node == t->home ? EXPECT_CONFIRM : EXPECT_MAX))
		return false;
	/* Nearness to the waker is no reason to leave one's memory. */
	if (node != t->home && t->memory_home != MPG_NO_NODE)
		return false;
	if (!params->runnext_ns || c->absent || !may_run_in(t, node) ||
	    c->running_class == MPG_NR_CLASSES || !bpf_cpumask_test_cpu(cpu, p->cpus_ptr) ||
	    scx_bpf_dsq_nr_queued(SCX_DSQ_LOCAL_ON | cpu))
		return false;

	alone = !(n->primed | n->custody | c->pinned);
	if (!said && !alone)
		return false;
	*slice_ns = slice_of(t, is_prompt(t, params), params);
	if (!alone) {
		if (!time_before(now + RUNNEXT_LEFT_NS, c->slice_end_ns))
			return false;
		*slice_ns = c->slice_end_ns - now;
	}
	if (time_before(now + params->runnext_ns, c->slice_end_ns))
		c->slice_end_ns = now + params->runnext_ns;
	return true;
}

#endif /* __MPG_RUNNEXT_BPF_H */
