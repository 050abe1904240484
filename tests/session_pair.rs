//! Two sessions in virtual time, joined by a simulated link: TCP with latency, jitter, loss of the whole link, and ports
//! that refuse. What the rim has to do with a session's events is written out in `Pair`; read it before `speaker` and `io`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod session_support;

use std::collections::BTreeMap;
use std::time::Duration;

use evpnd::base::{Random, Time};
use evpnd::session::{Admission, Direction, Session, SessionEvent, State};
use evpnd::wire::capability::GracefulRestart;
use evpnd::wire::header::{MessageType, begin, finish};
use evpnd::wire::route_refresh::RouteRefresh;
use session_support::{Asn, SessionConfig};

/// A TCP connection of the simulation. `ends[0]` belongs to the node that opened it.
#[derive(Debug, Clone)]
struct Tcp {
    opener: usize,
    /// When the last segment towards each node arrives: segments do not overtake each other.
    last: [Time; 2],
}

/// Something on its way.
#[derive(Debug, Clone)]
enum Happening {
    Syn { tcp: usize },
    SynAck { tcp: usize },
    Reset { tcp: usize },
    Octets { tcp: usize, to: usize, octets: Vec<u8> },
    Fin { tcp: usize, to: usize },
}

#[derive(Debug)]
struct Node {
    session: Session,
    /// The connection of each direction.
    tcp: [Option<usize>; 2],
    /// The attempt under way.
    asking: Option<usize>,
    /// The port is open.
    listens: bool,
    /// Everything that the session said, in words, with the time in seconds.
    log: Vec<String>,
    updates: Vec<Vec<u8>>,
    refreshes: Vec<u8>,
}

struct Pair {
    now: Time,
    nodes: [Node; 2],
    tcps: Vec<Tcp>,
    on_the_way: BTreeMap<(Time, u64), Happening>,
    sequence: u64,
    random: Random,
    latency: Duration,
    jitter: Duration,
    /// The link is cut: what is sent gets lost, and TCP notices nothing.
    cut: bool,
}

fn config(n: u8) -> SessionConfig {
    SessionConfig { remote_asn: Some(Asn(65000)), host_name: Some(format!("hv{n}")), ..session_support::config(n) }
}

impl Pair {
    fn new(seed: u64, configs: [SessionConfig; 2]) -> Self {
        let mut number = 0;
        let nodes = configs.map(|config| {
            number += 1;
            let session = Session::new(config, seed * 2 + number, Time::ZERO);
            let (log, updates, refreshes) = (Vec::new(), Vec::new(), Vec::new());
            Node { session, tcp: [None; 2], asking: None, listens: true, log, updates, refreshes }
        });
        Self {
            now: Time::ZERO,
            nodes,
            tcps: Vec::new(),
            on_the_way: BTreeMap::new(),
            sequence: 0,
            random: Random::new(seed),
            latency: Duration::from_millis(1),
            jitter: Duration::ZERO,
            cut: false,
        }
    }

    fn start(&mut self) {
        for n in 0..2 {
            self.nodes[n].session.start(self.now);
        }
        for n in 0..2 {
            self.pump(n);
        }
    }

    fn send(&mut self, tcp: usize, to: usize, happening: Happening) {
        let jitter = Duration::from_micros(self.random.below(self.jitter.as_micros() as u64 + 1));
        let at = (self.now + self.latency + jitter).max(self.tcps[tcp].last[to]);
        self.tcps[tcp].last[to] = at;
        if !self.cut {
            self.sequence += 1;
            self.on_the_way.insert((at, self.sequence), happening);
        }
    }

