/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * scx_mpg, the kernel half: mechanism without policy.
 *
 * It finds an idle CPU in a G's home node; failing that it puts the G in custody, a queue of its
 * node, and tells the node's worker. The worker's decisions move Gs from custody to the primed
 * queue, or stand as leases for enqueues to come. CPUs take what is primed, else what is in
 * custody: user space decides the order, but nobody waits for it.
 *
 * state.bpf.h has the states of a G and their owners; clock.bpf.h charges run time, stats.bpf.h
 * tells of it; hotplug.bpf.h lets CPUs come and go, taken.bpf.h other classes have them for a
 * while; queues.bpf.h lets nodes share a queue;
 * home.bpf.h says which node is a G's home, memory.bpf.h where its memory is, exec.bpf.h when it
 * may leave for another node; idle.bpf.h finds and wakes CPUs, cache.bpf.h near ones; prompt.bpf.h
 * expects short runs and preempt.bpf.h makes way for them; runnext.bpf.h leaves the CPU to whom a G
 * wakes; rules.bpf.h asks the user's rules; forward.bpf.h tells the worker; execute.bpf.h carries
 * out decisions; take.bpf.h chooses what a CPU runs, spare.bpf.h whom it runs when nobody else
 * wants it; balance.bpf.h evens out the weight of nodes; sysmon.bpf.h watches over what waits;
 * system.bpf.h serves threads that never ask user space; setup.bpf.h makes queues and readies Gs;
 * watch.bpf.h records for whoever asks why a G was late.
 * This file has the operations that sched_ext calls.
 *
 * Contexts. sched_ext calls these operations with interrupts off and, but for init, exit, enable
 * and init_task, with the run queue of the G or of the CPU locked. None of them may sleep but init.
 */
#include "state.bpf.h"
#include "clock.bpf.h"
#include "stats.bpf.h"
#include "watch.bpf.h"
#include "hotplug.bpf.h"
#include "home.bpf.h"
#include "memory.bpf.h"
#include "exec.bpf.h"
#include "cache.bpf.h"
#include "idle.bpf.h"
#include "prompt.bpf.h"
#include "preempt.bpf.h"
#include "runnext.bpf.h"
#include "forward.bpf.h"
#include "execute.bpf.h"
#include "spare.bpf.h"
#include "take.bpf.h"
#include "balance.bpf.h"
#include "queues.bpf.h"
#include "sysmon.bpf.h"
#include "system.bpf.h"
#include "setup.bpf.h"
#include "look.bpf.h"

char _license[] SEC("license") = "GPL";

UEI_DEFINE(uei);

/* The average wait follows the last 64 starts: 20 ms at a few thousand starts a second. */
#define WAIT_AVERAGE_SHIFT 6

/* A G was woken: run it at once if its home has an idle CPU. */
s32 BPF_STRUCT_OPS(mpg_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	struct task_ctx *t = lookup_task(p);
	s32 cpu, here = bpf_get_smp_processor_id();
	bool by_task;
	u64 slice_ns;

	if (!t)
		return prev_cpu;
	watch_wait(p, t);
	note_waker(t, wake_flags);
	/*
	 * A wakeup that is finished elsewhere may come after the end of this scheduler. Linux 6.18
	 * keeps what was inserted here for it, and holds it against the next scheduler.
	 */
	if (*(volatile u64 *)&switches.unloading) {
		t->waker_known = true;
		return prev_cpu;
	}
	if (wake_flags & SCX_WAKE_FORK)
		choose_birthplace(t);
	if (!go_after_exec(t))
		go_home(p, t);
	/* Who is born goes to where there is room, not to its parent; our own have their queue. */
	by_task = t->waker != WAKER_INTERRUPT && !(wake_flags & SCX_WAKE_FORK) && !is_own(p);
	slice_ns = by_task ? runnext_slice(p, t, here, &shared.params) : 0;
	if (slice_ns)
		return run_after_waker(p, t, here, slice_ns);
	cpu = claim_idle_at_home(p, t, prev_cpu);
	if (cpu < 0) {
		slice_ns = by_task ? follower_slice(p, t, here, &shared.params) : 0;
		if (slice_ns)
			return run_after_waker(p, t, here, slice_ns);
		t->waker_known = true;
		return prev_cpu;
	}
	t->wakeups++;
	t->slept = true;
	note_sent(p, cpu);
	insert_where_it_wakes(p, t->slice_ns, 0);
	count(MPG_COUNT_DIRECT);
	return cpu;
}

