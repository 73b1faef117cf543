// SPDX-License-Identifier: GPL-2.0-only
//! Records of the kernel half, read off the wire.

use crate::bpf_intf::*;

/// What a G is to those that wait behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Latency-sensitive.
    Latency,
    /// Normal.
    Normal,
    /// Batch.
    Batch,
    /// Of SCHED_IDLE.
    Spare,
    /// A kernel thread.
    Kernel,
    /// A thread of scx_mpg.
    Own,
}

impl Kind {
    #[allow(non_upper_case_globals)] // The names are those of the C header.
    fn of(class: u16, flags: u16) -> Self {
        let has = |flag| has(flags, flag);
        if has(mpg_watch_flags_MPG_WATCH_OWN) {
            return Self::Own;
        }
        if has(mpg_watch_flags_MPG_WATCH_KTHREAD) {
            return Self::Kernel;
        }
        if has(mpg_watch_flags_MPG_WATCH_SPARE) {
            return Self::Spare;
        }
        match u32::from(class) {
            mpg_class_MPG_CLASS_LATENCY => Self::Latency,
            mpg_class_MPG_CLASS_BATCH => Self::Batch,
            _ => Self::Normal,
        }
    }

    /// As the report calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Normal => "normal",
            Self::Batch => "batch",
            Self::Spare => "sched_idle",
            Self::Kernel => "kernel",
            Self::Own => "scx_mpg",
        }
    }
}

/// A G that ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// Thread id.
    pub pid: u32,
    /// Name of the thread, filled up with zeros.
    pub comm: [u8; 16],
    /// What it is.
    pub kind: Kind,
}

/// The bytes of a name.
pub fn bytes_of_name(comm: &[u8; 16]) -> &[u8] {
    let end = comm.iter().position(|&byte| byte == 0).unwrap_or(16);
    &comm[..end]
}

/// The name as text.
pub fn text_of(comm: &[u8; 16]) -> String {
    String::from_utf8_lossy(bytes_of_name(comm)).into_owned()
}

/// The queue that a late G started from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Undecided Gs of a node, by its index.
    Custody(u16),
    /// Decided Gs of a node.
    Primed(u16),
    /// Gs of SCHED_IDLE of a node.
    Spare(u16),
    /// Gs that wait for one CPU and no other.
    Cpu(u16),
    /// The local queue of a CPU: next there.
    Local(u16),
}

/// How a wait began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// With a wakeup.
    Woken,
    /// The G was put off its CPU with slice left.
    Preempted,
    /// Its slice was over.
    SliceOver,
}

/// A G that started after a long wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late {
    /// Who it is.
    pub who: Who,
    /// Its process.
    pub tgid: u32,
    /// Its weight, 100 at nice 0.
    pub weight: u32,
    /// Since when it waited; all times are nanoseconds of the kernel's scheduling clock.
    pub since: u64,
    /// When it started.
    pub start: u64,
    /// When it was decided, if it waited undecided first.
    pub decided: Option<u64>,
    /// Since when its node's worker had left a call unanswered at the start, if it had.
    pub called: Option<u64>,
    /// How the wait began.
    pub how: How,
    /// Where it waited last.
    pub place: Place,
    /// The CPU that it started on.
    pub cpu: u16,
    /// The CPU that it ran on before.
    pub from_cpu: u16,
    /// Nodes that hold a CPU that it may use, one bit each.
    pub allowed_nodes: u64,
    /// Whether there are CPUs that it may not use.
    pub restricted: bool,
    /// Whether it may use one CPU only.
    pub pinned: bool,
    /// Whether its node was served without the worker.
    pub fallback: bool,
    /// The CPUs that it may use, where it is restricted and somebody could be asked.
    pub allowed: Option<Vec<u16>>,
}

/// What one record tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A G ran since `started`; `goes_on` says that it did not stop.
    Run {
        /// When it began.
        started: u64,
        /// Who ran.
        who: Who,
        /// It runs for another slice.
        goes_on: bool,
    },
    /// The CPU turned idle or busy.
    Idle(bool),
    /// A G started late: apart, since the many records of runs are copied.
    Late(Box<Late>),
    /// The worker of a node, and its thread id, was called.
    Call(u16, u32),
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When; of a run its end.
    pub at: u64,
    /// The CPU that it is about.
    pub cpu: u16,
    /// How many records of this CPU were dropped before it, since the watch began.
    pub dropped: u32,
    /// What.
    pub event: Event,
}

fn has(flags: u16, flag: mpg_watch_flags) -> bool {
    u32::from(flags) & flag != 0
}

