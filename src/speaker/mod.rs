//! Floor 4: owns the state of a whole daemon, and is the only place where rooms meet.
//!
//! The speaker is pure: it is told of octets, of the kernel's events, of requests and of the time, and gives back
//! [`Action`]s. It owns no socket, clock or thread, so a fabric of speakers runs in simulated time.
//!
//! Read `turn.rs` for the walk of a route, `peers.rs` for sessions, `graceful.rs` and `restart.rs` for what
//! outlives them, `kernel.rs` for devices and rows, then `show.rs`.

mod adopt;
mod audit;
mod drain;
mod events;
mod graceful;
mod in_place;
mod kept_rows;
mod kernel;
mod leftovers;
mod limits;
mod metrics;
mod on_demand;
mod peers;
mod reload;
mod restart;
mod sequences;
mod show;
mod show_duplicates;
mod show_kernel;
mod show_routes;
mod sizes;
mod turn;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use crate::base::{MacAddr, Random, Time, Vni};
use crate::config::{Config, Neighbor};
use crate::control::{Event, Reply, Request};
use crate::evpn::{Evpn, EvpnConfig, EvpnLimits, Sequences};
use crate::fib::message::KernelCommand;
use crate::fib::{Fib, LimitsMet};
use crate::rib::{Rib, RibConfig};

pub use kept_rows::KeptFlood;
pub use kernel::VniState;
pub use leftovers::KeptDevice;
pub use on_demand::KeptVni;
pub use peers::Peer;
pub use sizes::Sizes;

/// The name of one TCP connection, given by the speaker and used by whoever does the IO. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// The name of one control request whose reply may come later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What a TCP connection to or from a peer must have set before it carries BGP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transport {
    /// The peer's address and port.
    pub remote: SocketAddr,
    /// Source address to bind, where configured.
    pub local: Option<IpAddr>,
    /// The neighbor whose `password`, `ttl-security` and `multihop` apply.
    pub neighbor: Neighbor,
    /// The peer is in another AS, so that one hop is the default (RFC 4271 §3, practice).
    pub external: bool,
}

/// What the speaker wants done by the rim.
#[derive(Debug)]
pub enum Action {
    /// Open a TCP connection; answer with [`Speaker::handle_connected`] or [`Speaker::handle_connect_failed`].
    Connect(ConnId, Box<Transport>),
    /// Send these last octets, then close. Also gives up an attempt under way. The speaker knows it no more.
    Close(ConnId, Vec<u8>),
    /// Hand this to the kernel room.
    Kernel(KernelCommand),
    /// Answer a control request.
    Reply(RequestId, Box<Reply>),
    /// Keep this in the state file.
    Save(KeptState),
    /// Keep these in their own file, which may be written every second.
    SaveSequences(Sequences),
    /// The neighbors changed: set the listener's keys (TCP MD5) and addresses again.
    NeighborsChanged,
    /// Read the configuration file again and hand it to [`Speaker::reload`]; the request waits for the outcome.
    ReadConfig(Option<RequestId>),
    /// All is said and done: leave.
    Exit,
}

/// What outlives the process, in the state file.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct KeptState {
    /// The number in each VNI's route distinguisher (`router-id:number`), so that it is the same after a restart.
    pub rd_numbers: BTreeMap<Vni, u16>,
    /// Neighbors whose routes were here, where we pass routes on: a restart waits for them before it says End-of-RIB.
    pub neighbors: BTreeSet<IpAddr>,
    /// VNIs that requests added, and who holds them; void after a boot.
    #[serde(deserialize_with = "on_demand::lenient")]
    pub run_time: BTreeMap<Vni, KeptVni>,
    /// MACs that requests claimed, and the names of their ports; void after a boot.
    pub claims: BTreeMap<Vni, BTreeMap<MacAddr, String>>,
    /// VNIs whose devices were written to, and those devices; void after a boot but for the names of others'.
    pub devices: BTreeMap<Vni, KeptDevice>,
    /// Who wrote the members of flood lists, which share one mark; void after a boot.
    pub floods: BTreeMap<Vni, KeptFlood>,
    /// Ports (interface numbers) that `isolated-ports` isolated; void after a boot.
    pub isolated: BTreeMap<Vni, BTreeSet<u32>>,
    /// Bridges of others (interface numbers) where `fix-devices` turned IPv6 on; void after a boot.
    pub opened: BTreeMap<Vni, u32>,
    /// The boot in which this was written, by the kernel's name for it; empty after a drain.
    pub boot: String,
    /// It was read in the boot in which it was written: rows and devices of the earlier run stand.
    #[serde(skip)]
    pub is_restart: bool,
    /// Sequence numbers of local MACs (RFC 7432 §15); in a file of their own ([`Action::SaveSequences`]).
    #[serde(skip)]
    pub sequences: Sequences,
}

