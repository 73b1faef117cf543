/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Wakeups that are over soon, and serving them at once.
 *
 * What a G will do with the CPU differs from wakeup to wakeup: a server's thread that is handed a
 * request may only start a transfer and sleep again, and compute for a millisecond once that is
 * done. An average of its runs tells neither. So each wakeup is judged by who woke the G: another
 * G, or an interrupt. The run after the last wakeup of that kind is taken for what comes, and
 * believed once that was right several times in a row, and for as long as it is right most times:
 * an interrupt or another CPU's lock makes a short run long now and then. A latency-sensitive G is
 * prompt in any case, that is what the class means. Only who was woken by a G that goes on is not:
 * more is to come, and whoever runs later finds it all.
 *
 * A prompt G preempts, and the G that it interrupts has the CPU back right after it, before all
 * others: what was in the middle of something, perhaps with a lock in hand, waits for microseconds
 * and keeps its CPU. A CPU is interrupted once at a time, and sysmon ends a run that was expected
 * to be short and is not.
 */
#ifndef __MPG_PROMPT_BPF_H
#define __MPG_PROMPT_BPF_H

#include "state.bpf.h"
#include "clock.bpf.h"

/* How often in a row an expectation must have been right to be believed, as for the class. */
#define EXPECT_CONFIRM 4
/* Counts stop here, */
#define EXPECT_MAX 15
/* and a wrong one takes so many back: what is right four times in five stays believed. */
#define EXPECT_DOUBT 4

/* What is left of a slice is at least this much for a G that was interrupted. */
#define RESUME_SLICE_NS (100ULL * 1000)

/* Whether a run of this length counts as short. Any context. */
static __always_inline bool is_short(u64 run_ns, const struct mpg_params *params)
{
	return run_ns < params->short_run_ns;
}

/* Where the kernel keeps the depth of interrupts that this CPU is in: x86, and others. */
extern const int __preempt_count __ksym __weak;

struct thread_info___counted {
	int preempt_count;
} __attribute__((preserve_access_index));

/* Bits of it that are set in an interrupt, hard or soft. */
#define IN_INTERRUPT 0x00ff0100

/*
 * Notes who wakes @t. A G that may use one CPU only is enqueued without select_cpu, be it by an
 * interrupt that carries the wakeup over to that CPU: then it counts as woken by one. Context: the
 * wakeup: select_cpu, or enqueue if there was none.
 */
static __always_inline void note_waker(struct task_ctx *t, u64 wake_flags)
{
	const struct thread_info___counted *info;
	int depth = 0;

	if (bpf_ksym_exists(&__preempt_count)) {
		depth = *(int *)bpf_this_cpu_ptr(&__preempt_count);
	} else if (bpf_core_field_exists(struct thread_info___counted, preempt_count)) {
		info = (const void *)&bpf_get_current_task_btf()->thread_info;
		depth = BPF_CORE_READ(info, preempt_count);
	}
	t->waker = depth & IN_INTERRUPT		? WAKER_INTERRUPT
		   : wake_flags & SCX_WAKE_SYNC ? WAKER_SYNC
						: WAKER_TASK;
	t->waker_cpu = bpf_get_smp_processor_id();
	t->fed = false;
}

/*
 * Notes who wakes @t without having asked select_cpu. Whoever may use several CPUs is woken so only
 * while he is still on his way to sleep, which is sooner than a timer would: another G answers him,
 * and an interrupt carries that over. Context: enqueue.
 */
static __always_inline void note_unasked_waker(struct task_ctx *t)
{
	note_waker(t, 0);
	if (t->pinned)
		return;
	t->waker = WAKER_TASK;
	t->waker_cpu = -1;
}

/* What is expected of @t after its last wakeup. */
static __always_inline struct expectation *expectation(struct task_ctx *t)
{
	return &t->expected[t->waker & (NR_WAKERS - 1)];
}

/*
 * What is left of the run of @t, which starts, if it is as long as the last one after such a
 * wakeup; 0 if it is longer already. Context: running, run queue locked.
 */
static __always_inline u64 expected_left(struct task_ctx *t)
{
	u64 expected_ns = expectation(t)->run_ns;

	return expected_ns > t->run_ns ? expected_ns - t->run_ns : 0;
}

