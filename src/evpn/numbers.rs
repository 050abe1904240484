//! The 16-bit numbers of route distinguishers: unique per VNI and the same after a restart.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::Vni;

/// Numbers of VNIs that are not there, kept for when they come again: hooks add theirs after every start.
const ABSENT: usize = 16 * 1024;

/// A number for every VNI of `here` (RFC 7432 §7.9: RD = router-id : number), and those of `kept`, as stored by an earlier run
/// or given before, for VNIs that may come again. No two VNIs have the same, and none has one of `taken`, which stand in route
/// distinguishers of the configuration.
///
/// A number in `kept` does not change, unless it is in `taken`. New VNIs get their low 16 bits, or the next free number where
/// those are not free; of new VNIs that share them the lowest does. Of VNIs that are not there at most 16,384 are kept, and
/// fewer where no other number is free.
pub fn assign_rd_numbers(
    kept: &BTreeMap<Vni, u16>,
    here: impl Iterator<Item = Vni>,
    taken: &BTreeSet<u16>,
) -> BTreeMap<Vni, u16> {
    let here: BTreeSet<Vni> = here.collect();
    // Number 0 is left out: some implementations take it for "none".
    let mut used = taken.clone();
    used.insert(0);
    let (mut numbers, mut absent) = (BTreeMap::new(), Vec::new());
    for (&vni, &number) in kept.iter().filter(|(vni, _)| here.contains(vni)) {
        if used.insert(number) {
            numbers.insert(vni, number);
        }
    }
    for (&vni, &number) in kept.iter().filter(|(vni, _)| !here.contains(vni)) {
        if absent.len() < ABSENT && used.insert(number) {
            numbers.insert(vni, number);
            absent.push(vni);
        }
    }
    let mut crowded = Vec::new();
    for vni in here {
        let natural = vni.get() as u16;
        if numbers.contains_key(&vni) {
            continue;
        }
        if used.insert(natural) {
            numbers.insert(vni, natural);
        } else {
            crowded.push(vni);
        }
    }
    for vni in crowded {
        let start = vni.get() as u16;
        let free = (1..=u16::MAX).map(|step| start.wrapping_add(step)).find(|number| !used.contains(number));
        let number = free.or_else(|| absent.pop().and_then(|other| numbers.remove(&other)));
        if let Some(number) = number {
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

    fn assign(kept: &BTreeMap<Vni, u16>, here: impl IntoIterator<Item = Vni>) -> BTreeMap<Vni, u16> {
        assign_rd_numbers(kept, here.into_iter(), &BTreeSet::new())
    }

    #[test]
    fn vnis_that_share_their_low_16_bits_get_two_numbers() {
        let numbers = assign(&BTreeMap::new(), [vni(100), vni(65636), vni(101)]);
        assert_eq!(numbers[&vni(100)], 100);
        assert_eq!(numbers[&vni(101)], 101, "who has its natural number free gets it");
        assert_eq!(numbers[&vni(65636)], 102);
    }

    #[test]
    fn kept_numbers_do_not_change_in_whatever_order_vnis_come() {
        let first = assign(&BTreeMap::new(), [vni(65636)]);
        assert_eq!(first[&vni(65636)], 100);
        let both = assign(&first, [vni(100), vni(65636)]);
        assert_eq!((both[&vni(65636)], both[&vni(100)]), (100, 101));
        let other_order = assign(&first, [vni(65636), vni(100)]);
        assert_eq!(both, other_order);
        let again = assign(&both, [vni(100)]);
        assert_eq!(again, both, "also while the other is away, and it has its own when it is back");
    }

    #[test]
    fn numbers_are_unique_and_never_zero() {
        let vnis = (1..=70_000).map(|n| vni(n * 239 % 0x00ff_ffff));
        let numbers = assign(&BTreeMap::new(), vnis);
        let unique: BTreeSet<u16> = numbers.values().copied().collect();
        assert_eq!((unique.len(), numbers.len()), (65_535, 65_535));
        assert!(!unique.contains(&0));
        assert_ne!(assign(&BTreeMap::new(), [vni(65536)])[&vni(65536)], 0);
    }
    #[test]
    fn a_number_of_the_configuration_is_nobody_elses() {
        let taken = BTreeSet::from([200, 201]);
        let numbers = assign_rd_numbers(&BTreeMap::new(), [vni(200), vni(300)].into_iter(), &taken);
        assert_eq!((numbers[&vni(200)], numbers[&vni(300)]), (202, 300));
        let kept = BTreeMap::from([(vni(200), 200), (vni(7), 201)]);
        let numbers = assign_rd_numbers(&kept, [vni(200)].into_iter(), &taken);
        assert_eq!(numbers, BTreeMap::from([(vni(200), 202)]), "also one that an earlier run gave");
    }

    #[test]
    fn a_state_file_with_a_number_twice_is_put_right() {
        let kept = BTreeMap::from([(vni(1), 9), (vni(2), 9), (vni(3), 0)]);
        let numbers = assign(&kept, [vni(2), vni(3)]);
        assert_eq!((numbers[&vni(2)], numbers[&vni(3)], numbers.len()), (9, 3, 2), "who is here has it");
    }

    #[test]
    fn vnis_that_are_away_leave_room() {
        let everybody = assign(&BTreeMap::new(), (1..=65_535).map(vni));
        let some = assign(&everybody, (60_001..=65_535).map(vni));
        assert_eq!(some.len(), 5_535 + ABSENT);
        let full = assign(&BTreeMap::new(), (1..=65_534).map(vni));
        let last = BTreeMap::from_iter(full.into_iter().chain([(vni(70_000), 65_535)]));
        let numbers = assign(&last, (1..=65_534).chain([65_536]).map(vni));
        assert_eq!(numbers.get(&vni(65_536)), Some(&65_535), "the number of one that is away, where no other is free");
        assert_eq!((numbers.get(&vni(70_000)), numbers.len()), (None, 65_535));
    }
}
