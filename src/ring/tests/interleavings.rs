//! All interleavings, as far as memory may reorder, of the worker's side with a model of the kernel
//! half's: `bpf/execute.bpf.h` for the ring of decisions, `bpf/forward.bpf.h` for the call,
//! `bpf/watch.bpf.h` for the log of a CPU.
//!
//! The kernel's `__sync` operations are full barriers. loom takes sequentially consistent accesses
//! for weaker than they are, but its fences for what they are, so each has one on both sides.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{fence, AtomicU64, Ordering};
use loom::sync::Arc;
use loom::thread;
use mpg_ring::{answer_call, LogReader, Producer, Word};

struct Shared(AtomicU64);

impl Shared {
    fn new() -> Self {
        Shared(AtomicU64::new(0))
    }

    /// A plain read of the kernel half.
    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn sync<T>(&self, operation: impl FnOnce(&AtomicU64) -> T) -> T {
        fence(Ordering::SeqCst);
        let result = operation(&self.0);
        fence(Ordering::SeqCst);
        result
    }

    /// `__sync_fetch_and_add`.
    fn add(&self, value: u64) -> u64 {
        self.sync(|word| word.fetch_add(value, Ordering::Relaxed))
    }

    /// `__sync_val_compare_and_swap`; whether it did.
    fn swap_if(&self, old: u64, new: u64) -> bool {
        let order = Ordering::Relaxed;
        self.sync(|word| word.compare_exchange(old, new, order, order).is_ok())
    }

    /// `__sync_lock_test_and_set`.
    fn set(&self, value: u64) {
        self.sync(|word| word.swap(value, Ordering::Relaxed));
    }
}

impl Word for Shared {
    fn load(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }

    fn store(&self, value: u64, order: Ordering) {
        self.0.store(value, order);
    }

    fn full_barrier() {
        fence(Ordering::SeqCst);
    }

    fn acquire_fence() {
        fence(Ordering::Acquire);
    }
}

/// Tries all interleavings in which no thread is interrupted more than so many times where it need
/// not be.
fn model(interruptions: usize, run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(interruptions);
    builder.check(run);
}

const SLOTS: u64 = 2;
/// Decisions carried out in one call of dispatch.
const AT_ONCE: usize = 2;

/// A node's ring as it is mapped.
struct Ring {
    head: Shared,
    tail: Shared,
    drain_lock: Shared,
    slots: [UnsafeCell<u64>; SLOTS as usize],
    executed: UnsafeCell<Vec<u64>>,
}

impl Ring {
    fn new() -> Self {
        Ring {
            head: Shared::new(),
            tail: Shared::new(),
            drain_lock: Shared::new(),
            slots: [UnsafeCell::new(0), UnsafeCell::new(0)],
            executed: UnsafeCell::new(Vec::new()),
        }
    }

    /// A step of the worker: of the decisions from `next` on, as many as there is room for. Returns
    /// the one after them.
    fn step(&self, next: u64, most: u64) -> u64 {
        let producer = Producer {
            head: &self.head,
            tail: &self.tail,
            slots: SLOTS,
        };
        let after = next + producer.room().min(most);
        producer.write(next..after, |slot, decision| {
            // SAFETY: loom fails the test if somebody else is at the slot.
            self.slots[slot].with_mut(|at| unsafe { *at = decision });
        });
        after
    }

    /// `execute_all`.
    fn execute_all(&self) {
        if self.tail.read() == self.head.read() || !self.drain_lock.swap_if(0, 1) {
            return;
        }
        let head = self.head.add(0);
        let mut tail = self.tail.read();
        for _ in 0..AT_ONCE {
            if tail == head {
                break;
            }
            // SAFETY: loom fails the test if somebody else is at the slot.
            let decision = self.slots[(tail % SLOTS) as usize].with(|at| unsafe { *at });
            // SAFETY: as above; the lock is for this too.
            self.executed.with_mut(|at| unsafe { (*at).push(decision) });
            tail += 1;
        }
        self.tail.set(tail);
        self.drain_lock.swap_if(1, 0);
    }
}

