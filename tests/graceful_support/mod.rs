//! Whole daemons on one link in virtual time: each is a speaker while it runs, and what outlives it. A test gives the answers of
//! their kernels by hand, breaks links, kills and restarts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use crate::device_support::ready_device;
use evpnd::base::{MacAddr, Time, Vni};
use evpnd::control::{Event, NeighborView, Reply, Request};
use evpnd::fib::{DeviceState, KernelCommand, KernelEvent, KernelNeighbor, LocalMac, OpKind};
use evpnd::speaker::{Action, ConnId, KeptState, RequestId, Speaker};
use evpnd::wire::header::{MAX_EXTENDED_MESSAGE_LEN, MessageType, frame};
use evpnd::wire::notification::Notification;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A daemon: its speaker while it runs, and what outlives it.
pub struct Node {
    pub config: String,
    pub kept: KeptState,
    pub speaker: Option<Speaker>,
    /// Local MACs that its bridge has; told when its device is looked at.
    pub macs: Vec<MacAddr>,
    /// What an earlier run wrote for ARP and ND to be answered with; told when the bridge is asked.
    pub answers: Vec<KernelNeighbor>,
    /// Questions for that which wait for an answer; `None`: they are answered at once.
    pub asked: Option<Vec<u64>>,
    /// The kernel does not answer.
    pub deaf: bool,
    /// Rows that were deleted, from the flood list too.
    pub deleted: usize,
    pub events: Vec<Event>,
}

/// Daemons on one link, by the last octet of their addresses.
pub struct World {
    pub now: Time,
    pub nodes: BTreeMap<u8, Node>,
    /// Ends of connections: (node, connection) to (node, connection).
    pub wires: BTreeMap<(u8, ConnId), (u8, ConnId)>,
    /// NOTIFICATIONs that went over the wire, by sender.
    pub said: Vec<(u8, String)>,
}

pub fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

pub fn vni() -> Vni {
    Vni::new(100).unwrap()
}

pub fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

impl World {
    pub fn new() -> Self {
        Self { now: Time::from_secs(1), nodes: BTreeMap::new(), wires: BTreeMap::new(), said: Vec::new() }
    }

    /// A hypervisor with one machine behind it, and `more` in its file.
    pub fn hypervisor(&mut self, last: u8, reflector: u8, more: &str) {
        let config = format!(
            "[router]\nasn = 65000\nvtep = \"{}\"\n[[neighbor]]\naddress = \"{}\"\nconnect-retry = 1\n[[vni]]\nid = 100\n{more}",
            address(last),
            address(reflector)
        );
        self.add(last, config, vec![mac(last)]);
    }

    pub fn reflector(&mut self, last: u8, more: &str) {
        let config = format!(
            "[router]\nasn = 65000\nrouter-id = \"{}\"\n[[neighbor]]\nlisten-range = \"10.0.0.0/24\"\nroute-reflector-client = true\n{more}",
            address(last)
        );
        self.add(last, config, Vec::new());
    }

    pub fn add(&mut self, last: u8, config: String, macs: Vec<MacAddr>) {
        let node = Node {
            config,
            kept: KeptState::default(),
            speaker: None,
            macs,
            answers: Vec::new(),
            asked: None,
            deaf: false,
            deleted: 0,
            events: Vec::new(),
        };
        self.nodes.insert(last, node);
        self.start(last);
    }

    pub fn start(&mut self, last: u8) {
        let node = self.nodes.get_mut(&last).unwrap();
        let config = evpnd::config::parse("evpnd.toml", &node.config).unwrap_or_else(|error| panic!("{error}"));
        let mut speaker = Speaker::new(config, node.kept.clone(), None, u64::from(last), self.now);
        speaker.start(self.now);
        node.speaker = Some(speaker);
        self.pump();
    }

    /// The process is gone, without a word.
    pub fn kill(&mut self, last: u8) {
        self.nodes.get_mut(&last).unwrap().speaker = None;
        let ends: Vec<_> = self.wires.keys().copied().filter(|(node, _)| *node == last).collect();
        for end in ends {
            self.cut(end, "the peer reset the connection");
        }
        self.pump();
    }

    /// SIGTERM.
    pub fn stop(&mut self, last: u8) {
        let now = self.now;
        self.speaker(last).shutdown(now, "the daemon stops");
        self.pump();
        self.nodes.get_mut(&last).unwrap().speaker = None;
    }

