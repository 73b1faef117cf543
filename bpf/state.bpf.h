/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the kernel half knows: the machine, the nodes, the CPUs and the Gs.
 *
 * States of a G (task_ctx.place), who owns it, and what may follow:
 *
 *   IDLE     the kernel: asleep, or running, or sent straight to an idle CPU    -> any other
 *   CUSTODY  the custody queue of its node, ordered by a provisional deadline   -> PRIMED, IDLE
 *   PRIMED   the primed queue of a node: a decision or a lease put it there     -> IDLE
 *   PINNED   the queue of one CPU, its only one or the one a decision named     -> IDLE
 *   LOCAL    the local queue of a CPU, about to run                             -> IDLE
 *   SPARE    of SCHED_IDLE: the spare queue of its node                         -> IDLE
 *   OWN      a thread of this scheduler: the queue of its node for those        -> IDLE
 *
 * A G is at all times in a queue of the kernel: user space holds names of Gs, never a G. That is
 * why a worker may be late, stopped or dead and nothing is lost.
 */
#ifndef __MPG_STATE_BPF_H
#define __MPG_STATE_BPF_H

#include <scx/common.bpf.h>
#include "intf.h"

/* The machine, filled in by the user half before the load. Nodes are numbered densely. */
const volatile u32 nr_nodes = 1;
const volatile u32 nr_cpus = 1;
const volatile s32 own_tgid;
const volatile u16 cpu_node[MPG_MAX_CPUS];
/* The kernel's number of a node, which may have gaps. */
const volatile u32 kernel_node[MPG_MAX_NODES];
/* CPUs that each node has, and where they are in the list of all CPUs ordered by node. */
const volatile u32 node_cpus[MPG_MAX_NODES];
const volatile u32 node_first_cpu[MPG_MAX_NODES];
const volatile u16 cpus_by_node[MPG_MAX_CPUS];
/* The other nodes, nearest first: nr_nodes - 1 entries at [node * MPG_MAX_NODES]. */
const volatile u8 neighbours[MPG_MAX_NODES * MPG_MAX_NODES];
const volatile bool smt;
/*
 * Where nodes have several last-level caches: how many of those there are, and by CPU the number of
 * its own, from 1 on; 0 for none.
 */
const volatile u32 nr_llcs;
const volatile u16 cpu_llc[MPG_MAX_CPUS];
/* The kernel forgets SCX_ENQ_PREEMPT of a G that comes from another CPU (src/preflight/btf.rs). */
const volatile bool drops_preemption;

/*
 * 0, but the verifier does not know it. A loop that counts from here, while can_loop, is gone
 * through once for all its turns, and a turn costs no call as in bpf_for.
 */
u32 loop_start;

/*
 * What the user half may change at any time: in sections of their own, which it maps, since a
 * variable is there without being looked up.
 */
struct mpg_switches switches SEC(".data.queues") = {.queue_mask = ~0ULL};
struct mpg_shared shared SEC(".data.shared");

/* The kernel's scheduling policies, as in its uapi/linux/sched.h. */
enum {
	SCHED_BATCH = 3,
	SCHED_IDLE = 5,
};

enum place {
	PLACE_IDLE,
	PLACE_CUSTODY,
	PLACE_PRIMED,
	PLACE_PINNED,
	PLACE_LOCAL,
	PLACE_OWN,
	PLACE_SPARE,
};

/* A place is one word with the node or the CPU that it is at: both change at once. */
#define PLACE_BITS 3
/* In the queue of a node of which no CPU may run the G. */
#define PLACE_STRANGER (1U << 31)

static __always_inline u32 place_at(enum place place, u32 where)
{
	return place | where << PLACE_BITS;
}

static __always_inline enum place place_of(u32 word)
{
	return word & ((1 << PLACE_BITS) - 1);
}

static __always_inline u32 place_where(u32 word)
{
	return (word & ~PLACE_STRANGER) >> PLACE_BITS;
}

/*
 * Who wakes a G: another G, one that says that it will sleep at once, or an interrupt, be it a
 * timer's or a device's.
 */
enum waker {
	WAKER_TASK,
	WAKER_SYNC,
	WAKER_INTERRUPT,
	/* A power of two, so that the verifier can be shown that a kind is one of them. */
	NR_WAKERS = 4,
};

/* What a run of a G after a wakeup of one kind is like, and how far that is believed. */
struct expectation {
	u64 run_ns;
	u32 confirmed;
};

