//! A worker's step allocates nothing (I3): any run of events, decisions, thefts and switches, with
//! an allocator that counts.

mod memory;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use memory::Memory;
use mpg_policy::{
    fill_steal_after, steal_half, Balance, Event, Look, Neighbours, NodeView, Paces, Params,
    Processor, DEFAULT_POLICY, P, POLICIES,
};

/// The system's allocator; counts what the calling thread asks of it.
struct Counting;

thread_local! {
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

fn asked() -> u64 {
    ASKED.with(Cell::get)
}

// SAFETY: all is passed on to the system's allocator as it came; the counter allocates nothing,
// being constant at the start and without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        ASKED.with(|count| count.set(count.get() + 1));
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Gs, and notes that a P holds: fewer, so that it overflows too.
const GS: u32 = 100;
const SLOTS: usize = 16;
const STEPS: u32 = 200_000;

/// splitmix64.
fn chance(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

fn any_event(random: &mut u64, now_ns: u64, cookie: u64) -> Event {
    let bits = chance(random);
    Event {
        at_ns: now_ns,
        vtime: now_ns.wrapping_add(chance(random) % 20_000_000),
        runtime_ns: chance(random) % 12_000_000,
        cookie,
        allowed_nodes: bits & 3,
        pid: chance(random) as u32 % GS,
        generation: bits as u32,
        wakeups: bits as u32 >> 8 & 3,
        weight: bits as u32 >> 16 & 0x3fff,
        waiting: bits >> 40 & 7 != 0,
        wakeup: bits >> 44 & 1 != 0,
        restricted: bits >> 48 & 3 == 0,
        ..Event::default()
    }
}

#[test]
fn a_long_run_of_steps_allocates_nothing() {
    let mut memory = [Memory::of(SLOTS), Memory::of(SLOTS)];
    let [here, there] = memory.each_mut().map(Memory::lend);
    let mut processors = [
        Processor::new(0, P::new(here), DEFAULT_POLICY),
        Processor::new(1, P::new(there), DEFAULT_POLICY),
    ];
    let (mut balance, mut paces) = (Balance::default(), Paces::default());
    let mut params = Params::default();
    let mut table = [0; 4];
    let (mut random, mut now_ns, mut cookie) = (1, 0, 0);
    let mut reached = [0; 6];

    let before = asked();
    for step in 0..STEPS {
        now_ns += chance(&mut random) % 3_000_000;
        let node = chance(&mut random) as usize % 2;
        let view = NodeView {
            vclock: now_ns,
            primed: chance(&mut random) as u32 % 60,
            custody: chance(&mut random) as u32 % 3,
            idle_cpus: chance(&mut random) as u32 % 3,
            cpus: 4,
        };
        for _ in 0..chance(&mut random) % 8 {
            let event = any_event(&mut random, now_ns, cookie);
            let at_once = processors[node].on_event(now_ns, &event, &view, &params);
            cookie = at_once.map_or(cookie, |decision| decision.cookie);
        }
        let handed_over = processors[node].decide(now_ns, &view, &params, &mut |decision| {
            cookie = decision.cookie;
        });
        let [first, second] = &mut processors;
        let (victim, thief) = match node {
            0 => (second, first),
            _ => (first, second),
        };
        let idle = NodeView {
            custody: 0,
            primed: 0,
            ..view
        };
        let stolen = steal_half(victim, thief, now_ns, 1_000, &view, &idle);
        if step % 64 == 0 {
            let policy = POLICIES[chance(&mut random) as usize % POLICIES.len()];
            processors[node].set_policy(policy);
            let distances = [10, 20, 20, 10];
            processors[node].set_neighbours(Neighbours::nearest_first(node as u16, &distances, 2));
            fill_steal_after(1_000, &distances, 2, &mut table, 2);
            reached[3] += u32::from(
                params
                    .set("oldest-every", chance(&mut random) % 100)
                    .is_ok(),
            );
            reached[4] += u32::from(balance.grants(now_ns, 0, u64::MAX));
            let look = |node| Look {
                vclock: now_ns >> node,
                cpus: 4,
                ..Look::default()
            };
            reached[5] += u32::from(paces.wish(now_ns, 0, 2, look).is_some());
        }
        reached[0] += handed_over as u32;
        reached[1] += stolen as u32;
        reached[2] = processors[0].counters().overflow as u32;
    }
    let after = asked();

    assert_eq!(after - before, 0, "calls of the allocator");
    assert!(reached.iter().all(|&count| count > 0), "{reached:?}");
}

#[test]
fn the_allocator_counts() {
    let before = asked();
    drop(std::hint::black_box(vec![0u8; 1]));
    assert_eq!(asked() - before, 2);
}
