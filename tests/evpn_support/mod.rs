//! A host for the cases: the real RIB, FIB and EVPN with one peer, a reflector, whose UPDATEs the test writes.

#![allow(clippy::unwrap_used, dead_code, missing_docs, unused_imports)]

pub use std::net::IpAddr;
pub use std::time::Duration;

pub use evpnd::base::{Asn, BgpIdentifier, MacAddr, Time, Vni};
pub use evpnd::evpn::{
    DuplicateDetection, DuplicateView, Event, Evpn, EvpnConfig, EvpnLimits, EvpnStats, ExportTarget, Flood, ImportTarget,
    InstanceConfig, Place,
};
pub use evpnd::fib::{Batch, BatchDone, Fib, LocalMac, Op, OpKind, Remote, Status};
pub use evpnd::rib::{PeerId, PeerKind, Rib, RibConfig, RibPeer, RouteKey};
pub use evpnd::wire::attribute::Attributes;
pub use evpnd::wire::esi::Esi;
pub use evpnd::wire::evpn::{EvpnRoute, Imet, MacIp};
pub use evpnd::wire::ext_community::{ExtCommunity, RouteTarget};
pub use evpnd::wire::header::HEADER_LEN;
pub use evpnd::wire::pmsi::PmsiTunnel;
pub use evpnd::wire::rd::Rd;
pub use evpnd::wire::update::{UpdateContext, UpdateView, emit_reach, emit_unreach};

pub const NOW: Time = Time::from_secs(1);
pub const CONTEXT: UpdateContext = UpdateContext { four_octet_as: true, external: false };

pub fn vni(number: u32) -> Vni {
    Vni::new(number).unwrap()
}
pub fn mac(number: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, number])
}
pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
pub fn id(last: u8) -> BgpIdentifier {
    BgpIdentifier([10, 0, 0, last].into())
}
pub fn vtep(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}
pub fn auto(number: u32) -> InstanceConfig {
    InstanceConfig {
        vni: vni(number),
        rd: Rd::from_ipv4(id(5), number as u16),
        import: vec![ImportTarget::Auto],
        export: vec![ExportTarget::Auto],
        static_macs: vec![],
        announce_own: true,
        neighbors: true,
        macs: true,
        beside: false,
        flood: Flood::IngressReplication,
    }
}

/// Our host: VTEP 10.0.0.5, AS 65000.
pub struct Host {
    pub rib: Rib,
    pub fib: Fib,
    pub evpn: Evpn,
    pub now: Time,
}

/// A route of host 10.0.0.`last` as its UPDATE has it; change the fields before announcing.
#[derive(Clone)]
pub struct Announcement {
    pub attributes: Attributes,
    pub route: EvpnRoute<'static>,
}

pub fn target(number: u32) -> ExtCommunity {
    ExtCommunity::route_target(RouteTarget::As2 { asn: 65000, number })
}

pub fn type2(last: u8, mac: MacAddr) -> Announcement {
    let ext_communities = vec![target(100), ExtCommunity::vxlan()];
    let attributes = Attributes { next_hop: Some(vtep(last)), ext_communities, ..Attributes::default() };
    let rd = Rd::from_ipv4(id(last), 100);
    let route = EvpnRoute::MacIp(MacIp { rd, esi: Esi::default(), tag: 0, mac, ip: None, label1: 100, label2: None });
    Announcement { attributes, route }
}

pub fn type3(last: u8) -> Announcement {
    let mut announcement = type2(last, mac(0));
    announcement.attributes.pmsi = Some(PmsiTunnel::ingress_replication(100, vtep(last)));
    announcement.route = EvpnRoute::Imet(Imet { rd: Rd::from_ipv4(id(last), 100), tag: 0, originator: vtep(last) });
    announcement
}

impl Announcement {
    pub fn mobility(mut self, sticky: bool, sequence: u32) -> Self {
        self.attributes.ext_communities.push(ExtCommunity::mac_mobility(sticky, sequence));
        self
    }
    pub fn mac_ip(mut self, change: impl FnOnce(&mut MacIp)) -> Self {
        if let EvpnRoute::MacIp(route) = &mut self.route {
            change(route);
        }
        self
    }
    pub fn attributes(mut self, change: impl FnOnce(&mut Attributes)) -> Self {
        change(&mut self.attributes);
        self
    }
    pub fn with_ip(self, text: &str) -> Self {
        self.mac_ip(|route| route.ip = Some(ip(text)))
    }
}

