//! Every number of the policy that is not a parameter, and the default and range of every number
//! that is. Each has its unit in its name and its reason beside it; what must hold between them is
//! asserted below, at compile time.

/// Nanoseconds in a microsecond, the unit in which people set times.
pub const NS_PER_US: u64 = 1_000;
/// Nanoseconds in a millisecond.
pub const NS_PER_MS: u64 = 1_000_000;
/// Nanoseconds in a second.
pub const NS_PER_S: u64 = 1_000_000_000;

/// Nodes that a mask of one word can name, as on the wire.
pub const MAX_NODES: usize = 64;

/// The weight of nice 0, for which virtual time runs as fast as the clock.
pub const WEIGHT_NICE_0: u32 = 100;
/// Lowest weight that the kernel gives out.
pub const WEIGHT_MIN: u32 = 1;
/// Highest weight that the kernel gives out.
pub const WEIGHT_MAX: u32 = 10_000;
/// Below this weight a G was put back on purpose (nice 8 is 17, nice 7 is 21): it is never taken
/// for latency-sensitive and sooner taken for batch.
pub const WEIGHT_LOW: u32 = 20;

// --- Classes ---

/// A G that runs for less than this per wakeup is latency-sensitive: timers and message threads
/// run for tens of microseconds, schbench's workers for a few hundred.
pub const LATENCY_ENTER_NS: u64 = 100 * NS_PER_US;
/// A latency-sensitive G stays so until it runs for this long per wakeup: twice the way in, so
/// that a G near the edge does not flap, and below what a worker with a lock in hand runs for.
pub const LATENCY_LEAVE_NS: u64 = 2 * LATENCY_ENTER_NS;
/// Short wakeups in a row that make a G latency-sensitive: one or two happen to any G.
pub const LATENCY_CONFIRM_WAKEUPS: u32 = 4;
/// The average that a latency-sensitive G is sent back with after one long run. From here an
/// average of quarters needs ten short wakeups to come below the way in, so the class is worth
/// nothing to a G that runs long every tenth time.
pub const LATENCY_ABUSED_NS: u64 = 14 * LATENCY_ENTER_NS;
/// A G that ran for this long without a sleep is batch: two default slices. Requests that hold a
/// lock are over long before.
pub const BATCH_ENTER_NS: u64 = 10 * NS_PER_MS;
/// A batch G stays so until it runs for less than this per wakeup.
pub const BATCH_LEAVE_NS: u64 = BATCH_ENTER_NS / 2;
/// How much sooner a G of low weight is taken for batch.
pub const BATCH_LOW_WEIGHT_DIVISOR: u64 = 10;
/// Averages are cut here, so that a G that ran for seconds is known anew after eight short
/// wakeups and not after thirty.
pub const AVERAGE_MAX_NS: u64 = 4 * BATCH_ENTER_NS;
/// The newest wakeup counts for one part in this many of the average.
pub const AVERAGE_PARTS: u64 = 4;
/// Events in a row without a change of class after which a G is settled and given a full lease.
pub const SETTLED_EVENTS: u32 = 4;
/// Lease of a G whose class has changed; each event without a change doubles it until it is settled.
/// It is judged anew every third enqueue, and the others are there for the answer: with 8 a twentieth
/// of the answers were stale, and most leases over before the next one came.
pub const UNSETTLED_LEASE: u16 = 32;

// --- Rules ---

/// A G that is latency-sensitive by rule loses that after so many latency slices used up without a
/// short run between: one is a hiccup, and three are over in two milliseconds with the default slice.
pub const RULE_ABUSES: u32 = 3;
/// Times of a loss are kept in units of 2^30 ns, about a second.
pub const RULE_LOST_UNIT_SHIFT: u32 = 30;
/// A loss lasts for the rest of its unit and for one more, so for one to two seconds: a hog gets
/// three latency slices in that, which is nothing beside its share.
pub const RULE_LOST_FOR: u32 = 2;

// --- Order ---

/// No G is ordered further ahead of its node's clock than this: what the longest slice costs a G
/// of the lowest weight. It keeps all deadlines of a node within half the range of virtual time,
/// and a G that came from a node with a faster clock from waiting out the difference.
pub const AHEAD_MAX_NS: u64 = SLICE_MAX_NS * WEIGHT_NICE_0 as u64 / WEIGHT_MIN as u64;

// --- Policies ---

