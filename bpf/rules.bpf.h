/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The user's rules: which class a G is to be taken for. The first that matches counts.
 *
 * Nothing is kept of the outcome: it is asked for when an event is written, which a lease makes
 * rare, so that a new name, cgroup, user or list is seen by the next event, and nobody has to be
 * told of the change. Without rules this is one comparison.
 */
#ifndef __MPG_RULES_BPF_H
#define __MPG_RULES_BPF_H

#include "state.bpf.h"

/* Whether the name of @p is the rule's, or begins with it. Any context. */
static __always_inline bool name_matches(const struct task_struct *p, const struct mpg_rule *rule)
{
	u64 name[2] = {};

	bpf_probe_read_kernel(name, sizeof(name), p->comm);
	return !((name[0] ^ rule->text[0]) & rule->mask[0]) &&
	       !((name[1] ^ rule->text[1]) & rule->mask[1]);
}

/* Whether @p is in the rule's cgroup or below. Any context. */
static __always_inline bool cgroup_matches(const struct task_struct *p, const struct mpg_rule *rule)
{
	struct cgroup *cgroup = BPF_CORE_READ(p, cgroups, dfl_cgrp), *ancestor = NULL;
	u64 at;

	if ((u32)BPF_CORE_READ(cgroup, level) < rule->level)
		return false;
	at = (u64)cgroup + bpf_core_field_offset(struct cgroup, ancestors) +
	     rule->level * sizeof(ancestor);
	bpf_probe_read_kernel(&ancestor, sizeof(ancestor), (void *)at);
	return BPF_CORE_READ(ancestor, kn, id) == rule->number;
}

static __always_inline bool rule_matches(const struct task_struct *p, const struct mpg_rule *rule)
{
	switch (rule->kind) {
	case MPG_RULE_COMM:
		return name_matches(p, rule);
	case MPG_RULE_PROCESS:
		return name_matches(BPF_CORE_READ(p, group_leader), rule);
	case MPG_RULE_CGROUP:
		return cgroup_matches(p, rule);
	case MPG_RULE_UID:
		return BPF_CORE_READ(p, cred, uid.val) == rule->number;
	default:
		return false;
	}
}

/*
 * The class that a rule gives to @p, plus one; 0 if none does. Not inlined, so that the verifier
 * goes through the rules once. While the list is being replaced a G may miss its rule, until its
 * next event. Any context.
 */
__noinline u8 ruled_class(struct task_struct *p __arg_trusted)
{
	u32 i;

	bpf_for(i, 0, MPG_MAX_RULES) {
		const struct mpg_rule *rule = &shared.rules[i & (MPG_MAX_RULES - 1)];

		if (rule->kind == MPG_RULE_NONE)
			return 0;
		if (rule_matches(p, rule))
			return rule->class + 1;
	}
	return 0;
}

#endif /* __MPG_RULES_BPF_H */
