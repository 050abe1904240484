//! What the daemon tells about itself: status, neighbors, VNIs, VTEPs. Routes and MACs are in `show_routes.rs`, what
//! must ask the kernel first in `show_kernel.rs`. Long tables are cut into pages; a cursor is a place in their order.

use std::collections::BTreeMap;

use crate::base::{MacAddr, Time, Vni};
use crate::control::{
    Count, MacCount, MessageCounts, NeighborView, Page, Place, Reply, Request, RowCounts, Status, VIOLATED, VniView, VtepView,
    page_size,
};
use crate::evpn::InstanceView;
use crate::fib::UnfitDevice;
use crate::fib::device::{DeviceState, ReadyDevice};
use crate::rib::PeerId;
use crate::session::State;

use super::{Action, Peer, RequestId, Speaker, VniState, adopt};

impl Speaker {
    /// The reply to `request`; `None` where it comes later.
    pub(super) fn answer(&mut self, now: Time, id: RequestId, request: Request) -> Option<Reply> {
        let is_change = matches!(
            request,
            Request::Reload {}
                | Request::VniAdd(_)
                | Request::VniDel { .. }
                | Request::CallerGone { .. }
                | Request::MacClaim { .. }
                | Request::MacRelease { .. }
                | Request::ClearNeighbor { .. }
                | Request::ClearDuplicate { .. }
        );
        if is_change && self.is_draining() {
            return Some(Reply::Refused { message: "the daemon is draining: nothing can be changed any more".to_owned() });
        }
        if self.stopping && (is_change || matches!(request, Request::Drain {})) {
            return Some(Reply::Refused { message: "the daemon is stopping: nothing can be changed any more".to_owned() });
        }
        Some(match request {
            Request::ShowStatus {} => Reply::Status(self.status(now)),
            Request::ShowNeighbors { address, after, limit } => self.neighbors(now, address, after.as_deref(), limit),
            Request::ShowVnis { vni, after, limit } => self.show_vnis(vni, after.as_deref(), limit),
            Request::ShowVteps { after, limit } => self.show_vteps(after.as_deref(), limit),
            Request::ShowMacs { vni, mac, duplicates, after, limit } => {
                self.show_macs(vni, mac, duplicates, after.as_deref(), limit)
            }
            Request::ShowRoutes { route_type, vni, rd, neighbor, after, limit } => {
                self.show_routes(now, &super::show_routes::Filter { route_type, vni, rd, neighbor }, after.as_deref(), limit)
            }
            Request::Explain { vni, mac } => return self.begin_explain(now, id, vni, mac),
            Request::Diff { after, limit } => return self.begin_diff(id, after.as_deref(), limit),
            Request::Monitor {} => Reply::Refused { message: "monitor is served by the socket itself".to_owned() },
            Request::Drain {} => return self.begin_drain(now, id),
            Request::Reload {} => {
                self.actions.push_back(Action::ReadConfig(Some(id)));
                return None;
            }
            Request::VniAdd(request) => self.vni_add(now, &request),
            Request::VniDel { vni, caller } => self.vni_del(now, vni, caller.as_deref()),
            Request::CallerGone { caller } => self.caller_gone(now, &caller),
            Request::MacClaim { vni, mac, port } => return self.set_station(id, vni, mac, Some(port)),
            Request::MacRelease { vni, mac } => return self.set_station(id, vni, mac, None),
            Request::ClearDuplicate { vni, mac, ip } => self.clear_duplicate(now, vni, mac, ip),
            Request::ClearNeighbor { address } => self.clear_neighbor(now, address),
        })
    }

