//! Who has a MAC: the rules of RFC 7432 §15 (and rfc7432bis) as pure comparisons.
//!
//! In this order: a local static MAC, a sticky remote one, the higher sequence number, the lower VTEP address. All hosts
//! that see the same routes come to the same answer.

use std::cmp::Ordering;
use std::net::IpAddr;

/// What counts of a remote route for a MAC, or of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// May not move (RFC 7432 §15.2).
    pub sticky: bool,
    /// Sequence number of the MAC mobility community; 0 where it is absent.
    pub sequence: u32,
    /// The VTEP.
    pub vtep: IpAddr,
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
    /// 4: the lower VTEP address.
    Vtep,
    /// 5: another route of the same VTEP, equal in all of this.
    Same,
}

impl Step {
    /// The number and the words for the loser: "3: lower sequence".
    pub fn why_lost(self) -> &'static str {
        match self {
            Self::LocalStatic => "1: the MAC is static here",
            Self::Sticky => "2: not sticky",
            Self::Sequence => "3: lower sequence",
            Self::Vtep => "4: higher VTEP address",
            Self::Same => "5: the same VTEP has another route for it",
        }
    }
}

/// Compares sequence numbers over the wrap: 0 follows 2^32 - 1.
///
/// RFC 7432bis §15: an implementation must handle the wrap, and does not say how. Ours: serial numbers as in RFC 1982, which
/// are plain numbers as long as they lie less than 2^31 apart; exactly that far apart the larger one is newer.
pub fn compare_sequences(a: u32, b: u32) -> Ordering {
    match a.wrapping_sub(b) {
        0 => Ordering::Equal,
        0x8000_0000 => a.cmp(&b),
        distance if distance < 0x8000_0000 => Ordering::Greater,
        _ => Ordering::Less,
    }
}

/// The sequence number of a MAC that was learned where `sequence` stood.
pub fn next_sequence(sequence: u32) -> u32 {
    sequence.wrapping_add(1)
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
    match b.vtep.cmp(&a.vtep) {
        Ordering::Equal => (Ordering::Equal, Step::Same),
        order => (order, Step::Vtep),
    }
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
        Claim { sticky, sequence, vtep: IpAddr::from([10, 0, 0, last]) }
    }

    #[test]
    fn the_steps_in_their_order() {
        let cases = [
            (claim(true, 0, 9), claim(false, 7, 1), Step::Sticky),
            (claim(false, 7, 9), claim(false, 6, 1), Step::Sequence),
            (claim(false, 6, 1), claim(false, 6, 9), Step::Vtep),
            (claim(true, 6, 9), claim(true, 5, 1), Step::Sequence),
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
    fn sequences_compare_over_the_wrap() {
        assert_eq!(compare_sequences(0, u32::MAX), Ordering::Greater);
        assert_eq!(compare_sequences(next_sequence(u32::MAX), u32::MAX), Ordering::Greater);
        assert_eq!(compare_sequences(5, 4), Ordering::Greater);
        assert_eq!(compare_sequences(4, 5), Ordering::Less);
        assert_eq!(compare_sequences(0x8000_0000, 0), Ordering::Greater);
        assert_eq!(compare_sequences(0, 0x8000_0000), Ordering::Less);
    }
}
