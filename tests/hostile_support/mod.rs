//! A daemon in virtual time between a peer that behaves and one that does not: the stage of `tests/hostile.rs` and of the fuzz
//! target `session`. The kernel takes every row and forgets none; what it is told is counted.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use evpnd::base::{BgpIdentifier, MacAddr, Time, Vni};
use evpnd::control::{Event, NeighborView, Reply, Request, Status};
use evpnd::fib::{BatchDone, CheckedRow, DeviceState, KernelCommand, KernelEvent, KernelRow, OpKind, Remote};
use evpnd::speaker::{Action, ConnId, KeptState, RequestId, Speaker};
use evpnd::wire::attribute::Attributes;
use evpnd::wire::capability::Capability;
use evpnd::wire::esi::Esi;
use evpnd::wire::evpn::{EvpnRoute, MacIp};
use evpnd::wire::ext_community::ExtCommunity;
use evpnd::wire::header::{self, MessageType};
use evpnd::wire::open::Open;
use evpnd::wire::rd::Rd;
use evpnd::wire::update::{UpdateContext, emit_reach};

use crate::device_support::ready_device;

pub const VNI: u32 = 77_777;
/// Routes of the peer that behaves.
pub const HEALTHY_ROUTES: u32 = 20;

pub const HEALTHY: [u8; 4] = [10, 0, 0, 2];
pub const HOSTILE: [u8; 4] = [10, 0, 0, 66];

pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[0xff; 16][..], &((19 + body.len()) as u16).to_be_bytes(), &[kind], body].concat()
}

pub fn open(address: [u8; 4], extended: bool) -> Vec<u8> {
    let mut capabilities = vec![
        Capability::MultiProtocol { afi: 25, safi: 70 },
        Capability::RouteRefresh,
        Capability::EnhancedRouteRefresh,
        Capability::FourOctetAs(65000),
    ];
    if extended {
        capabilities.push(Capability::ExtendedMessage);
    }
    let identifier = BgpIdentifier(address.into());
    let mut out = Vec::new();
    Open { version: 4, my_as: 65000, hold_time_secs: 90, identifier, capabilities }.emit(&mut out);
    out
}

pub fn keepalive() -> Vec<u8> {
    message(4, &[])
}

/// MAC n of the peer at 10.0.0.`last`.
pub fn mac_route(last: u8, n: u32) -> EvpnRoute<'static> {
    let [_, a, b, c] = n.to_be_bytes();
    EvpnRoute::MacIp(MacIp {
        rd: Rd::from_ipv4(BgpIdentifier([10, 0, 0, last].into()), 100),
        esi: Esi::default(),
        tag: 0,
        mac: MacAddr([2, last, 0, a, b, c]),
        ip: None,
        label1: VNI,
        label2: None,
    })
}

/// Attributes of routes of 10.0.0.`last` for `vni`.
pub fn attributes(last: u8, vni: u32) -> Attributes {
    let target = format!("65000:{vni}").parse().unwrap();
    let ext_communities = vec![ExtCommunity::route_target(target), ExtCommunity::vxlan()];
    Attributes { next_hop: Some(IpAddr::from([10, 0, 0, last])), local_pref: Some(100), ext_communities, ..Attributes::default() }
}

pub fn announce(attributes: &Attributes, routes: impl IntoIterator<Item = EvpnRoute<'static>>) -> Vec<u8> {
    let (mut nlri, mut out) = (Vec::new(), Vec::new());
    routes.into_iter().for_each(|route| route.emit(&mut nlri));
    emit_reach(&mut out, attributes, &UpdateContext { four_octet_as: true, external: false }, &nlri);
    out
}

/// The stage.
pub struct Stage {
    pub speaker: Speaker,
    pub now: Time,
    healthy: ConnId,
    /// The connection of the hostile peer, while it stands.
    pub hostile: Option<ConnId>,
    /// What was sent to it since it was last looked at.
    pub to_hostile: Vec<u8>,
    rows: BTreeMap<MacAddr, Remote>,
    /// Writes for MACs of the peer that behaves, since it is up.
    healthy_writes: u32,
    pub events: Vec<Event>,
    keepalive_due: Time,
    replies: Vec<Reply>,
    ports: u16,
}