/// A whole daemon: sessions, tables, instances and the wish-list for the kernel.
pub struct Speaker {
    config: Config,
    host_name: Option<String>,
    seed: Random,
    started: Time,
    peers: peers::Peers,
    rib: Rib,
    evpn: Evpn,
    fib: Fib,
    vnis: BTreeMap<Vni, VniState>,
    kept: KeptState,
    actions: VecDeque<Action>,
    events: events::Events,
    requests: show_kernel::Waiting,
    stations: on_demand::Stations,
    /// Devices of the host that somebody else made.
    found: adopt::Found,
    leftovers: leftovers::Leftovers,
    /// Rows that stood in the kernel at start are swept at this time at the latest; `None`: swept.
    sweep_at: Option<Time>,
    sequences: sequences::SequenceTimers,
    /// VNIs on their way to a group or from one.
    regroupings: BTreeMap<Vni, in_place::Regrouping>,
    kept_rows: kept_rows::KeptRows,
    /// They are swept when what the table holds for new VNIs was looked up.
    sweep_waits: bool,
    drain: Option<drain::Drain>,
    restart: restart::Restart,
    /// [`Speaker::shutdown`] was called: the kernel is left as it is from then on.
    stopping: bool,
    /// VNIs whose rows could not be read, and when that is tried again.
    unread: BTreeMap<Vni, Time>,
    /// VNIs whose devices are down, and when they are withdrawn.
    downs: BTreeMap<Vni, Time>,
    /// When peers are asked again for paths that were refused, and when they last were.
    ask_again: (Option<Time>, Option<Time>),
    /// VNIs that left, whose rows are still being deleted.
    removing: BTreeSet<Vni>,
    overflows: u64,
    /// Frames that told guests of addresses that moved, and those that were too many.
    guests_told: (u64, u64),
    /// What the kernel room met of its limits.
    limits_met: LimitsMet,
    /// Times the word of frames without a row was lost.
    misses_dropped: u64,
    healing: audit::Healing,
    audit: audit::Audit,
    listings: audit::Listings,
    failures_told: u64,
    /// Since when the oldest change of the table waits that was not decided in the turn in which it came.
    behind_since: Option<Time>,
    /// The table's long walks have more to do.
    work_left: bool,
    /// Why the kernel room cannot work, where it cannot.
    kernel_fault: Option<String>,
}

/// The limits of the configuration that the MAC-VRFs keep.
fn evpn_limits(config: &Config) -> EvpnLimits {
    let limits = &config.limits;
    EvpnLimits {
        remote_macs_per_vni: limits.remote_macs_per_vni as usize,
        local_macs_per_vni: limits.local_macs_per_vni as usize,
        local_macs_per_port: limits.local_macs_per_port as usize,
        // One route at least must fit beside the one that it replaces.
        routes_per_mac: limits.ips_per_mac.clamp(2, u32::from(u16::MAX)) as u16,
        ..EvpnLimits::default()
    }
}

impl Speaker {
    /// A daemon with this configuration that has not begun: call [`Speaker::start`]. `host_name` is told to peers, `seed`
    /// keys the hashes and the jitter.
    pub fn new(config: Config, mut kept: KeptState, host_name: Option<String>, seed: u64, now: Time) -> Self {
        let mut seed = Random::new(seed);
        let rib = Rib::new(RibConfig {
            asn: config.router.asn,
            identifier: config.router.router_id,
            seed: seed.next_u64(),
            max_attribute_octets: u64::from(config.limits.attribute_octets_per_neighbor),
            max_paths: config.limits.paths_per_route,
            ..RibConfig::default()
        });
        let mut evpn = Evpn::new(EvpnConfig {
            asn: config.router.asn,
            router_id: config.router.router_id,
            vtep: config.router.vtep,
            seed: seed.next_u64(),
            limits: evpn_limits(&config),
            duplicates: config.duplicate_detection,
        });
        evpn.set_verbose(false);
        evpn.hush_moves(true);
        let sequences = sequences::SequenceTimers::new(now, &kept.sequences);
        evpn.restore_sequences(&std::mem::take(&mut kept.sequences));
        let mut fib = Fib::new(seed.next_u64());
        fib.set_awake_limit(config.limits.on_demand_rows as usize);
        if !kept.is_restart {
            kept.floods.clear();
            kept.isolated.clear();
            kept.opened.clear();
        }
        let kept_rows = kept_rows::KeptRows::new(kept.floods.clone());
        let sweep_at = Some(now + config.graceful_restart.restart_time());
        let audit = audit::Audit::new(now, &config);
        Self {
            config,
            host_name,
            started: now,
            peers: peers::Peers::default(),
            rib,
            evpn,
            fib,
            vnis: BTreeMap::new(),
            kept,
            actions: VecDeque::new(),
            events: events::Events::default(),
            requests: show_kernel::Waiting::default(),
            stations: on_demand::Stations::default(),
            found: adopt::Found::default(),
            leftovers: leftovers::Leftovers::default(),
            sweep_at,
            sequences,
            regroupings: BTreeMap::new(),
            kept_rows,
            sweep_waits: false,
            drain: None,
            restart: restart::Restart::default(),
            stopping: false,
            unread: BTreeMap::new(),
            downs: BTreeMap::new(),
            ask_again: (None, None),
            removing: BTreeSet::new(),
            overflows: 0,
            guests_told: (0, 0),
            limits_met: LimitsMet::default(),
            misses_dropped: 0,
            healing: audit::Healing::default(),
            audit,
            listings: audit::Listings::default(),
            failures_told: 0,
            behind_since: None,
            work_left: false,
            kernel_fault: None,
            seed,
        }
    }

