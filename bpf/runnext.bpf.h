/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * runnext: a G that wakes another one and sleeps at once leaves it the CPU, warm and without an
 * interrupt, as in Go.
 *
 * The kernel's mark of such a wakeup (WF_SYNC) is a hint that is often wrong: who writes to twenty
 * sockets gives it twenty times. It is followed for wakers that most often kept the promise, across
 * nodes for those that always do, and only within the slice that the waker was given while others
 * wait: the pair shares it, so that two Gs that wake each other cannot shut the rest out. A waker
 * that breaks the promise is put off the CPU by sysmon.
 *
 * Most who sleep at once after a wakeup never say so, a futex has no such mark. They are believed
 * without where the woken G is prompt and others wait, for it would interrupt one of them instead;
 * those that always do also while nobody waits.
 *
 * A waker on a prompt run makes room soon whether it sleeps at once or wakes more before: prompt Gs
 * that it wakes follow it on its CPU, the last one first, before the G that was interrupted for it
 * has the CPU back. All of them share its slice too.
 */
#ifndef __MPG_RUNNEXT_BPF_H
#define __MPG_RUNNEXT_BPF_H

#include "state.bpf.h"
#include "hotplug.bpf.h"
#include "prompt.bpf.h"
#include "rules.bpf.h"
#include "idle.bpf.h"
#include "sysmon.bpf.h"

/* With less than this left of a shared slice, others are served first. */
#define RUNNEXT_LEFT_NS (100ULL * 1000)

/* A promise that was broken takes back so many that were kept. */
#define RUNNEXT_DOUBT 8

/*
 * Gs in the local queue of a CPU, beyond which none follows there: a message thread answers a few,
 * and whoever was interrupted waits for all of them.
 */
#define FOLLOWERS_MAX 4

/* @t stops: did it keep the promise that its last wakeup was? Context: stopping. */
static __always_inline void judge_promise(struct task_ctx *t, bool runnable, u64 now,
					  const struct mpg_params *params)
{
	if (!t->promised_at_ns)
		return;
	confirm(&t->promises_kept,
		!runnable && !time_after(now, t->promised_at_ns + params->runnext_ns),
		RUNNEXT_DOUBT);
	t->promised_at_ns = 0;
}

/*
 * Notes that the G on this CPU wakes @t, and returns how far it is believed that it will sleep at
 * once. Context: select_cpu.
 */
static __always_inline u32 note_promise(struct task_struct *p, struct task_ctx *t, u64 now)
{
	const struct task_struct *current = bpf_get_current_task_btf();
	struct task_ctx *waker = lookup_task(current);

	if (!waker)
		return 0;
	confirm(&t->same_waker, t->woken_by == current->pid, EXPECT_MAX);
	t->woken_by = current->pid;
	/* A second promise before the first was kept breaks it. */
	if (waker->promised_at_ns)
		confirm(&waker->promises_kept, false, RUNNEXT_DOUBT);
	waker->promised_at_ns = now;
	/* Whom the user calls latency-sensitive is so, whoever wakes it. */
	t->fed = t->waker == WAKER_SYNC && waker->promises_kept < EXPECT_CONFIRM &&
		 !(t->class == MPG_CLASS_LATENCY && ruled_class(p) == MPG_CLASS_LATENCY + 1);
	return waker->promises_kept;
}

/*
 * What @t may run for on the CPU of @c, whose G makes room for it: its own slice, and where others
 * wait no more than is left of that G's. 0 if that is not worth the while. Any context.
 */
static __always_inline u64 shared_slice(const struct task_ctx *t, const struct mpg_cpu *c,
					bool prompt, bool alone, const struct mpg_params *params,
					u64 now)
{
	u64 slice_ns = slice_of(t, prompt, params);

	if (alone)
		return slice_ns;
	if (!time_before(now + RUNNEXT_LEFT_NS, c->given_until_ns))
		return 0;
	return time_before(now + slice_ns, c->given_until_ns) && prompt ? slice_ns
									: c->given_until_ns - now;
}

/* Has the G on the CPU of @c put off it after @within_ns. Any context. */
static __always_inline void make_room(struct mpg_cpu *c, u64 now, u64 within_ns)
{
	if (time_before(now + within_ns, c->slice_end_ns))
		c->slice_end_ns = now + within_ns;
}