impl Stage {
    /// With `more` lines for the hostile neighbor, and further sections.
    pub fn new(neighbor: &str, more: &str) -> Self {
        let text = format!(
            "[router]\nasn = 65000\nvtep = \"10.0.0.1\"\n[[vni]]\nid = {VNI}\n[[neighbor]]\naddress = \"10.0.0.2\"\npassive = true\n\
             [[neighbor]]\naddress = \"10.0.0.66\"\npassive = true\n{neighbor}\n{more}"
        );
        let config = evpnd::config::parse("evpnd.toml", &text).unwrap();
        let now = Time::from_secs(1);
        let mut speaker = Speaker::new(config, KeptState::default(), None, 1, now);
        speaker.start(now);
        let mut stage = Self {
            speaker,
            now,
            healthy: ConnId(u64::MAX),
            hostile: None,
            to_hostile: Vec::new(),
            rows: BTreeMap::new(),
            healthy_writes: 0,
            events: Vec::new(),
            keepalive_due: now,
            replies: Vec::new(),
            ports: 0,
        };
        stage.pump();
        stage.healthy = stage.connect(HEALTHY).unwrap();
        let routes = announce(&attributes(2, VNI), (0..HEALTHY_ROUTES).map(|n| mac_route(2, n)));
        let octets = [open(HEALTHY, true), keepalive(), routes].concat();
        let healthy = stage.healthy;
        stage.speaker.handle_octets(stage.now, healthy, &octets);
        stage.pump();
        assert_eq!(stage.rows.len(), HEALTHY_ROUTES as usize);
        stage.healthy_writes = 0;
        stage
    }

    fn connect(&mut self, from: [u8; 4]) -> Option<ConnId> {
        self.ports += 1;
        let (local, remote) = (SocketAddr::from(([10, 0, 0, 1], 179)), SocketAddr::from((from, self.ports)));
        let admitted = self.speaker.handle_incoming(self.now, local, remote);
        let conn = admitted.ok().map(|(conn, _)| conn);
        self.pump();
        conn
    }

    /// The hostile peer connects. Whether it was let in.
    pub fn hostile_connects(&mut self) -> bool {
        self.to_hostile.clear();
        // Before the pump: what closes it at once must find it.
        self.ports += 1;
        let (local, remote) = (SocketAddr::from(([10, 0, 0, 1], 179)), SocketAddr::from((HOSTILE, self.ports)));
        self.hostile = self.speaker.handle_incoming(self.now, local, remote).ok().map(|(conn, _)| conn);
        self.pump();
        self.hostile.is_some()
    }

    pub fn hostile_closes(&mut self) {
        if let Some(conn) = self.hostile.take() {
            self.speaker.handle_closed(self.now, conn, "closed by the test");
            self.pump();
        }
    }

    /// Connects and comes up. Whether it is established.
    pub fn hostile_comes_up(&mut self, extended: bool) -> bool {
        self.hostile_connects() && self.hostile_says(&[open(HOSTILE, extended), keepalive()].concat())
    }

    /// Octets from the hostile peer, in reads as the rim's. Whether its connection stands after them.
    pub fn hostile_says(&mut self, octets: &[u8]) -> bool {
        for read in octets.chunks(64 << 10) {
            let Some(conn) = self.hostile else { return false };
            self.speaker.handle_octets(self.now, conn, read);
            self.pump();
        }
        self.hostile.is_some()
    }

    /// The hostile peer reads about so much.
    pub fn hostile_reads(&mut self, budget: usize) -> usize {
        let Some(conn) = self.hostile else { return 0 };
        let mut out = Vec::new();
        self.speaker.transmit(conn, &mut out, budget);
        if !out.is_empty() {
            self.speaker.handle_sent(self.now, conn, out.len());
        }
        self.to_hostile.extend_from_slice(&out);
        self.pump();
        out.len()
    }

    /// Code and subcode of the NOTIFICATION that the hostile peer was told.
    pub fn notification(&self) -> Option<(u8, u8)> {
        let mut rest = &self.to_hostile[..];
        let mut found = None;
        while let Ok(Some(frame)) = header::frame(rest, 65_535) {
            if frame.message_type == MessageType::Notification {
                found = Some((frame.body[0], frame.body[1]));
            }
            rest = &rest[frame.len..];
        }
        found
    }

