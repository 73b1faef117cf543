/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The wire between the two halves of scx_mpg.
 *
 * Everything that crosses the line between kernel and user space is declared here, once. The Rust
 * half generates its types from this file; sizes are asserted on both sides. All times are in
 * nanoseconds of the kernel's scheduling clock, all weights on the scale of sched_ext (1 to 10000,
 * 100 is nice 0), all virtual times in nanoseconds of a G of weight 100.
 */
#ifndef __MPG_INTF_H
#define __MPG_INTF_H

#ifndef __VMLINUX_H__
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;
#endif

enum mpg_limits {
	/* Bits of a node mask in one word. */
	MPG_MAX_NODES = 64,
	/* Last-level caches that are told apart, and none, which is number 0. */
	MPG_MAX_LLCS = 1024,
	/* Gs that a look at a queue tells of at most; a power of two. */
	MPG_LOOK_WAITERS = 128,
	/* Highest CPU number that a decision can name, plus one. */
	MPG_MAX_CPUS = 4096,
	/* Slots of a node's decision ring; a power of two, so that indices wrap by masking. */
	MPG_DECISION_SLOTS = 1024,
	/* Decisions carried out in one call of dispatch: bounds the time under the run-queue lock.
	 */
	MPG_DECISIONS_PER_DISPATCH = 64,
	/* Bytes of a node's event ring; a power of two and whole pages, as the kernel asks. */
	MPG_EVENT_RING_BYTES = 512 * 1024,
	/* Rules that the user may give; a power of two. */
	MPG_MAX_RULES = 64,
	/* The CPU of a decision that names only a node. */
	MPG_NO_CPU = 0xffff,
	/* The memory home of a G that has none. */
	MPG_NO_NODE = 0xffff,
	/* Processes whose memory is looked after; those beyond are counted and run as ever. */
	MPG_MAX_PROCESSES = 8192,
	/*
	 * Buckets of a histogram, log-linear: a bucket for each of the first 8 units, then 4 to
	 * each power of two, up to 2^32 units (stats.bpf.h fills them, src/stats/histogram.rs reads
	 * them).
	 */
	MPG_BUCKETS = 128,
	/* A unit of a wait is 2^10 ns, a microsecond nearly. */
	MPG_WAIT_UNIT_SHIFT = 10,
	/* A unit of a lifetime is 2^16 ns. */
	MPG_LIFE_UNIT_SHIFT = 16,
	/* Bytes of a node's ring of waits for whoever watches; a power of two and whole pages. */
	MPG_WATCH_RING_BYTES = 4 * 1024 * 1024,
	/* Slots of a CPU's log of runs for whoever watches; a power of two. */
	MPG_LOG_SLOTS = 4096,
};

/* What the policy takes a G for; a smaller number is served sooner. */
enum mpg_class {
	MPG_CLASS_LATENCY = 0,
	MPG_CLASS_NORMAL = 1,
	MPG_CLASS_BATCH = 2,
	/* SCHED_IDLE: the kernel half's own, the policy gives it to nobody. */
	MPG_CLASS_SPARE = 3,
	MPG_NR_CLASSES = 4,
};

enum mpg_event_flags {
	/* The G waits in custody for a decision; without it, the event only reports. */
	MPG_EVENT_WAITING = 1 << 0,
	/* The G slept before this enqueue; without it, its slice ran out. */
	MPG_EVENT_WAKEUP = 1 << 1,
	/* The G may not use every CPU of the machine. */
	MPG_EVENT_RESTRICTED = 1 << 2,
	/* The G is of SCHED_BATCH. */
	MPG_EVENT_BATCH = 1 << 3,
};

/* Kernel half to user half: a G was enqueued. Written to the ring of the G's home node. */
struct mpg_event {
	/* When the G was enqueued. */
	u64 at_ns;
	/* The G's weighted run time on the scale of its node's virtual clock. */
	u64 vtime;
	/* Time that the G ran since the event before this one. */
	u64 runtime_ns;
	/* The policy's own word for this G, as its last decision left it; 0 for a G never decided.
	 */
	u64 cookie;
	/* Nodes that hold at least one CPU that the G may use, one bit each. */
	u64 allowed_nodes;
	u32 pid;
	/* Counts the G's enqueues; a decision names the one that it answers. */
	u32 generation;
	/* How often the G was woken since the event before this one. */
	u32 wakeups;
	u32 weight;
	/* The CPU that the G ran on last. */
	u16 cpu;
	/* The node in whose ring this event was written. */
	u16 node;
	u8 flags;
	u8 class;
	/* The class that the user's rules give it, plus one; 0 where none matches. */
	u8 rule;
	u8 __pad;
};