/* A G is runnable and has no CPU: decide nothing, lose nothing, tell the worker. */
void BPF_STRUCT_OPS(mpg_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct task_ctx *t = lookup_task(p);
	s32 prev_cpu = scx_bpf_task_cpu(p), cpu;
	bool waking = !__COMPAT_is_enq_cpu_selected(enq_flags) && !scx_bpf_task_running(p);
	struct mpg_cpu *c = lookup_cpu(prev_cpu);
	struct mpg_node *n;
	u64 now, dsq, deadline, behind;
	bool leased, prompt, primed, moved, displaced = enq_flags & SCX_ENQ_REENQ;
	u32 node;

	watch_wait(p, t);
	if (t && (is_leaving() || is_kept_there(p, prev_cpu))) {
		/* Nothing here may need a kick: the kernel itself wakes the CPU of a local queue.
		 */
		t->queued_at_ns = scx_bpf_now();
		if (!is_own(p))
			enter(t, PLACE_LOCAL, prev_cpu);
		scx_bpf_dsq_insert(p, SCX_DSQ_LOCAL, t->slice_ns, enq_flags);
		return;
	}
	if (!t || is_own(p) || is_kthread(p)) {
		enqueue_system(p, t, enq_flags);
		return;
	}
	if (!c) {
		scx_bpf_error("there is no CPU %d", prev_cpu);
		return;
	}
	t->woken = enq_flags & SCX_ENQ_WAKEUP;
	now = scx_bpf_now();
	if (!t->woken && !displaced && resume(p, c, prev_cpu, now, enq_flags)) {
		t->queued_at_ns = now;
		enter(t, PLACE_LOCAL, prev_cpu);
		count(MPG_COUNT_INTERRUPTIONS);
		return;
	}
	/* After select_cpu it is where it belongs. */
	moved = !t->waker_known && (go_after_exec(t) || go_home(p, t));
	if (t->woken) {
		t->wakeups++;
		t->slept = true;
	}

	/*
	 * What the waker left to the CPU of @p is enqueued there by an interrupt, which the kernel
	 * does not tell from a wakeup that asked no select_cpu.
	 */
	if (waking && !displaced && !t->waker_known)
		note_unasked_waker(t);
	t->waker_known = false;
	/*
	 * select_cpu was not asked: a wakeup from another CPU, a G that may use one CPU only, one
	 * that goes back to its memory at the end of its slice, or one whose CPU was taken.
	 */
	if (waking || moved) {
		cpu = claim_idle_at_home(p, t, prev_cpu);
		if (cpu >= 0) {
			run_on_idle(p, t, cpu, enq_flags);
			return;
		}
	}

	node = node_to_wait_in(p, t);
	n = lookup_node(node);
	if (!n) {
		scx_bpf_error("no node %u of CPU %d", node, prev_cpu);
		return;
	}
	if (node != t->home)
		change_home(t, node);
	/* Gs that wait may be owed more than a sleeper keeps: it is not put behind those. */
	behind = n->vclock;
	if (t->slept && n->primed && time_before(t->vtime, behind - shared.params.sleep_credit_ns))
		behind = earlier_of(primed_dsq(node), behind);
	limit_credit(t, behind, &shared.params);
	t->generation++;
	t->queued_at_ns = now;

	if (is_spare(p)) {
		enter(t, PLACE_SPARE, node);
		enqueue_spare(p, t, node, enq_flags);
		return;
	}

	/*
	 * A slice used up is not what the class was given for: the standing decision ends, and the
	 * worker is asked.
	 */
	if (t->class == MPG_CLASS_LATENCY && departs(t))
		t->lease_last = t->generation - 1;
	leased = is_leased(t, &shared.params);
	prompt = is_prompt(t, &shared.params);
	deadline = due(p, t, prompt, &shared.params);

	cpu = claim_from_spare(p, n, node);
	if (cpu < 0 && t->class != MPG_CLASS_BATCH && t->woken)
		cpu = find_preemptible(p, t, n, prev_cpu, deadline, prompt, now);
	if (cpu >= 0) {
		report(p, t, n, node, &shared.params, now);
		enter(t, PLACE_LOCAL, cpu);
		preempt(p, t, cpu, prompt, &shared.params, now, enq_flags);
		watch(n, node);
		return;
	}

	if (t->pinned) {
		enter(t, PLACE_PINNED, prev_cpu);
		scx_bpf_dsq_insert_vtime(p, prev_cpu, slice_of(t, prompt, &shared.params), deadline,
					 enq_flags);
		report(p, t, n, node, &shared.params, now);
		scx_bpf_kick_cpu(prev_cpu, SCX_KICK_IDLE);
		watch(n, node);
		return;
	}

	/* The run of a prompt G is over before an answer could be there. */
	primed = prompt ||
		 (leased && !n->queued && n->primed < shared.params.primed_per_cpu * cpus_of(node));
	if (primed) {
		count(MPG_COUNT_LEASED);
		enter(t, PLACE_PRIMED, node);
		dsq = primed_dsq(node);
		report(p, t, n, node, &shared.params, now);
	} else {
		enter(t, PLACE_CUSTODY, node);
		dsq = custody_dsq(node);
		forward(p, t, n, node, &shared.params, MPG_EVENT_WAITING, now);
	}
	begin_near(t, c, prev_cpu);
	scx_bpf_dsq_insert_vtime(p, dsq, slice_of(t, prompt, &shared.params), deadline, enq_flags);
	wake_idle(p, node);
	watch(n, node);
}