/*
 * @p starts on a CPU to which another G was sent when it idled. That one may be on its way: then it
 * waits for @p, until sysmon looks after RESCUE_NS have passed. Context: running.
 */
static __always_inline void make_room_for_sent(const struct task_struct *p, struct mpg_cpu *c,
					       struct mpg_node *n, u32 node, u64 now)
{
	if (c->sent_pid != p->pid) {
		make_room(c, now, RESCUE_NS);
		watch(n, node);
	}
	c->sent_pid = 0;
}

/* Whether a G of ours runs on @cpu, of @node, that @p may have next. Context: select_cpu. */
static __always_inline bool may_share(const struct task_struct *p, const struct task_ctx *t,
				      const struct mpg_cpu *c, s32 cpu, u32 node,
				      const struct mpg_params *params)
{
	return params->runnext_ns && !c->absent && c->running_class != MPG_NR_CLASSES &&
	       may_run_in(t, node) && bpf_cpumask_test_cpu(cpu, p->cpus_ptr);
}

/*
 * For how long @p, which the G on @cpu, this one, has just woken, is to run next here, for that one
 * will sleep at once; 0 if it is not. Context: select_cpu.
 */
static __always_inline u64 runnext_slice(struct task_struct *p, struct task_ctx *t, s32 cpu,
					 const struct mpg_params *params)
{
	struct mpg_cpu *c = lookup_cpu(cpu);
	u32 node = node_of_cpu(cpu), believed;
	struct mpg_node *n = lookup_node(node);
	bool said = t->waker == WAKER_SYNC, home = node == t->home, alone, prompt;
	u64 now = scx_bpf_now(), slice_ns;

	believed = note_promise(p, t, now);
	if (!c || !n || believed < EXPECT_CONFIRM)
		return 0;
	prompt = is_prompt(t, params);
	alone = !(n->primed | n->custody | c->pinned);
	if (believed < EXPECT_MAX && (!home || !(said || (prompt && !alone))))
		return 0;
	if (!said && !alone && !(home && prompt))
		return 0;
	/* Nearness to the waker is no reason to leave one's memory, nor to leave other wakers. */
	if ((!home && (t->memory_home != MPG_NO_NODE || t->same_waker < EXPECT_CONFIRM)) ||
	    !may_share(p, t, c, cpu, node, params) || scx_bpf_dsq_nr_queued(SCX_DSQ_LOCAL_ON | cpu))
		return 0;
	slice_ns = shared_slice(t, c, prompt && home, alone, params, now);
	if (slice_ns)
		make_room(c, now, params->runnext_ns);
	return slice_ns;
}

/*
 * For how long @p is to run here after the G on @cpu, this one, which has just woken it: both are
 * prompt, and no CPU is idle. 0 if it is not. Context: select_cpu.
 */
static __always_inline u64 follower_slice(const struct task_struct *p, struct task_ctx *t, s32 cpu,
					  const struct mpg_params *params)
{
	struct mpg_cpu *c = lookup_cpu(cpu);
	u32 node = node_of_cpu(cpu);
	u64 now, slice_ns;

	if (!c || c->running_class != MPG_CLASS_LATENCY || node != t->home ||
	    !is_prompt(t, params) || is_kthread(p) || !may_share(p, t, c, cpu, node, params) ||
	    scx_bpf_dsq_nr_queued(SCX_DSQ_LOCAL_ON | cpu) >= FOLLOWERS_MAX)
		return 0;
	now = scx_bpf_now();
	slice_ns = shared_slice(t, c, true, false, params, now);
	if (slice_ns)
		make_room(c, now, params->short_run_ns);
	return slice_ns;
}

/*
 * Has @p, which was woken, run for @slice_ns on @cpu, this one, after the G that woke it, before
 * all who wait there. Returns the CPU. Context: select_cpu.
 */
static __always_inline s32 run_after_waker(struct task_struct *p, struct task_ctx *t, s32 cpu,
					   u64 slice_ns)
{
	u32 node = node_of_cpu(cpu);
	struct mpg_node *n = lookup_node(node);

	t->wakeups++;
	t->slept = true;
	t->queued_at_ns = scx_bpf_now();
	enter(t, PLACE_LOCAL, cpu);
	insert_where_it_wakes(p, slice_ns, SCX_ENQ_HEAD);
	count(MPG_COUNT_RUNNEXT);
	if (n)
		watch(n, node);
	return cpu;
}

#endif /* __MPG_RUNNEXT_BPF_H */
