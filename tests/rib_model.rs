//! Random lives of a table against a naive model of maps: what came in, what is best, and what each peer has heard once
//! everything was taken. Read `rib_support/mod.rs` first. A failure names its seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rib_support;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;

use evpnd::base::Random;
use evpnd::rib::{PeerId, PeerKind, RibConfig, RibPeer, RouteKey};
use evpnd::wire::attribute::{Attributes, Origin};
use evpnd::wire::esi::Esi;
use evpnd::wire::evpn::{EthernetAd, EvpnRoute, IpPrefix};
use evpnd::wire::ext_community::ExtCommunity;
use rib_support::*;

const LOCAL: u16 = u16::MAX;

#[derive(Debug, Clone, PartialEq, Eq)]
struct In {
    attributes: Attributes,
    labels: Labels,
    stale: bool,
}

/// What the table should hold.
#[derive(Default)]
struct Model {
    paths: BTreeMap<RouteKey, BTreeMap<u16, In>>,
    /// The peers' last descriptions, kept for stale paths.
    peers: BTreeMap<u16, RibPeer>,
    up: BTreeMap<u16, bool>,
}

impl Model {
    fn kind(&self, peer: u16) -> PeerKind {
        if peer == LOCAL { PeerKind::Local } else { self.peers[&peer].kind }
    }

    fn remove_peer(&mut self, peer: u16, only_stale: bool) {
        for paths in self.paths.values_mut() {
            if paths.get(&peer).is_some_and(|path| path.stale || !only_stale) {
                paths.remove(&peer);
            }
        }
    }

    fn best(&self, key: &RouteKey) -> Option<(u16, &In)> {
        let paths = self.paths.get(key)?;
        let mut candidates: Vec<u16> = paths.keys().copied().collect();
        let mac = matches!(key, RouteKey::MacIp { .. });
        let number = |peer: u16| -> (bool, Vec<i64>) {
            let path = &paths[&peer];
            let a = &path.attributes;
            let (sticky, sequence) = a.mac_mobility().filter(|_| mac).unwrap_or((false, 0));
            let local = peer == LOCAL;
            (
                local,
                vec![
                    i64::from(!local),
                    i64::from(!sticky),
                    -i64::from(sequence),
                    -i64::from(a.local_pref.unwrap_or(100)),
                    a.as_path.decision_len() as i64,
                    a.origin as i64,
                ],
            )
        };
        let lowest = candidates.iter().map(|peer| number(*peer).1).min()?;
        candidates.retain(|peer| number(*peer).1 == lowest);
        let med = |peer: &u16| paths[peer].attributes.med.unwrap_or(0);
        let all = candidates.clone();
        candidates.retain(|peer| {
            let neighbor = paths[peer].attributes.as_path.neighbor_as();
            all.iter().filter(|p| paths[p].attributes.as_path.neighbor_as() == neighbor).map(med).min() == Some(med(peer))
        });
        let winner = candidates.into_iter().min_by(|a, b| {
            let rest = |peer: &u16| {
                let id = if *peer == LOCAL { our_id() } else { self.peers[peer].identifier };
                let a = &paths[peer].attributes;
                (
                    self.kind(*peer) != PeerKind::External,
                    a.originator_id.unwrap_or(id),
                    a.cluster_list.len(),
                    paths[peer].stale,
                    *peer,
                )
            };
            rest(a).cmp(&rest(b)).then(Ordering::Equal)
        })?;
        Some((winner, &paths[&winner]))
    }

    /// What a peer has heard of a key in the end.
    fn heard(&self, key: &RouteKey, peer: u16) -> Option<(Attributes, Labels)> {
        let (source, path) = self.best(key)?;
        if source == peer {
            return None;
        }
        let (from, to) = (self.kind(source), self.kind(peer));
        if from == PeerKind::NonClient && to == PeerKind::NonClient {
            return None;
        }
        let mut out = path.attributes.clone();
        if out.communities.contains(&0xffff_ff02) {
            return None;
        }
        if to == PeerKind::External {
            if out.communities.contains(&0xffff_ff01) {
                return None;
            }
            out.as_path.prepend(OUR_AS);
            (out.local_pref, out.originator_id) = (None, None);
            out.cluster_list = Vec::new();
            if from != PeerKind::Local {
                out.med = None;
            }
            out.ext_communities.retain(|community| community.0[0] & 0x40 == 0);
        } else {
            out.local_pref = Some(out.local_pref.unwrap_or(100));
            if matches!(from, PeerKind::Client | PeerKind::NonClient) {
                out.originator_id = Some(out.originator_id.unwrap_or(self.peers[&source].identifier));
                out.cluster_list.insert(0, our_id());
            }
        }
        Some((out, path.labels))
    }
}