/* User half to kernel half: run this G, of these generations, there, for this slice, by then. */
struct mpg_decision {
	/* Virtual time that orders the G if the named generation still waits. */
	u64 deadline;
	/* Added to the G's virtual time to order the generations that the lease covers. */
	u64 deadline_offset;
	u64 slice_ns;
	/* Kept for the policy and handed back in the next event of this G. */
	u64 cookie;
	u32 pid;
	/* The first generation that this decision is for. */
	u32 generation;
	/* How many generations after the first it also covers. */
	u16 lease;
	u16 node;
	/* A CPU of that node, or MPG_NO_CPU for whichever of them comes first. */
	u16 cpu;
	u8 class;
	/* The edition of the settings that it was made under. */
	u8 edition;
};

/*
 * What one node shares between its worker and the kernel half; mapped into the worker.
 *
 * The fields are grouped by writer, a cache line or more for each group, so that neither side's
 * writes slow the other's reads.
 */
struct mpg_node {
	/* --- written by the kernel half --- */
	/* Largest virtual time that a G of this node has started from. */
	u64 vclock;
	/* Events written since the load; the worker compares with its own count. */
	u64 events_written;
	/* Average wait of the Gs that started, those that found an idle CPU included. */
	u64 average_wait_ns;
	/* When the worker is to be called for the events that it has not read. */
	u64 due_ns;
	/* The scheduling clock when the worker was called or put on a CPU: its step's time. */
	u64 now_ns;
	/* CPU time of the worker, in all and in its longest run. */
	u64 worker_runtime_ns;
	u64 worker_longest_ns;
	/* Gs decided and waiting; Gs waiting undecided; threads of this scheduler that wait. */
	u32 primed;
	u32 custody;
	u32 own;
	/* Gs that wait for one CPU of this node. */
	u32 pinned;
	/* Gs that are next on a CPU of this node. */
	u32 local;
	/* 1 while sysmon looks at this node. */
	u32 watched;
	/* Gs of SCHED_IDLE that wait, and CPUs that run one. */
	u32 spare;
	u32 spare_running;
	/* When the next G of SCHED_IDLE may run for having waited long. */
	u64 next_spare_ns;
	/* Gs that wait here and may run on no CPU of this node (queues.bpf.h). */
	u32 strangers;
	/* CPUs of this node that have nothing to run, or are taken for such. */
	u32 idle;
	/* CPUs of this node that run batch work, or what counts as such. */
	u32 batch_running;
	/* How often the worker was taken for dead. */
	u32 fallbacks;
	/* For how long the G had waited that was due first when sysmon measured last. */
	u64 due_wait_ns;
	/* When the next G will be late, as the last CPU saw it that turned idle. */
	u64 late_at_ns;

	/* --- set by the kernel half, cleared by the worker --- */
	/* When the worker was called, 0 once it has begun to answer. */
	u64 called_at_ns __attribute__((aligned(128)));
	/* 1 while the kernel half serves the node without its worker. */
	u32 fallback;
	u32 __pad2;

	/* --- written by the worker --- */
	u64 decision_head __attribute__((aligned(128)));
	/* Events consumed; the difference to events_written is the backlog. */
	u64 events_read;
	/* Counts the worker's steps. */
	u64 activations;
	u64 decisions_written;
	/* Gs that the worker took from other nodes, by node. */
	u64 stolen_from[MPG_MAX_NODES];
	/* Gs in the node's P. */
	u32 queued;
	/* Thread id of the worker. */
	u32 worker_pid;

	/* --- written by whichever CPU drains the ring, under drain_lock --- */
	u64 decision_tail __attribute__((aligned(128)));
	u32 drain_lock;
	u32 __pad1;
	/*
	 * Gs that this node is to have of another: the node in the upper half, the most that they
	 * may weigh together in the lower; 0 for none. Set by the user half, taken by whichever
	 * CPU.
	 */
	u64 pull;

	struct mpg_decision decisions[MPG_DECISION_SLOTS] __attribute__((aligned(128)));
};

