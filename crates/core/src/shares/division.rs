//! How the limits of a job are divided now, for people to see.

use crate::records::{Portions, ShareRecord, WHOLE};

/// How one limit is divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// Parts that processes hold, of [`WHOLE`].
    pub parts: u32,
    /// Processes that hold some.
    pub holders: u32,
    /// Processes that could use some and hold none yet.
    pub waiting: u32,
}

impl Shared {
    /// Returns the parts of a limit that processes hold, in its unit, rounded down.
    pub fn of_limit(&self, limit: u64) -> u64 {
        let held = u128::from(limit) * u128::from(self.parts.min(WHOLE)) / u128::from(WHOLE);
        u64::try_from(held).unwrap_or(limit)
    }

    fn add(&mut self, share: u32, need: u32) {
        self.parts = self.parts.saturating_add(share);
        self.holders += u32::from(share > 0);
        self.waiting += u32::from(share == 0 && need > 0);
    }
}

/// How both limits are divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Division {
    /// The bytes per second.
    pub bytes: Shared,
    /// The requests per second, to each side.
    pub requests: Shared,
}

impl Division {
    /// Adds up the shares of processes.
    pub fn of<'a>(shares: impl IntoIterator<Item = &'a ShareRecord>) -> Self {
        let mut sum = Self::default();
        for ShareRecord { share, need, revision: _ } in shares {
            let Portions { bytes, requests } = *share;
            sum.bytes.add(bytes, need.bytes);
            sum.requests.add(requests, need.requests);
        }
        sum
    }

    /// Returns true if no process holds or awaits a share.
    pub fn is_idle(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(share: (u32, u32), need: (u32, u32)) -> ShareRecord {
        let portions = |(bytes, requests)| Portions { bytes, requests };
        ShareRecord { revision: 1, share: portions(share), need: portions(need) }
    }

    #[test]
    fn shares_are_added_up_for_each_limit() {
        let records = [
            record((250_000, 0), (WHOLE, 0)),
            record((500_000, 0), (WHOLE, WHOLE)),
            record((0, 0), (WHOLE, 0)),
            record((0, 0), (0, 0)),
        ];
        let found = Division::of(&records);
        assert_eq!(found.bytes, Shared { parts: 750_000, holders: 2, waiting: 1 });
        assert_eq!(found.requests, Shared { parts: 0, holders: 0, waiting: 1 });
        assert!(!found.is_idle() && Division::of([]).is_idle());
    }

    #[test]
    fn parts_are_shown_in_the_unit_of_the_limit() {
        for (parts, limit, expected) in [
            (0, 10, 0),
            (WHOLE, 10 << 20, 10 << 20),
            (333_333, 10 << 20, 3_495_249),
            (999_999, 1, 0),
            (WHOLE, u64::MAX, u64::MAX),
            // A look at shares while parts move may show some twice.
            (WHOLE + 7, 50, 50),
        ] {
            assert_eq!(Shared { parts, ..Shared::default() }.of_limit(limit), expected, "{parts} of {limit}");
        }
    }
}
