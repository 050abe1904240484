//! Sequence numbers of MAC mobility (RFC 7432 §7.7): 32 bits that wrap.

use std::cmp::Ordering;

/// Compares sequence numbers over the wrap: 0 follows 2^32 - 1.
///
/// RFC 7432 §15 does not say what follows 2^32 - 1. Ours: serial numbers as in RFC 1982, which are plain numbers as long as
/// they lie less than 2^31 apart; exactly that far apart the larger one is newer. A host that took the highest number for
/// the end would never get the MAC back. Peers that compare plain numbers (FRR) follow a wrapped one when the old host has
/// withdrawn: at once where that is one of ours, when its bridge has forgotten the MAC where it is theirs.
pub fn compare_sequences(a: u32, b: u32) -> Ordering {
    match a.wrapping_sub(b) {
        0 => Ordering::Equal,
        0x8000_0000 => a.cmp(&b),
        distance if distance < 0x8000_0000 => Ordering::Greater,
        _ => Ordering::Less,
    }
}

/// The sequence number of a MAC that was learned where `sequence` stood.
pub const fn next_sequence(sequence: u32) -> u32 {
    sequence.wrapping_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

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
