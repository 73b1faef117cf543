/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * sysmon: what no other event would bring about, looked after while Gs wait, as in Go.
 *
 * One timer a node, armed by the first G that waits and not armed anew once none does: an idle
 * machine has no timer. It wakes an idle CPU, or one that runs SCHED_IDLE, for a G that waits, of
 * the node itself, or of another node once the G has waited for as long as that node's leave says;
 * and it ends slices that the kernel's tick, 4 ms apart on many kernels, would let run on.
 */
#ifndef __MPG_SYSMON_BPF_H
#define __MPG_SYSMON_BPF_H

#include "state.bpf.h"
#include "clock.bpf.h"
#include "idle.bpf.h"
#include "take.bpf.h"

/* Half of the shortest wait that is promised to anyone, 1 ms. */
#define SYSMON_NS (500ULL * 1000)

/* Of the kernel's clocks, the one that a timer follows. */
#define CLOCK_MONOTONIC 1

struct sysmon {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MPG_MAX_NODES);
	__type(key, u32);
	__type(value, struct sysmon);
} sysmons SEC(".maps");

/*
 * Wakes an idle CPU for the G that is due first in a queue of @node. Not inlined, for the
 * verifier's sake. Context: timer.
 */
__noinline int rescue(u64 dsq, u32 node, u64 now)
{
	struct mpg_shared *s = lookup_shared();
	u32 i, thief, at, found = 0;
	struct bpf_iter_scx_dsq it;
	struct task_struct *p;
	struct task_ctx *t;
	u64 wait = 0;

	if (!s)
		return 0;
	if (!bpf_iter_scx_dsq_new(&it, dsq, 0)) {
		p = bpf_iter_scx_dsq_next(&it);
		t = p ? lookup_task(p) : NULL;
		if (t) {
			found = wake_idle(p, node) || displace_spare(p, node);
			wait = time_delta(now, t->queued_at_ns);
		}
		bpf_for(i, 0, STEAL_SEARCH) {
			if (!t || found || i + 1 >= nr_nodes)
				break;
			at = (node & (MPG_MAX_NODES - 1)) * MPG_MAX_NODES + i;
			if (at >= MPG_MAX_NODES * MPG_MAX_NODES)
				break;
			thief = neighbours[at];
			at = thief * MPG_MAX_NODES + (node & (MPG_MAX_NODES - 1));
			if (at >= MPG_MAX_NODES * MPG_MAX_NODES)
				break;
			if (wait >= s->steal_after_ns[at])
				found = wake_idle(p, thief) || displace_spare(p, thief);
		}
	}
	bpf_iter_scx_dsq_destroy(&it);
	return found;
}

/* Ends the slices of a node that are over. Context: timer. */
static __always_inline void end_slices(u32 node, u64 now)
{
	u32 first = node_first_cpu[node & (MPG_MAX_NODES - 1)], i;

	bpf_for(i, 0, node_cpus[node & (MPG_MAX_NODES - 1)]) {
		s32 cpu = cpus_by_node[(first + i) & (MPG_MAX_CPUS - 1)];
		struct mpg_cpu *c = lookup_cpu(cpu);

		if (!c || c->running_class == MPG_NR_CLASSES || c->absent ||
		    time_before(now, c->slice_end_ns))
			continue;
		c->slice_end_ns = now + SYSMON_NS;
		scx_bpf_kick_cpu(cpu, SCX_KICK_PREEMPT);
		count(MPG_COUNT_OVERRUNS);
	}
}

static __always_inline bool somebody_waits(const struct mpg_node *n)
{
	return n->primed | n->custody | n->pinned | n->local;
}

/* Context: timer, in a soft interrupt; no lock held. */
static int sysmon(void *map, u32 *key, struct sysmon *m)
{
	u32 node = *key;
	struct mpg_node *n = lookup_node(node);
	u64 now = scx_bpf_now();

	if (!n)
		return 0;
	if (!somebody_waits(n)) {
		__sync_lock_test_and_set(&n->watched, 0);
		/* Whoever counted between the look and this found the mark still set. */
		if (!somebody_waits(n) || __sync_lock_test_and_set(&n->watched, 1))
			return 0;
	}
	if (n->primed)
		rescue(primed_dsq(node), node, now);
	if (n->custody)
		rescue(custody_dsq(node), node, now);
	end_slices(node, now);
	bpf_timer_start(&m->timer, SYSMON_NS, 0);
	return 0;
}

/*
 * Sees to it that sysmon looks at @node while Gs wait there. The callback is set here and not where
 * the timer is made: it belongs to a program that may not sleep, as what it does asks for.
 * Context: enqueue.
 */
static __always_inline void watch(struct mpg_node *n, u32 node)
{
	struct sysmon *m;

	if (n->watched || __sync_lock_test_and_set(&n->watched, 1))
		return;
	m = bpf_map_lookup_elem(&sysmons, &node);
	if (!m)
		return;
	bpf_timer_set_callback(&m->timer, sysmon);
	bpf_timer_start(&m->timer, SYSMON_NS, 0);
}

/* Context: init, may sleep. */
static __always_inline s32 init_sysmon(u32 node)
{
	struct sysmon *m = bpf_map_lookup_elem(&sysmons, &node);

	return m ? bpf_timer_init(&m->timer, &sysmons, CLOCK_MONOTONIC) : -ENOENT;
}

#endif /* __MPG_SYSMON_BPF_H */
