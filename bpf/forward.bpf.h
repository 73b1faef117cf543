/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Kernel half to user half: events, and calling the worker.
 *
 * Writing an event wakes nobody. The worker is called, once, when enough events wait or one has
 * waited long enough, and it then answers all of them: the more load, the larger the batch and the
 * lower the price of each decision. A CPU never waits for the answer (see fallback.bpf.h).
 */
#ifndef __MPG_FORWARD_BPF_H
#define __MPG_FORWARD_BPF_H

#include "state.bpf.h"
#include "rules.bpf.h"
#include "watch.bpf.h"

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
 * Tells the worker of @node that @p was enqueued, as of @flags. What could not be told (ring full,
 * worker dead) is told by the next event: the G's sums are only cleared once they are on the ring.
 * Context: enqueue, run queue locked.
 */
static __always_inline void forward(struct task_struct *p, struct task_ctx *t, struct mpg_node *n,
				    u32 node, const struct mpg_params *params, u8 flags, u64 now)
{
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
	count(MPG_COUNT_EVENTS);

	backlog = __sync_fetch_and_add(&n->events_written, 1) + 1 - n->events_read;
	if (backlog <= 1)
		n->backlog_since_ns = now;
	if (backlog >= params->batch_events ||
	    time_after(now, n->backlog_since_ns + params->batch_ns))
		call_worker(n, node, now);
}

/*
 * Whether this enqueue is to ask for the next decision, which each decision has done once: the
 * enqueue that it names may have gone another way.
 */
static __always_inline bool is_renewal_due(struct task_ctx *t)
{
	if (!t->renew || (s32)(t->generation - t->renew_at) < 0)
		return false;
	t->renew = false;
	return true;
}

#endif /* __MPG_FORWARD_BPF_H */