fn some_routes() -> Vec<EvpnRoute<'static>> {
    let mut routes: Vec<_> = (0..9).map(mac_ip).collect();
    routes.extend([imet(1), imet(2), imet(3)]);
    routes.push(EvpnRoute::EthernetAd(EthernetAd { rd: rd(4), esi: Esi([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), tag: 0, label: 3 }));
    routes.push(EvpnRoute::Unknown { route_type: 42, value: &[1, 2, 3, 4] });
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    routes.push(EvpnRoute::IpPrefix(IpPrefix {
        rd: rd(5),
        esi: Esi::default(),
        tag: 0,
        prefix_len: 24,
        prefix: address("198.51.100.0"),
        gateway: address("0.0.0.0"),
        label: 5000,
    }));
    routes
}

/// Attributes as a peer of a kind may send them, out of a few dozen.
fn some_attributes(random: &mut Random, kind: PeerKind) -> Attributes {
    let mut out = attributes(random.below(3) as u8);
    let mut one_in = |n: u64| random.below(n) == 0;
    if one_in(4) {
        out = with_mobility(out, false, 1);
    }
    if one_in(6) {
        out = with_mobility(out, false, 2);
    }
    if one_in(12) {
        out = with_mobility(out, true, 0);
    }
    if one_in(4) {
        out.med = Some(if one_in(2) { 10 } else { 20 });
    }
    if one_in(6) {
        out.origin = Origin::Incomplete;
    }
    if one_in(10) {
        out.communities.push(0xffff_ff01);
    }
    if one_in(12) {
        out.communities.push(0xffff_ff02);
    }
    if one_in(5) {
        out.ext_communities.push(ExtCommunity([0x43, 0x0b, 0, 0, 0, 0, 0, 1]));
    }
    match kind {
        PeerKind::External => out.as_path = path(if one_in(2) { &[65100] } else { &[65100, 65200] }),
        _ => {
            if one_in(3) {
                out.as_path = path(if one_in(2) { &[65100] } else { &[65101] });
            }
            if one_in(3) {
                out.local_pref = Some(if one_in(2) { 200 } else { 50 });
            }
            if kind != PeerKind::Local && one_in(3) {
                out.originator_id = Some(id(if one_in(2) { 77 } else { 3 }));
                out.cluster_list = vec![id(78); if one_in(2) { 1 } else { 2 }];
            }
        }
    }
    out
}