impl Host {
    pub fn bare(limits: EvpnLimits) -> Self {
        let mut rib = Rib::new(RibConfig::new(Asn(65000), id(5), 1));
        let peer = RibPeer {
            kind: PeerKind::NonClient,
            asn: Asn(65000),
            identifier: id(254),
            address: vtep(254),
            max_routes: None,
            context: CONTEXT,
            extended_message: false,
            long_lived: false,
        };
        rib.add_peer(PeerId(1), peer);
        let duplicates = DuplicateDetection::default();
        let config = EvpnConfig { asn: Asn(65000), router_id: id(5), vtep: Some(vtep(5)), seed: 1, limits, duplicates };
        Self { rib, fib: Fib::new(1), evpn: Evpn::new(config), now: NOW }
    }
    pub fn new() -> Self {
        Self::with_limits(EvpnLimits::default())
    }
    pub fn with_limits(limits: EvpnLimits) -> Self {
        let mut host = Self::bare(limits);
        host.add(auto(100));
        host
    }
    pub fn add(&mut self, config: InstanceConfig) {
        let number = config.vni;
        self.fib.device_ready(self.now, number, number.get(), Some(false), vec![]);
        self.evpn.add_instance(self.now, &mut self.rib, &mut self.fib, config);
        self.evpn.device_up(self.now, &mut self.rib, number);
        self.settle();
    }
    pub fn settle(&mut self) {
        while self.evpn.work(self.now, &mut self.rib, &mut self.fib, 1000) {}
        while let Some(dest) = self.rib.next_change() {
            self.evpn.handle_change(self.now, &mut self.rib, &mut self.fib, dest);
        }
    }
    /// Time passes; timers run.
    pub fn wait_millis(&mut self, millis: u64) {
        self.now = self.now + std::time::Duration::from_millis(millis);
        if self.evpn.poll_timeout().is_some_and(|at| at <= self.now) {
            self.evpn.handle_timeout(self.now, &mut self.rib, &mut self.fib);
            while self.evpn.work(self.now, &mut self.rib, &mut self.fib, 3) {}
        }
        self.settle();
    }
    pub fn wait(&mut self, secs: u64) {
        self.wait_millis(secs * 1000);
    }
    /// All that the bridge's ports have, as after a dump.
    pub fn dump(&mut self, macs: &[MacAddr]) {
        let heard: Vec<LocalMac> = macs.iter().map(|mac| self.heard(*mac)).collect();
        self.evpn.handle_local_macs(self.now, &mut self.rib, &mut self.fib, vni(100), &heard);
        self.settle();
    }
    pub fn set_rule(&mut self, rule: DuplicateDetection) {
        self.evpn.set_duplicate_rule(self.now, &mut self.rib, &mut self.fib, rule);
        self.settle();
    }
    pub fn clear(&mut self, number: Option<u32>, mac: Option<MacAddr>) -> usize {
        let cleared = self.evpn.clear_duplicates(self.now, &mut self.rib, &mut self.fib, number.map(vni), mac);
        self.settle();
        cleared
    }
    pub fn is_duplicate(&self, mac: MacAddr) -> bool {
        self.evpn.mac(vni(100), mac).is_some_and(|view| view.duplicate)
    }
    pub fn update(&mut self, message: &[u8]) {
        let view = UpdateView::parse(&message[HEADER_LEN..]).unwrap();
        self.rib.handle_update(self.now, PeerId(1), &view).unwrap();
        self.settle();
    }
    pub fn announce(&mut self, announcement: &Announcement) {
        let (mut nlri, mut message) = (vec![], vec![]);
        announcement.route.emit(&mut nlri);
        emit_reach(&mut message, &announcement.attributes, &CONTEXT, &nlri);
        self.update(&message);
    }
    pub fn withdraw(&mut self, announcement: &Announcement) {
        let (mut nlri, mut message) = (vec![], vec![]);
        announcement.route.emit(&mut nlri);
        emit_unreach(&mut message, &nlri);
        self.update(&message);
    }
    pub fn heard(&self, mac: MacAddr) -> LocalMac {
        LocalMac { vni: vni(100), mac, port: 3, port_name: "tap3".into(), is_static: false }
    }
    pub fn hear(&mut self, mac: MacAddr) {
        let heard = self.heard(mac);
        self.hear_as(&heard);
    }
    pub fn hear_as(&mut self, heard: &LocalMac) {
        self.evpn.handle_local_mac(self.now, &mut self.rib, &mut self.fib, heard);
        self.settle();
    }
    pub fn forget(&mut self, mac: MacAddr) {
        self.evpn.handle_local_mac_gone(self.now, &mut self.rib, &mut self.fib, vni(100), mac);
        self.settle();
    }
    /// Where the row for a MAC in VNI 100 should point.
    pub fn row(&self, mac: MacAddr) -> Option<Remote> {
        self.row_in(100, mac)
    }
    pub fn row_in(&self, number: u32, mac: MacAddr) -> Option<Remote> {
        self.fib.unicast(vni(number), mac)?.wanted
    }
    pub fn flood(&self) -> Vec<Remote> {
        self.fib.flood(vni(100)).into_iter().map(|(remote, _)| remote).collect()
    }
    /// Sticky flag and sequence with which we announce a MAC; `None` where we do not.
    pub fn announced(&self, mac: MacAddr) -> Option<(bool, u32)> {
        let key = RouteKey::MacIp { rd: Rd::from_ipv4(id(5), 100), tag: 0, mac, ip: None };
        self.ours(&key).map(|attributes| attributes.mac_mobility().unwrap_or((false, 0)))
    }
    pub fn ours(&self, key: &RouteKey) -> Option<&Attributes> {
        let best = self.rib.best(self.rib.find(key)?)?;
        (best.peer == PeerId::LOCAL).then(|| self.rib.attributes(best.attr))
    }
    pub fn write(&mut self) -> Vec<Op> {
        let mut all = vec![];
        while let Some(Batch { id, ops }) = self.fib.poll_batch(self.now) {
            self.fib.handle_batch_done(self.now, &BatchDone { id, ..BatchDone::default() });
            all.extend(ops);
        }
        all
    }
    pub fn events(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.evpn.poll_event()).map(|event| event.to_string()).collect()
    }
    pub fn stats(&self) -> EvpnStats {
        self.evpn.stats()
    }
}

