//! From route targets to the instances that import them.

use std::collections::BTreeMap;

use super::config::{ExportTarget, ImportTarget};
use crate::base::{Asn, Vni};
use crate::wire::ext_community::RouteTarget;

/// The index of import targets: instance numbers by what they want.
#[derive(Debug, Default)]
pub(super) struct Targets {
    /// Automatic import, by VNI. VNIs are unique, so one instance each.
    auto: BTreeMap<u32, u16>,
    exact: BTreeMap<RouteTarget, Vec<u16>>,
    any: BTreeMap<u32, Vec<u16>>,
}

impl Targets {
    /// Adds what one instance imports.
    pub fn add(&mut self, instance: u16, vni: Vni, import: &[ImportTarget]) {
        let put = |list: &mut Vec<u16>| {
            if let Err(at) = list.binary_search(&instance) {
                list.insert(at, instance);
            }
        };
        for target in import {
            match *target {
                ImportTarget::Auto => {
                    self.auto.insert(vni.get(), instance);
                }
                ImportTarget::Exact(target) => put(self.exact.entry(target).or_default()),
                ImportTarget::AnyAs { number } => put(self.any.entry(number).or_default()),
            }
        }
    }

    /// Takes an instance out.
    pub fn remove(&mut self, instance: u16) {
        let take = |list: &mut Vec<u16>| {
            list.retain(|other| *other != instance);
            !list.is_empty()
        };
        self.auto.retain(|_, other| *other != instance);
        self.exact.retain(|_, list| take(list));
        self.any.retain(|_, list| take(list));
    }

    /// The instances that import a route with these targets, each once and in order.
    pub fn instances(&self, targets: impl Iterator<Item = RouteTarget>) -> Vec<u16> {
        let mut found = Vec::new();
        for target in targets {
            for vni in vnis_of(target).into_iter().flatten() {
                found.extend(self.auto.get(&vni));
            }
            found.extend(self.exact.get(&target).into_iter().flatten());
            found.extend(self.any.get(&number_of(target)).into_iter().flatten());
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The VNIs that an automatic import may read from a target: the plain number, and the RFC 8365 §5.1.2.1 form, whose
/// number is A = 0 (1 bit), type = 1 for VXLAN (3 bits), domain (4 bits, any), VNI (24 bits). The AS is ignored, so that
/// fabrics with an AS per host work; the 4-octet-AS form counts where the VNI fits its 16 bits.
fn vnis_of(target: RouteTarget) -> [Option<u32>; 2] {
    match target {
        RouteTarget::As2 { number, .. } => {
            let rfc8365 = (number >> 28 == 1).then_some(number & Vni::MAX);
            [(number <= Vni::MAX).then_some(number), rfc8365]
        }
        RouteTarget::As4 { number, .. } => [Some(u32::from(number)), None],
        RouteTarget::Ipv4 { .. } => [None, None],
    }
}

fn number_of(target: RouteTarget) -> u32 {
    match target {
        RouteTarget::As2 { number, .. } => number,
        RouteTarget::As4 { number, .. } | RouteTarget::Ipv4 { number, .. } => u32::from(number),
    }
}

/// The route targets that an instance's own routes carry, in order and each once.
pub(super) fn export_targets(asn: Asn, vni: Vni, export: &[ExportTarget]) -> Vec<RouteTarget> {
    let each = export.iter().map(|target| match *target {
        ExportTarget::Auto => RouteTarget::As2 { asn: asn.0 as u16, number: vni.get() },
        ExportTarget::Exact(target) => target,
    });
    let mut targets: Vec<_> = each.collect();
    targets.sort_unstable();
    targets.dedup();
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets() -> Targets {
        let mut targets = Targets::default();
        let vni = |n| Vni::new(n).unwrap();
        targets.add(0, vni(100), &[ImportTarget::Auto]);
        targets.add(1, vni(200), &[ImportTarget::Exact(RouteTarget::As2 { asn: 65000, number: 7 })]);
        targets.add(2, vni(300), &[ImportTarget::AnyAs { number: 7 }, ImportTarget::Auto]);
        targets.add(3, vni(0x00ab_cdef), &[ImportTarget::Auto]);
        targets
    }

    fn find(target: RouteTarget) -> Vec<u16> {
        targets().instances([target].into_iter())
    }

    #[test]
    fn automatic_import_takes_any_as_in_both_forms() {
        for asn in [1, 65000] {
            assert_eq!(find(RouteTarget::As2 { asn, number: 100 }), [0]);
            assert_eq!(find(RouteTarget::As2 { asn, number: 0x1000_0000 | 100 }), [0]);
            assert_eq!(find(RouteTarget::As2 { asn, number: 0x1500_0000 | 100 }), [0], "any domain");
        }
        assert_eq!(find(RouteTarget::As2 { asn: 1, number: 0x10ab_cdef }), [3]);
        assert_eq!(find(RouteTarget::As4 { asn: 4_200_000_000, number: 100 }), [0]);
        assert!(find(RouteTarget::As2 { asn: 1, number: 0x2000_0000 | 100 }).is_empty(), "NVGRE");
        assert!(find(RouteTarget::As2 { asn: 1, number: 0x9000_0000 | 100 }).is_empty(), "manually derived");
        assert!(find(RouteTarget::Ipv4 { address: [10, 0, 0, 1].into(), number: 100 }).is_empty());
        assert!(find(RouteTarget::As2 { asn: 1, number: 101 }).is_empty());
    }

    #[test]
    fn manual_import_is_exact_or_by_number_and_each_instance_is_found_once() {
        assert_eq!(find(RouteTarget::As2 { asn: 65000, number: 7 }), [1, 2]);
        assert_eq!(find(RouteTarget::As2 { asn: 65001, number: 7 }), [2]);
        assert_eq!(find(RouteTarget::As4 { asn: 4_200_000_000, number: 7 }), [2]);
        let both = [RouteTarget::As2 { asn: 1, number: 300 }, RouteTarget::As2 { asn: 1, number: 7 }];
        assert_eq!(targets().instances(both.into_iter()), [2]);
        let mut targets = targets();
        targets.remove(2);
        assert!(targets.instances(both.into_iter()).is_empty());
    }

    #[test]
    fn automatic_export_has_the_low_16_bits_of_the_as() {
        let export = [ExportTarget::Auto, ExportTarget::Auto];
        let targets = export_targets(Asn(4_200_000_001), Vni::new(70_000).unwrap(), &export);
        assert_eq!(targets, [RouteTarget::As2 { asn: 4_200_000_001_u32 as u16, number: 70_000 }]);
    }
}
