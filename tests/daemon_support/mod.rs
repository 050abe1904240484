//! A daemon and its kernel room, played by hand: the stage of `tests/regression.rs` and `tests/speaker.rs`.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, missing_docs)]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use evpnd::base::{MacAddr, Time, Vni};
use evpnd::control::{Event, Reply, Request};
use evpnd::fib::{DeviceState, KernelCommand, KernelEvent, KernelRow, LocalMac, ReadyDevice, Remote};
use evpnd::speaker::{Action, ConnId, KeptState, RequestId, Speaker};

use crate::device_support::ready_device;

pub const NOW: Time = Time::from_secs(1);
pub const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

pub fn vni() -> Vni {
    Vni::new(100).unwrap()
}
pub fn to(ip: &str) -> Remote {
    Remote { ip: ip.parse::<IpAddr>().unwrap(), vni: None }
}
/// [`MAC`] at a port.
pub fn heard() -> LocalMac {
    LocalMac { vni: vni(), mac: MAC, port: 3, port_name: "tap3".to_owned(), is_static: false }
}

/// The neighbor of a daemon that [`connect`]s to 10.0.0.2.
pub const NEIGHBOR: &str = "[[neighbor]]\naddress = \"10.0.0.2\"\n";

/// A daemon and its kernel room, played by hand.
pub struct Daemon {
    pub speaker: Speaker,
    pub now: Time,
    /// The last state to keep.
    pub kept: Option<KeptState>,
}

