//! Units as types: bytes, 512-byte sectors and extents never mix by accident.

use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};

/// log2 of the sector size.
pub const SECTOR_SHIFT: u32 = 9;
/// Bytes per sector. The on-disk format always counts 512-byte sectors, whatever the device's
/// logical block size is.
pub const SECTOR_SIZE: u64 = 1 << SECTOR_SHIFT;

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
        pub struct $name(pub $inner);

        impl $name {
            /// Nothing.
            pub const ZERO: Self = Self(0);
            /// Sum, or `None` on overflow.
            pub fn checked_add(self, o: Self) -> Option<Self> {
                self.0.checked_add(o.0).map(Self)
            }
            /// Difference, or `None` if it would be negative.
            pub fn checked_sub(self, o: Self) -> Option<Self> {
                self.0.checked_sub(o.0).map(Self)
            }
            /// Difference, zero at the least.
            pub fn saturating_sub(self, o: Self) -> Self {
                Self(self.0.saturating_sub(o.0))
            }
            /// True for zero.
            pub fn is_zero(self) -> bool {
                self.0 == 0
            }
            /// The number as u64.
            pub fn get(self) -> u64 {
                u64::from(self.0)
            }
        }
        impl Add for $name {
            type Output = Self;
            fn add(self, o: Self) -> Self {
                Self(self.0 + o.0)
            }
        }
        impl Sub for $name {
            type Output = Self;
            fn sub(self, o: Self) -> Self {
                Self(self.0 - o.0)
            }
        }
        impl AddAssign for $name {
            fn add_assign(&mut self, o: Self) {
                self.0 += o.0;
            }
        }
        impl SubAssign for $name {
            fn sub_assign(&mut self, o: Self) {
                self.0 -= o.0;
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

unit! {
    /// A count of bytes or a byte offset.
    Bytes(u64)
}
unit! {
    /// A count of 512-byte sectors or a sector number.
    Sectors(u64)
}
unit! {
    /// A count of extents or an extent number (physical or logical, as the field says).
    Extents(u32)
}

impl Sectors {
    /// In bytes; `None` when it does not fit 64 bits.
    pub fn to_bytes(self) -> Option<Bytes> {
        self.0.checked_mul(SECTOR_SIZE).map(Bytes)
    }
}

impl Bytes {
    /// Whole sectors, rounded down.
    pub fn sectors_floor(self) -> Sectors {
        Sectors(self.0 >> SECTOR_SHIFT)
    }
    /// Whole sectors, rounded up.
    pub fn sectors_ceil(self) -> Sectors {
        Sectors(self.0.div_ceil(SECTOR_SIZE))
    }
}

impl Extents {
    /// Size in sectors of so many extents of `extent_size`; saturates (a checked VG never does).
    pub fn to_sectors(self, extent_size: Sectors) -> Sectors {
        Sectors(u64::from(self.0).saturating_mul(extent_size.0))
    }
}
