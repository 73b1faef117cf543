/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * sysmon: what no other event would bring about, looked after while Gs wait, as in Go.
 *
 * One timer a node, armed by the first G that waits and not armed anew once none does: an idle
 * machine has no timer. Where all is busy it looks half as often, until a CPU turns idle. It wakes
 * idle CPUs, or ones that run SCHED_IDLE, for Gs that wait, of the node itself, or of another node
 * once a G has waited for as long as that node's leave says, or is late, just when that is; it has
 * batch work make way for who found nobody to preempt when woken; and it ends slices that the
 * kernel's tick, 4 ms apart on many kernels, would let run on.
 */
#ifndef __MPG_SYSMON_BPF_H
#define __MPG_SYSMON_BPF_H

#include "state.bpf.h"
#include "clock.bpf.h"
#include "idle.bpf.h"
#include "preempt.bpf.h"
#include "take.bpf.h"
#include "forward.bpf.h"

/* Half of the shortest wait that is promised to anyone, 1 ms. */
#define SYSMON_NS (500ULL * 1000)

/*
 * From one look to the next where no CPU is free and no batch work could make way: there are but
 * slices to be ended, sooner than by the kernel's tick.
 */
#define SYSMON_SLOW_NS (1000ULL * 1000)

/* Looks from one measurement to the next of how long whoever is due first waits. */
#define DUE_WAIT_LOOKS 16

/* Of the kernel's clocks, the one that a timer follows. */
#define CLOCK_MONOTONIC 1

struct sysmon {
	struct bpf_timer timer;
	u32 looks;
	/* The edition of the settings at the last look. */
	u64 edition;
	/* When it looks next. */
	u64 next_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MPG_MAX_NODES);
	__type(key, u32);
	__type(value, struct sysmon);
} sysmons SEC(".maps");

/* Two looks for who is late are no closer together than this. */
#define SYSMON_LEAST_NS (50ULL * 1000)

_Static_assert(LATE_NS + SYSMON_LEAST_NS <= 1000ULL * 1000, "the 1 ms that is promised");

/* Has @m look in @within_ns. Any context. */
static __always_inline void look_in(struct sysmon *m, u64 now, u64 within_ns)
{
	m->next_ns = now + within_ns;
	bpf_timer_start(&m->timer, within_ns, 0);
}

/* How long from @now to the look for who is late from @at on. Any context. */
static __always_inline u64 look_for_late(u64 now, u64 at)
{
	if (at >= now + SYSMON_NS)
		return SYSMON_NS;
	return time_after(at, now + SYSMON_LEAST_NS) ? at - now : SYSMON_LEAST_NS;
}

/*
 * Wakes a free CPU of @node for @p, which waits at @victim: an idle one, or one that runs
 * SCHED_IDLE. Context: timer.
 */
static __always_inline bool wake_free(struct task_struct *p, u32 node, u32 victim)
{
	const struct mpg_node *n = lookup_node(node);
	s32 cpu = claim_idle_in_node(p, node);
	u64 kick = SCX_KICK_IDLE;
	struct mpg_cpu *c;

	if (cpu < 0 && n) {
		cpu = claim_from_spare(p, n, node);
		kick = SCX_KICK_PREEMPT;
	}
	if (cpu < 0)
		return false;
	c = lookup_cpu(cpu);
	if (c && node != victim)
		c->rescue = victim + 1;
	scx_bpf_kick_cpu(cpu, kick);
	return true;
}

/*
 * Wakes a free CPU for the G at place @nth in a queue of @node, if that is due. Each place is
 * looked at and not the first alone: there may always be one that came just now and is due soon.
 * Returns 1 if a CPU was woken, 0 if none, and -1 if there is none for those behind it either. Not
 * inlined, for the verifier's sake. Context: timer.
 */