/* One per G. Written under the run-queue lock of the G's CPU unless said otherwise. */
struct task_ctx {
	u64 vtime;
	u64 born_at_ns;
	u64 started_at_ns;
	/* The slice that it started with. */
	u64 given_ns;
	u64 queued_at_ns;
	/* Since the last event. */
	u64 runtime_ns;
	u32 wakeups;

	u32 generation;
	/* Last generation that the standing decision covers; it is valid up to there. */
	u32 lease_last;
	/* The next generation that is reported under the lease, and how many enqueues it had. */
	u32 report_at;
	u32 lease;
	/* See place_at; changed with atomics, for a decision and a dispatch may meet. */
	u32 place;

	/* Since the last wakeup. */
	u64 run_ns;
	/* What to expect of wakeups of each kind: see prompt.bpf.h. */
	struct expectation expected[NR_WAKERS];
	/* Who woke it last, and where: the kernel may have it enqueued from the CPU it goes to. */
	u8 waker;
	/* Noted by select_cpu for the enqueue that follows. */
	bool waker_known;
	s32 waker_cpu;
	/* Woken by a G that said so, as it often does, and goes on: there is more to come. */
	bool fed;
	/* When it said that it will sleep, 0 if it did not, and how far that is believed. */
	u32 promises_kept;
	u64 promised_at_ns;
	/* The G that woke it last, by pid, and how often that one did so in a row. */
	s32 woken_by;
	u32 same_waker;

	/* What the last decision said, or the defaults. */
	u64 slice_ns;
	u64 deadline_offset;
	u64 cookie;
	u8 class;
	/* The edition of the settings that it was made under. */
	u8 edition;

	bool pinned;
	bool restricted;
	/* It has done nothing that its class is not for since the standing decision. */
	bool as_expected;
	/* The last enqueue was a wakeup. */
	bool woken;
	/* It slept, and what it has in hand has not been limited since. */
	bool slept;
	/* It waited for so long, or on so full a node, that it was taken out of turn. */
	bool helped;
	/* It counts in its node's spare_running. */
	bool runs_spare;
	u16 home;
	u64 allowed_nodes;

	/* Page faults that were credited to a node (see memory.bpf.h). */
	u64 faults;
	/* The publication of homes that memory_home is from. */
	u64 homes_version;
	/* When it was last taken from the node of its memory. */
	u64 left_memory_ns;
	/* Where the G's memory is, and the node that its memory policy names, or MPG_NO_NODE. */
	u16 memory_home;
	u16 policy_node;
	/* The node that the G ran on last. */
	u16 ran_on;
	/* The last-level cache that it ran under last. */
	u16 ran_under;
	/* 1 + the CPU that counts it as near, 0 if none does. */
	u16 near;
	/* 1 + the node that it goes to since it called exec, 0 if it stays. */
	u16 moves_to;
	/* The G's process is among those whose memory is looked after. */
	bool noted;
	/* When it was enqueued last, one queue served the whole machine. */
	bool in_one_queue;

	/* Written only while somebody watches: for whom, since when the G waits, 0 if it does not,
	 */
	u32 watch_id;
	u64 waits_since_ns;
	/* when a decision moved it to the primed queue, 0 if none did, */
	u64 decided_at_ns;
	/* the CPU that it ran on before, and how the wait began (enum mpg_watch_flags). */
	u16 waits_from;
	u16 waits_how;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_ctx);
} task_ctxs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct mpg_node);
} nodes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct mpg_cpu);
} cpus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct mpg_cpu_stats);
} cpu_stats SEC(".maps");

struct event_ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, MPG_EVENT_RING_BYTES);
};

/* Rings of events, one per node: producers of one node share nothing with another's. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, MPG_MAX_NODES);
	__type(key, u32);
	__array(values, struct event_ring);
} event_rings SEC(".maps");

struct doorbell {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
};

/*
 * What a worker sleeps on. It is apart from the events because a ring with anything in it never
 * lets its reader sleep, and events are meant to pile up.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, MPG_MAX_NODES);
	__type(key, u32);
	__array(values, struct doorbell);
} doorbells SEC(".maps");

struct cpu_mask {
	struct bpf_cpumask __kptr *cpumask;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MPG_MAX_NODES);
	__type(key, u32);
	__type(value, struct cpu_mask);
} node_masks SEC(".maps");

/* By the number of the cache. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MPG_MAX_LLCS);
	__type(key, u32);
	__type(value, struct cpu_mask);
} llc_masks SEC(".maps");

/* Queues. A CPU's own has the CPU's number. */
enum {
	DSQ_PRIMED = 1 << 16,
	DSQ_CUSTODY = 2 << 16,
	DSQ_OWN = 3 << 16,
	DSQ_SPARE = 4 << 16,
};