/// The policy `latency` cuts slices to one part in this many: with the defaults to a little above
/// the shortest, so that a round among four Gs is as long as one slice of `mpg`.
pub const LATENCY_POLICY_SLICE_DIVISOR: u64 = 4;
/// The policy `throughput` gives this many slices at a time: a fourth of the switches, and a round
/// of five Gs within the default starvation bound.
pub const THROUGHPUT_POLICY_SLICES: u64 = 4;

// --- Stealing ---

/// Notes that one theft moves at most: bounds the thief's step.
pub const STEAL_MOVES_MAX: usize = 64;
/// A node's distance to itself, the unit of all others (ACPI SLIT).
pub const DISTANCE_LOCAL: u64 = 10;

/// Grants of one node come no closer together than this: twice what the average of waiting takes
/// to follow a change at a few thousand starts a second, so that the last grant is seen first.
pub const BALANCE_EVERY_NS: u64 = 50 * NS_PER_MS;
/// Nodes whose Gs wait less than this on average are left alone: a G that changes node costs
/// about as much in cold caches.
pub const BALANCE_FROM_NS: u64 = 50 * NS_PER_US;
/// How many times longer a node's Gs must wait than the thief's. One G of ten more on one of two
/// nodes makes a factor of three and more; averages of equal nodes differ by less than two.
pub const BALANCE_RATIO: u64 = 2;

/// How long the clocks of nodes are watched before their speeds are compared: what a clock jumps by
/// at a time is a round among the Gs of a CPU, with half a dozen of them a tenth of this.
pub const PACE_WINDOW_NS: u64 = 200 * NS_PER_MS;
/// Nodes whose weight per CPU differs by less than this many percent are left alone: nobody's share
/// is then off by more than half of it.
pub const PACE_DIFFERENCE_PERCENT: u64 = 10;

// --- Memory ---

/// Pages that a node is taken to have at most: 64 nodes of them add up without overflow, and they
/// are more than 57 bits can address.
pub const MEMORY_MOST_PAGES: u64 = 1 << 48;
/// Parts that a process's memory is thought of in.
pub const MEMORY_PARTS: u64 = 12;
/// Two thirds of a process's pages on one node make it a home: with less, more than half as many
/// accesses as are near would be far, and there is little to choose between the nodes.
pub const MEMORY_ENTER_PARTS: u64 = 8;
/// A home stays one down to half of the pages, so that a process near the edge does not flap.
pub const MEMORY_LEAVE_PARTS: u64 = 6;
/// A home is left only after the evidence has said so for this long: caches that were filled at
/// home are worth keeping for longer than a phase of a program takes to free and fill its heap.
pub const MEMORY_FLIP_AFTER_NS: u64 = NS_PER_S;
/// Once one part in this many of a process's pages has come or gone unseen, the estimate of the
/// rest can be wrong by enough to matter between the way in and the way out (a sixth).
pub const MEMORY_CHANGED_PARTS: u64 = 4;
/// Looks at one process come no closer together than this: a home is not left sooner either.
pub const MEMORY_LOOK_EVERY_NS: u64 = NS_PER_S;
/// And at least this often while there is doubt.
pub const MEMORY_LOOK_MAX_NS: u64 = 64 * NS_PER_S;
/// Pages follow Gs that affinity keeps away from them only once it has for this long: what tools
/// and runtimes do for a moment is no reason to copy a heap.
pub const MEMORY_KEPT_OUT_NS: u64 = 2 * NS_PER_S;
/// And Gs that could go home and never do, because others are in the way, once all have been in
/// one other place for this long: copying a page costs as much as a few hundred remote accesses
/// to it, which a G in want of its memory makes in a second or so.
pub const MEMORY_AWAY_NS: u64 = 10 * NS_PER_S;

// --- Parameters: default and range ---

/// Default slice. A hog switched every 5 ms loses nothing measurable to switching, and the
/// schedulers of the field that do best under load use 5 ms or less.
pub const SLICE_DEFAULT_NS: u64 = 5 * NS_PER_MS;
/// Shorter slices than this spend more on switching (1 to 5 us each) than anyone gains.
pub const SLICE_LOWEST_NS: u64 = 100 * NS_PER_US;
/// Longer slices than this are no sharing.
pub const SLICE_MAX_NS: u64 = NS_PER_S;

/// Default lower bound of a shortened slice: longer than a request that holds a lock, since
/// preempting one in mid-request makes all others wait for it.
pub const SLICE_MIN_DEFAULT_NS: u64 = NS_PER_MS;
/// As short as the shortest latency slice.
pub const SLICE_MIN_LOWEST_NS: u64 = 50 * NS_PER_US;

