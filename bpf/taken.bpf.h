/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CPUs that another scheduling class has taken.
 *
 * A real-time task goes before all Gs, and may never sleep. The kernel leaves whoever was there,
 * and whoever was to be next, on that CPU, and its watchdog ends a scheduler under which a G waits
 * for ten seconds. So they are enqueued again, and who waits in the queue of a node that has no CPU
 * left for it is taken over by another node once the starvation bound is over (take_left_behind).
 * Not sooner: most CPUs are given back at once, as by interrupt threads.
 */
#ifndef __MPG_TAKEN_BPF_H
#define __MPG_TAKEN_BPF_H

#include "state.bpf.h"
#include "hotplug.bpf.h"

/* How many CPUs of each node are taken, and of all. */
static u32 taken_cpus[MPG_MAX_NODES];
static u32 taken_in_all;

/* Counts @cpu as taken, or as given back. Context: cpu_release and cpu_acquire, on that CPU. */
static __always_inline void note_taken_cpu(s32 cpu, bool taken)
{
	struct mpg_cpu *c = lookup_cpu(cpu);
	u32 own = own_node_of_cpu(cpu) & (MPG_MAX_NODES - 1);

	/* An absent one is of no use as it is. */
	if (!c || c->taken == taken || (taken && c->absent))
		return;
	c->taken = taken;
	__sync_fetch_and_add(&taken_cpus[own], taken ? 1 : -1);
	__sync_fetch_and_add(&taken_in_all, taken ? 1 : -1);
}

/*
 * Another class takes @cpu: has whoever is there enqueued again, at once or, from Linux 6.19 on,
 * soon. Context: cpu_release.
 */
static __always_inline void release_cpu(s32 cpu)
{
	struct mpg_cpu *c = lookup_cpu(cpu);

	note_taken_cpu(cpu, true);
	if (c)
		c->releasing = 1;
	scx_bpf_reenqueue_local();
	if (c)
		c->releasing = 0;
}

/*
 * Whether @p has said that it must stay on @cpu for a while, where it is. The kernel does not let
 * the G migrate that runs one of our programs, and does not tell the one from the other: enqueue
 * out of cpu_release is two of them. Context: enqueue.
 */
static __always_inline bool is_kept_there(const struct task_struct *p, s32 cpu)
{
	const struct mpg_cpu *c;

	if (!p->migration_disabled)
		return false;
	c = lookup_cpu(cpu);
	if (c && c->releasing && __scx_prolog_disables_migration && p == bpf_get_current_task_btf())
		return p->migration_disabled > 2;
	return is_migration_disabled(p);
}

/* Whether other classes have CPUs of @node. Any context. */
static __always_inline bool has_taken_cpus(u32 node)
{
	return taken_cpus[node & (MPG_MAX_NODES - 1)];
}

#endif /* __MPG_TAKEN_BPF_H */
