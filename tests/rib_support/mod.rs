//! A table with peers for the tests of `rib`: builds UPDATEs with `wire`, and reads what the table would send.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use evpnd::base::{Asn, BgpIdentifier, MacAddr, Time};
use evpnd::rib::{DestId, PeerId, PeerKind, Rib, RibConfig, RibPeer, RouteKey, Stale, UpdateOutcome};
use evpnd::wire::as_path::AsPath;
use evpnd::wire::attribute::Attributes;
use evpnd::wire::esi::Esi;
use evpnd::wire::evpn::{EvpnRoute, Imet, MacIp, routes};
use evpnd::wire::ext_community::ExtCommunity;
use evpnd::wire::header::{HEADER_LEN, MAX_EXTENDED_MESSAGE_LEN, MAX_MESSAGE_LEN, MessageType, frame};
use evpnd::wire::notification::Notification;
use evpnd::wire::rd::Rd;
use evpnd::wire::route_refresh::RouteRefresh;
use evpnd::wire::update::{UpdateContext, UpdateView, emit_reach, emit_unreach};

pub const OUR_AS: Asn = Asn(65000);

pub fn our_id() -> BgpIdentifier {
    id(254)
}

pub fn id(n: u8) -> BgpIdentifier {
    BgpIdentifier(Ipv4Addr::new(10, 0, 0, n))
}

pub fn config() -> RibConfig {
    RibConfig::new(OUR_AS, our_id(), 7)
}

pub fn context(kind: PeerKind) -> UpdateContext {
    UpdateContext { four_octet_as: true, external: kind == PeerKind::External }
}

/// Peer `n`: AS 65000, or 65100 + n where it is external; identifier and address 10.0.0.n.
pub fn peer(kind: PeerKind, n: u8) -> RibPeer {
    RibPeer {
        kind,
        asn: if kind == PeerKind::External { Asn(65100 + u32::from(n)) } else { OUR_AS },
        identifier: id(n),
        address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)),
        max_routes: None,
        context: context(kind),
        extended_message: false,
        long_lived: false,
    }
}

/// Attributes with a next hop of 192.0.2.n.
pub fn attributes(n: u8) -> Attributes {
    Attributes { next_hop: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, n))), ..Attributes::default() }
}

pub fn path(asns: &[u32]) -> AsPath {
    AsPath::sequence(&asns.iter().copied().map(Asn).collect::<Vec<_>>())
}

pub fn with_mobility(mut attributes: Attributes, sticky: bool, sequence: u32) -> Attributes {
    attributes.ext_communities.push(ExtCommunity::mac_mobility(sticky, sequence));
    attributes
}

pub fn rd(n: u8) -> Rd {
    Rd::from_ipv4(id(n), 100)
}

pub fn mac_ip(n: u32) -> EvpnRoute<'static> {
    let [_, a, b, c] = n.to_be_bytes();
    EvpnRoute::MacIp(MacIp {
        rd: rd(1),
        esi: Esi::default(),
        tag: 0,
        mac: MacAddr([2, 0, 0, a, b, c]),
        ip: None,
        label1: 100,
        label2: None,
    })
}

pub fn imet(n: u8) -> EvpnRoute<'static> {
    EvpnRoute::Imet(Imet { rd: rd(n), tag: 0, originator: IpAddr::V4(Ipv4Addr::new(192, 0, 2, n)) })
}

/// What one peer made of the octets it got.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    pub routes: BTreeMap<RouteKey, (Attributes, Labels)>,
    pub end_of_rib: u32,
    pub begin_of_refresh: u32,
    pub end_of_refresh: u32,
    pub updates: u32,
    pub withdrawals: u32,
    pub announcements: u32,
    pub longest: usize,
}

/// Label1, label2, ESI, of a route as it was announced.
pub type Labels = (u32, Option<u32>, Esi);

pub fn labels(route: &EvpnRoute<'_>) -> Labels {
    match route {
        EvpnRoute::EthernetAd(r) => (r.label, None, r.esi),
        EvpnRoute::MacIp(r) => (r.label1, r.label2, r.esi),
        EvpnRoute::Imet(_) | EvpnRoute::Unknown { .. } => (0, None, Esi::default()),
        EvpnRoute::EthernetSegment(r) => (0, None, r.esi),
        EvpnRoute::IpPrefix(r) => (r.label, None, r.esi),
    }
}

impl Heard {
    pub fn apply(&mut self, mut octets: &[u8], peer: &RibPeer) {
        let max = if peer.extended_message { MAX_EXTENDED_MESSAGE_LEN } else { MAX_MESSAGE_LEN };
        while !octets.is_empty() {
            let frame = frame(octets, max).expect("a good header").expect("whole messages only");
            octets = &octets[frame.len..];
            self.longest = self.longest.max(frame.len);
            match frame.message_type {
                MessageType::Update => self.update(frame.body, peer),
                MessageType::RouteRefresh => match RouteRefresh::parse(frame.body).unwrap().subtype {
                    1 => self.begin_of_refresh += 1,
                    2 => self.end_of_refresh += 1,
                    other => panic!("subtype {other}"),
                },
                other => panic!("{other:?}"),
            }
        }
    }

    fn update(&mut self, body: &[u8], peer: &RibPeer) {
        let view = UpdateView::parse(body).unwrap();
        self.updates += 1;
        if view.end_of_rib() == Some((25, 70)) {
            self.end_of_rib += 1;
        }
        for route in view.unreach.iter().flat_map(|unreach| routes(unreach.nlri)) {
            self.withdrawals += 1;
            self.routes.remove(&RouteKey::of(&route.unwrap()));
        }
        if let Some(reach) = view.reach {
            // Read as an internal peer would, so that what must not have been sent is seen.
            let context = UpdateContext { external: false, ..peer.context };
            let (attributes, mistakes) = Attributes::parse(&view.attributes, Some(reach.next_hop), &context).unwrap();
            assert_eq!(mistakes, [], "what we send has no mistakes");
            for route in routes(reach.nlri) {
                let route = route.unwrap();
                self.announcements += 1;
                self.routes.insert(RouteKey::of(&route), (attributes.clone(), labels(&route)));
            }
        }
    }