/// Default slice of latency-sensitive Gs: ten times what makes a G one, so it is never in the way of
/// an honest one, be it held up by an interrupt or the hypervisor in its middle, and bounds what a
/// dishonest one takes.
pub const LATENCY_SLICE_DEFAULT_NS: u64 = 10 * LATENCY_ENTER_NS;
/// Shorter would cut off honest latency-sensitive Gs.
pub const LATENCY_SLICE_LOWEST_NS: u64 = 50 * NS_PER_US;
/// Longer would let one be in the way of the others.
pub const LATENCY_SLICE_MAX_NS: u64 = 100 * NS_PER_MS;

/// Default length up to which a run is short: that of latency-sensitive Gs.
pub const SHORT_RUN_DEFAULT_NS: u64 = LATENCY_ENTER_NS;
/// Who is interrupted for longer than this waits as long as for a slice.
pub const SHORT_RUN_MAX_NS: u64 = 10 * NS_PER_MS;

/// Default time in which a waker goes to sleep: ten times what waking an idle CPU takes, so that a
/// broken promise costs no more than a few wakeups kept.
pub const RUNNEXT_DEFAULT_NS: u64 = 50 * NS_PER_US;
/// Waiting for the waker for longer than this never pays.
pub const RUNNEXT_MAX_NS: u64 = 10 * NS_PER_MS;

/// Default slice of batch Gs: as of others, since longer ones were not measured to gain anything.
pub const BATCH_SLICE_DEFAULT_NS: u64 = SLICE_DEFAULT_NS;

/// Default virtual time that a sleeper keeps in hand: little, so that who is woken comes soon after
/// those that wait already. With more, receivers of messages run before there is much for them to
/// read; with none the rare late wakeup beside hogs comes later.
pub const SLEEP_CREDIT_DEFAULT_NS: u64 = NS_PER_MS;
/// More in hand would let a sleeper shut others out for as long.
pub const SLEEP_CREDIT_MAX_NS: u64 = NS_PER_S;

/// Default starvation bound: people notice a pause of 100 ms.
pub const STARVATION_DEFAULT_NS: u64 = 100 * NS_PER_MS;
/// A shorter bound turns every queue into arrival order.
pub const STARVATION_LOWEST_NS: u64 = NS_PER_MS;
/// Longer than this and watchdogs notice, the kernel's own for sched_ext among them (30 s).
pub const STARVATION_MAX_NS: u64 = 10 * NS_PER_S;

/// Default share of decisions that go to the oldest G whatever its deadline: one in 61 costs the
/// others under two percent, and a prime does not fall into step with periodic loads.
pub const OLDEST_EVERY_DEFAULT: u64 = 61;
/// 1 is arrival order.
pub const OLDEST_EVERY_LOWEST: u64 = 1;
/// Rarer than this, the starvation bound comes first.
pub const OLDEST_EVERY_MAX: u64 = 10_000;

/// Default lease: a G is reported every ninth enqueue, so that its slice follows how full the node
/// is, and of one that is enqueued four hundred times a second, as schbench's workers are, 300 ms are
/// left for the answer: longer than a worker lets reports wait for others.
pub const LEASE_DEFAULT: u64 = 128;
/// A lease outlives a change of behaviour by as many enqueues; more than this is no policy.
pub const LEASE_MAX: u64 = 1_000;

/// Default high mark: four times what lets a CPU find another G while its worker answers, so that
/// a worker with a full P is called once for a dozen decisions and not for three
/// (docs/MEASUREMENTS.md, "marks").
pub const PRIMED_HIGH_DEFAULT: u64 = 8;
/// With none primed no decision would ever be handed over.
pub const PRIMED_HIGH_LOWEST: u64 = 1;
/// What is primed is out of the policy's hands; more than this and the P orders nothing.
pub const PRIMED_HIGH_MAX: u64 = 64;

/// Default wait after which a G may leave its node, at the distance of a node to itself; a
/// neighbour at 20 takes it after twice that. Below the default slice, or an idle node would watch
/// a busy one for a whole round; well above a wakeup, or Gs would cross nodes for nothing.
pub const STEAL_AFTER_DEFAULT_NS: u64 = NS_PER_MS;
/// More than this is never, for which the starvation bound of other nodes is no substitute.
pub const STEAL_AFTER_MAX_NS: u64 = 10 * NS_PER_S;