/* One per CPU and summed by the reader. Described, once each, in src/stats.rs. */
enum mpg_counter {
	MPG_COUNT_ENTERED,
	MPG_COUNT_STARTED,
	MPG_COUNT_CANCELLED,
	MPG_COUNT_DIRECT,
	MPG_COUNT_LEASED,
	MPG_COUNT_EVENTS,
	MPG_COUNT_EVENTS_DROPPED,
	MPG_COUNT_CALLS,
	MPG_COUNT_EXECUTED,
	MPG_COUNT_RENEWED,
	MPG_COUNT_REFUSED_STALE,
	MPG_COUNT_REFUSED_GONE,
	MPG_COUNT_REFUSED_AFFINITY,
	MPG_COUNT_UNDECIDED,
	MPG_COUNT_STOLEN,
	MPG_COUNT_BALANCED,
	MPG_COUNT_OVERDUE,
	MPG_COUNT_PREEMPTIONS,
	MPG_COUNT_INTERRUPTIONS,
	MPG_COUNT_RUNNEXT,
	MPG_COUNT_WARM,
	MPG_COUNT_OVERRUNS,
	MPG_COUNT_KTHREADS,
	MPG_COUNT_OWN,
	MPG_COUNT_FALLBACKS,
	MPG_COUNT_MIGRATIONS_NODE,
	MPG_COUNT_MIGRATIONS_LLC,
	MPG_COUNT_EXEC_MOVES,
	MPG_COUNT_RUNS_HOME,
	MPG_COUNT_RUNS_AWAY,
	MPG_COUNT_PROCESSES_UNSEEN,
	MPG_COUNT_CREATED,
	MPG_COUNT_EXITED,
	MPG_NR_COUNTERS,
};

/* What one CPU tells: written by that CPU alone, mapped into the user half. */
struct mpg_cpu {
	u64 counters[MPG_NR_COUNTERS];
	/* When the G that runs there was started; 0 if none of ours runs. */
	u64 started_at_ns;
	/* When its slice is over, whether the kernel's tick has noticed or not, */
	u64 slice_end_ns;
	/* and when it would be, had it not said that it leaves sooner: what it may share. */
	u64 given_until_ns;
	/* By when that G should have had its turn, in virtual time of its node. */
	u64 running_deadline;
	/* When its run is over, if that is as long as the last one after such a wakeup. */
	u64 running_until_ns;
	/* When the CPU looks next for a G of SCHED_IDLE that has waited long. */
	u64 next_spare_ns;
	u32 running_pid;
	/* The G that a prompt one interrupted here and that is next, 0 if none is, */
	u32 interrupted_pid;
	/* when its slice is over, and when the last one here was interrupted. */
	u64 interrupted_slice_end_ns;
	u64 interrupted_at_ns;
	/* How often the CPU was taken from one for another that was woken; counted by who takes it.
	 */
	u64 preempted;
	/* Class that the G there counts as for this run, MPG_NR_CLASSES if none of ours runs. */
	u32 running_class;
	u32 idle;
	/* The G that is on its way to this CPU, which idled when it was sent; 0 if none is. */
	u32 sent_pid;
	/* Gs that wait for this CPU and no other. */
	u32 pinned;
	/* How often in a row sysmon has ended the slice of the G that runs there in vain. */
	u32 overruns;
	/* When the queues are looked through next for a G past the starvation bound. */
	u64 next_search_ns;
	/* 1 while the CPU is offline or on its way there; while another class has it; */
	u32 absent;
	u32 taken;
	/* while the Gs that were there are enqueued again. */
	u32 releasing;
	/* 1 + the node where the memory of the G that runs there is, if that is another node. */
	u32 stray;
	/* 1 + the node that sysmon woke this idle CPU for, 0 if it did not. */
	u32 rescue;
	/* How often the CPU found nothing but SCHED_IDLE to run. */
	u32 ran_dry;
	/* Pages that were noted as touched, or as there already, by Gs that stopped there. */
	u64 touched;
	/* Records in the CPU's log since the watch began, and those that found the ring full. */
	u64 logged;
	u32 watch_dropped;
	/* Gs that wait in a queue of a node and ran here last. */
	u32 near;
} __attribute__((aligned(128)));

/*
 * What one CPU tells of the runs there: written by that CPU alone, mapped into the user half. Apart
 * from struct mpg_cpu, since others read that, of many CPUs in turn: so far from each other its
 * lines would all want the same few places of a cache.
 */