/* A CPU has nothing to run. */
void BPF_STRUCT_OPS(mpg_dispatch, s32 cpu, struct task_struct *prev)
{
	struct task_ctx *t = NULL;
	struct mpg_cpu *c = lookup_cpu(cpu);
	u32 node = node_of_cpu(cpu);
	struct mpg_node *n = lookup_node(node);
	bool found, spare;
	u64 now;

	if (!c || !n)
		return;
	now = scx_bpf_now();
	/* The local queue is empty, so whoever was to have the CPU back had it or went elsewhere.
	 */
	c->interrupted_pid = 0;

	execute_all(n, node);

	if (take_own(cpu) || (has_left_over(cpu) && take_left_over(cpu)))
		return;

	if (prev && (prev->scx.flags & SCX_TASK_QUEUED) && !is_own(prev) && !is_kthread(prev))
		t = lookup_task(prev);
	spare = t && is_spare(prev);
	if (help_spare(n, c, cpu, node, &shared.params, now) || pull(n, cpu, &shared.params))
		return;
	/* A CPU that turns idle has the least to do here: it may be woken the next moment. */
	if (n->primed | n->custody | c->pinned) {
		if (help_overdue(c, cpu, node, &shared.params, now))
			return;
		if (t && !spare && bpf_cpumask_test_cpu(cpu, prev->cpus_ptr) &&
		    still_first(prev, t, c, n, cpu, node, now)) {
			go_on(prev, t, c, n, &shared.params, now);
			return;
		}
		found = take_local(cpu, node);
		/*
		 * The worker keeps Gs back while enough are primed: ask for more before they run
		 * out.
		 */
		if (n->queued && n->primed * 2 <= cpus_of(node))
			call_worker(n, node, now);
		if (found)
			return;
	}
	if (t && !spare) {
		if (!help_left_behind(c, cpu, node, &shared.params, now))
			go_on(prev, t, c, n, &shared.params, now);
		return;
	}
	c->ran_dry++;
	if (adopt() || take_rescued(c, cpu, now) || steal(cpu, now) || take_spare(node))
		return;
	if (t)
		go_on(prev, t, c, n, &shared.params, now);
}

