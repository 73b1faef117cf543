/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * User half to kernel half: carrying out decisions.
 *
 * A decision names a G by pid and a range of its generations. It is carried out if the G still
 * waits in the first of them, it stands as a lease if the first was served meanwhile and others
 * are left, and it is refused and counted in any other case; so it is if the settings that it was
 * made under have changed. The move itself is refused by the kernel if the G left the queue after
 * we looked, so a race costs nothing but the decision.
 */
#ifndef __MPG_EXECUTE_BPF_H
#define __MPG_EXECUTE_BPF_H

#include "state.bpf.h"
#include "idle.bpf.h"
#include "watch.bpf.h"

/*
 * Moves a G that waits in custody to where the decision says. Returns false if it was no longer
 * there. Context: dispatch; the kernel drops and retakes run-queue locks in the move.
 */
static __always_inline bool move_from_custody(struct task_struct *p, struct task_ctx *t, u32 from,
					      const struct mpg_decision *d, u32 target,
					      u64 deadline)
{
	u32 place = place_in(t, PLACE_PRIMED, target);
	u64 dsq = primed_dsq(target);
	struct bpf_iter_scx_dsq it;
	bool moved = false;

	if (d->cpu != MPG_NO_CPU && d->cpu < nr_cpus && node_of_cpu(d->cpu) == target &&
	    bpf_cpumask_test_cpu(d->cpu, p->cpus_ptr) && !is_absent(d->cpu)) {
		dsq = d->cpu;
		place = place_at(PLACE_PINNED, d->cpu);
	}

	/*
	 * The place changes before the move: once moved, the G may start on another CPU at once,
	 * and what it finds must not be overwritten.
	 */
	count_place(place, 1);
	if (__sync_val_compare_and_swap(&t->place, from, place) != from) {
		count_place(place, -1);
		return false;
	}

	if (!bpf_iter_scx_dsq_new(&it, custody_dsq(place_where(from)), 0)) {
		scx_bpf_dsq_move_set_slice(&it, d->slice_ns);
		scx_bpf_dsq_move_set_vtime(&it, deadline);
		moved = scx_bpf_dsq_move_vtime(&it, p, dsq, 0);
	}
	bpf_iter_scx_dsq_destroy(&it);
	/* Where it did not move it may have started meanwhile: only one of the two is undone. */
	if (moved || __sync_val_compare_and_swap(&t->place, place, from) != place)
		count_place(from, -1);
	else
		count_place(place, -1);
	if (moved)
		watch_decided(t);
	return moved;
}

/*
 * Carries out the decision of the worker of @node that is @nth in its ring, and on whose clock its
 * deadline is. Not inlined, for the verifier's sake. Context: dispatch of a CPU of that node.
 */
__noinline int execute(u32 node, u64 nth)
{
	struct mpg_node *n = lookup_node(node), *to;
	const struct mpg_decision *d;
	u32 ahead, place, target;
	struct task_struct *p;
	struct task_ctx *t;
	u64 deadline;

	if (!n)
		return 0;
	d = &n->decisions[nth & (MPG_DECISION_SLOTS - 1)];
	deadline = d->deadline;
	target = d->node & switches.queue_mask;
	p = bpf_task_from_pid(d->pid);
	if (!p) {
		count(MPG_COUNT_REFUSED_GONE);
		return 0;
	}
	t = lookup_task(p);
	if (!t) {
		count(MPG_COUNT_REFUSED_GONE);
		goto out;
	}

	/* How many enqueues the G is past the one that was decided. */
	ahead = t->generation - d->generation;
	if (ahead > d->lease || d->edition != (u8)shared.params.edition) {
		count(MPG_COUNT_REFUSED_STALE);
		goto out;
	}
	if (target >= nr_nodes || !may_run_in(t, target)) {
		count(MPG_COUNT_REFUSED_AFFINITY);
		goto out;
	}

	to = lookup_node(target);
	if (to && target != node)
		deadline += to->vclock - n->vclock;

	t->slice_ns = d->slice_ns;
	t->deadline_offset = d->deadline_offset;
	t->cookie = d->cookie;
	t->class = d->class;
	t->edition = d->edition;
	t->lease = d->lease;
	t->lease_last = d->generation + d->lease;
	t->report_at = d->generation + d->lease / REPORTS_PER_LEASE + 1;
	t->as_expected = true;

	place = t->place;
	if (!ahead && place_of(place) == PLACE_CUSTODY &&
	    move_from_custody(p, t, place, d, target, deadline)) {
		count(MPG_COUNT_EXECUTED);
		wake_idle(p, target);
	} else if (d->lease) {
		count(MPG_COUNT_RENEWED);
	} else {
		count(MPG_COUNT_REFUSED_STALE);
	}
out:
	bpf_task_release(p);
	return 0;
}

/*
 * Carries out the decisions that wait in the ring of @node, a bounded number of them. One CPU at a
 * time: the others have better things to do than to wait for it. Not inlined, for the verifier's
 * sake. Context: dispatch.
 */
__noinline int execute_waiting(u32 node)
{
	struct mpg_node *n = lookup_node(node);
	u64 tail, head;
	u32 i;

	if (!n || __sync_val_compare_and_swap(&n->drain_lock, 0, 1))
		return 0;

	/* The atomic is also the barrier between reading the head and reading the slots. */
	head = __sync_fetch_and_add(&n->decision_head, 0);
	tail = n->decision_tail;
	bpf_for(i, 0, MPG_DECISIONS_PER_DISPATCH) {
		if (tail == head)
			break;
		execute(node, tail++);
	}
	/* Slots are free for the worker only after they were read: a full barrier between. */
	__sync_lock_test_and_set(&n->decision_tail, tail);
	__sync_val_compare_and_swap(&n->drain_lock, 1, 0);
	return 0;
}

/* Carries out decisions if some wait. Context: dispatch. */
static __always_inline void execute_all(const struct mpg_node *n, u32 node)
{
	if (n->decision_tail != n->decision_head)
		execute_waiting(node);
}

#endif /* __MPG_EXECUTE_BPF_H */
