/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Idle CPUs: finding one in a G's home node, and waking one for work that waits.
 */
#ifndef __MPG_IDLE_BPF_H
#define __MPG_IDLE_BPF_H

#include "state.bpf.h"
#include "hotplug.bpf.h"
#include "cache.bpf.h"

/* Claims @cpu if it is idle. Any context. */
static __always_inline bool claim_idle(s32 cpu)
{
	return scx_bpf_test_and_clear_cpu_idle(cpu) && !is_absent(cpu);
}

/*
 * Whether a CPU of @node may be idle: to look into the kernel's masks is dear where all are busy.
 * Who counts as waiting, and only then asks, misses no CPU that would not see him: one that turns
 * idle counts itself and then looks for who waits. Any context.
 */
static __always_inline bool may_have_idle(u32 node)
{
	const struct mpg_node *n = lookup_node(node);

	return is_one_queue() || !n || n->idle;
}

/*
 * Claims an idle CPU of @node that @p may use: a whole idle core before an idle sibling. Returns
 * a negative number if there is none. Any context; the claimed CPU must be given work or kicked.
 */
static __always_inline s32 claim_idle_in_node(const struct task_struct *p, u32 node)
{
	s32 knode = kernel_node[node & (MPG_MAX_NODES - 1)];
	u64 where = SCX_PICK_IDLE_IN_NODE;
	s32 cpu;

	if (!may_have_idle(node))
		return -EBUSY;
	/* Any node will do then, the nearest first from where it was. */
	if (is_one_queue() && !is_own(p)) {
		knode = kernel_node[own_node_of_cpu(scx_bpf_task_cpu(p)) & (MPG_MAX_NODES - 1)];
		where = 0;
	}

	if (smt) {
		cpu = scx_bpf_pick_idle_cpu_node(p->cpus_ptr, knode, SCX_PICK_IDLE_CORE | where);
		if (cpu >= 0 && !is_absent(cpu))
			return cpu;
	}
	cpu = scx_bpf_pick_idle_cpu_node(p->cpus_ptr, knode, where);
	/* A CPU that left while it was idle is met once: the claim has cleared its mark. */
	if (cpu >= 0 && is_absent(cpu))
		cpu = scx_bpf_pick_idle_cpu_node(p->cpus_ptr, knode, where);
	return cpu;
}

/*
 * Claims an idle CPU in the home node of @p: the previous CPU, then an idle core, then any, of each
 * those under the same cache first. The previous CPU's idle sibling is not waited for: half a core
 * that is warm loses to a core that is whole. Context: select_cpu and enqueue.
 */
static __always_inline s32 claim_idle_at_home(const struct task_struct *p, const struct task_ctx *t,
					      s32 prev_cpu)
{
	if (t->pinned)
		return claim_idle(prev_cpu) ? prev_cpu : -EBUSY;
	if (!may_have_idle(t->home))
		return -EBUSY;

	if (!smt && node_of_cpu(prev_cpu) == t->home &&
	    bpf_cpumask_test_cpu(prev_cpu, p->cpus_ptr) && claim_idle(prev_cpu))
		return prev_cpu;

	if (smt && node_of_cpu(prev_cpu) == t->home &&
	    bpf_cpumask_test_cpu(prev_cpu, p->cpus_ptr)) {
		const struct cpumask *cores = scx_bpf_get_idle_smtmask_node(
		    kernel_node[own_node_of_cpu(prev_cpu) & (MPG_MAX_NODES - 1)]);
		bool whole = bpf_cpumask_test_cpu(prev_cpu, cores);

		scx_bpf_put_cpumask(cores);
		if (whole && claim_idle(prev_cpu))
			return prev_cpu;
	}
	if (nr_llcs) {
		s32 cpu = claim_idle_by_cache(p, t, prev_cpu);

		if (cpu >= 0)
			return cpu;
	}
	return claim_idle_in_node(p, t->home);
}

/*
 * Notes that @p is sent to @cpu, which the caller has claimed. Until it is there the CPU may find
 * another on its own, behind which @p would wait where nobody else can have it (see running). Any
 * context.
 */
static __always_inline void note_sent(const struct task_struct *p, s32 cpu)
{
	struct mpg_cpu *c = lookup_cpu(cpu);

	if (c)
		c->sent_pid = p->pid;
}

/* Wakes an idle CPU of @node that may run @p, if there is one. Any context. */
static __always_inline bool wake_idle(const struct task_struct *p, u32 node)
{
	s32 cpu = claim_idle_in_node(p, node);

	if (cpu < 0)
		return false;
	scx_bpf_kick_cpu(cpu, SCX_KICK_IDLE);
	return true;
}

/*
 * Puts @p on an idle CPU, which the caller has claimed. The kernel wakes a CPU that idles for what
 * comes into its local queue: a kick on top would be another interrupt. Context: enqueue.
 */
static __always_inline void run_on_idle(struct task_struct *p, const struct task_ctx *t, s32 cpu,
					u64 enq_flags)
{
	note_sent(p, cpu);
	scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL_ON | cpu, t->slice_ns, enq_flags);
	count(MPG_COUNT_DIRECT);
}

/*
 * Puts @p on the CPU that select_cpu returns. A wakeup that an earlier scheduler did not live to
 * see finished has that verdict still, on Linux 6.18, which warns of a second: ours is no other, so
 * the first stands. Context: select_cpu.
 */
static __always_inline void insert_where_it_wakes(struct task_struct *p, u64 slice_ns,
						  u64 enq_flags)
{
	if (p->scx.ddsp_dsq_id != SCX_DSQ_LOCAL)
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, slice_ns, enq_flags);
}

#endif /* __MPG_IDLE_BPF_H */
