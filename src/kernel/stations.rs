//! The stations behind one VNI's local bridge ports: what was told to the core, and what is only not told.
//!
//! Pure. It exists because the kernel says too much (a MAC of this host's own interfaces is learned like any other, and
//! would be announced) and too little (when such an interface leaves for a container, its MAC is not told again).

use std::collections::{BTreeMap, BTreeSet};

use crate::base::MacAddr;

/// How many stations one VNI may have: what is heard above it is not told. The bridge has its own limits
/// (`fdb_max_learned`); this one keeps a flood of invented MACs from growing us without end.
pub(super) const LIMIT: usize = 1 << 20;

/// One station.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Station {
    /// ifindex of the port.
    pub port: u32,
    /// Set by the operator.
    pub is_static: bool,
}

/// Those of one VNI.
#[derive(Debug, Clone, Default)]
pub(super) struct Stations {
    /// Those told to the core.
    told: BTreeMap<MacAddr, Station>,
    /// Those of this host's own interfaces: known, not told.
    own: BTreeMap<MacAddr, Station>,
    /// MACs that changed while a dump runs: what the dump says of them is old.
    touched: Option<BTreeSet<MacAddr>>,
    /// How often [`LIMIT`] was hit.
    over_limit: u64,
    /// The same, since somebody took the number.
    refused: u64,
}

impl Stations {
    /// A port heard a MAC, or the operator set it. `own`: it is that of an interface of this host. Whether the core is to be told.
    pub(super) fn heard(&mut self, mac: MacAddr, station: Station, own: bool) -> bool {
        self.touch(mac);
        if own {
            self.own.insert(mac, station);
            return false;
        }
        if self.told.get(&mac) == Some(&station) {
            return false;
        }
        if self.told.len() >= LIMIT && !self.told.contains_key(&mac) {
            self.over_limit += 1;
            self.refused += 1;
            if self.over_limit.is_power_of_two() {
                tracing::warn!(%mac, limit = LIMIT, times = self.over_limit, "more local MACs in one VNI than the limit: not announced");
            }
            return false;
        }
        self.told.insert(mac, station);
        true
    }

    /// How often the limit was hit since this was asked last.
    pub(super) fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// A MAC is at no local port any more. Whether the core is to be told.
    pub(super) fn gone(&mut self, mac: MacAddr) -> bool {
        if self.told.is_empty() && self.own.is_empty() && self.touched.is_none() {
            return false;
        }
        self.touch(mac);
        self.own.remove(&mac);
        self.told.remove(&mac).is_some()
    }

    /// A MAC became that of an interface of this host. Whether the core is to be told that the station is gone.
    pub(super) fn became_own(&mut self, mac: MacAddr) -> bool {
        let Some(station) = self.told.remove(&mac) else { return false };
        self.touch(mac);
        self.own.insert(mac, station);
        true
    }

    /// A MAC is no longer that of an interface of this host: the station to tell, if a port hears it.
    pub(super) fn became_foreign(&mut self, mac: MacAddr) -> Option<Station> {
        let station = self.own.remove(&mac)?;
        self.heard(mac, station, false).then_some(station)
    }

    /// The port of a station that was told.
    pub(super) fn port(&self, mac: MacAddr) -> Option<u32> {
        self.told.get(&mac).map(|station| station.port)
    }

    /// A dump begins.
    pub(super) fn dump_begins(&mut self) {
        self.touched = Some(BTreeSet::new());
    }

    /// A dump ended with `found`: it is the truth but for what changed meanwhile; the whole truth where it is `complete`.
    pub(super) fn dump_ended(&mut self, found: Vec<(MacAddr, Station)>, complete: bool, own: impl Fn(MacAddr) -> bool) {
        let touched = self.touched.take().unwrap_or_default();
        if complete {
            self.told.retain(|mac, _| touched.contains(mac));
            self.own.retain(|mac, _| touched.contains(mac));
        }
        for (mac, station) in found.into_iter().filter(|(mac, _)| !touched.contains(mac)) {
            self.heard(mac, station, own(mac));
        }
    }

    /// Those told, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (MacAddr, Station)> {
        self.told.iter().map(|(mac, station)| (*mac, *station))
    }

    fn touch(&mut self, mac: MacAddr) {
        if let Some(touched) = &mut self.touched {
            touched.insert(mac);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const AT_3: Station = Station { port: 3, is_static: false };
    const AT_4: Station = Station { port: 4, is_static: false };

    #[test]
    fn a_station_is_told_once_and_again_when_it_moves() {
        let mut stations = Stations::default();
        assert!(stations.heard(A, AT_3, false));
        assert!(!stations.heard(A, AT_3, false));
        assert!(stations.heard(A, AT_4, false));
        assert!(stations.gone(A));
        assert!(!stations.gone(A));
    }

    #[test]
    fn an_interface_that_leaves_the_host_leaves_its_mac_as_a_station() {
        let mut stations = Stations::default();
        assert!(!stations.heard(A, AT_3, true));
        assert_eq!(stations.became_foreign(A), Some(AT_3));
        assert!(stations.became_own(A));
        assert!(!stations.gone(A));
        assert_eq!(stations.became_foreign(A), None);
    }

    #[test]
    fn what_changed_during_a_dump_beats_the_dump() {
        let mut stations = Stations::default();
        stations.heard(A, AT_3, false);
        stations.heard(MacAddr([2; 6]), AT_3, false);
        stations.dump_begins();
        stations.gone(A);
        stations.heard(B, AT_4, false);
        stations.dump_ended(vec![(A, AT_3), (B, AT_3)], true, |_| false);
        assert_eq!(stations.iter().collect::<Vec<_>>(), [(B, AT_4)]);
    }
}