    fn status(&self, now: Time) -> Status {
        let (rows, _) = self.fib.counts();
        let (suppressed, _) = self.fib.neighbor_counts();
        let (routes, paths) = self.rib.count();
        let established = self.peers.iter().filter(|peer| peer.session.established().is_some()).count() as u64;
        let ready = self.vnis.values().filter(|vni| vni.ready().is_some()).count() as u64;
        let (mut local, mut remote) = (0, 0);
        for vni in self.vnis.keys() {
            if let Some(instance) = self.evpn.instance(*vni) {
                local += instance.local_macs as u64;
                remote += instance.remote_macs as u64;
            }
        }
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config_file: self.config.file.clone(),
            ignored_devices: self.config.vxlan.adopt.ignored.clone(),
            asn: self.config.router.asn,
            router_id: self.config.router.router_id,
            vtep: self.config.router.vtep,
            uptime_secs: now.secs_since(self.started),
            draining: self.is_draining(),
            neighbors: Count { up: established, configured: self.peers.iter().count() as u64 },
            vnis: Count { up: ready, configured: self.vnis.len() as u64 },
            vteps: self.evpn.vteps().len() as u64,
            routes,
            paths,
            macs: MacCount { local, remote },
            rows: row_counts(&rows),
            suppressed: row_counts(&suppressed),
            overflows: self.overflows,
            counters: self.counters(),
            sizes: self.sizes(now).named(),
            warnings: self.warnings(),
        }
    }

    /// Everything that is counted, by name, with the room in front.
    pub(super) fn counters(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        let rooms: [(&str, Vec<(&'static str, u64)>); 4] = [
            ("rib", self.rib.stats().counters()),
            ("evpn", self.evpn.stats().counters()),
            ("fib", self.fib.stats().counters()),
            ("speaker", self.events.counters.iter().map(|(&name, &count)| (name, count)).collect()),
        ];
        for (room, counters) in rooms {
            all.extend(counters.into_iter().map(|(name, count)| (format!("{room}_{name}"), count)));
        }
        all.insert("kernel_overflows".to_owned(), self.overflows);
        all.insert("kernel_misses_dropped".to_owned(), self.misses_dropped);
        all.insert("kernel_announcements_sent".to_owned(), self.guests_told.0);
        all.insert("kernel_announcements_refused".to_owned(), self.guests_told.1);
        all.extend(self.limits_met.counters().into_iter().map(|(name, count)| (format!("kernel_{name}"), count)));
        all.insert("fib_healed_rows".to_owned(), self.healing.rows);
        all
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> =
            self.kernel_fault.iter().map(|why| format!("the kernel's side does not work: {why}")).collect();
        for (vni, state) in &self.vnis {
            match &state.device {
                Some(DeviceState::Unusable { reason, remedy, .. }) => {
                    warnings.push(format!("VNI {vni} is unusable: {reason}; {remedy}"))
                }
                Some(DeviceState::Ready(device)) => {
                    let all = device.warnings.iter().cloned().chain(self.swallows(*vni, device));
                    warnings.extend(all.map(|warning| format!("VNI {vni}: {warning}")));
                }
                None => {}
            }
        }
        warnings.extend(self.not_taken());
        for peer in self.peers.iter().filter(|peer| peer.neighbor.enabled && peer.session.established().is_none()) {
            let why = peer.session.last_error().map(|why| format!(": {why}")).unwrap_or_default();
            warnings.push(format!("neighbor {} is not established{why}", peer.address));
        }
        match self.evpn.duplicates() {
            (0, _) => {}
            (count, frozen) => {
                let frozen = if frozen { ", and frozen where they are" } else { "" };
                warnings.push(format!("{count} MACs are at two hosts at once{frozen}: see `evpnctl show macs --duplicates`"));
            }
        }
        warnings.extend(self.conflict_warning());
        warnings.extend(self.violation_warning());
        warnings.extend(self.limit_warning());
        warnings.extend(self.leftover_warnings());
        let failed = self.fib.failed_count();
        if failed > 0 {
            warnings.push(format!("{failed} rows are refused by the kernel: see `evpnctl diff`"));
        }
        warnings
    }

    /// The bridge of a VNI keeps for itself what guests send to another host, and has nobody who answers.
    fn swallows(&self, vni: Vni, device: &ReadyDevice) -> Option<String> {
        let (mac, vtep) = self.evpn.swallowed(&self.rib, vni)?;
        Some(format!(
            "{0} has the MAC {mac}, which VTEP {vtep} announces, and no address: what guests here send to that MAC is lost; give {0} the \
             address that is announced with it, or another MAC: ip link set {0} address ...",
            device.bridge
        ))
    }

    /// Names some, for whoever asks here may not look further.
    fn conflict_warning(&self) -> Option<String> {
        let count = self.evpn.conflict_count();
        let first = self.evpn.conflicts().next()?;
        let [one, other] = first.macs.each_ref().map(in_place);
        let which = format!("{} in VNI {} of {one} and {other}", first.ip, first.vni);
        let frozen = if self.evpn.duplicates().1 { "; no port here takes one from another" } else { "" };
        let more = if count > 1 { format!(", and {} more", count - 1) } else { String::new() };
        Some(format!("addresses of two MACs at once{frozen}: {which}{more}: see `evpnctl show macs --duplicates`"))
    }

    /// As above, of addresses that are somebody's for good.
    fn violation_warning(&self) -> Option<String> {
        let first = self.evpn.violations().next()?;
        let which = format!("{} in VNI {} of {} by {}", first.ip, first.vni, in_place(&first.owner), in_place(&first.claimed_by));
        let more = match self.evpn.violation_count() {
            more if more > 1 => format!(", and {} more", more - 1),
            _ => String::new(),
        };
        Some(format!("{VIOLATED} by guests here: {which}{more}: see `evpnctl show macs --duplicates`"))
    }

    fn limit_warning(&self) -> Option<String> {
        let mut at_limit = self.evpn.instances().filter(|view| view.at_limit).map(|view| view.config.vni);
        let first = at_limit.next()?;
        let more = at_limit.count();
        let which = if more > 0 { format!("{first} and {more} more VNIs") } else { first.to_string() };
        Some(format!("a limit refuses MACs, addresses or routes of VNI {which}: see `evpnctl show vnis`"))
    }

    fn neighbors(&self, now: Time, address: Option<std::net::IpAddr>, after: Option<&str>, limit: Option<u32>) -> Reply {
        let advertised = self.rib.advertised_counts();
        if let Some(address) = address {
            return match self.peers.by_address(address) {
                Some(peer) => Reply::Neighbors(Page::last(vec![self.neighbor_view(now, peer, &advertised)])),
                None => Reply::NotFound { message: format!("no neighbor {address}") },
            };
        }
        let mut peers: Vec<&Peer> = self.peers.iter().collect();
        peers.sort_by_key(|peer| peer.address);
        let peers = peers.into_iter().map(|peer| (peer.address, peer));
        let page = page(peers, after, limit, |peer| self.neighbor_view(now, peer, &advertised));
        page.map_or_else(bad_cursor, Reply::Neighbors)
    }

    fn neighbor_view(&self, now: Time, peer: &Peer, advertised: &BTreeMap<PeerId, u64>) -> NeighborView {
        let negotiated = peer.session.established().map(|(_, negotiated)| negotiated);
        let ends = peer.ends();
        let stats = peer.session.stats();
        let (graceful_restart, stale_secs) = self.graceful_words(now, peer);
        let state = if peer.neighbor.enabled { state_name(peer.session.state()) } else { "disabled" };
        NeighborView {
            address: peer.address,
            description: peer.neighbor.description.clone(),
            asn: negotiated.map_or(peer.neighbor.asn, |n| n.peer_asn),
            external: peer.neighbor.asn != self.config.router.asn,
            state: state.to_owned(),
            since_secs: now.secs_since(stats.since),
            router_id: negotiated.map(|n| n.peer_identifier),
            host_name: negotiated.and_then(|n| n.peer_host_name.clone()),
            local_address: ends.and_then(|(local, _)| local).map(|local| local.ip()),
            local_port: ends.and_then(|(local, _)| local).map(|local| local.port()),
            remote_port: ends.map(|(_, remote)| remote.port()),
            passive: peer.neighbor.passive || peer.dynamic,
            dynamic: peer.dynamic,
            client: peer.neighbor.route_reflector_client,
            hold_time_secs: negotiated.map(|n| n.hold_time_secs),
            capabilities: negotiated.map(|n| n.capabilities.iter().map(ToString::to_string).collect()).unwrap_or_default(),
            routes_received: u64::from(self.rib.peer_routes(peer.id)),
            max_routes: peer.neighbor.max_routes,
            routes_advertised: advertised.get(&peer.id).copied().unwrap_or_default(),
            pending: negotiated.is_some() && self.rib.has_pending(peer.id),
            end_of_rib: peer.end_of_rib,
            graceful_restart,
            stale_routes: u64::from(self.rib.stale_routes(peer.id)),
            stale_secs,
            messages_in: message_counts(&stats.received),
            messages_out: message_counts(&stats.sent),
            established_count: stats.established,
            dropped_count: stats.dropped,
            attribute_octets: self.rib.peer_attribute_octets(peer.id),
            update_mistakes: peer.update_mistakes,
            rest_secs: peer.watch.rests_until().map(|at| at.since(now).as_secs()),
            last_error: peer.session.last_error().map(ToString::to_string),
            last_error_secs: peer.last_error_at.map(|at| now.secs_since(at)),
        }
    }

    fn show_vnis(&self, vni: Option<Vni>, after: Option<&str>, limit: Option<u32>) -> Reply {
        let (_, rows) = self.fib.counts();
        let (_, neighbors) = self.fib.neighbor_counts();
        if let Some(vni) = vni {
            let mut not_taken = self.vnis_not_taken().filter(|(other, _)| *other == vni);
            let not_taken = || not_taken.next().map(|(_, unfit)| view_not_taken(vni, unfit));
            let view = self.vnis.get(&vni).map(|state| self.vni_view(state, &rows, &neighbors)).or_else(not_taken);
            return match view {
                Some(view) => Reply::Vnis(Page::last(vec![view])),
                None => Reply::NotFound { message: format!("no VNI {vni}") },
            };
        }
        let mut all: BTreeMap<Vni, Shown<'_>> = self.vnis.iter().map(|(&vni, state)| (vni, Shown::Here(state))).collect();
        all.extend(self.vnis_not_taken().map(|(vni, unfit)| (vni, Shown::NotTaken(unfit))));
        let items = all.into_iter().map(|(vni, shown)| (vni, (vni, shown)));
        let view = |(vni, shown): (Vni, Shown<'_>)| match shown {
            Shown::Here(state) => self.vni_view(state, &rows, &neighbors),
            Shown::NotTaken(unfit) => view_not_taken(vni, unfit),
        };
        page(items, after, limit, view).map_or_else(bad_cursor, Reply::Vnis)
    }

    fn vni_view(
        &self,
        state: &VniState,
        rows: &BTreeMap<Vni, crate::fib::RowCounts>,
        suppressed: &BTreeMap<Vni, crate::fib::RowCounts>,
    ) -> VniView {
        let vni = state.config.vni;
        let instance = self.evpn.instance(vni);
        let count = |count: fn(&InstanceView<'_>) -> u64| instance.as_ref().map_or(0, count);
        let ready = match &state.device {
            Some(DeviceState::Ready(device)) => Some(device),
            _ => None,
        };
        let (reason, remedy) = match &state.device {
            Some(DeviceState::Unusable { reason, remedy, .. }) => (Some(reason.clone()), Some(remedy.clone())),
            _ => (None, None),
        };
        let mut warnings = ready.map(|device| device.warnings.clone()).unwrap_or_default();
        if instance.as_ref().is_some_and(|view| view.at_limit) {
            warnings.push(
                "a limit refused MACs, addresses or routes of it: see [limits], and the counters in `evpnctl show status`"
                    .to_owned(),
            );
        }
        warnings.extend(ready.and_then(|device| self.swallows(vni, device)));
        warnings.extend(self.not_taken_beside(vni));
        VniView {
            vni,
            device: ready.map_or_else(|| state.config.settings.device.clone(), |device| device.device.clone()),
            bridge: ready.map_or_else(|| state.config.settings.bridge.clone(), |device| device.bridge.clone()),
            rd: state.rd.to_string(),
            import: state.config.settings.import.iter().map(ToString::to_string).collect(),
            export: self.evpn.export_targets(vni).iter().map(ToString::to_string).collect(),
            state: vni_state(state).to_owned(),
            reason,
            remedy,
            made_device: ready.is_some_and(|device| device.made_device),
            made_bridge: ready.is_some_and(|device| device.made_bridge),
            run_time: state.run_time,
            callers: self.callers(vni),
            announce_own: state.config.settings.announce_own,
            local: ready.and_then(|device| device.local),
            port: ready.map(|device| device.port),
            mtu: ready.map(|device| device.mtu),
            vteps: count(|view| view.vteps as u64),
            local_macs: count(|view| view.local_macs as u64),
            remote_macs: count(|view| view.remote_macs as u64),
            refused_local_macs: count(|view| view.refused_local_macs),
            refused_remote_macs: count(|view| view.refused_remote_macs),
            refused_routes: count(|view| view.refused_routes),
            refused_addresses: count(|view| view.refused_addresses),
            rows: rows.get(&vni).map(row_counts).unwrap_or_default(),
            suppressed: suppressed.get(&vni).map(row_counts).unwrap_or_default(),
            healed: state.healed,
            warnings,
        }
    }

    fn show_vteps(&self, after: Option<&str>, limit: Option<u32>) -> Reply {
        let vteps = self.evpn.vteps();
        let items = vteps.into_iter().map(|vtep| (vtep.vtep, vtep));
        page(items, after, limit, |vtep| VtepView { address: vtep.vtep, vnis: vtep.flood, macs: vtep.macs as u64 })
            .map_or_else(bad_cursor, Reply::Vteps)
    }
}

/// A MAC with where it is.
fn in_place((mac, place): &(MacAddr, Option<Place>)) -> String {
    match place {
        Some(place) => format!("{mac} at {place}"),
        None => mac.to_string(),
    }
}

/// What `show vnis` has a line for.
enum Shown<'a> {
    /// A VNI.
    Here(&'a VniState),
    /// Devices that the rule would have and does not take.
    NotTaken(&'a [UnfitDevice]),
}

fn view_not_taken(vni: Vni, unfit: &[UnfitDevice]) -> VniView {
    let text = |of: fn(&UnfitDevice) -> &str| unfit.first().map(|unfit| of(unfit).to_owned());
    let mut view = VniView::not_taken(vni);
    view.device = text(|unfit| &unfit.device).unwrap_or_default();
    view.bridge = text(|unfit| unfit.bridge.as_deref().unwrap_or_default()).unwrap_or_default();
    view.reason = text(|unfit| &unfit.reason);
    view.remedy = text(|unfit| &unfit.remedy);
    view.warnings = unfit.iter().skip(1).map(adopt::in_words).collect();
    view
}

/// How a VNI's device stands, in a word.
pub(super) fn vni_state(state: &VniState) -> &'static str {
    match (&state.device, state.adopting) {
        (None, _) | (Some(DeviceState::Ready(_)), true) => "waiting",
        (Some(DeviceState::Unusable { .. }), _) => "unusable",
        (Some(DeviceState::Ready(device)), false) if !device.up => "down",
        (Some(DeviceState::Ready(_)), false) => "ready",
    }
}

pub(super) fn message_counts(counts: &crate::session::MessageCounts) -> MessageCounts {
    MessageCounts {
        open: counts.open,
        update: counts.update,
        notification: counts.notification,
        keepalive: counts.keepalive,
        route_refresh: counts.route_refresh,
    }
}

pub(super) fn state_name(state: State) -> &'static str {
    match state {
        State::Idle => "idle",
        State::Connect => "connect",
        State::Active => "active",
        State::OpenSent => "open_sent",
        State::OpenConfirm => "open_confirm",
        State::Established => "established",
    }
}

pub(super) fn row_counts(counts: &crate::fib::RowCounts) -> RowCounts {
    RowCounts {
        wanted: counts.wanted,
        in_sync: counts.in_sync,
        dirty: counts.dirty,
        in_flight: counts.in_flight,
        failed: counts.failed,
        on_demand: counts.on_demand,
    }
}

/// One page of items in the order of their keys: those after the cursor, which is the last key of the page before.
/// `Err`: the cursor is not one of ours.
pub(super) fn page<K, T, V>(
    items: impl Iterator<Item = (K, T)>,
    after: Option<&str>,
    limit: Option<u32>,
    mut view: impl FnMut(T) -> V,
) -> Result<Page<V>, String>
where
    K: Ord + std::fmt::Display + std::str::FromStr,
{
    let after = match after {
        None => None,
        Some(text) => Some(text.parse::<K>().map_err(|_| text.to_owned())?),
    };
    let mut items = items.filter(|(key, _)| after.as_ref().is_none_or(|after| key > after));
    let mut shown = Vec::new();
    let mut last = None;
    for (key, item) in items.by_ref().take(page_size(limit)) {
        shown.push(view(item));
        last = Some(key);
    }
    let next = if items.next().is_some() { last.map(|key| key.to_string()) } else { None };
    Ok(Page::new(shown, next))
}

pub(super) fn bad_cursor(text: String) -> Reply {
    Reply::Refused { message: format!("`after` is \"{text}\", which is not the `next` of a page of this table") }
}