/* What was guessed was right, or it was wrong and @by right ones are taken back. Any context. */
static __always_inline void confirm(u32 *confirmed, bool right, u32 by)
{
	if (!right)
		*confirmed -= *confirmed < by ? *confirmed : by;
	else if (*confirmed < EXPECT_MAX)
		*confirmed += 1;
}

/* A G's run has ended with a sleep. Context: stopping, run queue locked. */
static __always_inline void end_run(struct task_ctx *t, const struct mpg_params *params)
{
	struct expectation *e = expectation(t);
	bool right = is_short(e->run_ns, params) == is_short(t->run_ns, params);

	/* One exception to what is believed is not what comes next. */
	if (right || e->confirmed < EXPECT_CONFIRM)
		e->run_ns = t->run_ns;
	confirm(&e->confirmed, right, EXPECT_DOUBT);
	t->run_ns = 0;
}

/*
 * Whether @t, which is about to run or wait for the first time since it was woken, will run for a
 * short time only. Context: enqueue and running, run queue locked.
 */
static __always_inline bool is_prompt(struct task_ctx *t, const struct mpg_params *params)
{
	const struct expectation *e = expectation(t);

	if (t->run_ns || t->fed)
		return false;
	if (t->class == MPG_CLASS_LATENCY)
		return true;
	return t->class == MPG_CLASS_NORMAL && e->confirmed >= EXPECT_CONFIRM &&
	       is_short(e->run_ns, params);
}

/*
 * What @t counts as while it runs, for those that would preempt it: who has used up a slice since
 * it was woken makes way like batch, before the worker knows of it. Context: running and dispatch,
 * run queue locked.
 */
static __always_inline u32 class_on_cpu(struct task_ctx *t, const struct mpg_params *params)
{
	if (t->runs_spare)
		return MPG_CLASS_SPARE;
	if (is_prompt(t, params))
		return MPG_CLASS_LATENCY;
	if (t->class == MPG_CLASS_NORMAL && params->short_run_ns && t->run_ns >= params->slice_ns)
		return MPG_CLASS_BATCH;
	return t->class;
}

/*
 * The virtual time by which a waiting G should run; a prompt one asks for less, so it is due
 * sooner, and one that is fed is in no hurry, however short its runs are for it. Any context.
 */
static __always_inline u64 due(const struct task_struct *p, const struct task_ctx *t, bool prompt,
			       const struct mpg_params *params)
{
	if (t->fed && t->deadline_offset < weighted(p, params->slice_ns))
		return t->vtime + weighted(p, params->slice_ns);
	return prompt && params->short_run_ns < t->deadline_offset ? t->vtime + params->short_run_ns
								   : provisional_deadline(t);
}

/* Slice of a G; one that is expected to need little gets little, twice what counts as short. */
static __always_inline u64 slice_of(const struct task_ctx *t, bool prompt,
				    const struct mpg_params *params)
{
	u64 prompt_ns = 2 * params->short_run_ns;

	return prompt && t->class != MPG_CLASS_LATENCY && prompt_ns < t->slice_ns ? prompt_ns
										  : t->slice_ns;
}

/* Whether @p was interrupted on the CPU of @c, and is to have it back. Any context. */
static __always_inline bool is_interrupted(const struct task_struct *p, const struct mpg_cpu *c)
{
	/* No G has pid 0. */
	return c->interrupted_pid == p->pid;
}

/*
 * Has @p back on the CPU that it was interrupted on, as the next one and for the rest of its
 * slice. Returns whether it was interrupted, and is next: behind others than who interrupted it
 * nobody could have it. Context: enqueue, run queue locked.
 */
static __always_inline bool resume(struct task_struct *p, const struct mpg_cpu *c, s32 cpu, u64 now,
				   u64 enq_flags)
{
	u64 left = RESUME_SLICE_NS;

	if (!is_interrupted(p, c) || !bpf_cpumask_test_cpu(cpu, p->cpus_ptr) ||
	    scx_bpf_dsq_nr_queued(SCX_DSQ_LOCAL_ON | cpu) > 1)
		return false;
	if (time_after(c->interrupted_slice_end_ns, now + left))
		left = c->interrupted_slice_end_ns - now;
	scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL_ON | cpu, left, enq_flags);
	return true;
}

#endif /* __MPG_PROMPT_BPF_H */