pub fn to(last: u8) -> Option<Remote> {
    Some(Remote { ip: vtep(last), vni: None })
}

impl Host {
    /// A host behind a port says that it has an address.
    pub fn says(&mut self, mac: MacAddr, text: &str) {
        self.says_as(mac, text, None);
    }
    pub fn says_as(&mut self, mac: MacAddr, text: &str, router: Option<bool>) {
        self.evpn.handle_local_address(self.now, &mut self.rib, &mut self.fib, vni(100), (mac, ip(text)), router, true);
        self.settle();
    }
    /// A DHCP server says that it gave it one.
    pub fn is_given(&mut self, mac: MacAddr, text: &str) {
        self.evpn.handle_lease(self.now, &mut self.rib, &mut self.fib, vni(100), mac, ip(text));
        self.settle();
    }
    /// It does not answer for it any more.
    pub fn denies(&mut self, mac: MacAddr, text: &str) {
        self.evpn.handle_local_address_gone(self.now, &mut self.rib, &mut self.fib, vni(100), mac, ip(text));
        self.settle();
    }
    /// Our MAC/IP route for an address, where we announce it.
    pub fn announced_ip(&self, mac: MacAddr, text: &str) -> Option<&Attributes> {
        let key = RouteKey::MacIp { rd: Rd::from_ipv4(id(5), 100), tag: 0, mac, ip: Some(ip(text)) };
        self.ours(&key)
    }
    /// The number with which it is announced.
    pub fn ip_sequence(&self, mac: MacAddr, text: &str) -> Option<u32> {
        self.announced_ip(mac, text).map(|attributes| attributes.mac_mobility().map_or(0, |(_, sequence)| sequence))
    }
    /// What ARP and ND for an address are answered with.
    pub fn answered(&self, text: &str) -> Option<evpnd::fib::Binding> {
        self.fib.neighbor(vni(100), ip(text))?.wanted
    }
}
