//! A host or a reflector: its kernel, its daemon, and how that comes, goes and is spoken to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use evpnd::base::{MacAddr, Time, Vni};
use evpnd::config;
use evpnd::control::{Reply, Request};
use evpnd::speaker::{ConnId, KeptState, RequestId, Speaker};

use super::faults::Fault;
use super::kernel::Kernel;
use super::machines::{Fixed, Vm};
use super::modes::Mode;
use super::room::Room;
use super::world::{Happening, World};
use crate::tell;

/// What a node is told once.
pub struct NodeConfig {
    pub name: String,
    pub address: IpAddr,
    /// None: a reflector.
    pub vtep: Option<IpAddr>,
    pub peers: BTreeSet<usize>,
    pub head: String,
    pub vnis: BTreeSet<Vni>,
}

/// A host with its daemon, or a reflector.
pub struct Node {
    pub name: String,
    /// Where its sessions end.
    pub address: IpAddr,
    pub reflector: bool,
    pub vtep: Option<IpAddr>,
    /// Those it has sessions with when all is well.
    pub peers: BTreeSet<usize>,
    /// The part of its configuration that does not change.
    pub head: String,
    /// Its VNIs as the file has them.
    pub vnis: BTreeSet<Vni>,
    /// MACs that its file names as static.
    pub statics: BTreeMap<Vni, BTreeSet<MacAddr>>,
    /// How it runs the VNIs of its file; EVPN proper where nothing is said.
    pub modes: BTreeMap<Vni, Mode>,
    /// VNIs added by request.
    pub run_time_vnis: BTreeSet<Vni>,
    /// How it runs those of them that its file had named before: they stay as they were.
    pub kept_modes: BTreeMap<Vni, Mode>,
    pub speaker: Option<Speaker>,
    /// Which process it is.
    pub life: u64,
    pub started: Time,
    /// It was told to stop and says its last words.
    pub stopping: bool,
    /// The machines whose rows it had no excuse to lose when it was told to stop: it must leave them standing.
    pub left_standing: Vec<usize>,
    /// The host has no power: nothing comes back from it, not even a reset.
    pub off: bool,
    /// It drains, or drained.
    pub draining: bool,
    pub kept: KeptState,
    pub kernel: Kernel,
    pub room: Option<Room>,
    pub conns: BTreeMap<ConnId, (u64, usize)>,
    /// Sessions that are up, since when.
    pub sessions: BTreeMap<IpAddr, Time>,
    /// No session went down since the process began, which found what an earlier one had left.
    pub lost_none: bool,
    /// Devices that a daemon made a moment before it died: its state file does not name them yet, so nobody knows of them.
    pub orphans: BTreeSet<Vni>,
    pub work_scheduled: bool,
    pub room_scheduled: bool,
    pub events_scheduled: bool,
    /// Commands of a slow kernel take this much longer, microseconds.
    pub slow_kernel_us: u64,
    /// When its next timer is due, and when it fires.
    pub armed: Option<(Time, Time)>,
    /// Something happened to it since `armed` was set.
    pub touched: bool,
    requests: u64,
    pub replies: BTreeMap<RequestId, Reply>,
    /// Its timers did not move on, so many times in a row.
    pub stuck: u32,
}

impl Node {
    /// Whether it was told of a VNI.
    pub fn has(&self, vni: Vni) -> bool {
        self.vnis.contains(&vni) || self.run_time_vnis.contains(&vni)
    }

    /// How it runs a VNI.
    pub fn mode(&self, vni: Vni) -> Mode {
        let modes = if self.vnis.contains(&vni) { &self.modes } else { &self.kept_modes };
        modes.get(&vni).copied().unwrap_or_default()
    }

