//! A tracepoint on one CPU through perf_event_open(2): a counter, or a counter with a ring buffer of records that the
//! kernel writes.

use std::ffi::CStr;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

/// The first published size of `struct perf_event_attr`, which every kernel takes.
const ATTR_SIZE: u32 = 64;
const PERF_TYPE_TRACEPOINT: u32 = 2;
const PERF_SAMPLE_TIME: u64 = 1 << 2;
const PERF_SAMPLE_RAW: u64 = 1 << 10;
const ATTR_DISABLED: u64 = 1 << 0;
const ATTR_WATERMARK: u64 = 1 << 14;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 1 << 3;
const PERF_EVENT_IOC_ENABLE: libc::c_ulong = 0x2400;
const PERF_EVENT_IOC_DISABLE: libc::c_ulong = 0x2401;
const PERF_EVENT_IOC_SET_FILTER: libc::c_ulong = 0x4008_2406;
const PERF_RECORD_SAMPLE: u32 = 9;

/// Offsets in the control page, `struct perf_event_mmap_page`, in bytes.
const DATA_HEAD: usize = 1024;
const DATA_TAIL: usize = 1032;

/// Length of `struct perf_event_header`: type (4), misc (2), size (2).
const HEADER: usize = 8;

/// `struct perf_event_attr` as it was first published.
#[repr(C)]
struct Attr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_watermark: u32,
    bp_type: u32,
    bp_addr: u64,
}

const _: () = assert!(mem::size_of::<Attr>() == ATTR_SIZE as usize);

/// How often a tracepoint is met on one CPU, whatever task meets it. Nothing is written down of it.
pub struct Counter {
    fd: OwnedFd,
}

impl Counter {
    /// Opens the tracepoint on one CPU, not yet counting.
    pub fn open(tracepoint: u64, cpu: usize) -> io::Result<Self> {
        Self::with(tracepoint, cpu, 0, 0, 0)
    }

    fn with(
        tracepoint: u64,
        cpu: usize,
        sample_period: u64,
        sample_type: u64,
        wakeup_watermark: u32,
    ) -> io::Result<Self> {
        let watermark = if wakeup_watermark > 0 {
            ATTR_WATERMARK
        } else {
            0
        };
        let attr = Attr {
            kind: PERF_TYPE_TRACEPOINT,
            size: ATTR_SIZE,
            config: tracepoint,
            sample_period,
            sample_type,
            read_format: 0,
            flags: ATTR_DISABLED | watermark,
            wakeup_watermark,
            bp_type: 0,
            bp_addr: 0,
        };
        let (any_task, no_group) = (-1, -1);
        // SAFETY: `attr` lives through the call and says its own size; the rest are plain numbers.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &attr as *const Attr,
                any_task,
                cpu as libc::c_int,
                no_group,
                PERF_FLAG_FD_CLOEXEC,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
        Ok(Counter { fd })
    }

    /// Starts counting.
    pub fn enable(&self) -> io::Result<()> {
        self.control(PERF_EVENT_IOC_ENABLE, 0)
    }

    /// Stops counting.
    pub fn disable(&self) -> io::Result<()> {
        self.control(PERF_EVENT_IOC_DISABLE, 0)
    }