    /// `evpnctl reload` of a file in which one thing is another.
    pub fn reload(&mut self, last: u8, from: &str, to: &str) {
        let node = self.nodes.get_mut(&last).unwrap();
        assert!(node.config.contains(from), "{from} in {}", node.config);
        node.config = node.config.replacen(from, to, 1);
        let config = evpnd::config::parse("evpnd.toml", &node.config).unwrap_or_else(|error| panic!("{error}"));
        let now = self.now;
        self.speaker(last).reload(now, Ok(config), None);
        self.pump();
    }

    /// Rows that were deleted since the last call, of all nodes.
    pub fn deleted(&mut self) -> usize {
        self.nodes.values_mut().map(|node| std::mem::take(&mut node.deleted)).sum()
    }

    pub fn speaker(&mut self, last: u8) -> &mut Speaker {
        self.nodes.get_mut(&last).unwrap().speaker.as_mut().unwrap()
    }

    /// Ends the connection that has this end; the other side hears of it.
    pub fn cut(&mut self, end: (u8, ConnId), why: &str) {
        let Some(other) = self.wires.remove(&end) else { return };
        self.wires.remove(&other);
        let now = self.now;
        if let Some(speaker) = &mut self.nodes.get_mut(&other.0).unwrap().speaker {
            speaker.handle_closed(now, other.1, why);
        }
    }

    /// Carries out what everybody wants until nobody wants anything.
    pub fn pump(&mut self) {
        loop {
            let mut busy = false;
            for last in self.nodes.keys().copied().collect::<Vec<_>>() {
                while let Some(action) = self.nodes.get_mut(&last).unwrap().speaker.as_mut().and_then(Speaker::poll_action) {
                    self.carry_out(last, action);
                    busy = true;
                }
                let node = self.nodes.get_mut(&last).unwrap();
                while let Some(event) = node.speaker.as_mut().and_then(Speaker::poll_event) {
                    node.events.push(event);
                }
                if let Some(speaker) = &mut node.speaker
                    && speaker.has_work()
                {
                    speaker.handle_work(self.now);
                    busy = true;
                }
            }
            for (end, other) in self.wires.clone() {
                let mut octets = Vec::new();
                if let Some(speaker) = &mut self.nodes.get_mut(&end.0).unwrap().speaker {
                    speaker.transmit(end.1, &mut octets, 65536);
                }
                busy |= !octets.is_empty();
                self.deliver(end.0, other, &octets);
            }
            if !busy {
                return;
            }
        }
    }

    pub fn deliver(&mut self, from: u8, to: (u8, ConnId), octets: &[u8]) {
        let mut rest = octets;
        while let Ok(Some(message)) = frame(rest, MAX_EXTENDED_MESSAGE_LEN) {
            if message.message_type == MessageType::Notification {
                self.said.push((from, Notification::parse(message.body).unwrap().to_string()));
            }
            rest = &rest[message.len..];
        }
        let now = self.now;
        if !octets.is_empty()
            && let Some(speaker) = &mut self.nodes.get_mut(&to.0).unwrap().speaker
        {
            speaker.handle_octets(now, to.1, octets);
        }
    }

    pub fn carry_out(&mut self, last: u8, action: Action) {
        let now = self.now;
        match action {
            Action::Connect(conn, transport) => {
                let IpAddr::V4(remote) = transport.remote.ip() else { panic!() };
                let other = remote.octets()[3];
                let at = |last: u8| SocketAddr::from((address(last), 179));
                let accepted = self
                    .nodes
                    .get_mut(&other)
                    .and_then(|node| node.speaker.as_mut())
                    .and_then(|speaker| speaker.handle_incoming(now, at(other), at(last)).ok());
                match accepted {
                    Some((theirs, _)) => {
                        self.wires.insert((last, conn), (other, theirs));
                        self.wires.insert((other, theirs), (last, conn));
                        self.speaker(last).handle_connected(now, conn, at(last));
                    }
                    None => self.speaker(last).handle_connect_failed(now, conn, "nobody is there"),
                }
            }
            Action::Close(conn, octets) => {
                if let Some(other) = self.wires.get(&(last, conn)).copied() {
                    self.deliver(last, other, &octets);
                    self.cut((last, conn), "the peer closed the connection");
                }
            }
            Action::SaveSequences(_) => {}
            Action::Save(state) => {
                self.nodes.get_mut(&last).unwrap().kept = KeptState { is_restart: true, boot: "this".to_owned(), ..state }
            }
            Action::Kernel(command) => self.kernel(last, command),
            Action::Reply(..) | Action::NeighborsChanged | Action::ReadConfig(_) | Action::Exit => {}
        }
    }