/* A G starts on a CPU. */
void BPF_STRUCT_OPS(mpg_running, struct task_struct *p)
{
	s32 cpu = scx_bpf_task_cpu(p);
	struct mpg_cpu *c = lookup_cpu(cpu);
	struct task_ctx *t = lookup_task(p);
	u32 node = node_of_cpu(cpu), own = own_node_of_cpu(cpu), place = PLACE_IDLE;
	struct mpg_node *n = lookup_node(node), *waited;
	u64 now = scx_bpf_now(), wait = 0;

	if (!t || !c || !n)
		return;
	t->started_at_ns = now;
	if (c->idle)
		mark_idle(c, cpu, 0);
	if (t->place != PLACE_IDLE)
		place = move_place(t, PLACE_IDLE);
	end_near(t);
	watch_start(p, t, cpu, place, now);
	if (is_own(p)) {
		n = lookup_node(own_node_of_cpu(cpu));
		if (n && p->pid == n->worker_pid)
			n->now_ns = now;
		return;
	}

	waited = n;
	if (place != PLACE_IDLE) {
		count_on(c, MPG_COUNT_STARTED);
		if (place_of(place) == PLACE_CUSTODY)
			count_on(c, MPG_COUNT_UNDECIDED);
		if (place_of(place) == PLACE_CUSTODY || place_of(place) == PLACE_PRIMED) {
			wait = time_delta(now, t->queued_at_ns);
			if (place_where(place) != node)
				waited = lookup_node(place_where(place));
		}
	}
	/*
	 * Racing CPUs lose a sample now and then, which an average can bear. Where nobody waits the
	 * average rests below a unit of its shift, and its cache line with all CPUs that look.
	 */
	if (waited && (wait || waited->average_wait_ns >> WAIT_AVERAGE_SHIFT))
		waited->average_wait_ns +=
		    ((s64)wait - (s64)waited->average_wait_ns) >> WAIT_AVERAGE_SHIFT;

	if (t->home != node) {
		if (t->home == t->memory_home)
			t->left_memory_ns = now;
		change_home(t, node);
	}
	if (t->ran_on != own)
		count_on(c, MPG_COUNT_MIGRATIONS_NODE);
	else if (nr_llcs && t->ran_under != llc_of_cpu(cpu))
		count_on(c, MPG_COUNT_MIGRATIONS_LLC);
	t->ran_on = own;
	t->ran_under = llc_of_cpu(cpu);
	count_run(t, c, own);
	if (is_spare(p)) {
		t->runs_spare = true;
		__sync_fetch_and_add(&n->spare_running, 1);
		hasten();
	} else {
		limit_credit(t, n->vclock, &shared.params);
	}
	note_start(p, t, cpu, place, now);
	advance_clock(n, t);
	t->helped = false;
	c->started_at_ns = now;
	c->slice_end_ns = slice_end(t, p->scx.slice, &shared.params, now);
	c->given_until_ns = c->slice_end_ns;
	if (c->sent_pid)
		make_room_for_sent(p, c, n, node, now);
	c->overruns = 0;
	c->running_pid = p->pid;
	c->running_until_ns = now + expected_left(t);
	c->running_deadline = provisional_deadline(t);
	note_running(c, cpu, class_on_cpu(t, &shared.params));
	if (c->interrupted_pid == p->pid)
		c->interrupted_pid = 0;
}