struct mpg_cpu_stats {
	/* Waits of the Gs that started, by class. */
	u64 waits[MPG_NR_CLASSES][MPG_BUCKETS];
	/* What those that stopped had been given, and what they ran of it. */
	u64 given_ns[MPG_NR_CLASSES];
	u64 used_ns[MPG_NR_CLASSES];
	/* Gs that this CPU took from other nodes' queues, by node. */
	u64 taken_from[MPG_MAX_NODES];
	/* How long the Gs lived that were let go on this CPU. */
	u64 lifetimes[MPG_BUCKETS];
} __attribute__((aligned(128)));

/* Kernel half to user half: what was seen of a process's memory. In a hash, by tgid. */
struct mpg_process {
	/* Tells one address space from the next: a process that calls exec has new memory. */
	u64 space;
	/* Pages of its own in memory when it was looked at last; 0 where the kernel does not tell.
	 */
	u64 pages;
	/* Pages touched first since the space is known, by the node that they came from. They wrap.
	 */
	u32 touched[MPG_MAX_NODES];
};

/* User half to kernel half: where a process's memory is. In a hash, by tgid. */
struct mpg_home {
	u64 space;
	u32 node;
	u32 __pad;
};

/* What the user half may change while the kernel half runs. Each field stands for itself. */
struct mpg_params {
	/* Slice of a G that no decision has named one for. */
	u64 slice_ns;
	/* Slice of a G that runs only because it waited for too long. */
	u64 slice_min_ns;
	/* Virtual time that a G may keep in hand while it sleeps. */
	u64 sleep_credit_ns;
	/* The worker is called once this many events wait for it, */
	u64 batch_events;
	/* or once a G has waited this long for its answer. */
	u64 batch_ns;
	/* A worker that does not answer its call for this long is taken for dead. */
	u64 fallback_after_ns;
	/* A G that waited longer goes before all others. */
	u64 starvation_bound_ns;
	/* A run of less than this counts as short; 0: none does. */
	u64 short_run_ns;
	/* A waker that says it will sleep does so within this; 0: nobody is believed. */
	u64 runnext_ns;
	/* A lease is not honoured while more than this many Gs per CPU are primed. */
	u64 primed_per_cpu;
	/*
	 * Counts the changes of settings, these and those of the user half. What was decided under
	 * another edition stands no more; 8 bits of it tell them apart.
	 */
	u64 edition;
};

enum mpg_queue {
	MPG_QUEUE_PRIMED,
	MPG_QUEUE_CUSTODY,
	MPG_QUEUE_SPARE,
	/* A CPU's own. */
	MPG_QUEUE_CPU,
	/* sched_ext's local queue of a CPU, which cannot be looked at. */
	MPG_QUEUE_LOCAL,
};

/* User half to kernel half: the queue to look at, of a node or a CPU. */
struct mpg_look_at {
	u32 queue;
	u32 index;
};

/* Kernel half to user half: one G that waits. */
struct mpg_waiter {
	u64 waited_ns;
	/* As in struct mpg_event. */
	u64 allowed_nodes;
	u32 pid;
	u32 class;
	/* The CPU that it ran on last. */
	u32 cpu;
	u32 __pad;
	char comm[16];
};

/* Kernel half to user half: what was found in the queue looked at last, in its order. */
struct mpg_look {
	u64 found;
	struct mpg_waiter waiters[MPG_LOOK_WAITERS];
};

enum mpg_rule_kind {
	/* The end of the list. */
	MPG_RULE_NONE = 0,
	MPG_RULE_COMM = 1,
	MPG_RULE_PROCESS = 2,
	MPG_RULE_CGROUP = 3,
	MPG_RULE_UID = 4,
};

/* One of the user's rules: whoever matches is taken for a class. */
struct mpg_rule {
	u32 kind;
	u32 class;
	/* The id of the cgroup, or the user. */
	u64 number;
	/* How many cgroups the cgroup is below the root. */
	u64 level;
	/* A name, and which of its bytes count. */
	u64 text[2];
	u64 mask[2];
};

/*
 * How long a G must have waited on node v before a CPU of node t may take it, at
 * [t * MPG_MAX_NODES + v]; all ones: never. The policy gives this leave, the kernel half obeys.
 */
struct mpg_shared {
	struct mpg_params params;
	/* Gs that a CPU of node t may take from node v however short they waited, at the same
	 * place; set by the user half, counted down by t's CPUs. */
	u32 grants[MPG_MAX_NODES * MPG_MAX_NODES];
	u64 steal_after_ns[MPG_MAX_NODES * MPG_MAX_NODES];
	/* In the order in which they are asked; ends with the first of no kind. */
	struct mpg_rule rules[MPG_MAX_RULES];
	/* Counts the user half's changes to the homes of processes. */
	u64 homes_version;
};