    /// `argument` is a plain number, or the address of what the request reads and does not keep.
    fn control(&self, request: libc::c_ulong, argument: usize) -> io::Result<()> {
        // SAFETY: the descriptor is ours and open, and so is what the argument points to, if it does.
        match unsafe { libc::ioctl(self.fd.as_raw_fd(), request as _, argument) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// How many events there were while enabled.
    pub fn count(&self) -> io::Result<u64> {
        let mut count = 0u64;
        let size = mem::size_of::<u64>();
        // SAFETY: the kernel writes at most `size` bytes into `count`, which is that long.
        let read =
            unsafe { libc::read(self.fd.as_raw_fd(), (&mut count as *mut u64).cast(), size) };
        match usize::try_from(read) {
            Ok(n) if n == size => Ok(count),
            Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }
}

/// A tracepoint's records on one CPU, whatever task causes them.
pub struct Ring {
    counter: Counter,
    /// The control page, then `data_len` bytes of records.
    map: NonNull<u8>,
    map_len: usize,
    page: usize,
    data_len: usize,
    /// Everything before this was read.
    tail: u64,
}

impl Ring {
    /// Opens the tracepoint on one CPU, not yet counting, with a ring of `data_len` bytes: a power of two and a
    /// multiple of the page size.
    pub fn open(tracepoint: u64, cpu: usize, data_len: usize) -> io::Result<Self> {
        // Nobody polls: a full ring is soon enough.
        let watermark = data_len as u32;
        let what = PERF_SAMPLE_TIME | PERF_SAMPLE_RAW;
        let counter = Counter::with(tracepoint, cpu, 1, what, watermark)?;

        let page = page_size()?;
        let map_len = page + data_len;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let map = unsafe {
            libc::mmap(
                ptr::null_mut(),
                map_len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                counter.fd.as_raw_fd(),
                0,
            )
        };
        if map == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let map = NonNull::new(map.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Ring {
            counter,
            map,
            map_len,
            page,
            data_len,
            tail: 0,
        })
    }

    /// Counts and records only those events for which `filter` holds, in the language of tracefs's filters.
    pub fn only(&self, filter: &CStr) -> io::Result<()> {
        self.counter
            .control(PERF_EVENT_IOC_SET_FILTER, filter.as_ptr() as usize)
    }

    /// Starts counting and recording.
    pub fn enable(&self) -> io::Result<()> {
        self.counter.enable()
    }

    /// Stops counting and recording.
    pub fn disable(&self) -> io::Result<()> {
        self.counter.disable()
    }

    /// How many events there were while enabled, those included that found the ring full.
    pub fn count(&self) -> io::Result<u64> {
        self.counter.count()
    }

    /// Hands each new sample's time, in nanoseconds of the kernel's scheduling clock, and its raw bytes to `take`, and gives their room back to the kernel. `scratch` is emptied first;
    /// it is the caller's so that draining does not allocate every time.
    pub fn drain(&mut self, scratch: &mut Vec<u8>, take: impl FnMut(u64, &[u8])) {
        // Acquire: the records before `head` are written. The kernel releases it.
        let head = self.word(DATA_HEAD).load(Ordering::Acquire);
        self.copy_out(head, scratch);
        // Release: the copies above are done when the kernel sees the room.
        self.word(DATA_TAIL).store(head, Ordering::Release);
        self.tail = head;
        for_each_sample(scratch, take);
    }

    /// A word of the control page that is shared with the kernel.
    fn word(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: both offsets are inside the first page of the mapping, which lives as long as `self`, and are aligned
        // to 8 bytes; kernel and program both access these words as single 64-bit words.
        unsafe { AtomicU64::from_ptr(self.map.as_ptr().add(offset).cast()) }
    }

    /// Copies the records between the tail and `head`, which may wrap around the ring's end, into `scratch`.
    fn copy_out(&self, head: u64, scratch: &mut Vec<u8>) {
        scratch.clear();
        let len = head.wrapping_sub(self.tail).min(self.data_len as u64) as usize;
        scratch.resize(len, 0);
        let begin = (self.tail % self.data_len as u64) as usize;
        let first = len.min(self.data_len - begin);
        // SAFETY: the source ranges [begin, begin + first) and [0, len - first) are inside the ring's `data_len` bytes,
        // which follow the control page; the kernel writes nothing between tail and head until the tail moves. The
        // destination holds `len` bytes of our own memory.
        unsafe {
            let data = self.map.as_ptr().add(self.page);
            ptr::copy_nonoverlapping(data.add(begin), scratch.as_mut_ptr(), first);
            ptr::copy_nonoverlapping(data, scratch.as_mut_ptr().add(first), len - first);
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `open`; no reference into it outlives `self`.
        unsafe {
            libc::munmap(self.map.as_ptr().cast(), self.map_len);
        }
    }
}

/// The page size in bytes.
fn page_size() -> io::Result<usize> {
    // SAFETY: sysconf only reads its argument.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).map_err(|_| io::Error::last_os_error())
}

/// Walks the records in `bytes` and hands on the time and the raw part of each sample.
fn for_each_sample(mut bytes: &[u8], mut take: impl FnMut(u64, &[u8])) {
    while let Some((kind, record, rest)) = split_record(bytes) {
        if kind == PERF_RECORD_SAMPLE {
            if let Some((time_ns, raw)) = parts_of(record) {
                take(time_ns, raw);
            }
        }
        bytes = rest;
    }
}

/// Splits off the first record: its type, its body, and what follows.
fn split_record(bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let kind = u32::from_ne_bytes(bytes.get(0..4)?.try_into().ok()?);
    let size = u16::from_ne_bytes(bytes.get(6..8)?.try_into().ok()?) as usize;
    let body = bytes.get(HEADER..size)?;
    Some((kind, body, bytes.get(size..)?))
}

/// The parts of a sample: its time, the length of what is raw, then so many bytes.
fn parts_of(body: &[u8]) -> Option<(u64, &[u8])> {
    let time_ns = u64::from_ne_bytes(body.get(0..8)?.try_into().ok()?);
    let size = u32::from_ne_bytes(body.get(8..12)?.try_into().ok()?) as usize;
    Some((time_ns, body.get(12..)?.get(..size)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_ne_bytes().to_vec();
        bytes.extend(0u16.to_ne_bytes());
        bytes.extend(((HEADER + body.len()) as u16).to_ne_bytes());
        bytes.extend(body);
        bytes
    }

    fn sample(raw: &[u8]) -> Vec<u8> {
        let mut body = 7u64.to_ne_bytes().to_vec();
        body.extend((raw.len() as u32).to_ne_bytes());
        body.extend(raw);
        record(PERF_RECORD_SAMPLE, &body)
    }

    fn samples_in(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut seen = Vec::new();
        for_each_sample(bytes, |time_ns, raw| {
            assert_eq!(time_ns, 7);
            seen.push(raw.to_vec());
        });
        seen
    }

    #[test]
    fn samples_are_found_among_other_records() {
        let lost = 2;
        let bytes = [sample(b"abcd"), record(lost, &[0; 16]), sample(b"efgh")].concat();
        assert_eq!(samples_in(&bytes), [b"abcd".to_vec(), b"efgh".to_vec()]);
    }

    #[test]
    fn a_cut_or_broken_record_ends_the_walk() {
        let whole = sample(b"abcd");
        for cut in 0..whole.len() {
            assert!(samples_in(&whole[..cut]).is_empty());
        }
        // A size below the header's own length must not loop.
        let mut broken = whole.clone();
        broken[6..8].copy_from_slice(&4u16.to_ne_bytes());
        assert!(samples_in(&broken).is_empty());
        // A raw length beyond the record is not believed.
        let mut broken = whole;
        broken[16..20].copy_from_slice(&400u32.to_ne_bytes());
        assert!(samples_in(&broken).is_empty());
    }
}
