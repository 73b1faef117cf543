/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A look at who waits, for people: nothing of the scheduler's asks for it.
 */
#ifndef __MPG_LOOK_BPF_H
#define __MPG_LOOK_BPF_H

#include "state.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct mpg_look);
} looks SEC(".maps");

/*
 * Notes the first Gs of a queue, up to as many as a look has room for, in the queue's order. Not
 * inlined, for the verifier's sake. Context: as mpg_look_at.
 */
__noinline int look_through(u64 dsq, u64 now)
{
	struct bpf_iter_scx_dsq it;
	struct task_struct *p;
	struct mpg_waiter *w;
	struct mpg_look *look;
	struct task_ctx *t;
	u32 i, zero = 0;

	look = bpf_map_lookup_elem(&looks, &zero);
	if (!look)
		return -ENOENT;
	look->found = 0;
	bpf_rcu_read_lock();
	if (!bpf_iter_scx_dsq_new(&it, dsq, 0)) {
		bpf_for(i, 0, MPG_LOOK_WAITERS) {
			p = bpf_iter_scx_dsq_next(&it);
			if (!p)
				break;
			t = lookup_task(p);
			w = &look->waiters[i & (MPG_LOOK_WAITERS - 1)];
			w->pid = p->pid;
			w->waited_ns = t ? time_delta(now, t->queued_at_ns) : 0;
			w->class = t ? t->class : MPG_CLASS_NORMAL;
			w->cpu = scx_bpf_task_cpu(p);
			w->allowed_nodes = t ? t->allowed_nodes : 0;
			bpf_probe_read_kernel(w->comm, sizeof(w->comm), p->comm);
			look->found = i + 1;
		}
	}
	bpf_iter_scx_dsq_destroy(&it);
	bpf_rcu_read_unlock();
	return 0;
}

/*
 * Looks at one queue. The user half asks for one at a time. Context: a system call of the user
 * half, may sleep.
 */
SEC("syscall")
int mpg_look_at(struct mpg_look_at *at)
{
	u64 dsq;

	switch (at->queue) {
	case MPG_QUEUE_PRIMED:
		dsq = primed_dsq(at->index);
		break;
	case MPG_QUEUE_CUSTODY:
		dsq = custody_dsq(at->index);
		break;
	case MPG_QUEUE_SPARE:
		dsq = spare_dsq(at->index);
		break;
	case MPG_QUEUE_CPU:
		dsq = at->index;
		break;
	default:
		return -EINVAL;
	}
	return look_through(dsq, scx_bpf_now());
}

#endif /* __MPG_LOOK_BPF_H */