    /// What a rim does with one session until it wants nothing more.
    fn pump(&mut self, n: usize) {
        loop {
            let now = self.now;
            let secs = now.secs_since(Time::ZERO);
            let node = &mut self.nodes[n];
            let Some(event) = node.session.poll_event(now) else { break };
            match event {
                SessionEvent::Connect => {
                    node.log.push(format!("{secs} connect"));
                    self.tcps.push(Tcp { opener: n, last: [now; 2] });
                    let tcp = self.tcps.len() - 1;
                    node.asking = Some(tcp);
                    self.send(tcp, 1 - n, Happening::Syn { tcp });
                }
                SessionEvent::CancelConnect => {
                    node.log.push(format!("{secs} cancel"));
                    node.asking = None;
                }
                SessionEvent::Close(direction) => {
                    node.log.push(format!("{secs} close {direction:?}"));
                    self.flush(n, direction);
                    if let Some(tcp) = self.nodes[n].tcp[direction as usize].take() {
                        self.send(tcp, 1 - n, Happening::Fin { tcp, to: 1 - n });
                    }
                }
                SessionEvent::Established(negotiated) => {
                    let name = negotiated.peer_host_name.clone().unwrap_or_default();
                    node.log.push(format!("{secs} up {name}"));
                }
                SessionEvent::Down(reason) => node.log.push(format!("{secs} down: {reason}")),
                SessionEvent::Refused(reason) => node.log.push(format!("{secs} refused: {reason}")),
                SessionEvent::Update(body) => node.updates.push(body.to_vec()),
                SessionEvent::RouteRefresh(refresh) => node.refreshes.push(refresh.subtype),
            }
        }
        for direction in Direction::BOTH {
            self.flush(n, direction);
        }
    }

    fn flush(&mut self, n: usize, direction: Direction) {
        let Some(tcp) = self.nodes[n].tcp[direction as usize] else { return };
        let mut octets = Vec::new();
        self.nodes[n].session.transmit(direction, &mut octets);
        self.send_octets(n, direction, tcp, octets);
    }

