/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Records for whoever asks why Gs were late (src/why/ makes sense of them): what each CPU did and
 * when, and how each G waited that waited for long.
 *
 * Nobody asks, usually: then each of these points costs a load of a word that hardly ever changes
 * and a branch. While somebody does, each stop of a G writes 48 bytes to a log of its CPU's, and
 * each long wait 88 to a ring of its node's; neither wakes anybody. Both are the reader's: they
 * are made for the watch and go with it. A log goes on over what was not read, a ring drops what
 * finds it full, and the reader learns of either how much he missed.
 *
 * The words of a G's wait carry the number of the watch that they were written for. So none has to
 * be cleared where a watch begins or ends in mid-wait: those of another watch count as not there.
 */
#ifndef __MPG_WATCH_BPF_H
#define __MPG_WATCH_BPF_H

#include "state.bpf.h"

struct watch_ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, MPG_WATCH_RING_BYTES);
};

/* Waits and calls. One per node while somebody watches, none otherwise. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, MPG_MAX_NODES);
	__type(key, u32);
	__array(values, struct watch_ring);
} watch_rings SEC(".maps");

/*
 * MPG_LOG_SLOTS of struct mpg_watch_run for each CPU. Given by size: clang leaves types out that
 * nothing but a map in a map names.
 */
struct watch_log_slots {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(u32));
	__uint(value_size, sizeof(struct mpg_watch_run));
};

/* Runs. One for the machine while somebody watches, none otherwise. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, u32);
	__array(values, struct watch_log_slots);
} watch_logs SEC(".maps");

/* For whom records are written, 0 for nobody. Any context. */
static __always_inline u64 watched(void)
{
	return *(volatile u64 *)&switches.watch_id;
}

/* The ring of the node of @cpu. Any context. */
static __always_inline void *watch_ring_of(s32 cpu)
{
	u32 node = own_node_of_cpu(cpu);

	return bpf_map_lookup_elem(&watch_rings, &node);
}

static __always_inline void watch_head(struct mpg_watch_head *head, enum mpg_watch_kind kind,
				       s32 cpu, const struct mpg_cpu *c, u64 at_ns)
{
	head->at_ns = at_ns;
	head->kind = kind;
	head->cpu = cpu;
	head->dropped = c->watch_dropped;
}

/* The kinds of G that the policy does not know. */
static __always_inline u16 watch_flags(const struct task_struct *p)
{
	return (is_own(p) ? MPG_WATCH_OWN : 0) | (is_kthread(p) ? MPG_WATCH_KTHREAD : 0) |
	       (is_spare(p) ? MPG_WATCH_SPARE : 0);
}

/* The name of @p, as two words: the kernel's copy function costs several times as much. */
static __always_inline void watch_comm(char *comm, const struct task_struct *p)
{
	_Static_assert(sizeof(p->comm) == 2 * sizeof(u64), "a name is two words");

	((u64 *)comm)[0] = ((const u64 *)p->comm)[0];
	((u64 *)comm)[1] = ((const u64 *)p->comm)[1];
}

/*
 * The slot for what comes next in the log of @cpu, or NULL; end_record tells the reader of it.
 * Context: run queue of @cpu locked, as for all that write there.
 */
static __always_inline struct mpg_watch_run *begin_record(s32 cpu, const struct mpg_cpu *c,
							  enum mpg_watch_kind kind, u64 now)
{
	u32 zero = 0, slot = (u32)cpu * MPG_LOG_SLOTS + (c->logged & (MPG_LOG_SLOTS - 1));
	void *logs = bpf_map_lookup_elem(&watch_logs, &zero);
	struct mpg_watch_run *run;

	if (!logs)
		return NULL;
	run = bpf_map_lookup_elem(logs, &slot);
	if (!run)
		return NULL;
	/* A full barrier: who reads anything of what follows finds that the slot is not whole. */
	__sync_lock_test_and_set(&run->number, 0);
	run->at_ns = now;
	run->kind = kind;
	return run;
}

/* @run is whole. Context: as begin_record. */
static __always_inline void end_record(struct mpg_cpu *c, struct mpg_watch_run *run)
{
	/* With a full barrier before. */
	__sync_lock_test_and_set(&run->number, ++c->logged);
}