/// Reads a wire type, if there are enough bytes.
fn read<T: Wire>(bytes: &[u8]) -> Option<T> {
    // SAFETY: long enough, and any bytes are a valid T, which has integers only (see Wire).
    (bytes.len() >= size_of::<T>()).then(|| unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// Types that any bytes are a valid value of.
trait Wire: Copy {}
impl Wire for mpg_watch_head {}
impl Wire for mpg_watch_call {}
impl Wire for mpg_watch_late {}

fn bytes_of(comm: [std::os::raw::c_char; 16]) -> [u8; 16] {
    comm.map(|byte| byte as u8)
}

/// What a slot of the log of `cpu` tells, before which `dropped` others were lost; `None` if it is no
/// record.
#[allow(non_upper_case_globals)] // The names are those of the C header.
pub fn decode_run(run: &mpg_watch_run, cpu: u16, dropped: u32) -> Option<Record> {
    let event = match u32::from(run.kind) {
        mpg_watch_kind_MPG_WATCH_RUN => Event::Run {
            started: run.started_at_ns,
            who: Who {
                pid: run.pid,
                comm: bytes_of(run.comm),
                kind: Kind::of(run.class.into(), run.flags),
            },
            goes_on: has(run.flags, mpg_watch_flags_MPG_WATCH_GOES_ON),
        },
        mpg_watch_kind_MPG_WATCH_IDLE => Event::Idle(true),
        mpg_watch_kind_MPG_WATCH_BUSY => Event::Idle(false),
        _ => return None,
    };
    Some(Record {
        at: run.at_ns,
        cpu,
        dropped,
        event,
    })
}

/// What `bytes` of a ring tell; `None` if it is no record.
#[allow(non_upper_case_globals)] // The names are those of the C header.
pub fn decode(bytes: &[u8]) -> Option<Record> {
    let head: mpg_watch_head = read(bytes)?;
    let event = match u32::from(head.kind) {
        mpg_watch_kind_MPG_WATCH_CALL => {
            let call: mpg_watch_call = read(bytes)?;
            Event::Call(call.node as u16, call.worker_pid)
        }
        mpg_watch_kind_MPG_WATCH_LATE => Event::Late(Box::new(late(&read(bytes)?))),
        _ => return None,
    };
    Some(Record {
        at: head.at_ns,
        cpu: head.cpu,
        dropped: head.dropped,
        event,
    })
}

#[allow(non_upper_case_globals)] // The names are those of the C header.
fn late(wire: &mpg_watch_late) -> Late {
    let has = |flag| has(wire.flags, flag);
    let known = |at: u64| (at != 0).then_some(at);
    Late {
        who: Who {
            pid: wire.pid,
            comm: bytes_of(wire.comm),
            kind: Kind::of(wire.class, wire.flags),
        },
        tgid: wire.tgid,
        weight: wire.weight,
        since: wire.since_ns,
        start: wire.head.at_ns,
        decided: known(wire.decided_at_ns),
        called: known(wire.called_at_ns),
        how: if has(mpg_watch_flags_MPG_WATCH_WOKEN) {
            How::Woken
        } else if has(mpg_watch_flags_MPG_WATCH_PREEMPTED) {
            How::Preempted
        } else {
            How::SliceOver
        },
        place: match u32::from(wire.queue) {
            mpg_queue_MPG_QUEUE_CUSTODY => Place::Custody(wire.where_),
            mpg_queue_MPG_QUEUE_PRIMED => Place::Primed(wire.where_),
            mpg_queue_MPG_QUEUE_SPARE => Place::Spare(wire.where_),
            mpg_queue_MPG_QUEUE_CPU => Place::Cpu(wire.where_),
            _ => Place::Local(wire.where_),
        },
        cpu: wire.head.cpu,
        from_cpu: wire.from_cpu,
        allowed_nodes: wire.allowed_nodes,
        restricted: has(mpg_watch_flags_MPG_WATCH_RESTRICTED),
        pinned: has(mpg_watch_flags_MPG_WATCH_PINNED),
        fallback: has(mpg_watch_flags_MPG_WATCH_FALLBACK),
        allowed: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_record_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Some(record) = decode(&bytes) {
                prop_assert!(bytes.len() >= size_of::<mpg_watch_head>());
                prop_assert!(record.at.to_ne_bytes() == bytes[..8]);
            }
        }

        #[test]
        fn each_kind_is_told_from_the_others(kind in 0u16..8, cpu: u16) {
            let mut bytes = [0u8; 88];
            bytes[8..10].copy_from_slice(&kind.to_ne_bytes());
            bytes[10..12].copy_from_slice(&cpu.to_ne_bytes());
            let in_a_ring = decode(&bytes);
            // SAFETY: it has integers only.
            let mut run: mpg_watch_run = unsafe { std::mem::zeroed() };
            run.kind = kind as u8;
            let in_a_log = decode_run(&run, cpu, 3);
            prop_assert!(in_a_ring.is_none() || in_a_log.is_none());
            prop_assert_eq!(in_a_ring.is_some() || in_a_log.is_some(), (1..=5).contains(&kind));
            if let Some(record) = in_a_log.as_ref().or(in_a_ring.as_ref()) {
                prop_assert_eq!(record.cpu, cpu);
            }
            let idle = in_a_log.map(|record| record.event == Event::Idle(true));
            prop_assert_eq!(idle == Some(true), u32::from(kind) == mpg_watch_kind_MPG_WATCH_IDLE);
        }
    }
}