    pub fn kernel(&mut self, last: u8, command: KernelCommand) {
        let now = self.now;
        let node = self.nodes.get_mut(&last).unwrap();
        let (deaf, macs) = (node.deaf, node.macs.clone());
        let Some(speaker) = node.speaker.as_mut().filter(|_| !deaf) else { return };
        match command {
            KernelCommand::Devices(specs) if !specs.is_empty() => {
                let device = ready_device(vni(), 7, 8, Some(address(last)));
                speaker.handle_kernel(now, KernelEvent::Device(DeviceState::Ready(device)));
                let local =
                    |mac: &MacAddr| LocalMac { vni: vni(), mac: *mac, port: 3, port_name: "tap3".to_owned(), is_static: false };
                let macs = macs.iter().map(local).collect();
                speaker.handle_kernel(now, KernelEvent::LocalMacs { vni: vni(), macs });
            }
            KernelCommand::DumpNeighbors { token, vni } => match &mut node.asked {
                Some(asked) => asked.push(token),
                None => {
                    let neighbors = Ok(node.answers.clone());
                    speaker.handle_kernel(now, KernelEvent::Neighbors { token, vni, neighbors });
                }
            },
            KernelCommand::Dump { token, vni, .. } => {
                speaker.handle_kernel(now, KernelEvent::Rows { token, vni, rows: Ok(Vec::new()) });
            }
            KernelCommand::Write(batch) => {
                let is_delete = |kind| matches!(kind, OpKind::DeleteUnicast { .. } | OpKind::DeleteFlood);
                node.deleted += batch.ops.iter().filter(|op| is_delete(op.kind)).count();
                let done = evpnd::fib::BatchDone { id: batch.id, ..Default::default() };
                speaker.handle_kernel(now, KernelEvent::BatchDone(done));
            }
            _ => {}
        }
        speaker.handle_work(now);
    }

    /// Lets time pass.
    pub fn pass(&mut self, secs: u64) {
        let end = self.now + Duration::from_secs(secs);
        self.pump();
        loop {
            let next = self.nodes.values().filter_map(|node| node.speaker.as_ref()?.poll_timeout()).map(|(at, _)| at).min();
            match next.filter(|at| *at <= end) {
                Some(at) => {
                    self.now = self.now.max(at);
                    for node in self.nodes.values_mut() {
                        if let Some(speaker) = &mut node.speaker {
                            speaker.handle_timeout(self.now);
                        }
                    }
                    self.pump();
                }
                None => break,
            }
        }
        self.now = end;
    }

    pub fn ask(&mut self, last: u8, request: Request) -> Reply {
        let now = self.now;
        self.speaker(last).handle_request(now, RequestId(1), request);
        loop {
            match self.speaker(last).poll_action() {
                Some(Action::Reply(_, reply)) => return *reply,
                Some(action) => self.carry_out(last, action),
                None => panic!("no reply"),
            }
        }
    }

    pub fn neighbor(&mut self, last: u8, of: u8) -> Option<NeighborView> {
        match self.ask(last, Request::ShowNeighbors { address: Some(address(of)), after: None, limit: None }) {
            Reply::Neighbors(page) => page.items.into_iter().next(),
            _ => None,
        }
    }

    /// The MACs that a node has rows for.
    pub fn remote_macs(&mut self, last: u8) -> Vec<MacAddr> {
        match self.ask(last, Request::ShowMacs { vni: None, mac: None, duplicates: false, after: None, limit: None }) {
            Reply::Macs(page) => page.items.into_iter().filter(|mac| mac.vtep.is_some()).map(|mac| mac.mac).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// MACs that left a node's tables since the last call.
    pub fn swept(&mut self, last: u8) -> Vec<(u64, String)> {
        let node = self.nodes.get_mut(&last).unwrap();
        let told = std::mem::take(&mut node.events);
        told.into_iter()
            .filter_map(|event| match event {
                Event::RoutesSwept { routes, why, .. } => Some((routes, why)),
                _ => None,
            })
            .collect()
    }

    /// `evpnctl drain`: its reply comes when it is done.
    pub fn ask_drain(&mut self, last: u8) {
        let now = self.now;
        self.speaker(last).handle_request(now, RequestId(2), Request::Drain {});
    }
}
