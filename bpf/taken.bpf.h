/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CPUs that another scheduling class has taken.
 *
 * A real-time task goes before all Gs, and may never sleep. The kernel leaves whoever was there,
 * and whoever was to be next, on that CPU, and its watchdog ends a scheduler under which a G waits
 * for ten seconds. So they are enqueued again, in a node that has a CPU left for them, and who
 * waits in a queue that has none any more is taken over by another node once the starvation bound
 * is over. Most CPUs are given back at once, to interrupt threads: those who waited in a queue stay
 * there.
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

static __always_inline bool has_taken_cpus(u32 node)
{
	return taken_cpus[node & (MPG_MAX_NODES - 1)];
}

/*
 * Whether @node has a CPU that @p may use and no other class has. Not inlined, for the verifier's
 * sake. Context: enqueue.
 */
__noinline int has_cpu_left(struct task_struct *p __arg_trusted, u32 node)
{
	u32 first = node_first_cpu[node & (MPG_MAX_NODES - 1)], i;

	bpf_for(i, 0, node_cpus[node & (MPG_MAX_NODES - 1)]) {
		s32 cpu = cpus_by_node[(first + i) & (MPG_MAX_CPUS - 1)];
		const struct mpg_cpu *c = lookup_cpu(cpu);

		if (c && !c->taken && !c->absent && bpf_cpumask_test_cpu(cpu, p->cpus_ptr))
			return 1;
	}
	return 0;
}

/*
 * The node for @p, which would wait in @node, where CPUs are taken: another that it may use, if
 * none is left to it there. Context: enqueue.
 */
static __always_inline u32 node_with_cpu_left(struct task_struct *p, const struct task_ctx *t,
					      u32 node)
{
	u32 i, at;

	if (is_one_queue() || has_cpu_left(p, node))
		return node;
	bpf_for(i, 0, nr_nodes - 1) {
		at = (node & (MPG_MAX_NODES - 1)) * MPG_MAX_NODES + i;
		if (at >= MPG_MAX_NODES * MPG_MAX_NODES)
			break;
		if (may_run_on(t, neighbours[at]) && has_cpu_left(p, neighbours[at]))
			return neighbours[at];
	}
	return node;
}

#endif /* __MPG_TAKEN_BPF_H */