/*
 * Writes down that @p, of @class, ran on @cpu since @started_at. Not inlined, for the verifier's
 * sake. Context: stopping and dispatch.
 */
__noinline int record_run(struct task_struct *p __arg_trusted, s32 cpu, u32 class_and_flags,
			  u64 started_at, u64 now)
{
	struct mpg_cpu *c = lookup_cpu(cpu);
	struct mpg_watch_run *run;

	if (!c)
		return 0;
	run = begin_record(cpu, c, MPG_WATCH_RUN, now);
	if (!run)
		return 0;
	run->started_at_ns = started_at;
	run->pid = p->pid;
	run->class = class_and_flags >> 16;
	run->flags = class_and_flags | watch_flags(p);
	watch_comm(run->comm, p);
	end_record(c, run);
	return 0;
}

/*
 * @p has run on @cpu since it started or went on last. Context: stopping and dispatch, before that
 * time is charged.
 */
static __always_inline void watch_run(struct task_struct *p, const struct task_ctx *t, s32 cpu,
				      u32 flags, u64 now)
{
	if (watched())
		record_run(p, cpu, (u32)t->class << 16 | flags, t->started_at_ns, now);
}

/* A wait of @t begins. Context: the G's run queue locked, or its wakeup. */
static __always_inline void begin_wait(struct task_ctx *t, u64 id, s32 from, u32 how, u64 now)
{
	t->watch_id = id;
	t->waits_since_ns = now;
	t->decided_at_ns = 0;
	t->waits_from = from;
	t->waits_how = how;
}

/*
 * @p is runnable, and waits from here on if it does not already: select_cpu and enqueue are both
 * called for most wakeups, the one or the other for some. Context: select_cpu and enqueue.
 */
static __always_inline void watch_wait(const struct task_struct *p, struct task_ctx *t)
{
	u64 id = watched();

	if (!id || !t)
		return;
	if (t->watch_id == (u32)id && t->waits_since_ns)
		return;
	begin_wait(t, id, scx_bpf_task_cpu(p), MPG_WATCH_WOKEN, scx_bpf_now());
}

/*
 * @p stops on @cpu: it sleeps, or waits for its next turn. With slice left it was put off, be it by
 * us or by another scheduling class. Context: stopping, before its run is charged.
 */
static __always_inline void watch_stop(struct task_struct *p, struct task_ctx *t,
				       const struct mpg_cpu *c, s32 cpu, bool runnable, u64 now)
{
	u64 id = watched();
	bool early;

	if (!id)
		return;
	watch_run(p, t, cpu, 0, now);
	early = time_before(now, c->slice_end_ns) && !c->overruns;
	begin_wait(t, id, cpu, early ? MPG_WATCH_PREEMPTED : 0, runnable ? now : 0);
}

/* @t leaves for another class. Context: disable. */
static __always_inline void watch_leave(struct task_ctx *t)
{
	if (watched() && t)
		t->waits_since_ns = 0;
}

/* A decision moved @t from custody to where decided Gs wait. Context: dispatch. */
static __always_inline void watch_decided(struct task_ctx *t)
{
	if (watched())
		t->decided_at_ns = scx_bpf_now();
}

/* Says which queue a place is. */
static __always_inline void watch_queue(struct mpg_watch_late *late, u32 place, s32 cpu)
{
	late->where = place_where(place);
	switch (place_of(place)) {
	case PLACE_CUSTODY:
		late->queue = MPG_QUEUE_CUSTODY;
		return;
	case PLACE_PRIMED:
		late->queue = MPG_QUEUE_PRIMED;
		return;
	case PLACE_SPARE:
		late->queue = MPG_QUEUE_SPARE;
		return;
	case PLACE_PINNED:
		late->queue = MPG_QUEUE_CPU;
		return;
	default:
		/* Next on a CPU: by us, straight onto an idle one, or put back by the kernel. */
		late->queue = MPG_QUEUE_LOCAL;
		late->where = cpu;
	}
}

/*
 * Writes down how @p, which starts on @cpu, waited since @since_ns. Not inlined, for the verifier's
 * sake. Context: running, before what it ran on last is overwritten.
 */
