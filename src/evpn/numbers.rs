//! The 16-bit numbers of route distinguishers: unique per VNI and the same after a restart.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::Vni;

/// A number for every VNI of `vnis` (RFC 7432 §7.9: RD = router-id : number). Numbers in `kept`, as stored by an earlier
/// run, never change and are never given to another VNI; new VNIs get their low 16 bits, or the next free number where
/// those are taken. VNIs beyond 65,535 get none.
///
/// A new VNI whose low 16 bits are free gets them whatever other new VNIs there are, unless these share them: then the
/// lower VNI does.
pub fn assign_rd_numbers(kept: &BTreeMap<Vni, u16>, vnis: impl Iterator<Item = Vni>) -> BTreeMap<Vni, u16> {
    let mut used: BTreeSet<u16> = kept.values().copied().collect();
    let wanted: BTreeSet<Vni> = vnis.collect();
    let mut numbers = BTreeMap::new();
    let mut crowded = Vec::new();
    for vni in wanted {
        let natural = vni.get() as u16;
        if let Some(&number) = kept.get(&vni) {
            numbers.insert(vni, number);
        } else if natural != 0 && used.insert(natural) {
            numbers.insert(vni, natural);
        } else {
            crowded.push(vni);
        }
    }
    for vni in crowded {
        let start = vni.get() as u16;
        // Number 0 is left out: some implementations take it for "none".
        let free = (1..=u16::MAX).map(|step| start.wrapping_add(step)).find(|number| *number != 0 && !used.contains(number));
        if let Some(number) = free {
            used.insert(number);
            numbers.insert(vni, number);
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vni(number: u32) -> Vni {
        Vni::new(number).unwrap()
    }

    #[test]
    fn vnis_that_share_their_low_16_bits_get_two_numbers() {
        let numbers = assign_rd_numbers(&BTreeMap::new(), [vni(100), vni(65636), vni(101)].into_iter());
        assert_eq!(numbers[&vni(100)], 100);
        assert_eq!(numbers[&vni(101)], 101, "who has its natural number free gets it");
        assert_eq!(numbers[&vni(65636)], 102);
    }

    #[test]
    fn kept_numbers_do_not_change_in_whatever_order_vnis_come() {
        let first = assign_rd_numbers(&BTreeMap::new(), [vni(65636)].into_iter());
        assert_eq!(first[&vni(65636)], 100);
        let both = assign_rd_numbers(&first, [vni(100), vni(65636)].into_iter());
        assert_eq!((both[&vni(65636)], both[&vni(100)]), (100, 101));
        let other_order = assign_rd_numbers(&first, [vni(65636), vni(100)].into_iter());
        assert_eq!(both, other_order);
        let again = assign_rd_numbers(&both, [vni(100)].into_iter());
        assert_eq!(again[&vni(100)], 101, "also while the other is away");
    }

    #[test]
    fn numbers_are_unique_and_never_zero() {
        let vnis = (1..=70_000).map(|n| vni(n * 239 % 0x00ff_ffff));
        let numbers = assign_rd_numbers(&BTreeMap::new(), vnis);
        let unique: BTreeSet<u16> = numbers.values().copied().collect();
        assert_eq!((unique.len(), numbers.len()), (65_535, 65_535));
        assert!(!unique.contains(&0));
        assert_ne!(assign_rd_numbers(&BTreeMap::new(), [vni(65536)].into_iter())[&vni(65536)], 0);
    }
}