    fn send_octets(&mut self, n: usize, direction: Direction, tcp: usize, octets: Vec<u8>) {
        // In pieces, as TCP may.
        let mut rest = &octets[..];
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(rest.len().min(1 + self.random.below(3000) as usize));
            self.send(tcp, 1 - n, Happening::Octets { tcp, to: 1 - n, octets: piece.to_vec() });
            self.nodes[n].session.handle_sent(self.now, direction);
            rest = more;
        }
    }

    /// An UPDATE of `len` octets from node `n`, after what the session itself has to say.
    fn send_update(&mut self, n: usize, len: usize) {
        let (direction, _) = self.nodes[n].session.established().expect("established");
        let mut octets = Vec::new();
        self.nodes[n].session.transmit(direction, &mut octets);
        let start = begin(&mut octets, MessageType::Update);
        octets.resize(start + len, 0);
        finish(&mut octets, start);
        let tcp = self.nodes[n].tcp[direction as usize].expect("connected");
        self.send_octets(n, direction, tcp, octets);
    }

    fn direction_of(&self, n: usize, tcp: usize) -> Option<Direction> {
        Direction::BOTH.into_iter().find(|direction| self.nodes[n].tcp[*direction as usize] == Some(tcp))
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.now;
        let n = match happening {
            Happening::Syn { tcp } => {
                let opener = self.tcps[tcp].opener;
                let n = 1 - opener;
                if !self.nodes[n].listens {
                    return self.send(tcp, opener, Happening::Reset { tcp });
                }
                self.send(tcp, opener, Happening::SynAck { tcp });
                let slot = Direction::Incoming as usize;
                match self.nodes[n].session.handle_connected(now, Direction::Incoming) {
                    Admission::Taken => self.nodes[n].tcp[slot] = Some(tcp),
                    Admission::Replaces(farewell) => {
                        if let Some(old) = self.nodes[n].tcp[slot].replace(tcp) {
                            self.send(old, opener, Happening::Octets { tcp: old, to: opener, octets: farewell });
                            self.send(old, opener, Happening::Fin { tcp: old, to: opener });
                        }
                    }
                    Admission::Refused(farewell) => {
                        self.send(tcp, opener, Happening::Octets { tcp, to: opener, octets: farewell });
                        self.send(tcp, opener, Happening::Fin { tcp, to: opener });
                    }
                }
                n
            }
            Happening::SynAck { tcp } => {
                let n = self.tcps[tcp].opener;
                if self.nodes[n].asking.take_if(|asking| *asking == tcp).is_none() {
                    // Given up meanwhile.
                    return self.send(tcp, 1 - n, Happening::Fin { tcp, to: 1 - n });
                }
                self.nodes[n].tcp[Direction::Outgoing as usize] = Some(tcp);
                assert_eq!(self.nodes[n].session.handle_connected(now, Direction::Outgoing), Admission::Taken);
                n
            }
            Happening::Reset { tcp } => {
                let n = self.tcps[tcp].opener;
                if self.nodes[n].asking.take_if(|asking| *asking == tcp).is_some() {
                    self.nodes[n].session.handle_connect_failed(now, "connection refused");
                }
                n
            }
            Happening::Octets { tcp, to, octets } => {
                let Some(direction) = self.direction_of(to, tcp) else { return };
                self.nodes[to].session.handle_octets(now, direction, &octets);
                to
            }
            Happening::Fin { tcp, to } => {
                let Some(direction) = self.direction_of(to, tcp) else { return };
                self.nodes[to].tcp[direction as usize] = None;
                self.nodes[to].session.handle_closed(now, direction, "closed by the peer");
                to
            }
        };
        self.pump(n);
    }

    /// Runs for `duration`, or until nothing is left to happen.
    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let message = self.on_the_way.keys().next().copied();
            let timer = (0..2).filter_map(|n| Some((self.nodes[n].session.poll_timeout()?.0, n))).min();
            let next = [message.map(|(at, _)| at), timer.map(|(at, _)| at)].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            assert!(next >= self.now, "a timer in the past");
            self.now = next;
            match message.filter(|(at, _)| *at == next) {
                Some(key) => {
                    let happening = self.on_the_way.remove(&key).expect("it is there");
                    self.happen(happening);
                }
                None => {
                    let n = timer.expect("it is the earlier one").1;
                    self.nodes[n].session.handle_timeout(next);
                    self.pump(n);
                }
            }
        }
        self.now = end;
    }

    fn run_secs(&mut self, secs: u64) {
        self.run(Duration::from_secs(secs));
    }

    fn is_up(&self) -> bool {
        self.nodes.iter().all(|node| node.session.state() == State::Established)
    }

    fn established(seed: u64, configs: [SessionConfig; 2]) -> Self {
        let mut pair = Self::new(seed, configs);
        pair.start();
        pair.run_secs(1);
        assert!(pair.is_up(), "{:#?}", pair.nodes.map(|node| node.log));
        pair
    }

    /// Who opened the connection on which the session runs.
    fn opener(&self) -> usize {
        let (direction, _) = self.nodes[0].session.established().expect("established");
        self.tcps[self.nodes[0].tcp[direction as usize].expect("connected")].opener
    }

    /// Attempts of node `n`.
    fn attempts(&self, n: usize) -> usize {
        self.nodes[n].log.iter().filter(|line| line.ends_with(" connect")).count()
    }

    fn log(&self, n: usize, words: &str) -> usize {
        self.nodes[n].log.iter().filter(|line| line.contains(words)).count()
    }
}

#[test]
fn both_connect_at_once_and_the_higher_router_ids_connection_survives() {
    for (ids, opener) in [([1, 2], 1), ([2, 1], 0)] {
        let pair = Pair::established(1, ids.map(config));
        assert_eq!(pair.opener(), opener);
        for n in 0..2 {
            assert_eq!((pair.attempts(n), pair.log(n, " up "), pair.log(n, "down")), (1, 1, 0), "{:?}", pair.nodes[n].log);
            assert_eq!(pair.nodes[n].tcp.iter().flatten().count(), 1, "one connection is left");
            assert_eq!(pair.nodes[n].session.last_error(), None);
        }
        assert_eq!(pair.log(0, "up hv"), 1, "the peer's name is known");
    }
}

