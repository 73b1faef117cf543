/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the memory of Gs is.
 *
 * A page comes from the node of the CPU that touches it first, or from the node that the G's memory
 * policy names. So faults are counted here, per process and node, whenever a G that had some stops.
 * What they say together with other evidence is for the user half to judge (src/memory): it
 * publishes the homes of processes, and a G looks its own up once after each publication.
 *
 * Paid for by every G: a comparison at each stop, and one at each wakeup or enqueue.
 */
#ifndef __MPG_MEMORY_BPF_H
#define __MPG_MEMORY_BPF_H

#include "state.bpf.h"
#include "clock.bpf.h"
#include "home.bpf.h"
#include "hotplug.bpf.h"

/*
 * Gs of a node wait this long on average before it counts as crowded: half of what lets the nearest
 * other node steal (2 ms at distance 20), so that a G comes back before it would be stolen again.
 */
#define CROWDED_NS (1000ULL * 1000)

/*
 * A G that was taken from its memory's node stays away for this long, unless a CPU idles there: it
 * was taken because it waited for long. Where a process has more busy threads than its home has
 * CPUs, each of them would go there and be taken again with nearly every run.
 */
#define AWAY_NS (10ULL * 1000 * 1000)

/* A publication that never comes: has a G look its home up once more. */
#define HOME_UNKNOWN (~0ULL)

/* Pages that one fault can bring: a huge page's, where pages have 4 KiB. */
#define PAGES_PER_FAULT 512

/* What was seen of each process. Preallocated: BPF's allocator has no place in a stop. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MPG_MAX_PROCESSES);
	__type(key, u32);
	__type(value, struct mpg_process);
} processes SEC(".maps");

/* What the user half concluded: the processes that have a home. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MPG_MAX_PROCESSES);
	__type(key, u32);
	__type(value, struct mpg_home);
} memory_homes SEC(".maps");

static const struct mpg_process unseen_process;

/* Any context. */
static __always_inline u64 address_space(const struct task_struct *p)
{
	return (u64)p->mm;
}

/* Pages of the process that are its own and not the page cache's, give or take a few per CPU. */
static __always_inline u64 resident_pages(const struct task_struct *p)
{
	struct mm_struct *mm = p->mm;
	s64 pages;

	if (!mm || !bpf_core_field_exists(mm->rss_stat[0].count))
		return 0;
	pages = mm->rss_stat[MM_ANONPAGES].count + mm->rss_stat[MM_SHMEMPAGES].count;
	return pages > 0 ? pages : 0;
}

/*
 * The node that the memory policy of @p names, MPG_NO_NODE if it has none, or names several.
 * Context: stopping, where nobody but @p itself could change its policy.
 */
static __always_inline u32 node_of_policy(const struct task_struct *p)
{
	struct mempolicy *policy;
	u64 nodes;
	u32 i;

	if (!bpf_core_field_exists(p->mempolicy))
		return MPG_NO_NODE;
	policy = p->mempolicy;
	if (!policy || (policy->mode != MPOL_BIND && policy->mode != MPOL_PREFERRED &&
			policy->mode != MPOL_PREFERRED_MANY))
		return MPG_NO_NODE;
	nodes = policy->nodes.bits[0];
	bpf_for(i, 0, nr_nodes) {
		if (nodes == 1ULL << (kernel_node[i & (MPG_MAX_NODES - 1)] & 63))
			return i;
	}
	return MPG_NO_NODE;
}

/*
 * Credits the pages that @p touched first since it was looked at last: one for each fault, or what
 * the process has grown by, for a fault may bring a huge page. What other threads brought meanwhile
 * is taken for this one's then; looks at what the kernel says put that right. Context: stopping;
 * @p is a task of a user's process.
 */
static __always_inline void note_faults(const struct task_struct *p, struct task_ctx *t,
					struct mpg_cpu *c, s32 cpu)
{
	u64 faults = p->min_flt - t->faults, space = address_space(p), pages, grown;
	struct mpg_process *process;
	u32 tgid = p->tgid, node;