__noinline int record_late(struct task_struct *p __arg_trusted, s32 cpu, u32 place, u64 since_ns,
			   u64 now)
{
	const struct task_ctx *t = lookup_task(p);
	struct mpg_cpu *c = lookup_cpu(cpu);
	void *ring = watch_ring_of(cpu);
	struct mpg_watch_late *late;
	const struct mpg_node *n;

	if (!t || !c || !ring)
		return 0;
	late = bpf_ringbuf_reserve(ring, sizeof(*late), 0);
	if (!late) {
		c->watch_dropped++;
		return 0;
	}
	watch_head(&late->head, MPG_WATCH_LATE, cpu, c, now);
	watch_queue(late, place, cpu);
	late->since_ns = since_ns;
	late->decided_at_ns = t->decided_at_ns;
	late->called_at_ns = 0;
	late->allowed_nodes = t->allowed_nodes;
	late->pid = p->pid;
	late->tgid = p->tgid;
	late->weight = p->scx.weight;
	late->from_cpu = t->waits_from;
	late->from_node = own_node_of_cpu(t->waits_from);
	late->class = t->class;
	late->flags = watch_flags(p) | t->waits_how | (t->restricted ? MPG_WATCH_RESTRICTED : 0) |
		      (t->pinned ? MPG_WATCH_PINNED : 0);
	n = late->queue == MPG_QUEUE_CUSTODY ? lookup_node(late->where) : NULL;
	if (n) {
		late->called_at_ns = n->called_at_ns;
		late->flags |= n->fallback ? MPG_WATCH_FALLBACK : 0;
	}
	watch_comm(late->comm, p);
	bpf_ringbuf_submit(late, BPF_RB_NO_WAKEUP);
	return 0;
}

/* @p starts on @cpu and was at @place before. Context: running. */
static __always_inline void watch_start(struct task_struct *p, struct task_ctx *t, s32 cpu,
					u32 place, u64 now)
{
	u64 id = watched(), since;

	if (!id)
		return;
	since = t->watch_id == (u32)id ? t->waits_since_ns : 0;
	t->waits_since_ns = 0;
	if (since && !is_own(p) && time_after(now, since + switches.watch_over_ns))
		record_late(p, cpu, place, since, now);
}

/* Writes down that @cpu turned idle or busy. Not inlined, as record_run. Context: update_idle. */
__noinline int record_idle(s32 cpu, u32 idle)
{
	struct mpg_cpu *c = lookup_cpu(cpu);
	struct mpg_watch_run *run;

	if (!c)
		return 0;
	run = begin_record(cpu, c, idle ? MPG_WATCH_IDLE : MPG_WATCH_BUSY, scx_bpf_now());
	if (run)
		end_record(c, run);
	return 0;
}

/*
 * @cpu turned idle or busy, or is idle still: an idle CPU that was woken for nothing is told of
 * again. Context: update_idle, before that is noted.
 */
static __always_inline void watch_idle(const struct mpg_cpu *c, s32 cpu, bool idle)
{
	if (watched() && c->idle != idle)
		record_idle(cpu, idle);
}

/* Writes down a call of the worker of @node. Not inlined, as record_run. Context: enqueue,
 * dispatch.
 */
__noinline int record_call(u32 node, u64 now)
{
	s32 cpu = bpf_get_smp_processor_id();
	const struct mpg_node *n = lookup_node(node);
	struct mpg_cpu *c = lookup_cpu(cpu);
	void *ring = watch_ring_of(cpu);
	struct mpg_watch_call *call;

	if (!n || !c || !ring)
		return 0;
	call = bpf_ringbuf_reserve(ring, sizeof(*call), 0);
	if (!call) {
		c->watch_dropped++;
		return 0;
	}
	watch_head(&call->head, MPG_WATCH_CALL, cpu, c, now);
	call->node = node;
	call->worker_pid = n->worker_pid;
	bpf_ringbuf_submit(call, BPF_RB_NO_WAKEUP);
	return 0;
}

/* The worker of @node was called. Context: enqueue and dispatch. */
static __always_inline void watch_call(u32 node, u64 now)
{
	if (watched())
		record_call(node, now);
}

#endif /* __MPG_WATCH_BPF_H */