/* A G stops running; charges it. */
void BPF_STRUCT_OPS(mpg_stopping, struct task_struct *p, bool runnable)
{
	s32 cpu = scx_bpf_task_cpu(p);
	struct mpg_cpu *c = lookup_cpu(cpu);
	struct task_ctx *t = lookup_task(p);
	u64 ran, now = scx_bpf_now();
	struct mpg_node *n;

	if (!t || !c)
		return;
	watch_stop(p, t, c, cpu, runnable, now);
	if (is_own(p)) {
		ran = time_delta(now, t->started_at_ns);
		n = lookup_node(own_node_of_cpu(cpu));
		if (n && p->pid == n->worker_pid) {
			n->worker_runtime_ns += ran;
			if (ran > n->worker_longest_ns)
				n->worker_longest_ns = ran;
		}
		return;
	}
	note_use(p, t, cpu, now);
	charge(p, t, now);
	if (!runnable)
		end_run(t, &shared.params);
	judge_promise(t, runnable, now, &shared.params);
	if (t->runs_spare) {
		t->runs_spare = false;
		/* Where it was counted, whatever became of the queues. */
		n = lookup_node(t->home);
		if (n)
			__sync_fetch_and_sub(&n->spare_running, 1);
	}
	note_faults(p, t, c, cpu);
	c->stray = 0;
	note_running(c, cpu, MPG_NR_CLASSES);
	c->running_pid = 0;
	c->started_at_ns = 0;
}

/*
 * A CPU turned idle or busy. Work that was queued after the CPU's last look and before it counted
 * as idle would wait for nobody: it looks again (see the barrier in move_place).
 */
void BPF_STRUCT_OPS(mpg_update_idle, s32 cpu, bool idle)
{
	struct mpg_cpu *c = lookup_cpu(cpu);
	u32 node = node_of_cpu(cpu);
	struct mpg_node *n = lookup_node(node);

	if (!c || !n)
		return;
	watch_idle(c, cpu, idle);
	if (c->absent) {
		scx_bpf_test_and_clear_cpu_idle(cpu);
		return;
	}
	if (!idle) {
		mark_idle(c, cpu, 0);
		return;
	}
	mark_idle(c, cpu, 1);
	if ((n->primed | n->custody | n->spare | c->pinned) || own_waits(cpu) || has_left_over(cpu))
		scx_bpf_kick_cpu(cpu, 0);
	hasten();
}

/* The CPUs that a G may use have changed. */
void BPF_STRUCT_OPS(mpg_set_cpumask, struct task_struct *p, const struct cpumask *cpumask)
{
	struct task_ctx *t = lookup_task(p);

	if (t)
		note_affinity(p, t, cpumask);
}

/* A G comes under this scheduler. */
void BPF_STRUCT_OPS(mpg_enable, struct task_struct *p)
{
	struct task_ctx *t = lookup_task(p);
	struct mpg_node *n;

	if (!t)
		return;
	n = lookup_node(t->home);
	if (n)
		t->vtime = n->vclock;
}

/*
 * A G leaves this scheduler, for another class or because the scheduler ends: if it still waited
 * somewhere, it left without having run. Whoever is taken from its queue for less is put back, and
 * counted then (enter).
 */
void BPF_STRUCT_OPS(mpg_disable, struct task_struct *p)
{
	struct task_ctx *t = lookup_task(p);

	watch_leave(t);
	if (t)
		end_near(t);
	if (t && t->place != PLACE_IDLE && move_place(t, PLACE_IDLE) != PLACE_IDLE && !is_own(p))
		count(MPG_COUNT_CANCELLED);
}

/* A G is created, or the scheduler is loaded over it. May fail, must not sleep here. */
s32 BPF_STRUCT_OPS(mpg_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	struct task_ctx *t;

	ready_sysmons();
	t = bpf_task_storage_get(&task_ctxs, p, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!t)
		return -ENOMEM;
	ready(p, t, &shared.params, args->fork);
	note_birth(p, t, args->fork);
	return 0;
}