    /// Time passes; the peer that behaves sends its KEEPALIVEs and reads.
    pub fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let timer = self.speaker.poll_timeout().map_or(end, |(at, _)| at.max(self.now));
            let next = timer.min(self.keepalive_due).min(end);
            self.now = next;
            if self.keepalive_due <= next {
                self.keepalive_due = next + Duration::from_secs(20);
                let healthy = self.healthy;
                self.speaker.handle_octets(next, healthy, &keepalive());
                let mut out = Vec::new();
                self.speaker.transmit(healthy, &mut out, 1 << 20);
                self.speaker.handle_sent(next, healthy, out.len().max(1));
            }
            self.speaker.handle_timeout(next);
            self.pump();
            if next >= end {
                return;
            }
        }
    }

    /// What a rim and a kernel do.
    pub fn pump(&mut self) {
        loop {
            while let Some(event) = self.speaker.poll_event() {
                self.events.push(event);
                // A fuzzer makes many; only the last are looked at.
                if self.events.len() > 4096 {
                    self.events.drain(..2048);
                }
            }
            let Some(action) = self.speaker.poll_action() else {
                if !self.speaker.has_work() {
                    return;
                }
                self.speaker.handle_work(self.now);
                continue;
            };
            match action {
                Action::Kernel(command) => self.kernel(command),
                Action::Close(conn, octets) => {
                    assert_ne!(conn, self.healthy, "the peer that behaves was closed: {:?}", self.events.last());
                    if self.hostile == Some(conn) {
                        self.hostile = None;
                        self.to_hostile.extend(octets);
                    }
                }
                Action::Connect(conn, _) => self.speaker.handle_connect_failed(self.now, conn, "nobody listens"),
                Action::Reply(_, reply) => self.replies.push(*reply),
                Action::Save(_) | Action::SaveSequences(_) | Action::NeighborsChanged | Action::ReadConfig(_) | Action::Exit => {}
            }
        }
    }

    fn kernel(&mut self, command: KernelCommand) {
        let vni = Vni::new(VNI).unwrap();
        match command {
            KernelCommand::Devices(_) => {
                let device = ready_device(vni, 7, 8, Some([10, 0, 0, 1].into()));
                self.speaker.handle_kernel(self.now, KernelEvent::Device(DeviceState::Ready(device)));
            }
            KernelCommand::Dump { token, vni, .. } => {
                let rows =
                    if vni.get() == VNI { self.rows.keys().filter_map(|mac| self.row(*mac)).collect() } else { Vec::new() };
                self.speaker.handle_kernel(self.now, KernelEvent::Rows { token, vni, rows: Ok(rows) });
            }
            KernelCommand::Check { token, rows } => {
                let rows = rows.into_iter().map(|(vni, mac)| CheckedRow { vni, mac, row: self.row(mac), idle: None }).collect();
                self.speaker.handle_kernel(self.now, KernelEvent::Checked { token, rows });
            }
            KernelCommand::GetRow { token, .. } => {
                self.speaker.handle_kernel(self.now, KernelEvent::Row { token, row: None });
            }
            KernelCommand::DumpNeighbors { token, vni } => {
                self.speaker.handle_kernel(self.now, KernelEvent::Neighbors { token, vni, neighbors: Ok(Vec::new()) });
            }
            KernelCommand::SetStation { token, .. } => {
                self.speaker.handle_kernel(self.now, KernelEvent::StationSet { token, outcome: Ok(()) });
            }
            KernelCommand::Write(batch) => {
                let mut done = BatchDone { id: batch.id, ..BatchDone::default() };
                for op in &batch.ops {
                    let stands = self.rows.get(&op.mac) == Some(&op.remote);
                    if op.kind == OpKind::EnsureUnicast && stands {
                        done.stood += 1;
                        continue;
                    }
                    self.healthy_writes += u32::from(op.mac.0[..2] == [2, 2]);
                    match op.kind {
                        kind if kind.writes_unicast() => {
                            self.rows.insert(op.mac, op.remote);
                        }
                        OpKind::DeleteUnicast { .. } => drop(self.rows.remove(&op.mac)),
                        _ => {}
                    }
                }
                self.speaker.handle_kernel(self.now, KernelEvent::BatchDone(done));
            }
            _ => {}
        }
    }

    /// What the kernel has for one MAC.
    fn row(&self, mac: MacAddr) -> Option<KernelRow> {
        let remote = *self.rows.get(&mac)?;
        Some(KernelRow::new(mac, remote))
    }

    pub fn ask(&mut self, request: Request) -> Reply {
        self.speaker.handle_request(self.now, RequestId(1), request);
        self.pump();
        self.replies.pop().expect("the control socket answers")
    }

    pub fn status(&mut self) -> Status {
        match self.ask(Request::ShowStatus {}) {
            Reply::Status(status) => status,
            other => panic!("{other:?}"),
        }
    }

    pub fn counter(&mut self, name: &str) -> u64 {
        self.status().counters.get(name).copied().unwrap_or_default()
    }

    pub fn neighbor(&mut self, address: [u8; 4]) -> NeighborView {
        match self.ask(Request::ShowNeighbors { address: Some(address.into()), after: None, limit: None }) {
            Reply::Neighbors(mut page) => page.items.remove(0),
            other => panic!("{other:?}"),
        }
    }

    pub fn clear_hostile(&mut self) {
        self.ask(Request::ClearNeighbor { address: HOSTILE.into() });
    }

    /// The peer that behaves has its session since the beginning, and all of its routes.
    pub fn assert_session_unharmed(&mut self) {
        let healthy = self.neighbor(HEALTHY);
        assert_eq!((healthy.state.as_str(), healthy.established_count), ("established", 1), "{healthy:?}");
        assert_eq!(healthy.routes_received, u64::from(HEALTHY_ROUTES));
    }

    /// And no row of its was written again.
    pub fn assert_unharmed(&mut self) {
        self.assert_session_unharmed();
        assert_eq!(self.healthy_writes, 0, "rows of the peer that behaves were written");
        let own = |(mac, remote): &(&MacAddr, &Remote)| mac.0[..2] == [2, 2] && remote.ip == IpAddr::from(HEALTHY);
        assert_eq!(self.rows.iter().filter(own).count(), HEALTHY_ROUTES as usize);
    }

    /// How many routes of others than the peer that behaves have rows.
    pub fn other_rows(&self) -> usize {
        self.rows.keys().filter(|mac| mac.0[..2] != [2, 2]).count()
    }
}