__noinline int rescue(u64 dsq, u32 node, u64 now, u32 nth)
{
	struct bpf_iter_scx_dsq it;
	struct task_struct *p = NULL;
	struct task_ctx *t = NULL;
	u32 i, thief, at;
	int found = -1;
	u64 wait, leave;

	if (!bpf_iter_scx_dsq_new(&it, dsq, 0)) {
		bpf_for(i, 0, LATE_SEARCH) {
			p = bpf_iter_scx_dsq_next(&it);
			if (!p || i >= nth)
				break;
		}
		t = p ? lookup_task(p) : NULL;
	}
	if (t) {
		wait = time_delta(now, t->queued_at_ns);
		found = wake_free(p, node, node);
		bpf_for(i, 0, STEAL_SEARCH) {
			if (found || i + 1 >= nr_nodes)
				break;
			at = (node & (MPG_MAX_NODES - 1)) * MPG_MAX_NODES + i;
			if (at >= MPG_MAX_NODES * MPG_MAX_NODES)
				break;
			thief = neighbours[at];
			at = thief * MPG_MAX_NODES + (node & (MPG_MAX_NODES - 1));
			if (at >= MPG_MAX_NODES * MPG_MAX_NODES)
				break;
			leave = shared.steal_after_ns[at];
			if (wait >= leave || (wait >= late_after(t) && leave != ~0ULL))
				found = wake_free(p, thief, node);
		}
		if (!found && wait >= late_after(t) && !t->restricted)
			found = -1;
	}
	bpf_iter_scx_dsq_destroy(&it);
	return found;
}

/* Wakes free CPUs for Gs that wait in a queue of @node. Context: timer. */
static __always_inline void rescue_all(u64 dsq, u32 node, u64 now)
{
	u32 nth;

	bpf_for(nth, 0, LATE_SEARCH) {
		if (rescue(dsq, node, now, nth) < 0)
			break;
	}
}

/*
 * Whether any node has a CPU that rescue could wake. On a saturated machine none has, and the
 * queues need not be looked through. Not inlined, for the verifier's sake. Context: timer.
 */
__noinline int somebody_is_free(void)
{
	const struct mpg_node *n;
	u32 node;

	for (node = loop_start; node < nr_nodes && can_loop; node++) {
		n = lookup_node(node);
		if (n && (n->idle || n->spare_running))
			return 1;
	}
	return 0;
}

/*
 * Ends the slices of a node that are over; after a change of settings, soon those of all who run.
 * Returns whether batch work runs there. Context: timer.
 */
static __always_inline bool end_slices(u32 node, struct sysmon *m, const struct mpg_params *params,
				       u64 now)
{
	u32 first = node_first_cpu[node & (MPG_MAX_NODES - 1)], i;
	bool changed = m->edition != params->edition, batch = false;
	u64 soon = now + params->slice_min_ns;

	m->edition = params->edition;
	for (i = loop_start; i < cpus_of(node) && can_loop; i++) {
		s32 cpu = cpus_by_node[(first + i) & (MPG_MAX_CPUS - 1)];
		struct mpg_cpu *c = lookup_cpu(cpu);

		if (!c || c->running_class == MPG_NR_CLASSES || c->absent)
			continue;
		batch |= c->running_class == MPG_CLASS_BATCH;
		if (changed && time_after(c->slice_end_ns, soon))
			c->slice_end_ns = soon;
		if (time_before(now, c->slice_end_ns))
			continue;
		c->slice_end_ns = now + SYSMON_NS;
		c->overruns++;
		scx_bpf_kick_cpu(cpu, SCX_KICK_PREEMPT);
		count(MPG_COUNT_OVERRUNS);
	}
	return batch;
}

static __always_inline bool somebody_waits(const struct mpg_node *n)
{
	u32 i;

	if (n->primed | n->custody | n->pinned | n->local)
		return true;
	if (!is_one_queue())
		return false;
	/* Who waits for one CPU is counted with that CPU's node. */
	bpf_for(i, 0, nr_nodes) {
		n = lookup_node(i);
		if (n && (n->pinned | n->local))
			return true;
	}
	return false;
}

/* The nodes that sysmon looks at each SYSMON_SLOW_NS. */
static volatile u64 slow_nodes;

/*
 * A CPU turned idle or runs SCHED_IDLE, and counts as that: sysmon looks soon where others wait,
 * and where it found that somebody will be late (steal), then. Context: update_idle and running,
 * run queue locked.
 */
