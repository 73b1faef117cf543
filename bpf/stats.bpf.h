/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is told of runs: how long Gs waited before them, what they used of their slices, whom a CPU
 * took from other nodes, and how long Gs lived.
 *
 * Each CPU has numbers of its own, which the user half adds up: a start costs a bucket's number
 * and an increment of a word that no other CPU writes, a stop two additions.
 */
#ifndef __MPG_STATS_BPF_H
#define __MPG_STATS_BPF_H

#include "state.bpf.h"

static __always_inline struct mpg_cpu_stats *lookup_cpu_stats(s32 cpu)
{
	u32 key = cpu;

	return bpf_map_lookup_elem(&cpu_stats, &key);
}

/*
 * The bucket of a histogram that has @units. Those below 8 have one each; of a larger number the
 * first three bits tell which of the four of its power of two it is. In five steps, for BPF has no
 * instruction that finds a number's first bit.
 */
static __always_inline u32 bucket_of(u64 units)
{
	u32 rest = units > 0xffffffff ? 0xffffffff : units, bucket = 0;

	/* The barriers keep clang from taking all steps, each with a factor of 0 or 1. */
	if (rest >= 1 << 18) {
		rest >>= 16;
		bucket += 4 * 16;
		barrier_var(rest);
	}
	if (rest >= 1 << 10) {
		rest >>= 8;
		bucket += 4 * 8;
		barrier_var(rest);
	}
	if (rest >= 1 << 6) {
		rest >>= 4;
		bucket += 4 * 4;
		barrier_var(rest);
	}
	if (rest >= 1 << 4) {
		rest >>= 2;
		bucket += 4 * 2;
		barrier_var(rest);
	}
	if (rest >= 1 << 3) {
		rest >>= 1;
		bucket += 4 * 1;
		barrier_var(rest);
	}
	return (bucket + rest) & (MPG_BUCKETS - 1);
}

/*
 * Counts a wait of a G of @class that starts on @cpu. Not inlined, so that the verifier goes
 * through all buckets once. Context: running.
 */
__noinline int count_wait(s32 cpu, u32 class, u64 wait_ns)
{
	struct mpg_cpu_stats *s = lookup_cpu_stats(cpu);

	if (s)
		s->waits[class & (MPG_NR_CLASSES - 1)][bucket_of(wait_ns >> MPG_WAIT_UNIT_SHIFT)]++;
	return 0;
}

/*
 * @p starts on @cpu and was at @place before: who came past all queues waited for nobody. Kernel
 * threads are no one's policy. Context: running, after runs_spare was set.
 */
static __always_inline void note_start(const struct task_struct *p, struct task_ctx *t, s32 cpu,
				       u32 place, u64 now)
{
	u32 class = t->runs_spare ? MPG_CLASS_SPARE : t->class;
	struct mpg_cpu_stats *s;

	t->given_ns = p->scx.slice;
	if (is_kthread(p))
		return;
	if (place != PLACE_IDLE) {
		count_wait(cpu, class, time_delta(now, t->queued_at_ns));
		return;
	}
	s = lookup_cpu_stats(cpu);
	if (s)
		s->waits[class & (MPG_NR_CLASSES - 1)][0]++;
}

/*
 * @p has run on @cpu since it started and stops, or goes on for another slice. Context: stopping
 * and dispatch, before that time is charged.
 */
static __always_inline void note_use(const struct task_struct *p, const struct task_ctx *t, s32 cpu,
				     u64 now)
{
	u32 class = t->runs_spare ? MPG_CLASS_SPARE : t->class & (MPG_NR_CLASSES - 1);
	struct mpg_cpu_stats *s = lookup_cpu_stats(cpu);

	if (!s || is_kthread(p))
		return;
	s->given_ns[class] += t->given_ns;
	s->used_ns[class] += time_delta(now, t->started_at_ns);
}

/* This CPU took a G from a queue of node @victim. Context: dispatch. */
static __always_inline void note_taken(u32 victim)
{
	struct mpg_cpu_stats *s = lookup_cpu_stats(bpf_get_smp_processor_id());

	if (s)
		s->taken_from[victim & (MPG_MAX_NODES - 1)]++;
}

/* Counts a life of @ns that ended. Not inlined, as count_wait. Context: exit_task. */
__noinline int count_lifetime(u64 ns)
{
	struct mpg_cpu_stats *s = lookup_cpu_stats(bpf_get_smp_processor_id());

	if (s)
		s->lifetimes[bucket_of(ns >> MPG_LIFE_UNIT_SHIFT)]++;
	return 0;
}

/*
 * @p was @forked just now, or was there before the load: the kernel noted when, by a clock that
 * has run for as long as ours, though not from the same moment. Context: init_task.
 */
static __always_inline void note_birth(const struct task_struct *p, struct task_ctx *t, bool forked)
{
	t->born_at_ns = scx_bpf_now();
	if (forked)
		count_preemptible(MPG_COUNT_CREATED);
	else
		t->born_at_ns -= time_delta(bpf_ktime_get_ns(), p->start_time);
}

/*
 * @p is let go: because it is dead, its fork was called off, or all are since the scheduler is
 * unloaded. It lived until it ran last, however long it was a zombie after that. Context:
 * exit_task, run queue locked.
 */
static __always_inline void note_death(const struct task_struct *p, bool cancelled)
{
	const struct task_ctx *t = lookup_task(p);

	if (!p->exit_state && !cancelled)
		return;
	count(MPG_COUNT_EXITED);
	if (t && p->exit_state && t->started_at_ns)
		count_lifetime(time_delta(t->started_at_ns, t->born_at_ns));
}

#endif /* __MPG_STATS_BPF_H */