/* A G is gone, or the scheduler is. */
void BPF_STRUCT_OPS(mpg_exit_task, struct task_struct *p, struct scx_exit_task_args *args)
{
	note_death(p, args->cancelled);
	forget_process(p);
}

/*
 * Another class takes a CPU, as a real-time task does, which need not give it back: whoever was
 * there, or next there, goes elsewhere. The kernel tells of the first who comes, be it that it only
 * stops the CPU for a moment, and not of a real-time task behind that.
 */
void BPF_STRUCT_OPS(mpg_cpu_release, s32 cpu, struct scx_cpu_release_args *args)
{
	release_cpu(cpu);
}

/* It gives the CPU back. */
void BPF_STRUCT_OPS(mpg_cpu_acquire, s32 cpu, struct scx_cpu_acquire_args *args)
{
	note_taken_cpu(cpu, false);
}

/* A CPU is back. With this and the next one the scheduler stays loaded when CPUs come and go. */
void BPF_STRUCT_OPS(mpg_cpu_online, s32 cpu)
{
	come_back(cpu);
}

/* A CPU leaves: it dispatches no more, but does not stand still yet. */
void BPF_STRUCT_OPS(mpg_cpu_offline, s32 cpu)
{
	leave(cpu);
}

s32 BPF_STRUCT_OPS_SLEEPABLE(mpg_init)
{
	s32 err = init_cpus();
	u32 i;

	if (err)
		return err;
	bpf_for(i, 0, nr_nodes) {
		err = init_node(i);
		if (err)
			return err;
	}
	bpf_for(i, 1, nr_llcs + 1) {
		err = fill_mask(bpf_map_lookup_elem(&llc_masks, &i), cpu_llc, i);
		if (err)
			return err;
	}
	return 0;
}

/* What sched_ext prints when it ends a scheduler for an error. */
void BPF_STRUCT_OPS(mpg_dump, struct scx_dump_ctx *dctx)
{
	struct mpg_node *n;
	u32 i;

	bpf_for(i, 0, nr_nodes) {
		n = lookup_node(i);
		if (!n)
			break;
		scx_bpf_dump("node %u: primed %u custody %u queued %u events %llu read %llu", i,
			     n->primed, n->custody, n->queued, n->events_written, n->events_read);
		scx_bpf_dump(" decisions %llu done %llu called %llu fallback %u\n",
			     n->decision_head, n->decision_tail, n->called_at_ns, n->fallback);
	}
}

void BPF_STRUCT_OPS(mpg_exit, struct scx_exit_info *ei)
{
	UEI_RECORD(uei, ei);
}

/* clang-format off */
SCX_OPS_DEFINE(mpg_ops,
	       .select_cpu	= (void *)mpg_select_cpu,
	       .enqueue		= (void *)mpg_enqueue,
	       .dispatch	= (void *)mpg_dispatch,
	       .running		= (void *)mpg_running,
	       .stopping	= (void *)mpg_stopping,
	       .update_idle	= (void *)mpg_update_idle,
	       .cpu_acquire	= (void *)mpg_cpu_acquire,
	       .cpu_release	= (void *)mpg_cpu_release,
	       .set_cpumask	= (void *)mpg_set_cpumask,
	       .enable		= (void *)mpg_enable,
	       .disable		= (void *)mpg_disable,
	       .init_task	= (void *)mpg_init_task,
	       .exit_task	= (void *)mpg_exit_task,
	       .cpu_online	= (void *)mpg_cpu_online,
	       .cpu_offline	= (void *)mpg_cpu_offline,
	       .dump		= (void *)mpg_dump,
	       .init		= (void *)mpg_init,
	       .exit		= (void *)mpg_exit,
	       .timeout_ms	= 10000,
	       .name		= "mpg");
/* clang-format on */
