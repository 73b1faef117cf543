/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a CPU runs next, and the promise behind it: no CPU waits for user space.
 *
 * Decided Gs go first. If there are none, the CPU takes the undecided one with the earliest
 * provisional deadline, be the worker slow, stopped or dead. If the node has none at all, it takes
 * one from another node, with the leave of the policy.
 */
#ifndef __MPG_TAKE_BPF_H
#define __MPG_TAKE_BPF_H

#include "state.bpf.h"
#include "clock.bpf.h"
#include "stats.bpf.h"
#include "hotplug.bpf.h"
#include "spare.bpf.h"
#include "taken.bpf.h"
#include "prompt.bpf.h"
#include "watch.bpf.h"

/*
 * Gs of a queue looked at for one past the starvation bound: the first ones, which is all of them
 * unless the node is so overloaded that the bound cannot be held for anyone.
 */
#define OVERDUE_SEARCH 64

/*
 * Gs of a queue looked at for one that ran on the CPU last: nearly all of them in a node where two
 * threads share a CPU, and no more than the move that it saves is worth.
 */
#define WARM_SEARCH 8

/* Gs of a queue looked at for when the next is late, and CPUs woken for them, at most. */
#define LATE_SEARCH 8

/* How many other nodes are looked at for work, nearest first. */
#define STEAL_SEARCH 8

/*
 * A G that has waited for this long is late, and goes to a CPU of any node that idles or is about
 * to, be the leave longer: nobody is to wait for 1 ms beside one, and no sooner, for each move
 * leaves caches behind and nodes unlike.
 */
#define LATE_NS (950ULL * 1000)

/*
 * One whose memory has a node is late after this: where the memory of many Gs is on one node
 * nothing else brings work to the others, and each comes back.
 */
#define RESCUE_NS (350ULL * 1000)

/*
 * Deadline of an empty queue. A G that is due at just this nanosecond is taken for none, which only
 * says that another queue comes first.
 */
#define NO_DEADLINE (~0ULL)

/*
 * Deadline of the first G of a queue, NO_DEADLINE if the queue is empty. Not inlined, for the
 * verifier's sake. Any context.
 */
__noinline u64 first_deadline(u64 dsq)
{
	struct bpf_iter_scx_dsq it;
	u64 deadline = NO_DEADLINE;
	struct task_struct *p;

	if (!bpf_iter_scx_dsq_new(&it, dsq, 0)) {
		p = bpf_iter_scx_dsq_next(&it);
		if (p)
			deadline = p->scx.dsq_vtime;
	}
	bpf_iter_scx_dsq_destroy(&it);
	return deadline;
}

/* Whether the first G of a queue is due before @deadline, or then. Any context. */
static __always_inline bool first_is_due(u64 dsq, u64 deadline)
{
	u64 first = first_deadline(dsq);

	return first != NO_DEADLINE && !time_before(deadline, first);
}

/* The earlier of the deadline of a queue's first G and @deadline. Any context. */
static __always_inline u64 earlier_of(u64 dsq, u64 deadline)
{
	u64 first = first_deadline(dsq);

	return first != NO_DEADLINE && time_before(first, deadline) ? first : deadline;
}

/*
 * When the G that is due first in a queue was put there, 0 if the queue is empty. Not inlined, so
 * that the verifier goes through it once and not for each node looked at. Any context.
 */
__noinline u64 first_queued_at(u64 dsq)
{
	struct bpf_iter_scx_dsq it;
	struct task_ctx *t = NULL;
	struct task_struct *p;
	u64 at = 0;

	if (!bpf_iter_scx_dsq_new(&it, dsq, 0)) {
		p = bpf_iter_scx_dsq_next(&it);
		if (p)
			t = lookup_task(p);
		if (t)
			at = t->queued_at_ns;
	}
	bpf_iter_scx_dsq_destroy(&it);
	return at;
}

/* How long the Gs that are due first in a node have waited, the longer of both. Any context. */
static __always_inline u64 node_wait(u32 node, u64 now)
{
	u64 primed = first_queued_at(primed_dsq(node)),
	    custody = first_queued_at(custody_dsq(node));
	u64 wait = 0;

	if (primed && time_after(now, primed))
		wait = now - primed;
	if (custody && time_after(now, custody) && now - custody > wait)
		wait = now - custody;
	return wait;
}

