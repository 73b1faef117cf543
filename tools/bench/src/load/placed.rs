//! Memory that is on one node, and threads that are kept on one.

use std::io;
use std::iter;
use std::mem;
use std::ptr::{self, NonNull};
use std::slice;

use anyhow::{bail, Context, Result};

use crate::topology::Topology;

/// Of one element of the memory.
const ELEMENT_BYTES: usize = size_of::<u64>();
/// Bits in a word of the kernel's node mask.
const MASK_BITS: usize = libc::c_ulong::BITS as usize;

/// Of get_mempolicy(2): tell the node that has the page at an address.
const MPOL_F_NODE: libc::c_int = 1;
const MPOL_F_ADDR: libc::c_int = 2;

/// Memory on one node, filled.
pub struct Memory {
    start: NonNull<u64>,
    bytes: usize,
}

impl Memory {
    /// So many bytes, on that node; wherever the kernel puts them where no node is named.
    pub fn new(bytes: u64, node: Option<usize>) -> Result<Self> {
        let bytes = usize::try_from(bytes)?;
        // SAFETY: a new mapping, at an address that the kernel chooses, harms nothing.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("memory was refused");
        }
        let start = NonNull::new(address.cast()).context("memory is at address 0")?;
        let mut memory = Memory { start, bytes };
        if let Some(node) = node {
            memory.bind(node)?;
        }
        for (number, element) in (0..).zip(memory.elements_mut()) {
            *element = number;
        }
        if let Some(node) = node {
            memory.check(node)?;
        }
        Ok(memory)
    }

    /// So many bytes, touched first by the calling thread while it may only run on that node.
    pub fn touched_on(node: usize, bytes: u64, topology: &Topology) -> Result<Self> {
        let anywhere = affinity().context("the kernel does not tell where a thread may run")?;
        set_affinity(&cpus_of(node, topology))
            .with_context(|| format!("a thread cannot be put on node {node}"))?;
        let memory = Memory::new(bytes, None);
        set_affinity(&anywhere).context("a thread cannot be let go again")?;
        let memory = memory?;
        memory.check(node)?;
        Ok(memory)
    }

    /// Has the pages, none of which is there yet, come from the node when they are touched.
    fn bind(&self, node: usize) -> Result<()> {
        let mut mask: Vec<libc::c_ulong> = vec![0; node / MASK_BITS + 1];
        mask[node / MASK_BITS] |= 1 << (node % MASK_BITS);
        // The kernel takes one bit less than it is told.
        let bits = mask.len() * MASK_BITS + 1;
        // SAFETY: the range is this mapping, and the kernel only reads the mask, of which it is told the length.
        let bound = unsafe {
            libc::syscall(
                libc::SYS_mbind,
                self.start.as_ptr(),
                self.bytes,
                libc::MPOL_BIND,
                mask.as_ptr(),
                bits,
                0,
            )
        };
        if bound != 0 {
            return Err(io::Error::last_os_error())
                .with_context(|| format!("memory cannot be bound to node {node}"));
        }
        Ok(())
    }

    /// Whether the first page is where it should be.
    fn check(&self, node: usize) -> Result<()> {
        let mut is_on: libc::c_int = -1;
        // SAFETY: with these flags the kernel writes the number of the node that has the page at the address into
        // `is_on`, and no mask, which is null.
        let told = unsafe {
            libc::syscall(
                libc::SYS_get_mempolicy,
                &mut is_on,
                ptr::null_mut::<libc::c_ulong>(),
                0,
                self.start.as_ptr(),
                MPOL_F_NODE | MPOL_F_ADDR,
            )
        };
        if told != 0 {
            return Err(io::Error::last_os_error())
                .context("the kernel does not tell where memory is");
        }
        if usize::try_from(is_on) != Ok(node) {
            bail!("memory that should be on node {node} is on node {is_on}");
        }
        Ok(())
    }

    fn elements(&self) -> &[u64] {
        // SAFETY: the mapping has so many elements, is aligned to a page, lives as long as `self`, and is read through
        // this alone; its pages were zeros at first, so all of it is initialised.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.bytes / ELEMENT_BYTES) }
    }

    fn elements_mut(&mut self) -> &mut [u64] {
        // SAFETY: as in `elements`, and `self` is borrowed for writing.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes / ELEMENT_BYTES) }
    }

    /// The sum of all that is in it.
    pub fn sum(&self) -> u64 {
        sum(self.elements())
    }

    /// The sum of what is in one of its parts of at most `bytes`; parts that are not there come round again.
    pub fn sum_part(&self, part: usize, bytes: usize) -> u64 {
        let elements = self.elements();
        let length = (bytes / ELEMENT_BYTES).clamp(1, elements.len());
        let start = part % (elements.len() / length) * length;
        sum(&elements[start..start + length])
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is our own, and no reference into it outlives `self`.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.bytes);
        }
    }
}

/// The CPUs on which the calling thread may run.
pub fn affinity() -> io::Result<libc::cpu_set_t> {
    let mut cpus = cpu_set(iter::empty());
    // SAFETY: 0 names the calling thread, and the kernel writes into the set, of which it is told the size.
    match unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut cpus) } {
        0 => Ok(cpus),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set_affinity(cpus: &libc::cpu_set_t) -> io::Result<()> {
    set_affinity_of(0, cpus)
}

/// Has a thread run on these CPUs only; 0 is the calling one.
pub fn set_affinity_of(thread: i32, cpus: &libc::cpu_set_t) -> io::Result<()> {
    // SAFETY: the kernel only reads the set, of which it is told the size.
    match unsafe { libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), cpus) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The CPUs of a node that are online.
pub fn cpus_of(node: usize, topology: &Topology) -> libc::cpu_set_t {
    let online = topology.online().iter().copied();
    cpu_set(online.filter(|&cpu| topology.node_of(cpu) == Some(node)))
}

fn sum(elements: &[u64]) -> u64 {
    elements
        .iter()
        .fold(0, |sum, element| sum.wrapping_add(*element))
}

/// A set of CPUs. It has no room for those above number 1023, which are left out.
fn cpu_set(cpus: impl Iterator<Item = usize>) -> libc::cpu_set_t {
    // SAFETY: the set is plain numbers, for which zeros are valid.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    let room = 8 * size_of::<libc::cpu_set_t>();
    for cpu in cpus.filter(|&cpu| cpu < room) {
        // SAFETY: the set is ours, and has room for the CPU.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_filled_and_summed() -> Result<()> {
        let memory = Memory::new(8192, None)?;
        assert_eq!(memory.sum(), 1023 * 1024 / 2);
        Ok(())
    }

    #[test]
    fn a_thread_is_let_go_after_its_first_touch() -> Result<()> {
        let topology = Topology::read()?;
        let before = affinity()?;
        // Where the kernel does not tell the page's node, in a sandbox, the thread must be let go all the same.
        let _ = Memory::touched_on(topology.node_numbers()[0], 8192, &topology);
        // SAFETY: both sets are ours and initialised.
        assert!(unsafe { libc::CPU_EQUAL(&before, &affinity()?) });
        Ok(())
    }

    #[test]
    fn parts_come_round_again() -> Result<()> {
        let memory = Memory::new(8192, None)?;
        let parts: u64 = (0..8).map(|part| memory.sum_part(part, 1024)).sum();
        assert_eq!(parts, memory.sum());
        assert_eq!(memory.sum_part(9, 1024), memory.sum_part(1, 1024));
        assert_eq!(memory.sum_part(3, 1 << 20), memory.sum());
        Ok(())
    }
}