static __always_inline u64 primed_dsq(u32 node)
{
	return DSQ_PRIMED + node;
}

static __always_inline u64 custody_dsq(u32 node)
{
	return DSQ_CUSTODY + node;
}

static __always_inline u64 own_dsq(u32 node)
{
	return DSQ_OWN + node;
}

static __always_inline u64 spare_dsq(u32 node)
{
	return DSQ_SPARE + node;
}

static __always_inline struct task_ctx *lookup_task(const struct task_struct *p)
{
	return bpf_task_storage_get(&task_ctxs, (struct task_struct *)p, 0, 0);
}

static __always_inline struct mpg_node *lookup_node(u32 node)
{
	return bpf_map_lookup_elem(&nodes, &node);
}

static __always_inline struct mpg_cpu *lookup_cpu(s32 cpu)
{
	u32 key = cpu;

	return bpf_map_lookup_elem(&cpus, &key);
}

/*
 * The node that @cpu is in. A mask, not a comparison: the verifier forgets the outcome of one when
 * it spills the number.
 */
static __always_inline u32 own_node_of_cpu(s32 cpu)
{
	return cpu_node[cpu & (MPG_MAX_CPUS - 1)];
}

/* The last-level cache that @cpu is under, 0 if that makes no difference. */
static __always_inline u32 llc_of_cpu(s32 cpu)
{
	return nr_llcs ? cpu_llc[cpu & (MPG_MAX_CPUS - 1)] : 0;
}

/* Whether one queue serves the whole machine. */
static __always_inline bool is_one_queue(void)
{
	return !switches.queue_mask;
}

/* The node whose queue serves @cpu: its own, or node 0 for all. */
static __always_inline u32 node_of_cpu(s32 cpu)
{
	return own_node_of_cpu(cpu) & switches.queue_mask;
}

/*
 * Counts @cpu as idle, or as busy. With a full barrier (see may_have_idle). Any context.
 */
static __always_inline void mark_idle(struct mpg_cpu *c, s32 cpu, u32 idle)
{
	struct mpg_node *n = lookup_node(own_node_of_cpu(cpu));

	if (n && __sync_lock_test_and_set(&c->idle, idle) != idle)
		__sync_fetch_and_add(&n->idle, idle ? 1 : -1);
}

/*
 * Notes what runs on @cpu, as those take it that would preempt it; MPG_NR_CLASSES for nothing.
 * Context: running, stopping, dispatch and cpu_offline of that CPU, on it.
 */
static __always_inline void note_running(struct mpg_cpu *c, s32 cpu, u32 class)
{
	bool was_batch = c->running_class == MPG_CLASS_BATCH, is_batch = class == MPG_CLASS_BATCH;
	struct mpg_node *n;

	if (was_batch != is_batch) {
		n = lookup_node(own_node_of_cpu(cpu));
		if (n)
			__sync_fetch_and_add(&n->batch_running, is_batch ? 1 : -1);
	}
	c->running_class = class;
}

/* How many CPUs the queue of @node serves. */
static __always_inline u32 cpus_of(u32 node)
{
	return is_one_queue() ? nr_cpus : node_cpus[node & (MPG_MAX_NODES - 1)];
}

/*
 * Adds to a counter of @c, which is this CPU, or one whose run queue is locked, for a counter that
 * is only ever added to with that lock. Any context.
 */
static __always_inline void count_on(struct mpg_cpu *c, enum mpg_counter counter)
{
	c->counters[counter]++;
}

/* As count_on, of this CPU, where that is not at hand. */
static __always_inline void count(enum mpg_counter counter)
{
	struct mpg_cpu *c = lookup_cpu(bpf_get_smp_processor_id());

	if (c)
		count_on(c, counter);
}

/* As count, in a context where another G may have this CPU before the sum is written. */
static __always_inline void count_preemptible(enum mpg_counter counter)
{
	struct mpg_cpu *cpu = lookup_cpu(bpf_get_smp_processor_id());

	if (cpu)
		__sync_fetch_and_add(&cpu->counters[counter], 1);
}

