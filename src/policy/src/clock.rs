//! Virtual times and generations wrap, so both are compared by the sign of their difference, as
//! the kernel's `time_before64` does. Two values compare rightly while they are less than half the
//! range apart; [`crate::Policy`] implementations keep deadlines near the node's clock for that.

/// Whether virtual time `a` comes before `b`.
#[must_use]
pub const fn before(a: u64, b: u64) -> bool {
    (a.wrapping_sub(b) as i64) < 0
}

/// How far `a` is ahead of `b`, negative if behind.
#[must_use]
pub const fn ahead(a: u64, b: u64) -> i64 {
    a.wrapping_sub(b) as i64
}

/// `base` moved by `by`, around the end of the range if need be.
#[must_use]
pub const fn moved(base: u64, by: i64) -> u64 {
    base.wrapping_add(by as u64)
}

/// How long ago `at_ns` was; 0 where another CPU's clock is a little ahead of `now_ns`.
#[must_use]
pub const fn waited_ns(now_ns: u64, at_ns: u64) -> u64 {
    now_ns.saturating_sub(at_ns)
}