/// Default batch: what is reported is in no hurry, and each call costs the CPU its caches
/// (docs/MEASUREMENTS.md, "Fewer calls").
pub const BATCH_EVENTS_DEFAULT: u64 = 128;
/// 1 calls the worker for every event.
pub const BATCH_EVENTS_LOWEST: u64 = 1;
/// More than this would fill the event ring before the worker is called.
pub const BATCH_EVENTS_MAX: u64 = 4_096;
/// Default wait of an event: two default slices.
pub const BATCH_DEFAULT_NS: u64 = 2 * SLICE_DEFAULT_NS;
/// Longer than this and decisions are about a past that nobody remembers.
pub const BATCH_MAX_NS: u64 = 100 * NS_PER_MS;

const _: () = {
    assert!(WEIGHT_MIN >= 1 && WEIGHT_MIN < WEIGHT_LOW);
    assert!(WEIGHT_LOW < WEIGHT_NICE_0 && WEIGHT_NICE_0 < WEIGHT_MAX);
    // A way out lies beyond the way in, and the classes do not overlap.
    assert!(LATENCY_ENTER_NS < LATENCY_LEAVE_NS);
    assert!(LATENCY_LEAVE_NS < LATENCY_ABUSED_NS);
    assert!(LATENCY_LEAVE_NS <= LATENCY_SLICE_DEFAULT_NS);
    assert!(LATENCY_ABUSED_NS < BATCH_LEAVE_NS);
    assert!(BATCH_LEAVE_NS < BATCH_ENTER_NS && BATCH_ENTER_NS < AVERAGE_MAX_NS);
    assert!(BATCH_LEAVE_NS / BATCH_LOW_WEIGHT_DIVISOR > LATENCY_LEAVE_NS);
    // Deadlines of one node: behind by the credit, ahead by the limit and one offset.
    assert!(SLEEP_CREDIT_MAX_NS < u64::MAX / 8 && AHEAD_MAX_NS < u64::MAX / 8);
    assert!(AVERAGE_PARTS >= 2 && SETTLED_EVENTS >= 1 && SETTLED_EVENTS <= 15);
    assert!((UNSETTLED_LEASE as u64) << (SETTLED_EVENTS - 1) <= u16::MAX as u64);
    assert!(LATENCY_CONFIRM_WAKEUPS >= 1 && LATENCY_CONFIRM_WAKEUPS <= 15);
    assert!(MAX_NODES == u64::BITS as usize);
    // More than half of the memory to get a home, so that no two nodes can have the claim at once.
    assert!(2 * MEMORY_ENTER_PARTS > MEMORY_PARTS && MEMORY_ENTER_PARTS <= MEMORY_PARTS);
    assert!(MEMORY_LEAVE_PARTS < MEMORY_ENTER_PARTS && MEMORY_CHANGED_PARTS >= 2);
    assert!(MEMORY_LOOK_EVERY_NS <= MEMORY_LOOK_MAX_NS);
    // A home is judged anew before memory leaves it.
    assert!(MEMORY_FLIP_AFTER_NS <= MEMORY_KEPT_OUT_NS && MEMORY_KEPT_OUT_NS <= MEMORY_AWAY_NS);
    // Defaults are in range and fit each other.
    assert!(SLICE_LOWEST_NS <= SLICE_DEFAULT_NS && SLICE_DEFAULT_NS <= SLICE_MAX_NS);
    assert!(SLICE_MIN_LOWEST_NS <= SLICE_MIN_DEFAULT_NS);
    assert!(SLICE_MIN_DEFAULT_NS <= SLICE_DEFAULT_NS);
    assert!(LATENCY_SLICE_LOWEST_NS <= LATENCY_SLICE_DEFAULT_NS);
    assert!(LATENCY_SLICE_DEFAULT_NS <= SLICE_DEFAULT_NS);
    assert!(STARVATION_LOWEST_NS <= STARVATION_DEFAULT_NS);
    assert!(SLICE_DEFAULT_NS <= STARVATION_DEFAULT_NS);
    assert!(SLEEP_CREDIT_DEFAULT_NS <= SLEEP_CREDIT_MAX_NS);
    assert!(LEASE_DEFAULT <= LEASE_MAX && LEASE_MAX <= u16::MAX as u64);
    assert!(STEAL_AFTER_DEFAULT_NS <= STEAL_AFTER_MAX_NS);
};
