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
 * below a twentieth. Nor is it where the run is expected to be over by then: it costs more than is
 * waited for. Who wakes synchronously is about to make room itself, and often wakes many:
 * there it is a two-hundredth.
 */
#define INTERRUPT_EVERY_NS	(200ULL * 1000)
#define INTERRUPT_EVERY_SYNC_NS (2000ULL * 1000)

/* How many CPUs of a node are looked at for one that may be preempted. */
#define PREEMPT_SEARCH 16

/* Whether what runs on @c is expected to end before an interrupt is worth its price. Any context.
 */
static __always_inline bool ends_soon(const struct mpg_cpu *c, u64 now)
{
	return time_after(c->running_until_ns, now) &&
	       !time_after(c->running_until_ns, now + INTERRUPT_EVERY_NS);
}

/*
 * Whether @t, due at @deadline, may preempt what runs on @cpu. Batch work makes way for prompt and
 * latency-sensitive Gs in any case, since a batch G may be owed so much that nobody is due sooner,
 * and for others that are due sooner. Normal work makes way for a prompt G that is due sooner, so
 * that one that is often prompt gets no more than its share; but not if it is the waker, who is
 * about to go on or to sleep. Nobody is interrupted again and again: where messages fly that fast,
 * serving them in batches is cheaper for all. Context: enqueue.
 */
static __always_inline bool may_preempt(const struct task_struct *p, const struct task_ctx *t,
					s32 cpu, u64 deadline, bool prompt, u64 now)
{
	u64 every_ns = t->waker == WAKER_SYNC ? INTERRUPT_EVERY_SYNC_NS : INTERRUPT_EVERY_NS;
	const struct mpg_cpu *c = lookup_cpu(cpu);

	/* What most often says no comes first: this is asked of each CPU of a node. */
	if (!c || !time_after(now, c->interrupted_at_ns + every_ns))
		return false;
	if (c->running_class == MPG_CLASS_BATCH) {
		if (!prompt && t->class != MPG_CLASS_LATENCY &&
		    !time_before(deadline, c->running_deadline))
			return false;
	} else if (!prompt || c->running_class != MPG_CLASS_NORMAL || c->interrupted_pid ||
		   !time_before(deadline, c->running_deadline) || ends_soon(c, now) ||
		   (t->waker != WAKER_INTERRUPT && cpu == t->waker_cpu)) {
		return false;
	}
	/*
	 * A CPU that leaves runs what it has, but what is sent there ends up in a queue of the
	 * kernel for its node, which nobody looks at once the node has no CPU.
	 */
	return !c->absent && node_of_cpu(cpu) == t->home && bpf_cpumask_test_cpu(cpu, p->cpus_ptr);
}

/*
 * Finds a CPU of the home node @n on which @p, which was woken, may preempt: the previous one if it
 * will do. Who is woken synchronously looks no further: it costs more to bring it over than its
 * waker, who makes room in a moment, keeps it waiting. Returns a negative number if none was found.
 * Context: enqueue.
 */
static __always_inline s32 find_preemptible(const struct task_struct *p, const struct task_ctx *t,
					    const struct mpg_node *n, s32 prev_cpu, u64 deadline,
					    bool prompt, u64 now)
{
	u32 node = t->home & (MPG_MAX_NODES - 1), first = node_first_cpu[node], i;
	s32 cpu;

	/* Only batch work makes way for who is not prompt. */
	if (!prompt && n && !n->batch_running && !is_one_queue())
		return -EBUSY;
	if (may_preempt(p, t, prev_cpu, deadline, prompt, now))
		return prev_cpu;
	if (t->waker == WAKER_SYNC)
		return -EBUSY;
	bpf_for(i, 0, PREEMPT_SEARCH) {
		if (i >= cpus_of(node))
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

	if (c) {
		c->interrupted_at_ns = now;
		c->preempted++;
	}
	if (prompt && c && c->running_class != MPG_NR_CLASSES && !c->interrupted_pid) {
		c->interrupted_slice_end_ns = c->slice_end_ns;
		c->interrupted_pid = c->running_pid;
	}
	scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL_ON | cpu, slice_of(t, prompt, params),
			   enq_flags | SCX_ENQ_PREEMPT);
	/* Only where it is needed: the kick may come after @p has started, and cut its slice. */
	if (drops_preemption && cpu != scx_bpf_task_cpu(p))
		scx_bpf_kick_cpu(cpu, SCX_KICK_PREEMPT);
	count(MPG_COUNT_PREEMPTIONS);
}

/*
 * Has a CPU of its home node look at the queues again for the G that is due first in @dsq, if that
 * waits for longer than a CPU is left alone after an interrupt: when it was woken there may have
 * been nobody to preempt, for all were between two Gs or served the kernel. Not inlined, for the
 * verifier's sake. Context: timer.
 */
__noinline int preempt_for_first(u64 dsq, u64 now)
{
	struct task_struct *p = NULL;
	struct bpf_iter_scx_dsq it;
	struct task_ctx *t = NULL;
	struct mpg_cpu *c;
	s32 cpu = -EBUSY;

	if (!bpf_iter_scx_dsq_new(&it, dsq, 0)) {
		p = bpf_iter_scx_dsq_next(&it);
		if (p)
			t = lookup_task(p);
	}
	if (t && t->woken && t->waker != WAKER_SYNC && t->class != MPG_CLASS_BATCH &&
	    time_after(now, t->queued_at_ns + INTERRUPT_EVERY_NS))
		cpu = find_preemptible(p, t, lookup_node(t->home), scx_bpf_task_cpu(p),
				       p->scx.dsq_vtime, is_prompt(t, &shared.params), now);
	bpf_iter_scx_dsq_destroy(&it);
	c = cpu >= 0 ? lookup_cpu(cpu) : NULL;
	if (!c || c->running_class != MPG_CLASS_BATCH)
		return 0;
	c->interrupted_at_ns = now;
	c->preempted++;
	scx_bpf_kick_cpu(cpu, SCX_KICK_PREEMPT);
	count(MPG_COUNT_PREEMPTIONS);
	return 1;
}

#endif /* __MPG_PREEMPT_BPF_H */