/// Whatever the order in which the octets of both connections arrive, both sides end with one and the same.
#[test]
fn collisions_of_every_timing_end_in_one_session() {
    for seed in 0..500 {
        let mut pair = Pair::new(seed, [config(1), config(2)]);
        pair.jitter = Duration::from_millis(20);
        pair.nodes[0].session.start(Time::ZERO);
        pair.pump(0);
        pair.run(Duration::from_micros(pair.random.clone().below(60_000)));
        pair.nodes[1].session.start(pair.now);
        pair.pump(1);
        pair.run_secs(60);
        assert!(pair.is_up(), "seed {seed}: {:#?}", pair.nodes.map(|node| node.log));
        let tcp: Vec<usize> = pair.nodes.iter().flat_map(|node| node.tcp.iter().flatten().copied()).collect();
        assert!(tcp.len() == 2 && tcp[0] == tcp[1], "seed {seed}: one connection, the same on both sides: {tcp:?}");
        // Never are both lost: none of the two tries again.
        let attempts = [pair.attempts(0), pair.attempts(1)];
        assert!(attempts[0] <= 1 && attempts[1] <= 1, "seed {seed}: {:#?}", pair.nodes.map(|node| node.log));
    }
}

#[test]
fn a_passive_side_waits_and_is_found() {
    let pair = Pair::established(2, [SessionConfig { passive: true, ..config(9) }, config(2)]);
    assert_eq!((pair.opener(), pair.attempts(0)), (1, 0));
}

#[test]
fn a_session_stands_for_a_day_on_keepalives_alone() {
    let mut pair = Pair::established(3, [config(1), config(2)]);
    pair.run_secs(86_400);
    assert_eq!((pair.log(0, "down"), pair.log(1, "down")), (0, 0));
    let sent = pair.nodes[0].session.stats().sent.keepalive;
    assert!((2_880..=3_841).contains(&sent), "{sent} keepalives: 22.5 to 30 s apart");
}

#[test]
fn a_cut_link_costs_the_hold_time_and_comes_back() {
    let mut pair = Pair::established(4, [config(1), config(2)]);
    pair.run_secs(100);
    pair.cut = true;
    pair.run_secs(91);
    for n in 0..2 {
        assert_eq!(pair.log(n, "down: the peer was silent for the hold time"), 1, "{:?}", pair.nodes[n].log);
    }
    pair.run_secs(600);
    assert!(pair.log(0, "no answer within 15 s") > 2);
    pair.cut = false;
    pair.run_secs(140);
    assert!(pair.is_up(), "back within the longest pause and an attempt: {:#?}", pair.nodes.map(|node| node.log));
}

#[test]
fn a_port_that_opens_late_is_found_by_the_back_off() {
    let mut pair = Pair::new(5, [SessionConfig { passive: true, ..config(1) }, config(2)]);
    pair.nodes[0].listens = false;
    pair.start();
    pair.run_secs(300);
    let attempts = pair.attempts(1);
    assert!((6..=8).contains(&attempts), "{:?}: 0, 5, 15, 35, 75, 155, 275 s at most", pair.nodes[1].log);
    pair.nodes[0].listens = true;
    pair.run_secs(121);
    assert!(pair.is_up());
    // A session that stood starts the back-off over.
    pair.run_secs(100);
    pair.nodes[0].session.stop(pair.now, 4, "reset");
    pair.nodes[0].session.start(pair.now);
    pair.pump(0);
    pair.run_secs(6);
    assert!(pair.is_up(), "{:?}", pair.nodes[1].log);
}

#[test]
fn shutdown_is_told_to_the_other_operator_both_ways() {
    for n in 0..2 {
        let mut pair = Pair::established(6, [config(1), config(2)]);
        pair.nodes[n].session.stop(pair.now, 2, "moving to rack 7");
        pair.pump(n);
        pair.run_secs(1);
        assert_eq!(pair.log(n, "down: stopped here: moving to rack 7"), 1, "{:?}", pair.nodes[n].log);
        assert_eq!(pair.log(1 - n, "moving to rack 7"), 1, "{:?}", pair.nodes[1 - n].log);
        assert_eq!(pair.nodes[n].session.state(), State::Idle);
        pair.run_secs(600);
        assert!(!pair.is_up(), "stopped means stopped");
        pair.nodes[n].session.start(pair.now);
        pair.pump(n);
        pair.run_secs(1);
        assert!(pair.is_up(), "and the other side still listens");
    }
}

