/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One queue for each node, or one for the whole machine, and the way from one to the other.
 *
 * With one queue, that of node 0, every CPU counts as node 0's wherever a queue is chosen
 * (node_of_cpu), and nodes are regarded nowhere: no home, no leave, any idle CPU will do. It is
 * there to be compared with. Threads of this scheduler wait with their own node in either case.
 *
 * The user half changes between the two at any time and moves no G. A G that waits stays where it
 * is, and whoever might not be looked for there any more is looked for first, by every CPU:
 *
 *   now one queue       the queues of the CPU's own node
 *   now one a node      the queue of node 0, while a G waits there that none of its CPUs may run
 *
 * An enqueue that read the mask before the change and inserts after it is found in the same way. A
 * G's virtual time moves from clock to clock with its next enqueue.
 */
#ifndef __MPG_QUEUES_BPF_H
#define __MPG_QUEUES_BPF_H

#include "state.bpf.h"
#include "clock.bpf.h"
#include "take.bpf.h"

/*
 * Takes a G that was left in a queue by a change. Not inlined, for the verifier's sake. Context:
 * dispatch.
 */
__noinline int take_left_over(s32 cpu)
{
	u32 own = own_node_of_cpu(cpu), left = own;
	const struct mpg_node *n;

	/* With a queue a node, only node 0's can hold what is another's. */
	if (!is_one_queue())
		left = 0;
	n = lookup_node(left);
	if (!n)
		return 0;
	return take_local(cpu, left) || (n->spare && scx_bpf_dsq_move_to_local(spare_dsq(left), 0));
}

/* Whether a change may have left a G for @cpu, which node 0's CPUs find anyway. Any context. */
static __always_inline bool has_left_over(s32 cpu)
{
	u32 own = own_node_of_cpu(cpu), zero = 0;
	const struct mpg_node *n;

	if (!own)
		return false;
	if (!is_one_queue()) {
		n = lookup_node(zero);
		return n && n->strangers;
	}
	n = lookup_node(own);
	return n && (n->primed | n->custody | n->spare);
}

#endif /* __MPG_QUEUES_BPF_H */