/// I1 and I2 on the way from worker to CPU: no decision is lost, doubled, half written or out of
/// order, whichever CPUs come to drain the ring.
#[test]
fn each_decision_is_carried_out_once_and_in_order() {
    model(3, || {
        let ring = Arc::new(Ring::new());
        let cpus: Vec<_> = (0..2)
            .map(|_| {
                let ring = Arc::clone(&ring);
                thread::spawn(move || ring.execute_all())
            })
            .collect();
        let mut next = 1;
        for _ in 0..2 {
            next = ring.step(next, SLOTS);
        }
        for cpu in cpus {
            cpu.join().unwrap();
        }
        // Slots are used for the second and third time.
        for _ in 0..2 {
            ring.execute_all();
            next = ring.step(next, SLOTS);
        }
        ring.execute_all();
        // SAFETY: all threads have ended.
        let executed = ring.executed.with(|at| unsafe { (*at).clone() });
        assert_eq!(executed, (1..next).collect::<Vec<_>>());
        assert!(next > 2 * SLOTS);
    });
}

/// A node's call as it is mapped, where one event is reason enough for it.
struct Bell {
    events: Shared,
    called_at: Shared,
    doorbell: Shared,
}

impl Bell {
    /// `forward` and `call_worker`.
    fn forward(&self) {
        self.events.add(1);
        if self.called_at.read() != 0 || !self.called_at.swap_if(0, 1) {
            return;
        }
        self.doorbell.add(1);
    }
}

/// An event that is due is read, or the worker's next sleep ends at once.
#[test]
fn no_call_is_lost() {
    model(3, || {
        let bell = Arc::new(Bell {
            events: Shared::new(),
            called_at: Shared::new(),
            doorbell: Shared::new(),
        });
        let cpus: Vec<_> = (0..2)
            .map(|_| {
                let bell = Arc::clone(&bell);
                thread::spawn(move || bell.forward())
            })
            .collect();
        let (mut heard, mut events) = (0, 0);
        for _ in 0..2 {
            let rung = bell.doorbell.load(Ordering::Acquire);
            if rung == heard {
                continue;
            }
            heard = rung;
            answer_call(&bell.called_at);
            events = bell.events.load(Ordering::Acquire);
        }
        for cpu in cpus {
            cpu.join().unwrap();
        }
        let rings_again = bell.doorbell.read() > heard;
        assert!(rings_again || events == 2, "{events} of 2 read, and asleep");
    });
}

/// A CPU's log of one slot as it is mapped: a number, and two words that belong together.
struct Log([[Shared; 3]; 1]);

impl Log {
    /// `begin_record`, what is between, and `end_record`.
    fn write(&self, number: u64) {
        let [slot] = &self.0;
        slot[0].set(0);
        slot[1].store(number * 10, Ordering::Relaxed);
        slot[2].store(number * 100, Ordering::Relaxed);
        slot[0].set(number);
    }
}

/// Each record is read once, whole and in order, or counted as lost.
#[test]
fn a_record_is_read_whole_or_lost() {
    model(3, || {
        const RECORDS: u64 = 2;
        let log = Arc::new(Log([[Shared::new(), Shared::new(), Shared::new()]]));
        let writer = {
            let log = Arc::clone(&log);
            thread::spawn(move || (1..=RECORDS).for_each(|number| log.write(number)))
        };
        let mut reader = LogReader::default();
        let (mut passed, mut read) = (0, 0);
        let mut look = || {
            if let Some(record) = reader.next(&log.0) {
                assert!(record[0] > passed, "{record:?} after {passed}");
                assert_eq!(record, [record[0], record[0] * 10, record[0] * 100]);
                (passed, read) = (record[0], read + 1);
            }
            reader.lost()
        };
        look();
        look();
        writer.join().unwrap();
        let lost = look();
        assert_eq!((passed, read + lost), (RECORDS, RECORDS));
    });
}