#[test]
fn refusals_are_said_on_both_sides_and_retried_slowly() {
    let other = [
        (SessionConfig { remote_asn: Some(Asn(65001)), ..config(1) }, "AS 65001 is configured", "bad peer AS"),
        (SessionConfig { local_identifier: config(2).local_identifier, ..config(1) }, "is ours", ""),
        (SessionConfig { hold_time_secs: 2, ..config(1) }, "", "unacceptable hold time"),
    ];
    for (config1, ours, theirs) in other {
        let mut pair = Pair::new(7, [config1, SessionConfig { passive: true, ..config(2) }]);
        pair.start();
        pair.run_secs(600);
        assert!(!pair.is_up());
        let log = format!("{:?}{:?}", pair.nodes[0].log, pair.nodes[1].log);
        assert!(log.contains(ours) && log.contains(theirs), "{log}");
        assert!((6..=12).contains(&pair.attempts(0)), "{log}");
        assert_eq!(pair.log(0, "down") + pair.log(1, "down"), 0);
    }
}

#[test]
fn long_updates_and_route_refreshes_go_both_ways() {
    let mut pair = Pair::established(8, [config(1), config(2)]);
    for n in 0..2 {
        pair.send_update(n, 65_535);
        pair.send_update(n, 23);
        for subtype in 0..3 {
            pair.nodes[n].session.send_route_refresh(RouteRefresh { afi: 25, subtype, safi: 70 });
        }
        pair.pump(n);
    }
    pair.run_secs(1);
    for node in &pair.nodes {
        let lengths: Vec<usize> = node.updates.iter().map(Vec::len).collect();
        assert_eq!((lengths, &node.refreshes[..]), (vec![65_535 - 19, 4], &[0, 1, 2][..]));
    }
}

#[test]
fn keepalives_go_out_between_the_updates_of_a_full_table() {
    let hold = SessionConfig { hold_time_secs: 3, ..config(1) };
    let mut pair = Pair::established(9, [hold, config(2)]);
    for _ in 0..600 {
        pair.send_update(0, 4096);
        pair.run(Duration::from_millis(100));
    }
    assert!(pair.is_up(), "{:?}", pair.nodes[1].log);
    assert_eq!(pair.nodes[1].updates.len(), 600);
    assert!(pair.nodes[1].session.stats().received.keepalive >= 60);
}

#[test]
fn a_rebooted_peer_waits_for_the_hold_time_without_graceful_restart_and_not_with_it() {
    let graceful = |config| {
        let families = vec![(25, 70, true)];
        let graceful = GracefulRestart { restarted: false, notification: false, restart_time_secs: 120, families };
        SessionConfig { graceful_restart: Some(graceful), ..config }
    };
    for with in [false, true] {
        let configs = [config(1), config(2)].map(|config| if with { graceful(config) } else { config });
        let mut pair = Pair::established(10, configs.clone());
        pair.run_secs(10);
        // Node 1 dies without a word and is back at once.
        let [_, config] = configs;
        pair.nodes[1].session = Session::new(config, 77, pair.now);
        pair.nodes[1].tcp = [None; 2];
        pair.nodes[1].session.start(pair.now);
        pair.pump(1);
        pair.run_secs(2);
        assert_eq!(pair.is_up(), with, "{:#?}", pair.nodes.map(|node| node.log));
        assert_eq!(pair.log(0, "so the old one was dead"), usize::from(with));
        pair.run_secs(240);
        assert!(pair.is_up());
    }
}

#[test]
fn the_same_seed_gives_the_same_story() {
    let story = || {
        let mut pair = Pair::new(11, [config(1), config(2)]);
        pair.jitter = Duration::from_millis(5);
        pair.start();
        for _ in 0..20 {
            pair.run_secs(200);
            pair.cut = !pair.cut;
        }
        (pair.nodes.map(|node| node.log), pair.sequence)
    };
    assert_eq!(story(), story());
}
