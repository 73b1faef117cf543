/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Preemption: whom a G that was woken may put off its CPU.
 */
#ifndef __MPG_PREEMPT_BPF_H
#define __MPG_PREEMPT_BPF_H

#include "state.bpf.h"
#include "clock.bpf.h"
#include "hotplug.bpf.h"
#include "prompt.bpf.h"

/*
 * A CPU is interrupted no sooner than after this time: switching there and back, some 10 us, stays
 * below a twentieth. Who wakes synchronously is about to make room itself, and often wakes many:
 * there it is a two-hundredth.
 */
#define INTERRUPT_EVERY_NS	(200ULL * 1000)
#define INTERRUPT_EVERY_SYNC_NS (2000ULL * 1000)

/* How many CPUs of a node are looked at for one that may be preempted. */
#define PREEMPT_SEARCH 16

/*
 * Whether @t, due at @deadline, may preempt what runs on @cpu. Batch work makes way for prompt Gs
 * in any case, since a batch G may be owed so much that nobody is due sooner, and for others that
 * are due sooner. Normal work makes way for a prompt G that is due sooner, so that one that is
 * often prompt gets no more than its share; but not if it is the waker, who is about to go on or to
 * sleep. Nobody is interrupted again and again: where messages fly that fast, serving them in
 * batches is cheaper for all. Context: enqueue.
 */
static __always_inline bool may_preempt(const struct task_struct *p, const struct task_ctx *t,
					s32 cpu, u64 deadline, bool prompt, u64 now)
{
	u64 every_ns = t->waker == WAKER_SYNC ? INTERRUPT_EVERY_SYNC_NS : INTERRUPT_EVERY_NS;
	const struct mpg_cpu *c = lookup_cpu(cpu);

	/*
	 * A CPU that leaves runs what it has, but what is sent there ends up in a queue of the
	 * kernel for its node, which nobody looks at once the node has no CPU.
	 */
	if (!c || c->absent || node_of_cpu(cpu) != t->home ||
	    !bpf_cpumask_test_cpu(cpu, p->cpus_ptr))
		return false;
	if (!time_after(now, c->interrupted_at_ns + every_ns))
		return false;
	if (c->running_class == MPG_CLASS_BATCH && prompt)
		return true;
	if (!time_before(deadline, c->running_deadline))
		return false;
	if (c->running_class == MPG_CLASS_BATCH)
		return true;
	return prompt && c->running_class == MPG_CLASS_NORMAL && !c->interrupted_pid &&
	       (t->waker == WAKER_INTERRUPT || cpu != bpf_get_smp_processor_id());
}

/*
 * Finds a CPU of the home node on which @p, which was woken, may preempt: the previous one if it
 * will do. Returns a negative number if none was found. Context: enqueue.
 */
static __always_inline s32 find_preemptible(const struct task_struct *p, const struct task_ctx *t,
					    s32 prev_cpu, u64 deadline, bool prompt, u64 now)
{
	u32 node = t->home & (MPG_MAX_NODES - 1), first = node_first_cpu[node], i;
	s32 cpu;

	if (may_preempt(p, t, prev_cpu, deadline, prompt, now))
		return prev_cpu;
	bpf_for(i, 0, PREEMPT_SEARCH) {
		if (i >= node_cpus[node])
			break;
		cpu = cpus_by_node[(first + i) & (MPG_MAX_CPUS - 1)];
		if (may_preempt(p, t, cpu, deadline, prompt, now))
			return cpu;
	}
	return -EBUSY;
}

/*
 * Puts @p on @cpu in place of what runs there. A prompt G borrows the CPU: who had it is next
 * again. Context: enqueue.
 */
static __always_inline void preempt(struct task_struct *p, const struct task_ctx *t, s32 cpu,
				    bool prompt, const struct mpg_params *params, u64 now,
				    u64 enq_flags)
{
	struct mpg_cpu *c = lookup_cpu(cpu);

	if (c)
		c->interrupted_at_ns = now;
	if (prompt && c && c->running_class != MPG_NR_CLASSES && !c->interrupted_pid) {
		c->interrupted_slice_end_ns = c->slice_end_ns;
		c->interrupted_pid = c->running_pid;
	}
	scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL_ON | cpu, slice_of(t, prompt, params),
			   enq_flags | SCX_ENQ_PREEMPT);
	count(MPG_COUNT_PREEMPTIONS);
}

#endif /* __MPG_PREEMPT_BPF_H */
