/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is made once: queues, masks and timers at the load, and what is kept of a G.
 */
#ifndef __MPG_SETUP_BPF_H
#define __MPG_SETUP_BPF_H

#include "state.bpf.h"
#include "hotplug.bpf.h"
#include "home.bpf.h"
#include "sysmon.bpf.h"

/* Context: init, may sleep. */
static s32 create_queue(u64 dsq)
{
	s32 err = scx_bpf_create_dsq(dsq, NUMA_NO_NODE);

	if (err)
		scx_bpf_error("cannot create queue 0x%llx: %d", dsq, err);
	return err;
}

/* Creates what each CPU needs, and says which of them are there. Context: init, may sleep. */
static s32 init_cpus(void)
{
	const struct cpumask *online = scx_bpf_get_online_cpumask();
	s32 err;
	u32 i;

	absent_nodes = ~0ULL;

	bpf_for(i, 0, nr_cpus) {
		struct mpg_cpu *c = lookup_cpu(i);

		if (!c)
			continue;
		c->running_class = MPG_NR_CLASSES;
		c->absent = 1;
		if (bpf_cpumask_test_cpu(i, online))
			come_back(i);
	}
	scx_bpf_put_cpumask(online);

	bpf_for(i, 0, nr_cpus) {
		err = create_queue(i);
		if (err)
			return err;
	}
	return 0;
}

/* Makes a mask of the CPUs that have @number in the table @of_cpu. Context: init, may sleep. */
static s32 fill_mask(struct cpu_mask *mask, const volatile u16 *of_cpu, u32 number)
{
	struct bpf_cpumask *cpumask = bpf_cpumask_create();
	u32 i;

	if (!mask || !cpumask) {
		if (cpumask)
			bpf_cpumask_release(cpumask);
		return -ENOMEM;
	}
	bpf_for(i, 0, nr_cpus) {
		if (i < MPG_MAX_CPUS && of_cpu[i] == number)
			bpf_cpumask_set_cpu(i, cpumask);
	}
	cpumask = bpf_kptr_xchg(&mask->cpumask, cpumask);
	if (cpumask)
		bpf_cpumask_release(cpumask);
	return 0;
}

/* Creates what one node needs. Context: init, may sleep. */
static s32 init_node(u32 node)
{
	s32 err;

	err = create_queue(primed_dsq(node));
	if (!err)
		err = create_queue(custody_dsq(node));
	if (!err)
		err = create_queue(own_dsq(node));
	if (!err)
		err = create_queue(spare_dsq(node));
	if (err)
		return err;

	err = init_sysmon(node);
	if (err) {
		scx_bpf_error("cannot set up the timer of node %u: %d", node, err);
		return err;
	}

	return fill_mask(bpf_map_lookup_elem(&node_masks, &node), cpu_node, node);
}

/* Fills in what is kept of @p, which was forked just now or was there before. Context: init_task.
 */
static __always_inline void ready(struct task_struct *p, struct task_ctx *t,
				  const struct mpg_params *params, bool forked)
{
	s32 cpu = scx_bpf_task_cpu(p);

	t->class = MPG_CLASS_NORMAL;
	t->slice_ns = params->slice_ns;
	t->deadline_offset = params->slice_ns;
	t->edition = params->edition;
	t->home = node_of_cpu(cpu);
	t->ran_on = own_node_of_cpu(cpu);
	t->ran_under = llc_of_cpu(cpu);
	t->in_one_queue = is_one_queue();
	t->memory_home = MPG_NO_NODE;
	t->policy_node = MPG_NO_NODE;
	/* What a G touched before the load is nobody's evidence. */
	t->faults = forked ? 0 : p->min_flt;
	/* No generation is covered: the first enqueue has number 1. */
	t->lease_last = 0;
	note_affinity(p, t, p->cpus_ptr);
}

#endif /* __MPG_SETUP_BPF_H */