/* Threads of this scheduler's process, by tgid: they never wait for user space. */
static __always_inline bool is_own(const struct task_struct *p)
{
	return p->tgid == own_tgid;
}

static __always_inline bool is_kthread(const struct task_struct *p)
{
	return p->flags & PF_KTHREAD;
}

/* Of SCHED_IDLE: it gets what nobody else wants (spare.bpf.h). */
static __always_inline bool is_spare(const struct task_struct *p)
{
	return p->policy == SCHED_IDLE;
}

/* The word for @t at @place, of a CPU for PINNED and LOCAL, of a node otherwise. */
static __always_inline u32 place_in(const struct task_ctx *t, enum place place, u32 where)
{
	u32 word = place_at(place, where);

	if (place != PLACE_PINNED && place != PLACE_LOCAL &&
	    !(t->allowed_nodes & (1ULL << (where & (MPG_MAX_NODES - 1)))))
		word |= PLACE_STRANGER;
	return word;
}

/*
 * Counts a G in or out where its place says that it waits. A G counts from before it is in the
 * queue until it runs, so who finds a count of 0 misses nothing that an idle CPU would not be
 * told of. Any context.
 */
static __always_inline void count_place(u32 word, s32 by)
{
	struct mpg_node *n;
	struct mpg_cpu *c;

	switch (place_of(word)) {
	case PLACE_PINNED:
		c = lookup_cpu(place_where(word));
		n = lookup_node(own_node_of_cpu(place_where(word)));
		if (c && n) {
			__sync_fetch_and_add(&c->pinned, by);
			__sync_fetch_and_add(&n->pinned, by);
		}
		return;
	case PLACE_LOCAL:
		n = lookup_node(own_node_of_cpu(place_where(word)));
		if (n)
			__sync_fetch_and_add(&n->local, by);
		return;
	case PLACE_CUSTODY:
	case PLACE_PRIMED:
	case PLACE_OWN:
	case PLACE_SPARE:
		n = lookup_node(place_where(word));
		if (!n)
			return;
		if (word & PLACE_STRANGER)
			__sync_fetch_and_add(&n->strangers, by);
		if (place_of(word) == PLACE_CUSTODY)
			__sync_fetch_and_add(&n->custody, by);
		else if (place_of(word) == PLACE_PRIMED)
			__sync_fetch_and_add(&n->primed, by);
		else if (place_of(word) == PLACE_SPARE)
			__sync_fetch_and_add(&n->spare, by);
		else
			__sync_fetch_and_add(&n->own, by);
		return;
	default:
		return;
	}
}

/*
 * Notes where a G is from here on; returns where it was. With a full barrier behind the count: an
 * enqueue counts and then looks for idle CPUs, a CPU that turns idle does the two in the other
 * order, so one of both sees the other. Any context.
 */
static __always_inline u32 move_place(struct task_ctx *t, u32 to)
{
	u32 from;

	count_place(to, 1);
	from = __sync_lock_test_and_set(&t->place, to);
	count_place(from, -1);
	return from;
}

/*
 * Counts @t, which waits in the queue of a node, as near @cpu, which is @c, where it ran last: a
 * hint for take_warm. Context: enqueue, run queue locked.
 */
static __always_inline void begin_near(struct task_ctx *t, struct mpg_cpu *c, s32 cpu)
{
	__sync_fetch_and_add(&c->near, 1);
	t->near = cpu + 1;
}

/* Takes that back. Context: enqueue, running and disable, run queue locked. */
static __always_inline void end_near(struct task_ctx *t)
{
	struct mpg_cpu *c;

	if (!t->near)
		return;
	c = lookup_cpu(t->near - 1);
	if (c)
		__sync_fetch_and_add(&c->near, -1);
	t->near = 0;
}

/*
 * Notes where @p waits from here on. A change of affinity moves a G that waits to another run
 * queue, which sched_ext tells as a second enqueue without an end of the first. Context: enqueue.
 */
static __always_inline void enter(struct task_ctx *t, enum place place, u32 where)
{
	count(MPG_COUNT_ENTERED);
	end_near(t);
	if (move_place(t, place_in(t, place, where)) != PLACE_IDLE)
		count(MPG_COUNT_CANCELLED);
}

#endif /* __MPG_STATE_BPF_H */