impl Daemon {
    /// At 10.0.0.1, with this at the end of its configuration.
    pub fn new(more: &str) -> Self {
        Self::at("10.0.0.1", more)
    }
    pub fn config(vtep: &str, more: &str) -> evpnd::config::Config {
        evpnd::config::parse("evpnd.toml", &format!("[router]\nasn = 65000\nvtep = \"{vtep}\"\n{more}")).unwrap()
    }
    /// Reads another configuration, and gives what is said of it.
    pub fn reload(&mut self, more: &str) -> String {
        self.speaker.reload(self.now, Ok(Self::config("10.0.0.1", more)), None);
        let mut events = std::iter::from_fn(|| self.speaker.poll_event());
        events.find(|event| matches!(event, Event::ConfigReloaded { .. })).unwrap().to_string()
    }
    pub fn at(vtep: &str, more: &str) -> Self {
        Self::with_kept(vtep, more, KeptState::default())
    }
    pub fn with_kept(vtep: &str, more: &str, kept: KeptState) -> Self {
        let mut speaker = Speaker::new(Self::config(vtep, more), kept, None, 1, NOW);
        speaker.start(NOW);
        Self { speaker, now: NOW, kept: None }
    }
    /// With VNI 100 ready and empty, and a row wanted for [`MAC`] by way of 10.0.0.2, which is returned with the connection.
    pub fn with_route() -> (Self, Self, [ConnId; 2]) {
        Self::with_route_and_rows(Vec::new())
    }
    /// The same where these rows stood when it started.
    pub fn with_route_and_rows(rows: Vec<KernelRow>) -> (Self, Self, [ConnId; 2]) {
        Self::with_route_rows_and(rows, "")
    }
    /// And this in its configuration.
    pub fn with_route_rows_and(rows: Vec<KernelRow>, more: &str) -> (Self, Self, [ConnId; 2]) {
        let vni = "[[vni]]\nid = 100\n";
        let mut here = Self::new(&format!("{NEIGHBOR}{more}{vni}"));
        let mut there = Self::at("10.0.0.2", &format!("[[neighbor]]\naddress = \"10.0.0.1\"\npassive = true\n{vni}"));
        let [ours, theirs] = connect(&mut here, &mut there);
        for (daemon, rows) in [(&mut here, rows), (&mut there, Vec::new())] {
            daemon.device_ready();
            let token = daemon.dump_token();
            daemon.kernel(KernelEvent::Rows { token, vni: self::vni(), rows: Ok(rows) });
        }
        here.kernel(KernelEvent::LocalMacs { vni: self::vni(), macs: Vec::new() });
        there.kernel(KernelEvent::LocalMacs { vni: self::vni(), macs: vec![heard()] });
        exchange(&mut here, ours, &mut there, theirs);
        (here, there, [ours, theirs])
    }
    /// Commands for the kernel since the last call.
    pub fn commands(&mut self) -> Vec<KernelCommand> {
        let mut commands = Vec::new();
        while let Some(action) = self.speaker.poll_action() {
            match action {
                Action::Kernel(command) => commands.push(command),
                Action::Save(kept) => self.kept = Some(kept),
                _ => {}
            }
        }
        commands
    }
    pub fn kernel(&mut self, event: KernelEvent) {
        self.speaker.handle_kernel(self.now, event);
        self.speaker.handle_work(self.now);
    }
    pub fn device_ready(&mut self) {
        self.kernel(KernelEvent::Device(DeviceState::Ready(Self::device())));
    }
    /// VNI 100's device, as it is told.
    pub fn device() -> ReadyDevice {
        ready_device(vni(), 7, 8, Some([10, 0, 0, 1].into()))
    }
    /// The device is ready and empty.
    pub fn adopt(&mut self) {
        self.device_ready();
        let token = self.dump_token();
        self.kernel(KernelEvent::Rows { token, vni: vni(), rows: Ok(Vec::new()) });
    }
    /// Time passes; timers are served, and nothing else happens.
    pub fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some((at, _)) = self.speaker.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = at.max(self.now);
            self.speaker.handle_timeout(self.now);
        }
        self.now = end;
    }
    /// The reply to a request, which comes at once; what it has the kernel do is not looked at.
    pub fn ask(&mut self, request: Request) -> Reply {
        self.speaker.handle_request(self.now, RequestId(1), request);
        self.reply()
    }
    /// Reads another configuration by request.
    pub fn ask_reload(&mut self, more: &str) -> Reply {
        self.speaker.reload(self.now, Ok(Self::config("10.0.0.1", more)), Some(RequestId(1)));
        self.reply()
    }
    fn reply(&mut self) -> Reply {
        let mut reply = None;
        while let Some(action) = self.speaker.poll_action() {
            match action {
                Action::Reply(_, found) => reply = Some(*found),
                Action::Save(kept) => self.kept = Some(kept),
                _ => {}
            }
        }
        reply.unwrap()
    }
    /// The token of the dump that it asked for; its bridge has no neighbours.
    pub fn dump_token(&mut self) -> u64 {
        let commands = self.commands();
        for command in &commands {
            if let KernelCommand::DumpNeighbors { token, vni } = *command {
                self.kernel(KernelEvent::Neighbors { token, vni, neighbors: Ok(Vec::new()) });
            }
        }
        let token =
            commands.iter().find_map(|command| if let KernelCommand::Dump { token, .. } = command { Some(*token) } else { None });
        token.unwrap_or_else(|| panic!("no dump in {commands:?}"))
    }
}

/// The first connection of one daemon, to the other at 10.0.0.2.
pub fn connect(here: &mut Daemon, there: &mut Daemon) -> [ConnId; 2] {
    let mut actions = std::iter::from_fn(|| here.speaker.poll_action());
    let ours = actions.find_map(|action| if let Action::Connect(conn, _) = action { Some(conn) } else { None }).unwrap();
    let at = |last: u8| SocketAddr::from(([10, 0, 0, last], 179));
    let (theirs, _) = there.speaker.handle_incoming(NOW, at(2), at(1)).unwrap();
    here.speaker.handle_connected(NOW, ours, at(1));
    [ours, theirs]
}

/// Carries octets both ways until nobody has more to say.
pub fn exchange(a: &mut Daemon, a_conn: ConnId, b: &mut Daemon, b_conn: ConnId) {
    loop {
        let (mut to_a, mut to_b) = (Vec::new(), Vec::new());
        a.speaker.transmit(a_conn, &mut to_b, 65536);
        b.speaker.transmit(b_conn, &mut to_a, 65536);
        if to_a.is_empty() && to_b.is_empty() {
            return;
        }
        a.speaker.handle_octets(a.now, a_conn, &to_a);
        b.speaker.handle_octets(b.now, b_conn, &to_b);
    }
}
