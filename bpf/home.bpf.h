/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which node is a G's home, as far as the kernel half can tell alone.
 */
#ifndef __MPG_HOME_BPF_H
#define __MPG_HOME_BPF_H

#include "state.bpf.h"
#include "clock.bpf.h"
#include "hotplug.bpf.h"

/* Notes where @p may run. Context: init_task and set_cpumask; no lock but the G's own. */
static void note_affinity(struct task_struct *p, struct task_ctx *t, const struct cpumask *allowed)
{
	struct cpu_mask *mask;
	u64 allowed_nodes = 0;
	u32 i, weight;

	weight = bpf_cpumask_weight(allowed);
	t->restricted = weight < nr_cpus;
	/* With one CPU in all there is nothing to choose, and no reason to leave the usual way. */
	t->pinned = weight == 1 && nr_cpus > 1;

	bpf_for(i, 0, MPG_MAX_NODES) {
		u32 node = i;

		if (i >= nr_nodes)
			break;
		mask = bpf_map_lookup_elem(&node_masks, &node);
		if (mask && mask->cpumask &&
		    bpf_cpumask_intersects((const struct cpumask *)mask->cpumask, allowed))
			allowed_nodes |= 1ULL << i;
	}
	t->allowed_nodes = allowed_nodes;
}

/*
 * Moves @t to a queue that there is, once after a change of the queues: to node 0's, or back to
 * that of the node where it ran. Context: select_cpu and enqueue.
 */
static __always_inline void follow_queues(struct task_ctx *t)
{
	u32 home = t->in_one_queue ? t->ran_on : t->home;

	t->in_one_queue = is_one_queue();
	if (t->in_one_queue)
		home = 0;
	if (home != t->home)
		change_home(t, home);
}

/*
 * The node in whose queue @p is to wait: its home, or where the kernel found it a CPU if it may not
 * run there. Context: enqueue.
 */
static __always_inline u32 node_to_wait_in(const struct task_struct *p, const struct task_ctx *t)
{
	return may_run_in(t, t->home) ? t->home : node_of_cpu(scx_bpf_task_cpu(p));
}

/* Whoever is forked next goes here if no node is less loaded; any CPU may move it. */
static u32 next_birthplace;

/*
 * Gives a G that was just forked a home: the node with the fewest Gs waiting and running, in turn
 * among equals, since Gs forked together tend to be busy together. Memory is no argument at this
 * moment, a G has none of its own yet. Context: select_cpu.
 */
static __always_inline void choose_birthplace(struct task_ctx *t)
{
	u32 i, best = t->home, start = next_birthplace;
	s32 load, best_load = 0x7fffffff;

	if (is_one_queue())
		return;
	bpf_for(i, 0, nr_nodes) {
		u32 node = (start + i) % nr_nodes;
		struct mpg_node *n = lookup_node(node);

		if (!n || !may_run_in(t, node))
			continue;
		load = n->primed + n->custody;
		if (load < best_load) {
			best_load = load;
			best = node;
		}
	}
	next_birthplace = (best + 1) % nr_nodes;
	if (best != t->home)
		change_home(t, best);
}

#endif /* __MPG_HOME_BPF_H */
