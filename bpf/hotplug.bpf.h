/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CPUs that leave and come back.
 *
 * Three things are different about a CPU from the moment that the kernel announces its end, and
 * a node without CPUs is no place to wait.
 *
 * It no longer dispatches, so a G whose run queue is this CPU's, and that no other CPU takes in
 * time, would keep the kernel waiting for an empty run queue: all of them go to its local queue,
 * from where the kernel itself moves them to other CPUs.
 *
 * It must not kick anybody. A kick is an interrupt that the CPU sends itself. One that is sent
 * after the CPU stopped taking interrupts stays on its list of pending work, and the kernel sends
 * none for a list that is not empty: after the CPU is back, nothing that works by such interrupts
 * happens there again, from BPF's allocator to its ring buffers. Freeing those waits for ever.
 *
 * It is idle without being of use: the kernel's idle masks keep the mark of its last idle moment,
 * and whoever found it there would wait for a CPU that does not come. It takes its mark away.
 */
#ifndef __MPG_HOTPLUG_BPF_H
#define __MPG_HOTPLUG_BPF_H

#include "state.bpf.h"

/* How many CPUs of each node are there, and the nodes that have none. */
static u32 present_cpus[MPG_MAX_NODES];
static u64 absent_nodes;

/* Whether a node has no CPU at present. Any context. */
static __always_inline bool is_absent_node(u32 node)
{
	return absent_nodes & (1ULL << (node & (MPG_MAX_NODES - 1)));
}

/* Whether a CPU of @node may run @t at present. Any context. */
static __always_inline bool may_run_on(const struct task_ctx *t, u32 node)
{
	return (t->allowed_nodes & ~absent_nodes) & (1ULL << (node & (MPG_MAX_NODES - 1)));
}

/* Whether @t may wait in the queue of @node at present. Any context. */
static __always_inline bool may_run_in(const struct task_ctx *t, u32 node)
{
	return is_one_queue() || may_run_on(t, node);
}

/* Whether @cpu is absent, or about to be. Any context. */
static __always_inline bool is_absent(s32 cpu)
{
	const struct mpg_cpu *c = lookup_cpu(cpu);

	return c && c->absent;
}

/* Whether the CPU that runs this is about to leave. Any context. */
static __always_inline bool is_leaving(void)
{
	return is_absent(bpf_get_smp_processor_id());
}

/*
 * Moves Gs of a queue to the local queue of the CPU that each has its run queue on: those of @cpu,
 * or all. Context: cpu_offline, no lock held.
 */
static void hand_over_queue(u64 dsq, s32 cpu, bool all)
{
	struct task_struct *p;
	s32 of;

	bpf_for_each(scx_dsq, p, dsq, 0) {
		of = scx_bpf_task_cpu(p);
		if (all || of == cpu)
			scx_bpf_dsq_move(BPF_FOR_EACH_ITER, p, SCX_DSQ_LOCAL_ON | of, 0);
	}
}

/* Takes @cpu out of everything. Context: cpu_offline, no lock held, the CPU does not dispatch. */
static void leave(s32 cpu)
{
	struct mpg_cpu *c = lookup_cpu(cpu);
	u32 own = own_node_of_cpu(cpu) & (MPG_MAX_NODES - 1), node;

	if (!c)
		return;
	/* With a full barrier: from here on nobody picks the CPU, and it kicks nobody. */
	__sync_lock_test_and_set(&c->absent, 1);
	mark_idle(c, cpu, 0);
	note_running(c, cpu, MPG_NR_CLASSES);
	if (__sync_sub_and_fetch(&present_cpus[own], 1) == 0)
		__sync_fetch_and_or(&absent_nodes, 1ULL << own);

	hand_over_queue(cpu, cpu, true);
	bpf_for(node, 0, nr_nodes) {
		hand_over_queue(own_dsq(node), cpu, is_absent_node(node));
	}
	bpf_for(node, 0, nr_nodes) {
		hand_over_queue(primed_dsq(node), cpu, is_absent_node(node));
	}
	bpf_for(node, 0, nr_nodes) {
		hand_over_queue(custody_dsq(node), cpu, is_absent_node(node));
	}
	bpf_for(node, 0, nr_nodes) {
		hand_over_queue(spare_dsq(node), cpu, is_absent_node(node));
	}
}

/* Takes @cpu back. Context: init, and cpu_online, before the CPU dispatches. */
static void come_back(s32 cpu)
{
	struct mpg_cpu *c = lookup_cpu(cpu);
	u32 own = own_node_of_cpu(cpu) & (MPG_MAX_NODES - 1);

	if (!c)
		return;
	__sync_lock_test_and_set(&c->absent, 0);
	/* Taken for idle, as the kernel takes it, until something runs there. */
	mark_idle(c, cpu, 1);
	__sync_fetch_and_add(&present_cpus[own], 1);
	__sync_fetch_and_and(&absent_nodes, ~(1ULL << own));
}

#endif /* __MPG_HOTPLUG_BPF_H */