    pub fn keys(&self) -> Vec<RouteKey> {
        self.routes.keys().cloned().collect()
    }
}

/// A table, its peers and what they heard.
pub struct Lab {
    pub rib: Rib,
    pub now: Time,
    pub peers: BTreeMap<u16, RibPeer>,
    pub heard: BTreeMap<u16, Heard>,
    /// Numbers that stood for peers of different kinds.
    pub changed_kind: BTreeSet<u16>,
}

impl Lab {
    pub fn new(config: RibConfig) -> Self {
        Self {
            rib: Rib::new(config),
            now: Time::from_secs(5),
            peers: BTreeMap::new(),
            heard: BTreeMap::new(),
            changed_kind: BTreeSet::new(),
        }
    }

    /// A table with peers 1, 2, … of these kinds, that have all joined.
    pub fn with(kinds: &[PeerKind]) -> Self {
        let mut lab = Self::new(config());
        for (n, kind) in kinds.iter().enumerate() {
            lab.up(n as u16 + 1, peer(*kind, n as u8 + 1));
        }
        lab.settle();
        lab
    }

    pub fn up(&mut self, n: u16, peer: RibPeer) {
        self.rib.add_peer(PeerId(n), peer);
        self.rib.join_export(PeerId(n));
        if self.peers.insert(n, peer).is_some_and(|before| before.kind != peer.kind) {
            self.changed_kind.insert(n);
        }
        self.heard.insert(n, Heard::default());
    }

    pub fn down(&mut self, n: u16, keep_stale: bool) {
        self.rib.peer_down(PeerId(n), if keep_stale { Stale::Keep } else { Stale::Drop });
        self.heard.remove(&n);
    }

    /// As `down`, and what was stale before stays too.
    pub fn down_again(&mut self, n: u16) {
        self.rib.peer_down(PeerId(n), Stale::KeepAll);
        self.heard.remove(&n);
    }

    pub fn update(&mut self, n: u16, octets: &[u8]) -> Result<UpdateOutcome, Notification> {
        let view = UpdateView::parse(&octets[HEADER_LEN..])?;
        self.rib.handle_update(self.now, PeerId(n), &view)
    }

    pub fn announce(&mut self, n: u16, attributes: &Attributes, routes: &[EvpnRoute<'_>]) -> UpdateOutcome {
        let octets = reach(attributes, &self.peers[&n].context, routes);
        self.update(n, &octets).unwrap()
    }

    pub fn withdraw(&mut self, n: u16, routes: &[EvpnRoute<'_>]) -> UpdateOutcome {
        self.update(n, &unreach(routes)).unwrap()
    }

    pub fn originate(&mut self, attributes: &Attributes, route: &EvpnRoute<'_>) {
        let (label1, label2, esi) = labels(route);
        self.rib.originate(self.now, &RouteKey::of(route), attributes, label1, label2, esi);
    }

    pub fn withdraw_local(&mut self, route: &EvpnRoute<'_>) {
        self.rib.withdraw_local(&RouteKey::of(route));
    }

    /// Takes every change.
    pub fn changes(&mut self) -> Vec<DestId> {
        std::iter::from_fn(|| self.rib.next_change()).collect()
    }

    /// One peer hears about `budget` octets.
    pub fn listen(&mut self, n: u16, budget: usize) -> usize {
        let mut out = vec![0xaa];
        let len = self.rib.fill(PeerId(n), &mut out, budget);
        assert_eq!(out.len(), len + 1);
        if let Some(heard) = self.heard.get_mut(&n) {
            heard.apply(&out[1..], &self.peers[&n]);
        } else {
            assert_eq!(len, 0);
        }
        len
    }

    /// Until nothing is left to do.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            while self.rib.work(1000) {}
            self.changes();
            let pending: Vec<_> = self.heard.keys().copied().filter(|n| self.rib.has_pending(PeerId(*n))).collect();
            if pending.is_empty() && !self.rib.work(1000) && !self.rib.has_changes() {
                return;
            }
            for n in pending {
                self.listen(n, 1 << 20);
            }
        }
        panic!("never settles");
    }

    pub fn find(&self, route: &EvpnRoute<'_>) -> Option<DestId> {
        self.rib.find(&RouteKey::of(route))
    }

    /// Who brought the best path.
    pub fn best(&self, route: &EvpnRoute<'_>) -> Option<u16> {
        Some(self.rib.best(self.find(route)?)?.peer.0)
    }

    pub fn hears(&self, n: u16, route: &EvpnRoute<'_>) -> Option<&Attributes> {
        self.heard[&n].routes.get(&RouteKey::of(route)).map(|(attributes, _)| attributes)
    }
}

/// An UPDATE that announces.
pub fn reach(attributes: &Attributes, context: &UpdateContext, routes: &[EvpnRoute<'_>]) -> Vec<u8> {
    let (mut nlri, mut out) = (Vec::new(), Vec::new());
    routes.iter().for_each(|route| route.emit(&mut nlri));
    emit_reach(&mut out, attributes, context, &nlri);
    out
}

/// An UPDATE that withdraws.
pub fn unreach(routes: &[EvpnRoute<'_>]) -> Vec<u8> {
    let (mut nlri, mut out) = (Vec::new(), Vec::new());
    routes.iter().for_each(|route| route.emit(&mut nlri));
    emit_unreach(&mut out, &nlri);
    out
}