/*
 * Takes a G from a node without CPUs, where one can be for the moment between the departure of the
 * last CPU and an enqueue that did not know of it yet. Context: dispatch.
 */
static __always_inline bool adopt(void)
{
	u32 node;

	if (!absent_nodes)
		return false;
	bpf_for(node, 0, nr_nodes) {
		if (is_absent_node(node) && (scx_bpf_dsq_move_to_local(custody_dsq(node), 0) ||
					     scx_bpf_dsq_move_to_local(primed_dsq(node), 0) ||
					     scx_bpf_dsq_move_to_local(spare_dsq(node), 0)))
			return true;
	}
	return false;
}

/*
 * Since when the G of a queue waits that waits longest of those that @cpu may run, and that wait
 * since before @before, or before @homed_before where their memory has a node; @before if none
 * does. Not inlined, for the verifier's sake. Context: dispatch.
 */
__noinline u64 longest_since(u64 dsq, s32 cpu, u64 before, u64 homed_before)
{
	struct bpf_iter_scx_dsq it;
	u64 since = before, limit;
	struct task_struct *p;
	bool found = false;
	struct task_ctx *t;
	u32 i;

	if (!bpf_iter_scx_dsq_new(&it, dsq, 0)) {
		for (i = loop_start; i < OVERDUE_SEARCH && can_loop; i++) {
			p = bpf_iter_scx_dsq_next(&it);
			if (!p)
				break;
			t = lookup_task(p);
			if (!t || !bpf_cpumask_test_cpu(cpu, p->cpus_ptr))
				continue;
			limit = t->memory_home != MPG_NO_NODE ? homed_before : before;
			if (found)
				limit = since;
			if (time_before(t->queued_at_ns, limit)) {
				since = t->queued_at_ns;
				found = true;
			}
		}
	}
	bpf_iter_scx_dsq_destroy(&it);
	return since;
}

/*
 * Moves the G that waits in a queue since @since to the local queue of @cpu, for a slice of
 * @slice_ns, or its own if that is 0. Returns whether it was there yet. Not inlined, for the
 * verifier's sake. Context: dispatch.
 */
__noinline int take_overdue(u64 dsq, s32 cpu, u64 since, u64 slice_ns)
{
	struct task_struct *p;
	struct task_ctx *t;
	int taken = 0;

	bpf_for_each(scx_dsq, p, dsq, 0) {
		t = lookup_task(p);
		if (!t || t->queued_at_ns != since || !bpf_cpumask_test_cpu(cpu, p->cpus_ptr))
			continue;
		t->helped = true;
		/* The bound promises that it runs, its weight says how much. */
		if (slice_ns)
			scx_bpf_dsq_move_set_slice(BPF_FOR_EACH_ITER, slice_ns);
		taken = scx_bpf_dsq_move(BPF_FOR_EACH_ITER, p, SCX_DSQ_LOCAL, 0);
		break;
	}
	return taken;
}

/*
 * Takes the G that waits longest in another node, of those that longest_since() asks for. Returns
 * whether there was one. Not inlined, for the verifier's sake. Context: dispatch.
 */
__noinline int take_longest(s32 cpu, u32 victim, u64 before, u64 homed_before)
{
	u64 custody = longest_since(custody_dsq(victim), cpu, before, homed_before);
	u64 since = longest_since(primed_dsq(victim), cpu, custody,
				  custody == before ? homed_before : custody);

	if (since == before ||
	    !take_overdue(since == custody ? custody_dsq(victim) : primed_dsq(victim), cpu, since,
			  0))
		return 0;
	count(MPG_COUNT_STOLEN);
	note_taken(victim);
	return 1;
}

/* A time that does not come. */
#define NEVER (~0ULL)

/* How long @t may wait beside a CPU that idles. Any context. */
static __always_inline u64 late_after(const struct task_ctx *t)
{
	return t->memory_home != MPG_NO_NODE ? RESCUE_NS : LATE_NS;
}

/*
 * When the next of the first Gs of a queue will be late, NEVER if none will: who is late already is
 * left out. Not inlined, for the verifier's sake. Any context.
 */