    pub fn config_text(&self) -> String {
        let mut text = self.head.clone();
        for vni in &self.vnis {
            text += &format!("[[vni]]\nid = {vni}\n{}", self.mode(*vni).keys(self.kernel.is_ipv6));
            let statics: Vec<String> = self.statics.get(vni).into_iter().flatten().map(|mac| format!("\"{mac}\"")).collect();
            if !statics.is_empty() {
                text += &format!("static = [{}]\n", statics.join(", "));
            }
        }
        text
    }
}

impl World {
    pub fn add_node(&mut self, config: NodeConfig) {
        let NodeConfig { name, address, vtep, peers, head, vnis } = config;
        let kernel = Kernel { is_ipv6: vtep.is_some_and(|vtep| vtep.is_ipv6()), ..Kernel::default() };
        self.model.home.push(vnis.clone());
        self.nodes.push(Node {
            name,
            address,
            reflector: vtep.is_none(),
            vtep,
            peers,
            head,
            vnis,
            statics: BTreeMap::new(),
            modes: BTreeMap::new(),
            run_time_vnis: BTreeSet::new(),
            kept_modes: BTreeMap::new(),
            speaker: None,
            life: 0,
            started: Time::ZERO,
            stopping: false,
            left_standing: Vec::new(),
            off: false,
            draining: false,
            kept: KeptState::default(),
            kernel,
            room: None,
            conns: BTreeMap::new(),
            sessions: BTreeMap::new(),
            lost_none: true,
            orphans: BTreeSet::new(),
            work_scheduled: false,
            room_scheduled: false,
            events_scheduled: false,
            slow_kernel_us: 0,
            armed: None,
            touched: true,
            requests: 0,
            replies: BTreeMap::new(),
            stuck: 0,
        });
    }

    /// The daemon reads its file again.
    pub fn reload(&mut self, index: usize, request: Option<RequestId>) {
        let now = self.now;
        let node = &mut self.nodes[index];
        let config = config::parse("sim.toml", &node.config_text()).map_err(|error| error.to_string());
        assert!(config.is_ok(), "{config:?}");
        let Some(speaker) = node.speaker.as_mut().filter(|_| !node.stopping) else { return };
        speaker.reload(now, config, request);
        self.pump(index);
    }

    /// Starts the daemon of a node.
    pub fn start(&mut self, index: usize) {
        let now = self.now;
        let seed = self.random.next_u64();
        let node = &mut self.nodes[index];
        if node.speaker.is_some() {
            return;
        }
        tell!(self, "{} starts", self.nodes[index].name);
        let node = &mut self.nodes[index];
        let config = config::parse("sim.toml", &node.config_text()).unwrap_or_else(|error| panic!("{error}"));
        node.life += 1;
        node.started = now;
        // A host that booted has nothing to keep.
        node.lost_none = !node.kernel.vxlans.is_empty();
        node.stopping = false;
        node.draining = false;
        node.off = false;
        node.armed = None;
        node.run_time_vnis.clear();
        node.kept_modes.clear();
        let mut speaker = Speaker::new(config, node.kept.clone(), Some(node.name.clone()), seed, now);
        if !node.reflector {
            node.room = Some(Room::open(&mut node.kernel, node.vtep));
        }
        speaker.set_verbose(self.trace);
        speaker.start(now);
        node.speaker = Some(speaker);
        self.pump(index);
        self.wake_room(index);
    }

    /// The host loses its power: what its kernel held is gone, and nobody hears of it. Its state directory stays.
    pub fn power_off(&mut self, index: usize) {
        tell!(self, "{} has no power", self.nodes[index].name);
        let now = self.now;
        let node = &mut self.nodes[index];
        node.off = true;
        node.speaker = None;
        node.touched = true;
        node.room = None;
        node.orphans.clear();
        let old = std::mem::take(&mut node.kernel);
        node.kernel = Kernel { is_ipv6: old.is_ipv6, next_ifindex: old.next_ifindex, ..Kernel::default() };
        node.slow_kernel_us = 0;
        node.life += 1;
        node.sessions.clear();
        node.replies.clear();
        self.forsake_connections(index);
        self.model.halved.retain(|(node, _, _)| *node != index);
        for machine in &mut self.model.vms {
            if machine.host == Some(index) && !matches!(machine.fixed, Fixed::InFile | Fixed::Mute | Fixed::Device) {
                machine.host = None;
                machine.turn += 1;
                machine.since = now;
            }
        }
    }

