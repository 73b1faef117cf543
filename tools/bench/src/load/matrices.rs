//! The work of a request in `wake`: matrices to multiply, and the lock of the CPU under which it is done.

use std::hint::{black_box, spin_loop};
use std::iter;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Result;

/// Factor matrices, and their product, share the cache footprint.
const MATRICES: u64 = 3;
/// Of one matrix element.
const ELEMENT_BYTES: u64 = 8;

/// A worker's matrices: two factors and their product, square.
pub struct Matrices {
    /// Rows, and columns.
    size: usize,
    left: Vec<u64>,
    right: Vec<u64>,
    /// Atomic so that each partial sum is really stored, as in schbench, whose compiler must expect the product to
    /// overlap the factors. The time of a multiplication is part of what is compared.
    product: Vec<AtomicU64>,
}

impl Matrices {
    /// Matrices that fill so many KB.
    pub fn new(footprint_kb: u64) -> Result<Self> {
        let size = ((footprint_kb << 10) / MATRICES / ELEMENT_BYTES).isqrt() as usize;
        let elements = size * size;
        // Written, not only asked for: otherwise the factors would all be the kernel's one page of zeros, and the
        // footprint a third of what was asked for.
        let filled = || -> Result<Vec<u64>> {
            let mut matrix = Vec::new();
            matrix.try_reserve_exact(elements)?;
            matrix.extend((1..=elements as u64).map(|n| n % 7));
            Ok(matrix)
        };
        let mut product = Vec::new();
        product.try_reserve_exact(elements)?;
        product.extend(iter::repeat_with(|| AtomicU64::new(1)).take(elements));
        Ok(Matrices {
            size,
            left: filled()?,
            right: filled()?,
            product,
        })
    }

    /// Multiplies once.
    #[inline(never)]
    pub fn multiply(&self) {
        let size = self.size;
        let rows = self
            .left
            .chunks_exact(size)
            .zip(self.product.chunks_exact(size));
        for (row, out) in rows {
            for (column, out) in (0..size).zip(out) {
                let mut sum = 0u64;
                for (a, right_row) in row.iter().zip(self.right.chunks_exact(size)) {
                    sum = sum.wrapping_add(a.wrapping_mul(right_row[column]));
                    out.store(sum, Ordering::Relaxed);
                    // Emits nothing, and keeps the compiler from unrolling: a step then takes the 8 instructions that
                    // it takes in schbench, which is what virtual time counts.
                    black_box(());
                }
            }
        }
    }
}

/// A spinlock for each CPU.
pub struct CpuLocks(Vec<CpuLock>);

#[derive(Default)]
#[repr(align(64))]
struct CpuLock(AtomicBool);

/// Unlocks when dropped.
pub struct Locked<'a>(&'a AtomicBool);

impl CpuLocks {
    /// One for each of so many CPUs.
    pub fn new(cpus: usize) -> Self {
        CpuLocks((0..cpus.max(1)).map(|_| CpuLock::default()).collect())
    }

    /// The lock of the CPU that the caller is on. It may be moved away at any time after.
    fn here(&self) -> (usize, &AtomicBool) {
        // SAFETY: sched_getcpu takes nothing and returns a number.
        let cpu = unsafe { libc::sched_getcpu() };
        // There is a lock for each possible CPU; the bound only spares the path a panic.
        let cpu = usize::try_from(cpu).unwrap_or(0).min(self.0.len() - 1);
        (cpu, &self.0[cpu].0)
    }

    /// Spins for the lock of the CPU that the caller is on; again with another when it was moved meanwhile.
    pub fn lock_this_cpu(&self) -> Locked<'_> {
        loop {
            let (cpu, lock) = self.here();
            while lock
                .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
                .is_err()
            {
                spin_loop();
            }
            let locked = Locked(lock);
            if self.here().0 == cpu {
                return locked;
            }
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_have_the_size_of_the_footprint_and_multiply() -> Result<()> {
        assert_eq!(Matrices::new(16)?.size, 26);
        assert_eq!(Matrices::new(256)?.size, 104);
        let matrices = Matrices {
            size: 2,
            left: vec![1, 2, 3, 4],
            right: vec![5, 6, 7, 8],
            product: (0..4).map(|_| AtomicU64::new(9)).collect(),
        };
        matrices.multiply();
        let product: Vec<u64> = matrices
            .product
            .into_iter()
            .map(AtomicU64::into_inner)
            .collect();
        assert_eq!(product, [19, 22, 43, 50]);
        Ok(())
    }

    #[test]
    fn a_lock_is_free_again_once_dropped() {
        let locks = CpuLocks::new(1);
        drop(locks.lock_this_cpu());
        let _held = locks.lock_this_cpu();
        assert!(locks.0[0].0.load(Ordering::Relaxed));
    }
}