__noinline u64 next_late(u64 dsq, u64 now)
{
	struct bpf_iter_scx_dsq it;
	struct task_struct *p;
	struct task_ctx *t;
	u64 next = NEVER, at;
	u32 i;

	if (!bpf_iter_scx_dsq_new(&it, dsq, 0)) {
		for (i = loop_start; i < LATE_SEARCH && can_loop; i++) {
			p = bpf_iter_scx_dsq_next(&it);
			if (!p)
				break;
			t = lookup_task(p);
			if (!t)
				continue;
			at = t->queued_at_ns + late_after(t);
			if (time_after(at, now) && at < next)
				next = at;
		}
	}
	bpf_iter_scx_dsq_destroy(&it);
	return next;
}

/* As next_late, of all that wait in a node. Any context. */
static __always_inline u64 node_late(const struct mpg_node *n, u32 node, u64 now)
{
	u64 primed = n->primed ? next_late(primed_dsq(node), now) : NEVER;
	u64 custody = n->custody ? next_late(custody_dsq(node), now) : NEVER;

	return primed < custody ? primed : custody;
}

/* Nodes of which a CPU about to idle has noted when somebody will be late (late_at_ns). */
static volatile u64 late_nodes;

/*
 * Takes a G of another node for @cpu, which is about to idle, nearest first: where the policy gives
 * leave the one due first, else the one that waits longest of those that are late. Of a node where
 * nobody is it notes when somebody will be, for sysmon. Returns whether there was one. Not inlined,
 * for the verifier's sake. Context: dispatch.
 */
__noinline int steal(s32 cpu, u64 now)
{
	u32 node = node_of_cpu(cpu) & (MPG_MAX_NODES - 1), i, victim, at;
	struct mpg_node *v;
	bool granted;
	u64 leave;

	bpf_for(i, 0, STEAL_SEARCH) {
		if (i + 1 >= nr_nodes)
			break;
		at = node * MPG_MAX_NODES + i;
		if (at >= MPG_MAX_NODES * MPG_MAX_NODES)
			break;
		victim = neighbours[at];
		v = lookup_node(victim);
		at = node * MPG_MAX_NODES + victim;
		if (!v || at >= MPG_MAX_NODES * MPG_MAX_NODES)
			break;
		leave = shared.steal_after_ns[at];
		if (leave == ~0ULL || !(v->primed | v->custody))
			continue;
		granted = node_wait(victim, now) < leave;
		if (granted && !shared.grants[at]) {
			if (take_longest(cpu, victim, now - LATE_NS, now - RESCUE_NS))
				return 1;
			v->late_at_ns = node_late(v, victim, now);
			__sync_fetch_and_or(&late_nodes, 1ULL << (victim & (MPG_MAX_NODES - 1)));
			continue;
		}
		if (scx_bpf_dsq_move_to_local(custody_dsq(victim), 0) ||
		    scx_bpf_dsq_move_to_local(primed_dsq(victim), 0)) {
			/* Two CPUs that use up the same grant at once move one G too many, once. */
			if (granted)
				shared.grants[at] = 0;
			count(granted ? MPG_COUNT_BALANCED : MPG_COUNT_STOLEN);
			note_taken(victim);
			return 1;
		}
	}
	return 0;
}

/*
 * Takes one from the node that sysmon woke this CPU for, if it did: of those for which sysmon would
 * wake a CPU. Context: dispatch.
 */
static __always_inline bool take_rescued(struct mpg_cpu *c, s32 cpu, u64 now)
{
	u32 node = node_of_cpu(cpu) & (MPG_MAX_NODES - 1), victim = c->rescue - 1;
	u64 leave;

	if (!c->rescue)
		return false;
	c->rescue = 0;
	leave = shared.steal_after_ns[node * MPG_MAX_NODES + (victim & (MPG_MAX_NODES - 1))];
	return take_longest(cpu, victim, now - (leave < LATE_NS ? leave : LATE_NS),
			    now - (leave < RESCUE_NS ? leave : RESCUE_NS));
}

/*
 * Takes one that waits since before @before from a node where other classes have taken CPUs: there
 * may be none left that it may use. Context: dispatch.
 */
static __always_inline bool take_left_behind(s32 cpu, u32 node, u64 before)
{
	u32 victim;

	if (!taken_in_all)
		return false;
	bpf_for(victim, 0, nr_nodes) {
		if (victim != node && has_taken_cpus(victim) &&
		    take_longest(cpu, victim, before, before))
			return true;
	}
	return false;
}

