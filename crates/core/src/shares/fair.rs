//! How many parts of a limit each process should have.

use crate::records::WHOLE;

/// Smallest need of a process that uses little, in parts.
const LEAST: u32 = WHOLE / 64;

/// Returns the parts that a process could use which lately used `used` parts of its `share`: all if that is most of what
/// it has, otherwise a power of two of the limit that leaves a fifth unused. Powers of two, so that small changes of the
/// rate don't move parts to and fro.
pub fn need(used: f64, share: u32) -> u32 {
    if used >= f64::from(share) * 0.8 {
        return WHOLE;
    }
    let mut need = LEAST;
    while f64::from(need) < used * 1.25 && need < WHOLE {
        need *= 2;
    }
    need.min(WHOLE)
}

/// Returns the parts of each process: what it needs where that leaves enough for the others, otherwise as much as any
/// other one gets. What nobody needs is divided equally. The sum is at most [`WHOLE`].
pub fn fair(needs: &[u32]) -> Vec<u32> {
    let mut order: Vec<usize> =
        (0..needs.len()).filter(|place| needs.get(*place).is_some_and(|need| *need > 0)).collect();
    order.sort_by_key(|place| needs.get(*place));
    let mut shares = vec![0; needs.len()];
    let mut left = WHOLE;
    let mut waiting = parts(order.len());
    for place in &order {
        let need = needs.get(*place).copied().unwrap_or_default();
        let given = need.min(left / waiting);
        if let Some(share) = shares.get_mut(*place) {
            *share = given;
        }
        left -= given;
        waiting -= 1;
    }
    let more = left.checked_div(parts(order.len())).unwrap_or_default();
    for place in order {
        if let Some(share) = shares.get_mut(place) {
            *share += more;
        }
    }
    shares
}

fn parts(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn needs_are_met_where_the_limit_is_enough() {
        const W: u32 = WHOLE;
        for (needs, expected) in [
            (&[][..], &[][..]),
            (&[0], &[0]),
            (&[1], &[W]),
            (&[W], &[W]),
            (&[W, W], &[W / 2, W / 2]),
            (&[W, W, W], &[333_333, 333_333, 333_334]),
            (&[W, W / 4, 0], &[W * 3 / 4, W / 4, 0]),
            (&[W / 8, W, W / 4, W], &[125_000, 312_500, 250_000, 312_500]),
            (&[W / 4, W / 4], &[W / 2, W / 2]),
        ] {
            assert_eq!(fair(needs), expected, "{needs:?}");
        }
    }

    #[test]
    fn who_uses_what_it_has_needs_more() {
        for (used, share, expected) in [
            (0.0, 500_000, LEAST),
            (100_000.0, 500_000, LEAST * 8),
            (450_000.0, 500_000, WHOLE),
            (0.0, 0, WHOLE),
            (700_000.0, 1_000_000, LEAST * 64),
        ] {
            assert_eq!(need(used, share), expected, "{used} of {share}");
        }
    }

    proptest! {
        #[test]
        fn no_more_than_the_limit_is_given_and_nearly_all_of_it(needs in prop::collection::vec(0..=WHOLE, 0..200)) {
            let shares = fair(&needs);
            let sum: u32 = shares.iter().sum();
            prop_assert!(sum <= WHOLE);
            let active = needs.iter().filter(|need| **need > 0).count();
            prop_assert!(active == 0 || sum + 200 >= WHOLE, "{sum}");
            // Nobody gets less than its need while another one gets more.
            for (need, share) in needs.iter().zip(&shares) {
                let most = shares.iter().max().copied().unwrap_or_default();
                prop_assert!(share >= need || share + 200 >= most, "{share} of {need}, {most}");
            }
        }
    }
}
