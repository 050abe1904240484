//! Who has a MAC: the rules of RFC 7432 §15 (and rfc7432bis) as pure comparisons.
//!
//! In this order: a local static MAC, a sticky remote one, the higher sequence number, one that is not only kept for a host that
//! is lost (RFC 9494 §4.3), the lower VTEP address. All hosts that see the same routes come to the same answer.

use std::cmp::Ordering;
use std::net::IpAddr;

use crate::base::compare_sequences;

/// What counts of a remote route for a MAC, or of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// May not move (RFC 7432 §15.2).
    pub sticky: bool,
    /// Sequence number of the MAC mobility community; 0 where it is absent.
    pub sequence: u32,
    /// Its session was lost long ago somewhere, and it is kept as the last resort (LLGR_STALE).
    pub stale: bool,
    /// The VTEP.
    pub vtep: IpAddr,
}

impl Claim {
    /// A MAC or an address of this host.
    pub fn of_ours(sticky: bool, sequence: u32, vtep: IpAddr) -> Self {
        Self { sticky, sequence, stale: false, vtep }
    }
}

/// At which step one claim beat another. The numbers are those that `explain` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// 1: a local static MAC stays.
    LocalStatic,
    /// 2: sticky beats dynamic.
    Sticky,
    /// 3: the higher sequence number.
    Sequence,
    /// 4: one that its host still announces beats one that is kept in its absence (RFC 9494 §4.3: least preferred).
    Stale,
    /// 5: the lower VTEP address.
    Vtep,
    /// 6: another route of the same VTEP, equal in all of this.
    Same,
}

impl Step {
    /// The number and the words for the loser: "3: lower sequence".
    pub fn why_lost(self) -> &'static str {
        match self {
            Self::LocalStatic => "1: the MAC is static here",
            Self::Sticky => "2: not sticky",
            Self::Sequence => "3: lower sequence",
            Self::Stale => "4: kept for a host that is lost (LLGR_STALE)",
            Self::Vtep => "5: higher VTEP address",
            Self::Same => "6: the same VTEP has another route for it",
        }
    }
}

/// Whether `a` beats `b` (`Greater`), and at which step.
pub fn compare(a: &Claim, b: &Claim) -> (Ordering, Step) {
    if a.sticky != b.sticky {
        return (a.sticky.cmp(&b.sticky), Step::Sticky);
    }
    match compare_sequences(a.sequence, b.sequence) {
        Ordering::Equal => {}
        order => return (order, Step::Sequence),
    }
    if a.stale != b.stale {
        return (b.stale.cmp(&a.stale), Step::Stale);
    }
    match b.vtep.cmp(&a.vtep) {
        Ordering::Equal => (Ordering::Equal, Step::Same),
        order => (order, Step::Vtep),
    }
}

/// The best of several: it beats every other. RFC 1982 §3.2 leaves the order of numbers that go all the way round undefined:
/// of 0, 2^31 - 1 and 2^32 - 2 each follows another. Only forged ones do; then plain numbers decide, so that all
/// hosts come to the same answer in whatever order the routes came. `tie` orders what is equal in all of this.
pub fn winner<T>(all: &[T], claim: impl Fn(&T) -> &Claim, tie: impl Fn(&T, &T) -> Ordering) -> Option<&T> {
    let order = |a: &T, b: &T| compare(claim(a), claim(b)).0.then_with(|| tie(a, b));
    let best = all.iter().reduce(|best, other| if order(other, best).is_gt() { other } else { best })?;
    if all.iter().all(|other| order(other, best).is_le()) {
        return Some(best);
    }
    let plain = |t: &T| (claim(t).sticky, claim(t).sequence, std::cmp::Reverse((claim(t).stale, claim(t).vtep)));
    all.iter().max_by(|a, b| plain(a).cmp(&plain(b)).then_with(|| tie(a, b)))
}

/// Whether our own MAC stays against the best remote claim, and which step decided.
pub fn local_stays(local: &Claim, remote: &Claim) -> (bool, Step) {
    if local.sticky {
        return (true, Step::LocalStatic);
    }
    let (order, step) = compare(local, remote);
    (order == Ordering::Greater, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(sticky: bool, sequence: u32, last: u8) -> Claim {
        Claim::of_ours(sticky, sequence, IpAddr::from([10, 0, 0, last]))
    }

    fn stale(claim: Claim) -> Claim {
        Claim { stale: true, ..claim }
    }

    #[test]
    fn the_steps_in_their_order() {
        let cases = [
            (claim(true, 0, 9), claim(false, 7, 1), Step::Sticky),
            (claim(false, 7, 9), claim(false, 6, 1), Step::Sequence),
            (claim(false, 6, 1), claim(false, 6, 9), Step::Vtep),
            (claim(true, 6, 9), claim(true, 5, 1), Step::Sequence),
            (claim(true, 5, 9), stale(claim(true, 5, 1)), Step::Stale),
            (stale(claim(false, 7, 9)), claim(false, 6, 1), Step::Sequence),
            (stale(claim(false, 6, 1)), stale(claim(false, 6, 9)), Step::Vtep),
        ];
        for (winner, loser, step) in cases {
            assert_eq!(compare(&winner, &loser), (Ordering::Greater, step));
            assert_eq!(compare(&loser, &winner), (Ordering::Less, step));
        }
        assert_eq!(compare(&claim(false, 1, 1), &claim(false, 1, 1)), (Ordering::Equal, Step::Same));
    }

    #[test]
    fn a_static_mac_stays_whatever_comes_and_a_dynamic_one_yields_to_the_better() {
        assert_eq!(local_stays(&claim(true, 0, 9), &claim(true, 100, 1)), (true, Step::LocalStatic));
        assert_eq!(local_stays(&claim(false, 9, 1), &claim(true, 0, 9)), (false, Step::Sticky));
        assert_eq!(local_stays(&claim(false, 1, 1), &claim(false, 1, 9)), (true, Step::Vtep));
        assert_eq!(local_stays(&claim(false, 1, 9), &claim(false, 1, 1)), (false, Step::Vtep));
        assert_eq!(local_stays(&claim(false, 2, 9), &claim(false, 1, 1)), (true, Step::Sequence));
    }

    #[test]
    fn all_orders_of_the_same_claims_have_the_same_winner() {
        let numbers = [
            [5, 6, 7],
            [u32::MAX - 1, u32::MAX, 0],
            [0, 0x7fff_ffff, 0xffff_fffe],
            [0, 0x5555_5555, 0xaaaa_aaaa],
            [0x8000_0000, 0, 1],
        ];
        let expected = [7, 0, 0xffff_fffe, 0xaaaa_aaaa, 0x8000_0000];
        for (numbers, expected) in numbers.into_iter().zip(expected) {
            let claims: Vec<Claim> = numbers.into_iter().zip([3, 1, 2]).map(|(n, last)| claim(false, n, last)).collect();
            for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
                let all = order.map(|at| claims[at]);
                let won = winner(&all, |claim| claim, |_, _| Ordering::Equal).map(|claim| claim.sequence);
                assert_eq!(won, Some(expected), "{numbers:?} as {order:?}");
            }
        }
    }
}
