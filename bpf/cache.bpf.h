/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Nodes with several last-level caches: an idle CPU under the one that a G ran under last comes
 * before the others of its node. Machines where a node is one cache pay nothing: nr_llcs is a
 * constant to the verifier, which leaves all of this out.
 */
#ifndef __MPG_CACHE_BPF_H
#define __MPG_CACHE_BPF_H

#include "state.bpf.h"
#include "hotplug.bpf.h"

/*
 * Claims an idle CPU of @knode that is in @mask, as @flags say. Returns a negative number if there
 * is none. Any context; the claimed CPU must be given work or kicked.
 */
static __always_inline s32 claim_idle_in(const struct cpumask *mask, s32 knode, u64 flags)
{
	s32 cpu = scx_bpf_pick_idle_cpu_node(mask, knode, flags | SCX_PICK_IDLE_IN_NODE);

	return cpu >= 0 && is_absent(cpu) ? -EBUSY : cpu;
}

/*
 * Claims an idle CPU of the home node of @p: a whole core under the cache of @prev_cpu, a whole
 * core, any CPU under that cache. A G that may not use all CPUs under the cache goes without, for
 * its mask knows nothing of the G's. Returns a negative number if there is none, or one cache is as
 * good as another. Context: select_cpu and enqueue.
 */
static __always_inline s32 claim_idle_by_cache(const struct task_struct *p,
					       const struct task_ctx *t, s32 prev_cpu)
{
	u32 llc = llc_of_cpu(prev_cpu), own = own_node_of_cpu(prev_cpu);
	s32 knode = kernel_node[own & (MPG_MAX_NODES - 1)], cpu;
	const struct cpumask *under;
	const struct cpu_mask *mask;

	if (!llc || is_one_queue() || own != t->home)
		return -EBUSY;
	mask = bpf_map_lookup_elem(&llc_masks, &llc);
	if (!mask || !mask->cpumask)
		return -EBUSY;
	under = (const struct cpumask *)mask->cpumask;
	if (t->restricted && !bpf_cpumask_subset(under, p->cpus_ptr))
		return -EBUSY;
	if (smt) {
		cpu = claim_idle_in(under, knode, SCX_PICK_IDLE_CORE);
		if (cpu < 0)
			cpu = claim_idle_in(p->cpus_ptr, knode, SCX_PICK_IDLE_CORE);
		if (cpu >= 0)
			return cpu;
	}
	return claim_idle_in(under, knode, 0);
}

#endif /* __MPG_CACHE_BPF_H */