static __always_inline void hasten(void)
{
	u64 slow = slow_nodes, late = late_nodes, now, within;
	const struct mpg_node *n;
	struct sysmon *m;
	u32 node;

	if (!(slow | late))
		return;
	now = scx_bpf_now();
	bpf_for(node, 0, nr_nodes) {
		u64 bit = 1ULL << (node & (MPG_MAX_NODES - 1));

		if (!((slow | late) & bit))
			continue;
		m = bpf_map_lookup_elem(&sysmons, &node);
		n = lookup_node(node);
		if (!m || !n)
			continue;
		within = SYSMON_NS;
		if (late & bit) {
			__sync_fetch_and_and(&late_nodes, ~bit);
			within = look_for_late(now, n->late_at_ns);
		}
		if (slow & bit && __sync_fetch_and_and(&slow_nodes, ~bit) & bit)
			look_in(m, now, within);
		else if (n->watched && time_before(now + within, m->next_ns))
			look_in(m, now, within);
	}
}

/* Context: timer, in a soft interrupt; no lock held. */
static int sysmon(void *map, u32 *key, struct sysmon *m)
{
	u32 node = *key;
	struct mpg_node *n = lookup_node(node);
	u64 now = scx_bpf_now(), bit = 1ULL << (node & (MPG_MAX_NODES - 1)), within;
	bool batch, free;

	if (!n)
		return 0;
	if (slow_nodes & bit)
		__sync_fetch_and_and(&slow_nodes, ~bit);
	if (!somebody_waits(n)) {
		n->due_wait_ns = 0;
		__sync_lock_test_and_set(&n->watched, 0);
		/* Whoever counted between the look and this found the mark still set. */
		if (!somebody_waits(n) || __sync_lock_test_and_set(&n->watched, 1))
			return 0;
	}
	if (!(m->looks++ % DUE_WAIT_LOOKS))
		n->due_wait_ns = node_wait(node, now);
	batch = end_slices(node, m, &shared.params, now);
	/* Whoever turns idle counts first and then looks for this: one of both sees the other. */
	__sync_fetch_and_or(&slow_nodes, bit);
	free = somebody_is_free();
	if (free) {
		if (n->primed)
			rescue_all(primed_dsq(node), node, now);
		if (n->custody)
			rescue_all(custody_dsq(node), node, now);
	}
	if (batch && n->primed)
		preempt_for_first(primed_dsq(node), now);
	within = free ? look_for_late(now, node_late(n, node, now)) : SYSMON_NS;
	if (free || batch)
		__sync_fetch_and_and(&slow_nodes, ~bit);
	else
		look_in(m, now, SYSMON_SLOW_NS);
	/* Whoever took the bit away may have set the timer before that. */
	if (!(slow_nodes & bit))
		look_in(m, now, within);
	return 0;
}

/* Sees to it that sysmon looks at @node while Gs wait there. Context: enqueue. */
static __always_inline void watch(struct mpg_node *n, u32 node)
{
	struct sysmon *m;

	if (n->watched || __sync_lock_test_and_set(&n->watched, 1))
		return;
	m = bpf_map_lookup_elem(&sysmons, &node);
	if (!m)
		return;
	look_in(m, scx_bpf_now(), SYSMON_NS);
}

/* Context: init, may sleep. */
static __always_inline s32 init_sysmon(u32 node)
{
	struct sysmon *m = bpf_map_lookup_elem(&sysmons, &node);

	return m ? bpf_timer_init(&m->timer, &sysmons, CLOCK_MONOTONIC) : -ENOENT;
}

static bool sysmons_ready;

/*
 * Says what the timers are to call, once. Not where they are made: the callback belongs to a
 * program that may not sleep, as what it does asks for. And not where they are started: each
 * program that names the callback has the verifier go through all of it again. Context: init_task,
 * which comes before the first enqueue; at the load one at a time.
 */
static __always_inline void ready_sysmons(void)
{
	struct sysmon *m;
	u32 node;

	if (sysmons_ready)
		return;
	bpf_for(node, 0, nr_nodes) {
		m = bpf_map_lookup_elem(&sysmons, &node);
		if (m)
			bpf_timer_set_callback(&m->timer, sysmon);
	}
	sysmons_ready = true;
}

#endif /* __MPG_SYSMON_BPF_H */