    /// Begins: wishes for devices, instances, sessions.
    pub fn start(&mut self, now: Time) {
        let (asn, vtep) = (self.config.router.asn, self.config.router.vtep);
        self.events.push(Event::Started { version: env!("CARGO_PKG_VERSION").to_owned(), asn, vtep });
        let stood = leftovers::of_others(&self.kept);
        self.begin_restart(now);
        if !stood.is_empty() {
            self.actions.push_back(Action::Kernel(KernelCommand::Stood(stood)));
        }
        if !self.kept.isolated.is_empty() {
            self.actions.push_back(Action::Kernel(KernelCommand::Isolated(self.kept.isolated.clone())));
        }
        if !self.kept.opened.is_empty() {
            self.actions.push_back(Action::Kernel(KernelCommand::Opened(self.kept.opened.clone())));
        }
        let vnis: Vec<_> = self.config.vnis.values().cloned().collect();
        self.add_vnis(now, vnis);
        self.restore_run_time_vnis(now);
        for neighbor in self.config.neighbors.clone() {
            self.add_neighbor(now, &neighbor);
        }
        self.settle(now);
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The next thing to do at the rim; call until `None` after every `handle_*`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next line of the story, for logs and monitors.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// Whether events of debug level (one for every MAC) are wanted; without, they cost nothing.
    pub fn set_verbose(&mut self, verbose: bool) {
        self.events.verbose = verbose;
        self.evpn.set_verbose(verbose);
    }

    /// When [`Speaker::handle_timeout`] must be called next, and why.
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let mut next: Option<(Time, &'static str)> = None;
        let mut consider = |at: Option<(Time, &'static str)>| {
            if let Some((at, why)) = at
                && next.is_none_or(|(earliest, _)| at < earliest)
            {
                next = Some((at, why));
            }
        };
        for peer in self.peers.iter() {
            consider(peer.session.poll_timeout());
            consider(peer.watch.rests_until().map(|at| (at, "a neighbor to let in again")));
            consider(peer.helper.poll_timeout().map(|at| (at, "stale routes")));
            consider(peer.refresh_until.map(|at| (at, "the end of a route refresh")));
        }
        consider(
            self.evpn
                .poll_timeout()
                .map(|at| (at, "a duplicate that recovers, a row to put back, a move to tell again, or room to look for")),
        );
        consider(self.fib.poll_timeout().map(|at| (at, "a row to write again")));
        consider(self.fib.look_timeout().map(|at| (at, "a look at rows on demand")));
        consider(self.sweep_at.map(|at| (at, "sweep of rows that no route confirmed")));
        consider(self.ask_again.0.map(|at| (at, "routes to ask for again")));
        consider(self.unread.values().min().map(|&at| (at, "rows to read again")));
        consider(self.downs.values().min().map(|&at| (at, "a VNI whose device is down")));
        consider(self.audit_timeout());
        consider(self.restart.poll_timeout());
        consider(self.leftovers.poll_timeout());
        consider(self.sequences.poll_timeout());
        consider(self.kept_rows.poll_timeout().map(|at| (at, "what the kernel cannot tell, to keep")));
        consider(self.regroupings_timeout().map(|at| (at, "a VNI that comes to its group, or leaves it")));
        consider(self.drain.as_ref().map(|drain| (drain.deadline, "drain")));
        next
    }

    /// Serves every timer that is due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.peers_timeout(now);
        if self.evpn.poll_timeout().is_some_and(|at| at <= now) {
            self.evpn.handle_timeout(now, &mut self.rib, &mut self.fib);
        }
        if self.fib.poll_timeout().is_some_and(|at| at <= now) {
            self.fib.handle_timeout(now);
        }
        self.look_at_lives(now);
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.sweep(now, "the restart timer ran out");
        }
        self.read_rows_again(now);
        self.leftovers_timer(now);
        self.withdraw_downs(now);
        self.audit_timer(now);
        self.ask_for_refused(now);
        self.sequences_timer(now);
        self.continue_regroupings(now);
        self.kept_rows_timer(now);
        self.settle(now);
    }

    /// A request from the control socket; the reply comes as [`Action::Reply`] with the same id, at once or when the
    /// kernel has answered. `Request::Monitor` is the rim's own affair and is refused here.
    pub fn handle_request(&mut self, now: Time, id: RequestId, request: Request) {
        if let Some(reply) = self.answer(now, id, request) {
            self.actions.push_back(Action::Reply(id, Box::new(reply)));
        }
        self.settle(now);
    }
}