/* What the user half may switch at any time, each word by itself. */
struct mpg_switches {
	/*
	 * All ones where each node has a queue of its own, 0 where that of node 0 serves the whole
	 * machine. queues.bpf.h has what becomes of the Gs that wait.
	 */
	u64 queue_mask;
	/* Who watches, another number each time; 0 while nobody does (watch.bpf.h). */
	u64 watch_id;
	/* Waits of more than this are told to who watches. */
	u64 watch_over_ns;
	/* 1 from shortly before the scheduler is taken off the machine. */
	u64 unloading;
};

/* What a record of a watch tells of. */
enum mpg_watch_kind {
	/* In a CPU's log: a G, of ours or not, ran; the CPU turned idle; or busy. */
	MPG_WATCH_RUN = 1,
	MPG_WATCH_IDLE,
	MPG_WATCH_BUSY,
	/* In a node's ring: a G started that had waited for long; a node's worker was called. */
	MPG_WATCH_LATE,
	MPG_WATCH_CALL,
};

enum mpg_watch_flags {
	/* A thread of this scheduler; a kernel thread; of SCHED_IDLE. */
	MPG_WATCH_OWN = 1 << 0,
	MPG_WATCH_KTHREAD = 1 << 1,
	MPG_WATCH_SPARE = 1 << 2,
	/* A run: the G did not stop, but goes on for another slice. */
	MPG_WATCH_GOES_ON = 1 << 3,
	/* A wait: the G was woken; or it was put off its CPU with slice left. */
	MPG_WATCH_WOKEN = 1 << 4,
	MPG_WATCH_PREEMPTED = 1 << 5,
	/* The G may not use every CPU of the machine; it may use one. */
	MPG_WATCH_RESTRICTED = 1 << 6,
	MPG_WATCH_PINNED = 1 << 7,
	/* The queue's node was served without its worker. */
	MPG_WATCH_FALLBACK = 1 << 8,
};

/*
 * A slot of a CPU's log of what it did, which goes on over what is oldest: its number tells the
 * reader what it missed (src/ring). Written by who holds the CPU's run queue, no other.
 */
struct mpg_watch_run {
	/* Counts the records of this CPU, from 1 on; 0 while the slot is written. */
	u64 number;
	/* When the run began. */
	u64 started_at_ns;
	/* When it ended, or when the CPU turned idle or busy. */
	u64 at_ns;
	u32 pid;
	u16 flags;
	u8 kind;
	u8 class;
	char comm[16];
};

/* What each record in a node's ring begins with; kernel half to whoever watches. */
struct mpg_watch_head {
	/* When it happened: a late G's start. */
	u64 at_ns;
	u16 kind;
	u16 cpu;
	/* The CPU's watch_dropped. */
	u32 dropped;
};

struct mpg_watch_call {
	struct mpg_watch_head head;
	u32 node;
	u32 worker_pid;
};

struct mpg_watch_late {
	struct mpg_watch_head head;
	u64 since_ns;
	/* When a decision moved it from custody to the primed queue, 0 if none did. */
	u64 decided_at_ns;
	/* When the worker of the queue's node was called that had not answered at the start, or 0.
	 */
	u64 called_at_ns;
	u64 allowed_nodes;
	u32 pid;
	u32 tgid;
	u32 weight;
	/* The queue that it started from, as enum mpg_queue, and the node or CPU whose it is. */
	u16 queue;
	u16 where;
	/* The CPU that it ran on before, and that CPU's node. */
	u16 from_cpu;
	u16 from_node;
	u16 class;
	u16 flags;
	char comm[16];
};

_Static_assert(sizeof(struct mpg_watch_head) == 16, "head: what all records share");
_Static_assert(sizeof(struct mpg_watch_run) == 48, "run: three quarters of a cache line");
_Static_assert(sizeof(struct mpg_watch_late) == 88, "late: no padding");
_Static_assert(sizeof(struct mpg_event) == 64, "event: one cache line");
_Static_assert(sizeof(struct mpg_decision) == 48, "decision: three quarters of a cache line");
_Static_assert((MPG_DECISION_SLOTS & (MPG_DECISION_SLOTS - 1)) == 0, "slots wrap by masking");
_Static_assert((MPG_LOG_SLOTS & (MPG_LOG_SLOTS - 1)) == 0, "slots wrap by masking");

#endif /* __MPG_INTF_H */
