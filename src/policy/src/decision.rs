//! What goes out.

use core::num::NonZeroU16;

use crate::Class;

/// A CPU by its number. An option of one is no longer than it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu(NonZeroU16);

impl Cpu {
    /// The CPU of this number; none has the number 65,535.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(!number) {
            Some(inverse) => Some(Cpu(inverse)),
            None => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        !self.0.get()
    }
}

/// Run this G, of these generations, there, for this slice, by then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Virtual time that orders the G if the named generation still waits, on the scale of the
    /// clock of the node whose P decided.
    pub deadline: u64,
    /// Added to the G's virtual time to order the generations that the lease covers.
    pub deadline_offset: u64,
    /// How long the G may run before it is enqueued anew.
    pub slice_ns: u64,
    /// Kept with the G and handed back in its next event.
    pub cookie: u64,
    /// The G.
    pub pid: u32,
    /// The first generation that this decision is for.
    pub generation: u32,
    /// How many generations after the first it also covers.
    pub lease: u16,
    /// Where the G is to run.
    pub node: u16,
    /// A CPU of that node, or whichever of them comes first.
    pub cpu: Option<Cpu>,
    /// What the G is taken for.
    pub class: Class,
}
