//! The long tables: MACs of the MAC-VRFs and paths of the BGP table.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::base::{MacAddr, Time, Vni};
use crate::control::{Duplicate, MacKind, MacView, Page, Reply, RouteView, RowState, page_size};
use crate::evpn::Place;
use crate::fib::Status;
use crate::rib::{PathView, PeerId, RouteKey};
use crate::wire::esi::Esi;

use super::Speaker;
use super::show::bad_cursor;

/// The MACs that contend for an address, each with those addresses.
type Contenders = BTreeMap<(Vni, MacAddr), Vec<IpAddr>>;

/// Which routes `show routes` wants.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    pub(super) route_type: Option<u8>,
    pub(super) vni: Option<Vni>,
    pub(super) rd: Option<String>,
    pub(super) neighbor: Option<IpAddr>,
}

impl Speaker {
    /// The cursor is `vni mac`, the last one shown.
    pub(super) fn show_macs(
        &self,
        vni: Option<Vni>,
        mac: Option<MacAddr>,
        duplicates: bool,
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Reply {
        if let Some(vni) = vni
            && !self.vnis.contains_key(&vni)
        {
            return Reply::NotFound { message: format!("no VNI {vni}") };
        }
        let after: Option<(Vni, MacAddr)> = match after {
            None => None,
            Some(text) => match text.split_once(' ').and_then(|(vni, mac)| Some((vni.parse().ok()?, mac.parse().ok()?))) {
                Some(cursor) => Some(cursor),
                None => return bad_cursor(text.to_owned()),
            },
        };
        let size = page_size(limit);
        let mut items = Vec::new();
        let contenders = self.evpn.contenders();
        for &id in self.vnis.keys() {
            if vni.is_some_and(|vni| vni != id) || after.is_some_and(|(vni, _)| id < vni) {
                continue;
            }
            let behind = after.and_then(|(vni, mac)| (vni == id).then_some(mac));
            let mut found: Vec<_> = match mac {
                Some(mac) => self.evpn.mac(id, mac).into_iter().collect(),
                None => self.evpn.macs(id).filter(|view| behind.is_none_or(|behind| view.mac > behind)).collect(),
            };
            found.retain(|view| !duplicates || view.duplicate || contenders.contains_key(&(id, view.mac)));
            // One more than the page, to know whether another follows.
            let wanted = size + 1 - items.len();
            if found.len() > wanted {
                found.select_nth_unstable_by_key(wanted, |view| view.mac);
                found.truncate(wanted);
            }
            found.sort_unstable_by_key(|view| view.mac);
            items.extend(found.into_iter().map(|view| (id, view)));
            if items.len() > size {
                items.truncate(size);
                let next = items.last().map(|(vni, view)| format!("{vni} {}", view.mac));
                return Reply::Macs(Page::new(self.mac_views(items, &contenders), next));
            }
        }
        if items.is_empty()
            && !duplicates
            && let Some(mac) = mac
        {
            return Reply::NotFound { message: format!("no MAC {mac}") };
        }
        Reply::Macs(Page::last(self.mac_views(items, &contenders)))
    }

    fn mac_views(&self, macs: Vec<(Vni, crate::evpn::MacView)>, contenders: &Contenders) -> Vec<MacView> {
        let contends = |vni, mac| contenders.get(&(vni, mac)).cloned().unwrap_or_default();
        macs.into_iter().map(|(vni, mac)| MacView { duplicate_ips: contends(vni, mac.mac), ..self.mac_view(vni, mac) }).collect()
    }

    fn mac_view(&self, vni: Vni, mac: crate::evpn::MacView) -> MacView {
        let found = self.fib.unicast(vni, mac.mac).filter(|row| row.wanted.is_some());
        let row = found.map_or(RowState::None, |row| match row.status {
            Status::InSync => RowState::InSync,
            Status::Dirty | Status::Unconfirmed | Status::Deferred | Status::NoDevice => RowState::Dirty,
            Status::InFlight => RowState::InFlight,
            Status::Failed { .. } => RowState::Failed,
            Status::OnDemand => RowState::OnDemand,
            Status::Operator | Status::Ipv6Off => RowState::None,
        });
        let (kind, port, vtep) = match mac.place {
            Place::Port(port) => (MacKind::Local, Some(port).filter(|name| !name.is_empty()), None),
            Place::Vtep(vtep) => (MacKind::Remote, None, Some(vtep)),
        };
        MacView {
            vni,
            mac: mac.mac,
            kind,
            port,
            vtep,
            remote_vni: found.and_then(|row| row.wanted?.vni),
            sequence: mac.sequence,
            sticky: mac.sticky,
            duplicate: mac.duplicate.then(|| if self.evpn.duplicates().1 { Duplicate::Frozen } else { Duplicate::Warned }),
            ips: self.evpn.ips(&self.rib, vni, mac.mac),
            duplicate_ips: Vec::new(),
            row,
        }
    }

    /// The cursor is the number of the last destination shown: ids are places in a table and grow with it.
    pub(super) fn show_routes(&self, now: Time, filter: &Filter, after: Option<&str>, limit: Option<u32>) -> Reply {
        let after = match after.map(str::parse::<u32>) {
            None => None,
            Some(Ok(number)) => Some(number),
            Some(Err(_)) => return bad_cursor(after.unwrap_or_default().to_owned()),
        };
        let peer = match filter.neighbor {
            None => None,
            Some(address) => match self.peers.by_address(address) {
                Some(peer) => Some(peer.id),
                None => return Reply::NotFound { message: format!("no neighbor {address}") },
            },
        };
        let size = page_size(limit);
        let mut items = Vec::new();
        for dest in self.rib.dests().skip_while(|dest| after.is_some_and(|after| dest.0 <= after)) {
            let key = self.rib.key(dest);
            if filter.route_type.is_some_and(|wanted| wanted != key.route_type()) {
                continue;
            }
            if filter.rd.is_some() && key.rd().map(|rd| rd.to_string()) != filter.rd {
                continue;
            }
            let best = self.rib.best(dest);
            for path in self.rib.paths(dest) {
                if peer.is_some_and(|peer| peer != path.peer) {
                    continue;
                }
                let is_best = best.is_some_and(|best| best.peer == path.peer);
                let view = self.route_view(now, &key, &path, is_best);
                if filter.vni.is_some_and(|vni| view.vni != Some(vni.get()) && !self.evpn.imports(&self.rib, vni, path.attr)) {
                    continue;
                }
                items.push(view);
            }
            if items.len() >= size {
                // A destination's paths stay together, so a page may hold a few more.
                return Reply::Routes(Page::new(in_order(items), Some(dest.0.to_string())));
            }
        }
        Reply::Routes(Page::last(in_order(items)))
    }

    fn route_view(&self, now: Time, key: &RouteKey, path: &PathView, best: bool) -> RouteView {
        let attributes = self.rib.attributes(path.attr);
        let label = match key {
            RouteKey::Imet { .. } => attributes.pmsi.as_ref().map(|pmsi| pmsi.label),
            RouteKey::EthernetSegment { .. } | RouteKey::Unknown { .. } => None,
            _ => Some(path.label1),
        };
        let mut other: Vec<String> = Vec::new();
        other.extend(attributes.communities.iter().map(|c| format!("community {}:{}", c >> 16, c & 0xffff)));
        other.extend(attributes.large_communities.iter().map(|[a, b, c]| format!("large community {a}:{b}:{c}")));
        other.extend(
            attributes.unknown.iter().map(|unknown| format!("attribute {} ({} octets)", unknown.code, unknown.value.len())),
        );
        let mobility = attributes.mac_mobility();
        RouteView {
            route_type: key.route_type(),
            key: key.to_string(),
            rd: key.rd().map(|rd| rd.to_string()).unwrap_or_default(),
            vni: label,
            second_label: path.label2,
            esi: (path.esi != Esi::default()).then(|| path.esi.to_string()),
            next_hop: attributes.next_hop,
            neighbor: if path.peer == PeerId::LOCAL { None } else { self.peers.by_id(path.peer).map(|peer| peer.address) },
            best,
            stale: path.stale,
            age_secs: now.secs_since(path.received),
            as_path: attributes.as_path.to_string(),
            local_pref: attributes.local_pref,
            med: attributes.med,
            route_targets: attributes.route_targets().map(|target| target.to_string()).collect(),
            encapsulation: attributes.encapsulation(),
            sequence: mobility.map(|(_, sequence)| sequence),
            sticky: mobility.is_some_and(|(sticky, _)| sticky),
            originator_id: attributes.originator_id,
            cluster_list: attributes.cluster_list.clone(),
            group: attributes.pmsi.as_ref().and_then(|pmsi| pmsi.group()),
            other,
        }
    }
}

/// Each page in the order in which people look for routes; the pages follow one another in the order of the table.
fn in_order(mut items: Vec<RouteView>) -> Vec<RouteView> {
    items.sort_by(|a, b| (a.route_type, &a.rd, &a.key).cmp(&(b.route_type, &b.rd, &b.key)));
    items
}