    /// The process is gone; what it did not send is lost, what its kernel room was not told yet is never done.
    pub fn kill(&mut self, index: usize) {
        tell!(self, "{} dies", self.nodes[index].name);
        if !self.nodes[index].stopping {
            self.owe(index, false);
        }
        let node = &mut self.nodes[index];
        node.speaker = None;
        node.touched = true;
        node.room = None;
        // What the state file names is cleared by the next.
        node.orphans = node.kernel.vxlans.keys().copied().filter(|vni| !node.kept.devices.contains_key(vni)).collect();
        node.kernel.notes = None;
        node.kernel.frames.clear();
        node.kernel.questions.clear();
        node.kernel.misses.clear();
        node.kernel.misses_lost = false;
        node.kernel.lost = false;
        node.life += 1;
        node.sessions.clear();
        node.replies.clear();
        self.drop_connections(index);
    }

    /// A request of the control socket; its reply where it came at once.
    pub fn request(&mut self, index: usize, request: Request) -> Option<Reply> {
        let now = self.now;
        let node = &mut self.nodes[index];
        node.requests += 1;
        let id = RequestId(node.requests);
        node.speaker.as_mut()?.handle_request(now, id, request);
        self.pump(index);
        let reply = self.nodes[index].replies.remove(&id);
        self.nodes[index].replies.clear();
        reply
    }

    /// What an operator may ask at any time, even of a daemon that stops.
    pub fn ask_everything(&mut self, node: usize) {
        self.request(node, Request::ShowStatus {});
        self.request(node, Request::ShowNeighbors { address: None, after: None, limit: None });
        self.request(node, Request::ShowVnis { vni: None, after: None, limit: None });
        self.request(node, Request::ShowVteps { after: None, limit: None });
        self.request(node, Request::ShowMacs { vni: None, mac: None, duplicates: false, after: None, limit: None });
        self.request(
            node,
            Request::ShowRoutes { route_type: None, vni: None, rd: None, neighbor: None, after: None, limit: None },
        );
        self.request(node, Request::Diff { after: None, limit: None });
        if let Some(vm) = self.any_vm(true) {
            let Vm { vni, mac, .. } = self.model.vms[vm];
            self.request(node, Request::Explain { vni, mac });
        }
    }

    /// Tells a daemon to end (SIGTERM).
    pub fn stop(&mut self, index: usize) {
        let now = self.now;
        let node = &mut self.nodes[index];
        let Some(speaker) = node.speaker.as_mut().filter(|_| !node.stopping) else { return };
        let life = node.life;
        speaker.shutdown(now, "the daemon stops");
        self.owe(index, true);
        let steady = (0..self.model.vms.len()).filter(|vm| self.is_steady(&self.model.vms[*vm], index)).collect();
        let node = &mut self.nodes[index];
        node.left_standing = steady;
        node.stopping = true;
        tell!(self, "{} is told to stop", self.nodes[index].name);
        self.pump(index);
        let after = self.millis(3000);
        self.schedule(after, Happening::Fault(Fault::Kill(index, life)));
        if self.random.below(3) == 0 {
            let after = self.millis(2000);
            self.schedule(after, Happening::Fault(Fault::Ask(index)));
        }
    }

    /// Its connections are closed: the kernel room ends what it has, then the process goes.
    pub fn finish_stop(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if let Some(room) = &mut node.room {
            while !room.commands.is_empty() {
                room.step(self.now, &mut node.kernel, &mut self.random);
            }
            let writes = std::mem::take(&mut room.writes);
            for written in writes {
                self.check_write(index, written);
            }
        }
        self.kill(index);
    }
}
