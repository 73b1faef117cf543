/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Virtual time: what a G has had of its node, weighted.
 *
 * Run time is charged here and nowhere else, also for Gs that ran without asking user space. Each
 * node has a clock of its own, the furthest start among its Gs; a G that changes node keeps its
 * distance to the clock. Comparisons wrap, as the kernel's do.
 */
#ifndef __MPG_CLOCK_BPF_H
#define __MPG_CLOCK_BPF_H

#include "state.bpf.h"

/* Run time of @p on the scale of a G of weight 100. */
static __always_inline u64 weighted(const struct task_struct *p, u64 delta_ns)
{
	u64 weight = p->scx.weight;

	return weight == 100 || !weight ? delta_ns : delta_ns * 100 / weight;
}

/*
 * A G that did not sleep is owed what it had to wait for: what the clock ran while it waited for as
 * long as anyone may, and a few of its turns, since the shortest slice lasts for a tick, which is
 * four times as long. More is not the order's doing but that of a clock that others drove, each
 * alone on a CPU.
 */
#define OWED_OFFSETS 4

/*
 * A G must not save up more than the credit while it sleeps, or it would starve the rest: it counts
 * from @vclock, the clock of the node or of who is furthest behind there. Who is fed has none: the
 * later it runs, the more it finds to do.
 */
static __always_inline void limit_credit(struct task_ctx *t, u64 vclock,
					 const struct mpg_params *params)
{
	u64 floor = vclock;

	if (!t->slept || !t->fed)
		floor -= params->sleep_credit_ns;
	if (!t->slept)
		floor -= params->starvation_bound_ns + OWED_OFFSETS * t->deadline_offset;
	t->slept = false;
	if (time_before(t->vtime, floor))
		t->vtime = floor;
}

/*
 * Charges @p for the time since it started or was charged last. What SCHED_IDLE runs counts
 * nowhere: nobody else wanted it. Context: the G's run queue locked, the G on its CPU.
 */
static __always_inline void charge(const struct task_struct *p, struct task_ctx *t, u64 now)
{
	u64 ran = time_delta(now, t->started_at_ns);

	t->started_at_ns = now;
	t->runtime_ns += ran;
	t->run_ns += ran;
	if (!t->runs_spare)
		t->vtime += weighted(p, ran);
}

/* Moves the clock of @n on to where @t is, which starts there or goes on. Any context. */
static __always_inline void advance_clock(struct mpg_node *n, const struct task_ctx *t)
{
	/* One out of turn may be far ahead; the others would be cut off at their credit. */
	if (!t->helped && !t->runs_spare && time_before(n->vclock, t->vtime))
		n->vclock = t->vtime;
}

/* Moves the home of a G, its distance to the clock kept. Called with the G's run queue locked. */
static __always_inline void change_home(struct task_ctx *t, u32 node)
{
	struct mpg_node *from = lookup_node(t->home), *to = lookup_node(node);

	if (from && to)
		t->vtime += to->vclock - from->vclock;
	t->home = node;
}

/* The virtual time by which a waiting G should run, as the standing decision has it. */
static __always_inline u64 provisional_deadline(const struct task_ctx *t)
{
	return t->vtime + t->deadline_offset;
}

/* Whether the standing decision of @t was made under other settings than those of this moment. */
static __always_inline bool is_outdated(const struct task_ctx *t, const struct mpg_params *params)
{
	return t->edition != (u8)params->edition;
}

/*
 * When the slice of @slice_ns ends that @t begins. It was given where @t began to wait: a decision
 * since may have given less, and what other settings gave is cut to the shortest of these, so that
 * a change is there for all soon. Context: running and dispatch, run queue locked.
 */
static __always_inline u64 slice_end(const struct task_ctx *t, u64 slice_ns,
				     const struct mpg_params *params, u64 now)
{
	if (t->slice_ns < slice_ns)
		slice_ns = t->slice_ns;
	if (is_outdated(t, params) && params->slice_min_ns < slice_ns)
		slice_ns = params->slice_min_ns;
	return now + slice_ns;
}

#endif /* __MPG_CLOCK_BPF_H */
