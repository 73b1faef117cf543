/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Kernel half to user half: events, and calling the worker.
 *
 * Writing an event wakes nobody. The worker is called, once, when enough events wait or one has
 * waited long enough, and it then answers all of them: the more load, the larger the batch and the
 * lower the price of each decision. A CPU never waits for the answer (see take.bpf.h).
 */
#ifndef __MPG_FORWARD_BPF_H
#define __MPG_FORWARD_BPF_H

#include "state.bpf.h"
#include "rules.bpf.h"
#include "watch.bpf.h"

/*
 * How often a lease is reported: the worker has so many reports to answer that it may be called
 * late, for many at once, and its answer is there before it is missed.
 */
#define REPORTS_PER_LEASE 16

/*
 * It is called after batch_ns for a G that it knows nothing of, and after one more for each so many
 * enqueues of the last lease: a G that wakes a thousand times a second has its answer in time.
 */
#define LEASE_PER_BATCH 8

/*
 * Calls the worker of @node unless it has been called already. A worker that lets its call pass
 * for fallback_after_ns is taken for dead: the node is served without events until it answers.
 * Context: enqueue and dispatch, run queue locked.
 */
static __always_inline void call_worker(struct mpg_node *n, u32 node, u64 now)
{
	void *bell, *record;

	if (n->called_at_ns || __sync_val_compare_and_swap(&n->called_at_ns, 0, now))
		return;

	n->now_ns = now;
	watch_call(node, now);
	bell = bpf_map_lookup_elem(&doorbells, &node);
	if (!bell)
		return;
	record = bpf_ringbuf_reserve(bell, sizeof(u64), 0);
	/* A full doorbell is one that has rung. */
	if (record)
		bpf_ringbuf_submit(record, BPF_RB_FORCE_WAKEUP);
	count(MPG_COUNT_CALLS);
}

/* Notices a worker that does not answer. Returns whether the node is served without it. */
static __always_inline bool worker_is_dead(struct mpg_node *n, const struct mpg_params *params,
					   u64 now)
{
	u64 called_at = n->called_at_ns;

	if (n->fallback)
		return true;
	if (!called_at || !time_after(now, called_at + params->fallback_after_ns))
		return false;
	n->fallback = 1;
	n->fallbacks++;
	count(MPG_COUNT_FALLBACKS);
	return true;
}

/*
 * Whether @t does what its class is not for: a latency-sensitive one used up a slice, a normal one
 * two, a batch one slept.
 */
static __always_inline bool departs(const struct task_ctx *t)
{
	if (t->woken)
		return t->class == MPG_CLASS_BATCH;
	return (t->class == MPG_CLASS_LATENCY && t->run_ns >= t->slice_ns) ||
	       (t->class == MPG_CLASS_NORMAL && t->run_ns >= 2 * t->slice_ns);
}

/*
 * Whether the next decision of @t may differ from the last, and the worker does not know yet: it
 * departs from its class for the first time under this decision, or was decided by other settings.
 */
static __always_inline bool is_news(const struct task_ctx *t, const struct mpg_params *params)
{
	return (t->as_expected && departs(t)) || is_outdated(t, params);
}

/*
 * For how long the worker may be left uncalled once @t is reported. A G in custody need not wait
 * for the answer: a CPU that has nothing decided takes it as it was decided last.
 */
static __always_inline u64 patience_ns(const struct task_ctx *t, const struct mpg_params *params)
{
	return (is_news(t, params) ? 1 : 1 + t->lease / LEASE_PER_BATCH) * params->batch_ns;
}

/*
 * Tells the worker of @node that @p was enqueued, as of @flags. What could not be told (ring full,
 * worker dead) is told by the next event: the G's sums are only cleared once they are on the ring.
 * Context: enqueue, run queue locked.
 */
static __always_inline void forward(struct task_struct *p, struct task_ctx *t, struct mpg_node *n,
				    u32 node, const struct mpg_params *params, u8 flags, u64 now)
{
	u64 due_ns = now + patience_ns(t, params);
	struct mpg_event *event;
	u8 rule;
	u64 backlog;
	void *ring;

	if (worker_is_dead(n, params, now))
		return;
	ring = bpf_map_lookup_elem(&event_rings, &node);
	if (!ring)
		return;
	rule = ruled_class(p);
	event = bpf_ringbuf_reserve(ring, sizeof(*event), 0);
	if (!event) {
		count(MPG_COUNT_EVENTS_DROPPED);
		call_worker(n, node, now);
		return;
	}
	event->at_ns = now;
	event->vtime = t->vtime;
	event->runtime_ns = t->runtime_ns;
	event->cookie = t->cookie;
	event->allowed_nodes = is_one_queue() ? ~0ULL : t->allowed_nodes;
	event->pid = p->pid;
	event->generation = t->generation;
	event->wakeups = t->wakeups;
	event->weight = p->scx.weight;
	event->cpu = scx_bpf_task_cpu(p);
	event->node = node;
	event->flags = flags | (t->woken ? MPG_EVENT_WAKEUP : 0) |
		       (t->restricted ? MPG_EVENT_RESTRICTED : 0) |
		       (p->policy == SCHED_BATCH ? MPG_EVENT_BATCH : 0);
	event->class = t->class;
	event->rule = rule;
	event->__pad = 0;
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);

	t->runtime_ns = 0;
	t->wakeups = 0;
	t->as_expected &= !departs(t);
	count(MPG_COUNT_EVENTS);

	backlog = __sync_fetch_and_add(&n->events_written, 1) + 1 - n->events_read;
	if (backlog <= 1 || time_after(n->due_ns, due_ns))
		n->due_ns = due_ns;
	if (backlog >= params->batch_events || time_after(now, n->due_ns))
		call_worker(n, node, now);
}

/* Whether the standing decision of @t covers this enqueue. */
static __always_inline bool is_leased(const struct task_ctx *t, const struct mpg_params *params)
{
	return (s32)(t->lease_last - t->generation) >= 0 && !is_outdated(t, params);
}

/*
 * Reports an enqueue that waits for no answer, which asks for the next decision: now and then, and
 * at once what is news. Context: enqueue, run queue locked.
 */
static __always_inline void report(struct task_struct *p, struct task_ctx *t, struct mpg_node *n,
				   u32 node, const struct mpg_params *params, u64 now)
{
	if (!is_news(t, params) && (s32)(t->generation - t->report_at) < 0)
		return;
	t->report_at = t->generation + t->lease / REPORTS_PER_LEASE + 1;
	forward(p, t, n, node, params, 0, now);
}

#endif /* __MPG_FORWARD_BPF_H */