fn with_label(route: EvpnRoute<'static>, random: &mut Random) -> EvpnRoute<'static> {
    match route {
        EvpnRoute::MacIp(mut route) => {
            route.label1 = 100 + random.below(2) as u32;
            if random.below(5) == 0 {
                route.label2 = Some(7);
            }
            if random.below(5) == 0 {
                route.esi = Esi([9; 10]);
            }
            EvpnRoute::MacIp(route)
        }
        other => other,
    }
}

fn some_peer(random: &mut Random, n: u16, before: Option<&RibPeer>) -> RibPeer {
    if let Some(before) = before
        && random.below(4) > 0
    {
        return *before;
    }
    let kind = [PeerKind::Client, PeerKind::Client, PeerKind::NonClient, PeerKind::External][random.below(4) as usize];
    RibPeer { extended_message: random.below(3) == 0, ..peer(kind, n as u8) }
}

/// What `next_change` told, as another room would remember it.
type Told = BTreeMap<RouteKey, (u16, PeerKind, Attributes, Labels)>;

fn take_changes(lab: &mut Lab, told: &mut Told, at_most: u64) {
    for _ in 0..at_most {
        let Some(dest) = lab.rib.next_change() else { return };
        let key = lab.rib.key(dest);
        match lab.rib.best(dest) {
            Some(best) => {
                let attributes = lab.rib.attributes(best.attr).clone();
                let kind = lab.peers.get(&best.peer.0).map_or(PeerKind::Local, |peer| peer.kind);
                let news = (best.peer.0, kind, attributes, (best.label1, best.label2, best.esi));
                let twice = told.get(&key) == Some(&news) && !lab.changed_kind.contains(&best.peer.0);
                assert!(!twice, "told twice: {key:?}");
                told.insert(key, news);
            }
            None => {
                assert!(told.remove(&key).is_some(), "gone, but never told: {key:?}");
            }
        }
    }
}

fn live(seed: u64) {
    let mut random = Random::new(seed);
    let config = RibConfig {
        export_cache_octets: [0, 3000, 1 << 20][random.below(3) as usize],
        export_chunk_octets: [1, 100, 300, 40 << 10][random.below(4) as usize],
        export_quiet: random.below(5) as usize,
        ..config()
    };
    let (mut lab, mut model, mut told) = (Lab::new(config), Model::default(), Told::new());
    let routes = some_routes();
    let peers = 2 + random.below(5) as u16;
    for step in 0..30 + random.below(300) {
        let n = 1 + random.below(u64::from(peers)) as u16;
        let up = model.up.get(&n).copied().unwrap_or(false);
        match random.below(24) {
            // Announce, a few routes at once.
            0..=7 if up => {
                let attributes = some_attributes(&mut random, model.kind(n));
                let mut sent = BTreeMap::new();
                for _ in 0..1 + random.below(4) {
                    let route = routes[random.below(routes.len() as u64) as usize];
                    sent.insert(RouteKey::of(&route), with_label(route, &mut random));
                }
                lab.announce(n, &attributes, &sent.values().copied().collect::<Vec<_>>());
                for (key, route) in sent {
                    let path = In { attributes: attributes.clone(), labels: labels(&route), stale: false };
                    model.paths.entry(key).or_default().insert(n, path);
                }
            }
            8..=10 if up => {
                let sent: Vec<_> = (0..1 + random.below(4)).map(|_| routes[random.below(routes.len() as u64) as usize]).collect();
                lab.withdraw(n, &sent);
                for route in sent {
                    model.paths.entry(RouteKey::of(&route)).or_default().remove(&n);
                }
            }
            11 => {
                let route = with_label(routes[random.below(routes.len() as u64) as usize], &mut random);
                let attributes = some_attributes(&mut random, PeerKind::Local);
                if random.below(2) == 0 {
                    lab.originate(&attributes, &route);
                    let path = In { attributes, labels: labels(&route), stale: false };
                    model.paths.entry(RouteKey::of(&route)).or_default().insert(LOCAL, path);
                } else {
                    lab.withdraw_local(&route);
                    model.paths.entry(RouteKey::of(&route)).or_default().remove(&LOCAL);
                }
            }
            12 | 13 if up => {
                let keep = random.below(2) == 0;
                lab.down(n, keep);
                model.up.insert(n, false);
                model.remove_peer(n, keep);
                if keep {
                    for path in model.paths.values_mut().filter_map(|paths| paths.get_mut(&n)) {
                        path.stale = true;
                    }
                }
            }
            12 | 13 => {
                let description = some_peer(&mut random, n, model.peers.get(&n));
                if model.peers.get(&n).is_some_and(|before| before.asn != description.asn) {
                    model.remove_peer(n, true);
                }
                lab.up(n, description);
                model.peers.insert(n, description);
                model.up.insert(n, true);
            }
            14 if up => {
                lab.rib.sweep_stale(PeerId(n));
                model.remove_peer(n, true);
            }
            15 if up => lab.rib.refresh_export(PeerId(n), random.below(2) == 0),
            16 | 17 => {
                lab.rib.work(1 + random.below(6) as usize);
            }
            18..=20 => {
                let budget = [0, 1, 100, 400, 100_000][random.below(5) as usize];
                lab.listen(n, budget);
            }
            _ => {
                let at_most = 1 + random.below(8);
                take_changes(&mut lab, &mut told, at_most);
            }
        }
        // From time to time everything comes to rest, and the two must agree; often the life just goes on.
        if random.below(60) == 0 || step == 0 {
            check(&mut lab, &model, &mut told, &routes, seed);
        }
    }
    check(&mut lab, &model, &mut told, &routes, seed);
    empty(&mut lab, &mut model, &mut told, &routes, seed);
}

/// Drains in small steps.
fn drain(lab: &mut Lab, told: &mut Told) {
    for _ in 0..10_000 {
        let more = lab.rib.work(3);
        take_changes(lab, told, 2);
        let pending: Vec<_> = lab.heard.keys().copied().filter(|n| lab.rib.has_pending(PeerId(*n))).collect();
        for n in &pending {
            lab.listen(*n, 200);
        }
        if pending.is_empty() && !more && !lab.rib.has_changes() && !lab.rib.work(3) {
            return;
        }
    }
    panic!("never comes to rest");
}

fn check(lab: &mut Lab, model: &Model, told: &mut Told, routes: &[EvpnRoute<'_>], seed: u64) {
    drain(lab, told);
    for route in routes {
        let key = RouteKey::of(route);
        let dest = lab.rib.find(&key);
        // Adj-RIB-In.
        let paths: BTreeMap<u16, In> = dest
            .into_iter()
            .flat_map(|dest| lab.rib.paths(dest))
            .map(|path| {
                let attributes = lab.rib.attributes(path.attr).clone();
                (path.peer.0, In { attributes, labels: (path.label1, path.label2, path.esi), stale: path.stale })
            })
            .collect();
        assert_eq!(paths, model.paths.get(&key).cloned().unwrap_or_default(), "seed {seed}: paths of {key:?}");
        // The best.
        let best = dest.and_then(|dest| lab.rib.best(dest)).map(|best| best.peer.0);
        assert_eq!(best, model.best(&key).map(|(peer, _)| peer), "seed {seed}: best of {key:?} among {paths:#?}");
        let wanted = model.best(&key).map(|(peer, path)| (peer, model.kind(peer), path.attributes.clone(), path.labels));
        assert_eq!(told.get(&key), wanted.as_ref(), "seed {seed}: told of {key:?}");
        if let Some(dest) = dest {
            let why = lab.rib.why_best(dest);
            let bests: Vec<_> = why.iter().filter(|(_, why)| why == "best").map(|(path, _)| path.peer.0).collect();
            assert_eq!(bests, Vec::from_iter(best), "seed {seed}: {why:?}");
        }
        // What each peer heard.
        for (&n, heard) in &lab.heard {
            let wanted = model.heard(&key, n);
            assert_eq!(heard.routes.get(&key), wanted.as_ref(), "seed {seed}: what peer {n} heard of {key:?}");
            let advertised = dest.is_some_and(|dest| lab.rib.is_advertised(dest, PeerId(n)));
            assert_eq!(advertised, wanted.is_some(), "seed {seed}: is_advertised {key:?} to {n}");
        }
    }
    for (n, heard) in &lab.heard {
        assert_eq!(heard.end_of_rib, 1, "seed {seed}: peer {n}");
        assert_eq!(heard.begin_of_refresh, heard.begin_of_refresh.max(heard.end_of_refresh), "seed {seed}: peer {n}");
        let routes = model.paths.values().filter(|paths| paths.contains_key(n)).count();
        assert_eq!(lab.rib.peer_routes(PeerId(*n)) as usize, routes, "seed {seed}: routes of peer {n}");
    }
}

/// In the end everything goes, and nothing may be left behind.
fn empty(lab: &mut Lab, model: &mut Model, told: &mut Told, routes: &[EvpnRoute<'_>], seed: u64) {
    for route in routes {
        lab.withdraw_local(route);
        model.paths.entry(RouteKey::of(route)).or_default().remove(&LOCAL);
    }
    let all: Vec<u16> = model.peers.keys().copied().collect();
    for (at, n) in all.iter().enumerate() {
        lab.rib.sweep_stale(PeerId(*n));
        if at % 2 == 0 || !model.up[n] {
            lab.down(*n, false);
            model.up.insert(*n, false);
        } else {
            lab.withdraw(*n, routes);
        }
        model.remove_peer(*n, false);
    }
    check(lab, model, told, routes, seed);
    assert_eq!(lab.rib.next_change(), None, "the last destination handed out is freed here");
    let memory = lab.rib.memory();
    assert_eq!((memory.destinations, memory.attribute_blocks), (0, 0), "seed {seed}: something stayed: {memory:?}");
}

#[test]
fn a_thousand_lives_agree_with_the_model() {
    let lives: u64 = std::env::var("EVPND_RIB_LIVES").ok().and_then(|text| text.parse().ok()).unwrap_or(1000);
    for seed in 0..lives {
        live(seed);
    }
}