/*
 * The starvation bound: deadlines alone let a G of low weight wait for as long as heavier ones
 * come. Each CPU looks through the queues eight times in a bound, since what one may not run
 * another may, and no sooner than two slices after it found one, so that an overloaded node keeps
 * an order. It takes whoever waits longest in any of them: who waits beyond the bound has at most
 * all others before him. Context: dispatch.
 */
static __always_inline bool help_overdue(struct mpg_cpu *c, s32 cpu, u32 node,
					 const struct mpg_params *params, u64 now)
{
	u64 before = now - params->starvation_bound_ns, since, dsq = cpu;
	u64 own, custody;

	if (time_before(now, c->next_search_ns))
		return false;
	c->next_search_ns = now + params->starvation_bound_ns / 8;
	if (adopt())
		return true;
	own = longest_since(cpu, cpu, before, before);
	custody = longest_since(custody_dsq(node), cpu, own, own);
	since = longest_since(primed_dsq(node), cpu, custody, custody);
	if (since == before)
		return take_left_behind(cpu, node, before);
	if (since != custody)
		dsq = primed_dsq(node);
	else if (custody != own)
		dsq = custody_dsq(node);
	if (!take_overdue(dsq, cpu, since, params->slice_min_ns))
		return false;
	c->next_search_ns = now + 2 * params->slice_ns;
	count(MPG_COUNT_OVERDUE);
	return true;
}

/*
 * As help_overdue, for a CPU that nobody of its own node waits for: who runs there would go on.
 * Context: dispatch.
 */
static __always_inline bool help_left_behind(struct mpg_cpu *c, s32 cpu, u32 node,
					     const struct mpg_params *params, u64 now)
{
	if (!taken_in_all || time_before(now, c->next_search_ns))
		return false;
	c->next_search_ns = now + params->starvation_bound_ns / 8;
	return take_left_behind(cpu, node, now - params->starvation_bound_ns);
}

/* Whether a thread of this scheduler waits in the node of @cpu. Any context. */
static __always_inline bool own_waits(s32 cpu)
{
	const struct mpg_node *n = lookup_node(own_node_of_cpu(cpu));

	return n && n->own;
}

/* Takes one. Context: dispatch. */
static __always_inline bool take_own(s32 cpu)
{
	return own_waits(cpu) && scx_bpf_dsq_move_to_local(own_dsq(own_node_of_cpu(cpu)), 0);
}

/*
 * The queue that comes first in a node: the primed one, unless the first G in custody is due so
 * much earlier that user space cannot know of it, be it late or its queue full.
 */
static __always_inline u64 first_queue(const struct mpg_node *n, u32 node,
				       const struct mpg_params *params)
{
	u64 primed, custody;

	if (!n->custody)
		return primed_dsq(node);
	if (!n->primed)
		return custody_dsq(node);
	primed = first_deadline(primed_dsq(node));
	custody = first_deadline(custody_dsq(node));
	if (primed != NO_DEADLINE && custody != NO_DEADLINE &&
	    !time_before(custody + params->slice_ns, primed))
		return primed_dsq(node);
	return custody_dsq(node);
}

/*
 * Moves a G that ran on @cpu last to its local queue, if one of the first in a queue did. Whoever
 * comes from another CPU has two run queues locked for it and its caches cold. So one that is here
 * goes before others if it is due by half a slice, @leeway_ns, after the first, has no more than
 * the first's slice, and has not used one up where the first was woken: what is short waits for
 * nothing long. Returns whether there was one. Not inlined, for the verifier's sake. Context:
 * dispatch.
 */
__noinline int take_warm(u64 dsq, s32 cpu, u64 leeway_ns)
{
	u64 latest = 0, slice_ns = 0;
	struct bpf_iter_scx_dsq it;
	struct task_struct *p;
	struct task_ctx *t;
	bool woken = false;
	int taken = 0;
	u32 i;

	if (!bpf_iter_scx_dsq_new(&it, dsq, 0)) {
		for (i = loop_start; i < WARM_SEARCH && can_loop; i++) {
			p = bpf_iter_scx_dsq_next(&it);
			if (!p)
				break;
			if (i && time_after(p->scx.dsq_vtime, latest))
				break;
			if (scx_bpf_task_cpu(p) == cpu && bpf_cpumask_test_cpu(cpu, p->cpus_ptr)) {
				t = lookup_task(p);
				if (i && (p->scx.slice > slice_ns || (woken && t && !t->woken)))
					continue;
				taken = scx_bpf_dsq_move(&it, p, SCX_DSQ_LOCAL, 0);
				if (taken && i)
					count(MPG_COUNT_WARM);
				break;
			}
			if (!i) {
				t = lookup_task(p);
				woken = t && t->woken;
				latest = p->scx.dsq_vtime + leeway_ns;
				slice_ns = p->scx.slice;
			}
		}
	}
	bpf_iter_scx_dsq_destroy(&it);
	return taken;
}