	/* A process without faults is noted once: it may have had its memory before the load. */
	if ((!faults && t->noted) || !space)
		return;
	t->noted = true;
	t->faults = p->min_flt;
	process = bpf_map_lookup_elem(&processes, &tgid);
	if (!process) {
		bpf_map_update_elem(&processes, &tgid, &unseen_process, BPF_NOEXIST);
		process = bpf_map_lookup_elem(&processes, &tgid);
		if (!process) {
			count(MPG_COUNT_PROCESSES_UNSEEN);
			return;
		}
	}
	node = node_of_policy(p);
	if (process->space != space) {
		/* New, or it has called exec: what was known is of memory that is gone. */
		*process = unseen_process;
		process->space = space;
		t->homes_version = HOME_UNKNOWN;
	}
	if (t->policy_node != node) {
		t->policy_node = node;
		t->homes_version = HOME_UNKNOWN;
	}
	if (node == MPG_NO_NODE)
		node = own_node_of_cpu(cpu);
	pages = resident_pages(p);
	grown = pages > process->pages ? pages - process->pages : 0;
	process->pages = pages;
	c->touched += grown + faults;
	if (grown > faults * PAGES_PER_FAULT)
		grown = faults * PAGES_PER_FAULT;
	__sync_fetch_and_add(&process->touched[node & (MPG_MAX_NODES - 1)],
			     (u32)(grown > faults ? grown : faults));
}

/* A process is gone once its first thread is, which is the last that the kernel lets go. */
static __always_inline void forget_process(const struct task_struct *p)
{
	u32 tgid = p->tgid;

	if (p->pid == p->tgid)
		bpf_map_delete_elem(&processes, &tgid);
}

/* Whether a CPU of @node that @p may use is idle. Any context. */
static __always_inline bool has_idle(const struct task_struct *p, u32 node)
{
	const struct cpumask *idle;
	bool found;

	idle = scx_bpf_get_idle_cpumask_node(kernel_node[node & (MPG_MAX_NODES - 1)]);
	found = bpf_cpumask_intersects(idle, p->cpus_ptr);
	scx_bpf_put_cpumask(idle);
	return found;
}

/* Whether Gs wait long at @node, and much longer than at @here. */
static __always_inline bool is_crowded(u32 node, u32 here)
{
	const struct mpg_node *n = lookup_node(node), *h = lookup_node(here);

	return n && h && n->average_wait_ns > CROWDED_NS &&
	       n->average_wait_ns > 2 * h->average_wait_ns;
}

/*
 * Sends @p to the node where its memory is, unless it would wait there for much longer than where
 * it is: then it stays, which is what stealing found better. Returns whether it moved. Context:
 * select_cpu and enqueue.
 */
static __always_inline bool go_home(const struct task_struct *p, struct task_ctx *t)
{
	u32 tgid = p->tgid, node;
	const struct mpg_home *home;

	follow_queues(t);
	if (t->homes_version != shared.homes_version) {
		t->homes_version = shared.homes_version;
		t->memory_home = t->policy_node;
		home = bpf_map_lookup_elem(&memory_homes, &tgid);
		if (home && t->policy_node == MPG_NO_NODE && home->space == address_space(p))
			t->memory_home = home->node;
	}
	node = t->memory_home;
	if (is_one_queue() || node == MPG_NO_NODE || node == t->home || !may_run_in(t, node))
		return false;
	if ((time_before(scx_bpf_now(), t->left_memory_ns + AWAY_NS) ||
	     is_crowded(node, t->home)) &&
	    !has_idle(p, node))
		return false;
	change_home(t, node);
	return true;
}

/* Counts where a G runs that has a memory home and may run there. Context: running. */
static __always_inline void count_run(const struct task_ctx *t, struct mpg_cpu *c, u32 node)
{
	c->stray = 0;
	if (t->memory_home == MPG_NO_NODE || !may_run_on(t, t->memory_home))
		return;
	if (t->memory_home == node) {
		count_on(c, MPG_COUNT_RUNS_HOME);
		return;
	}
	count_on(c, MPG_COUNT_RUNS_AWAY);
	c->stray = is_one_queue() ? 0 : t->memory_home + 1;
}

#endif /* __MPG_MEMORY_BPF_H */