/*
 * Moves the next G for @cpu to its local queue: a decided one of @node if there is one, else an
 * undecided one, unless one in the CPU's own queue has the earlier deadline. Returns whether there
 * was one. Not inlined, for the verifier's sake. Context: dispatch.
 */
__noinline int take_local(s32 cpu, u32 node)
{
	const struct mpg_node *n = lookup_node(node);
	const struct mpg_cpu *c = lookup_cpu(cpu);
	u64 dsq, pinned, other;

	if (!n || !c)
		return 0;
	dsq = first_queue(n, node, &shared.params);
	if (c->pinned) {
		pinned = first_deadline(cpu);
		other = first_deadline(dsq);
		if (pinned != NO_DEADLINE &&
		    (other == NO_DEADLINE || !time_before(other, pinned)) &&
		    scx_bpf_dsq_move_to_local(cpu, 0))
			return 1;
	}

	if (c->near && cpus_of(node) > 1 && take_warm(dsq, cpu, shared.params.slice_ns / 2))
		return 1;

	/* What a queue holds need not be allowed on this CPU, so each of them is asked. */
	return scx_bpf_dsq_move_to_local(dsq, 0) ||
	       (c->pinned && scx_bpf_dsq_move_to_local(cpu, 0)) ||
	       (n->primed && scx_bpf_dsq_move_to_local(primed_dsq(node), 0)) ||
	       (n->custody && scx_bpf_dsq_move_to_local(custody_dsq(node), 0));
}

/*
 * Whether @prev, whose slice is over, still comes before all that waits for its CPU. Without this
 * a G of high weight would have to take turns with one of low weight. A latency-sensitive G has
 * used up a slice that none of its kind needs: it is to be enqueued, for the worker to be told, and
 * not to run on as what it is not any more. One that called exec leaves. Context: dispatch.
 */
static __always_inline bool still_first(const struct task_struct *prev, const struct task_ctx *t,
					const struct mpg_cpu *c, const struct mpg_node *n, s32 cpu,
					u32 node, u64 now)
{
	u64 mine;

	if (t->class == MPG_CLASS_LATENCY || t->moves_to)
		return false;
	mine = t->vtime + weighted(prev, now - t->started_at_ns) + t->deadline_offset;
	return !(n->primed && first_is_due(primed_dsq(node), mine)) &&
	       !(n->custody && first_is_due(custody_dsq(node), mine)) &&
	       !(c->pinned && first_is_due(cpu, mine));
}

/*
 * Lets @prev go on for another slice where it is. Its clock must not stand still meanwhile: what a
 * sleeper has in hand and how nodes compare is told by it. Context: dispatch.
 */
static __always_inline void go_on(struct task_struct *prev, struct task_ctx *t, struct mpg_cpu *c,
				  struct mpg_node *n, const struct mpg_params *params, u64 now)
{
	note_use(prev, t, scx_bpf_task_cpu(prev), now);
	watch_run(prev, t, scx_bpf_task_cpu(prev), MPG_WATCH_GOES_ON, now);
	charge(prev, t, now);
	limit_credit(t, n->vclock, params);
	advance_clock(n, t);
	c->running_deadline = provisional_deadline(t);
	/* Whoever took the CPU from a G of SCHED_IDLE found nothing here. */
	note_running(c, scx_bpf_task_cpu(prev), class_on_cpu(t, params));
	scx_bpf_task_set_slice(prev, t->slice_ns);
	t->given_ns = t->slice_ns;
	c->slice_end_ns = slice_end(t, t->slice_ns, params, now);
	c->given_until_ns = c->slice_end_ns;
	c->overruns = 0;
	/* It called exec, and nobody waits for its CPU any more. */
	t->moves_to = 0;
}

#endif /* __MPG_TAKE_BPF_H */
