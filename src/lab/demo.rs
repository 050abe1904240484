//! `evpnd lab demo`: builds a lab, tells what happens while it happens, moves a VM, proves that nothing was multicast or
//! flooded to learn, and removes everything. The first thing a stranger sees.

#![allow(clippy::disallowed_methods, reason = "the demo measures real time")]

use std::io;
use std::net::IpAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::capture::{Capture, Counters, Tap};
use super::fabric::{Fabric, Setting};
use super::fdb::{FdbChange, FdbWatch};
use super::ping::{self, PingStream};
use super::plan::{self, Plan, UNDERLAY_MTU, UPLINK};
use super::reach::{self, Matrix};
use super::screen::{Screen, Style, matrix, millis};
use super::settle::{self, settle};
use super::signals;
use super::story::Story;
use crate::base::MacAddr;
use crate::control::render::many;

/// UDP port of the tunnels (RFC 7348 §8).
const VXLAN_PORT: u16 = 4789;
/// Patience with sessions, routes and rows, each. A whole demo takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// Rows shown in all.
const ROWS_SHOWN: usize = 24;

/// A thread that waits for a row.
type RowWatch = JoinHandle<io::Result<Option<FdbChange>>>;

/// A running demo.
#[derive(Debug)]
pub struct Demo {
    screen: Screen,
    story: Story,
    fabric: Fabric,
    capture: Capture,
}

/// What came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Every pair reached each other over IPv4 and IPv6, before and after the move.
    pub is_reached: bool,
    /// The move was followed by every hypervisor and by the traffic.
    pub is_followed: bool,
    /// Nothing was multicast, flooded to learn, or sent to the wrong VTEP.
    pub is_clean: bool,
}

impl Verdict {
    /// All of it.
    pub fn is_good(self) -> bool {
        self.is_reached && self.is_followed && self.is_clean
    }
}

impl Demo {
    /// Builds everything; the capture runs before the first daemon does.
    pub fn build(plan: Plan, setting: Setting, is_root: bool) -> anyhow::Result<Self> {
        let options = &plan.options;
        ensure!(options.hypervisors >= 2 && options.vms >= 1, "the demo needs at least 2 hypervisors with 1 VM each");
        let mut screen = Screen::new();
        screen.line(format_args!(
            "{}: {}, {}, {} each, IPv{} underlay, reflector {}",
            screen.paint(Style::Bold, "evpnd lab demo"),
            many(plan.hypervisors.len(), "hypervisor"),
            many(plan.vnis.len(), "VNI"),
            many(usize::from(options.vms), "VM"),
            if plan.reflector.address.is_ipv4() { 4 } else { 6 },
            options.reflector,
        ))?;
        screen.line(screen.paint(
            Style::Dim,
            if is_root {
                "All of it in network namespaces of this machine; nothing outside of them is touched."
            } else {
                "All of it in a user namespace of this machine, without root; nothing outside of it is touched."
            },
        ))?;
        screen.chapter("Build", "namespaces, and cables between them")?;
        let story = Story::new(&plan);
        let fabric = Fabric::build(plan, setting)?;
        let taps: Vec<Tap<'_>> =
            fabric.hypervisors.iter().map(|host| Tap { namespace: &host.namespace, interface: UPLINK }).collect();
        let capture = Capture::start(&taps, VXLAN_PORT)?;
        let demo = Self { screen, story, fabric, capture };
        demo.show_plan()?;
        Ok(demo)
    }

    /// Tells the whole story.
    pub fn run(&mut self) -> anyhow::Result<Verdict> {
        self.start_daemons()?;
        self.attach_stations()?;
        self.show_rows()?;
        let before = self.show_reach()?;
        let is_followed = self.move_station()?;
        let after = reach::measure(&self.fabric.guests, Duration::from_secs(10))?;
        let pairs = 2 * after.len();
        let is_reached = reach::failures(&before) + reach::failures(&after) == 0;
        let words = format!("after the move {} of {pairs} pings are answered", pairs - reach::failures(&after));
        self.screen.event("", self.screen.judge(reach::failures(&after) == 0, words))?;
        let is_clean = self.show_proof()?;
        Ok(Verdict { is_reached, is_followed, is_clean })
    }

    /// Gives the lab back, to be kept or dropped.
    pub fn into_parts(self) -> (Screen, Fabric) {
        (self.screen, self.fabric)
    }

    /// The screen.
    pub fn screen(&self) -> &Screen {
        &self.screen
    }

    fn show_plan(&self) -> anyhow::Result<()> {
        let (plan, screen) = (&self.fabric.plan, &self.screen);
        let underlay = plan.options.underlay;
        screen.event("underlay", format_args!("a plain switch: {}, MTU {UNDERLAY_MTU}", underlay.prefix()))?;
        screen.event("rr", format_args!("{:<11} route reflector: {}", plan.reflector.address, plan.options.reflector))?;
        for (index, host) in plan.hypervisors.iter().enumerate().take(ROWS_SHOWN) {
            let guests: Vec<_> = plan.guests.iter().filter(|guest| guest.home == index).collect();
            let names: Vec<_> = guests.iter().take(3).map(|guest| format!("{} {}", guest.name, guest.ipv4)).collect();
            let more = if guests.len() > 3 { format!(" … {} in all", guests.len()) } else { String::new() };
            screen.event(&host.name, format_args!("{:<11} evpnd; {}{more}", host.address, names.join(", ")))?;
        }
        Ok(())
    }

    fn start_daemons(&mut self) -> anyhow::Result<()> {
        self.screen.chapter("Sessions", "each evpnd has ten lines of configuration and makes its own VXLAN device and bridge")?;
        self.fabric.start_reflector()?;
        self.fabric.start_hypervisors()?;
        self.story.listen(&self.fabric)?;
        let Self { screen, story, fabric, .. } = self;
        settle(fabric, PATIENCE, |_| story.tell(screen), settle::sessions)?;
        settle(fabric, PATIENCE, |_| story.tell(screen), settle::members)?;
        story.catch_up(screen, fabric)?;
        story.rest(screen)?;
        let (vnis, hosts) = (fabric.plan.vnis.len(), fabric.hypervisors.len());
        screen.event(
            "all",
            screen.judge(true, format!("{} up, flood lists complete in {}", many(hosts, "session"), many(vnis, "VNI"))),
        )?;
        Ok(())
    }

    fn attach_stations(&mut self) -> anyhow::Result<()> {
        self.screen.chapter("Stations", "VMs are plugged into the bridges; who hears one tells the others by type 2")?;
        for index in 0..self.fabric.guests.len() {
            let guest = &self.fabric.guests[index];
            let vtep = self.fabric.hypervisors[guest.place].plan.address;
            self.capture.place(guest.plan.vni.get(), guest.plan.mac, Some(vtep));
            self.fabric.attach(index)?;
            self.story.tell(&self.screen)?;
        }
        let Self { screen, story, fabric, .. } = self;
        settle(fabric, PATIENCE, |_| story.tell(screen), settle::stations)?;
        story.rest(screen)?;
        Ok(())
    }

    fn show_rows(&mut self) -> anyhow::Result<()> {
        self.screen.chapter("Rows", "what the kernel holds in the FDB of each VXLAN device, read from the kernel")?;
        settle(&mut self.fabric, PATIENCE, |_| Ok(()), settle::rows)?;
        let mut hidden = 0;
        let mut shown = 0;
        for ((host, vni), rows) in settle::read_rows(&self.fabric)? {
            let name = &self.fabric.hypervisors[host].plan.name;
            let remote = || rows.iter().filter(|row| row.is_own && row.destination.is_some());
            let flood: Vec<String> = remote()
                .filter(|row| row.mac == MacAddr::ZERO)
                .filter_map(|row| row.destination)
                .map(|d| d.to_string())
                .collect();
            let lines = std::iter::once(format!("{:<9} flood list         → {}", plan::vxlan(vni), flood.join(", "))).chain(
                remote().filter(|row| row.mac != MacAddr::ZERO).map(|row| {
                    let to = row.destination.map_or_else(String::new, |to| to.to_string());
                    format!("{:<9} {}  → {to}  {}", "", row.mac, self.station(row.mac))
                }),
            );
            for line in lines {
                if shown < ROWS_SHOWN {
                    self.screen.event(name, line)?;
                    shown += 1;
                } else {
                    hidden += 1;
                }
            }
        }
        if hidden > 0 {
            self.screen.detail(self.screen.paint(Style::Dim, format_args!("… and {hidden} more, all as they should be")))?;
        }
        let mut differences = 0;
        for client in self.fabric.hypervisors.iter().filter_map(|host| host.client.as_ref()) {
            differences += client.differences()?;
        }
        let words = format!(
            "evpnctl diff: {}",
            if differences == 0 { "empty everywhere".into() } else { many(differences, "difference") }
        );
        self.screen.event("all", self.screen.judge(differences == 0, words))?;
        Ok(())
    }

    fn show_reach(&mut self) -> anyhow::Result<Matrix> {
        self.screen.chapter("Ping", "every VM to every other of its VNI: round trips over IPv4/IPv6 in milliseconds")?;
        let found = reach::measure(&self.fabric.guests, PATIENCE)?;
        for vni in &self.fabric.plan.vnis {
            let members: Vec<usize> =
                (0..self.fabric.guests.len()).filter(|index| self.fabric.guests[*index].plan.vni == *vni).collect();
            let names: Vec<&str> = members.iter().map(|index| self.fabric.guests[*index].plan.name.as_str()).collect();
            let failed = members.iter().flat_map(|from| members.iter().map(move |to| (*from, *to)));
            let failed = failed.filter_map(|pair| found.get(&pair)).flatten().filter(|trip| trip.is_none()).count();
            let all = 2 * members.len() * members.len().saturating_sub(1);
            self.screen
                .event("", self.screen.judge(failed == 0, format!("VNI {vni}: {} of {all} pings answered", all - failed)))?;
            if names.len() > 18 {
                continue;
            }
            let width = if names.len() <= 7 { 11 } else { 4 };
            let lines = matrix(&names, width, |row, column| {
                let Some(trips) = found.get(&(members[row], members[column])) else { return "–".into() };
                let text = |trip: Option<Duration>| trip.map_or("✗".into(), millis);
                match names.len() {
                    0..=7 => format!("{}/{}", text(trips[0]), text(trips[1])),
                    _ => trips.iter().map(|trip| if trip.is_some() { '✓' } else { '✗' }).collect(),
                }
            });
            for line in lines {
                self.screen.detail(line)?;
            }
        }
        Ok(found)
    }

    /// Moves the first station to the second hypervisor while the last station pings it.
    fn move_station(&mut self) -> anyhow::Result<bool> {
        let target = 1;
        let vni = self.fabric.guests[0].plan.vni;
        let (name, mac) = (self.fabric.guests[0].plan.name.clone(), self.fabric.guests[0].plan.mac);
        let observer = self.fabric.guests.iter().rposition(|guest| guest.plan.vni == vni).context("no other station")?;
        let observer_name = self.fabric.guests[observer].plan.name.clone();
        let (from, to) = (&self.fabric.hypervisors[0].plan, &self.fabric.hypervisors[target].plan);
        let vtep = to.address;
        self.screen.chapter("Move", &format!("{name} goes from {} to {} while {observer_name} pings it", from.name, to.name))?;

        let streams = self.fabric.guests[0]
            .plan
            .addresses()
            .map(|address| PingStream::start(&self.fabric.guests[observer].namespace, address, Duration::from_millis(2)));
        signals::sleep(Duration::from_millis(400))?;
        let watches = self.watch_rows(target, mac, vtep)?;
        self.capture.place(vni.get(), mac, None);
        let migration = self.fabric.migrate(0, target)?;
        let mut changes = Vec::with_capacity(watches.len());
        for (host, watch) in watches {
            let change = watch.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            changes.push((host, change.map(|change| change.at)));
        }
        self.story.tell(&self.screen)?;
        for (host, at) in &changes {
            let host = &self.fabric.hypervisors[*host].plan.name;
            let text = match at {
                Some(at) => {
                    let after = millis(at.saturating_duration_since(migration.heard));
                    let target = &self.fabric.hypervisors[target].plan.name;
                    self.screen.judge(true, format!("row of {mac} → {vtep}, {after} ms after it was heard on {target}"))
                }
                None => self.screen.judge(false, format!("row of {mac} did not change within 10 s")),
            };
            self.screen.event(host, text)?;
        }
        self.capture.place(vni.get(), mac, Some(vtep));
        self.fabric.release(0)?;
        let is_back = self.wait_for_replies(observer)?;
        let Self { screen, story, fabric, .. } = self;
        settle(fabric, PATIENCE, |_| story.tell(screen), settle::rows)?;
        story.rest(screen)?;
        for (family, stream) in ["IPv4", "IPv6"].into_iter().zip(streams) {
            let report = stream?.stop()?;
            let words = format!(
                "{family} {observer_name} → {name}: longest gap {} ms, {} of {} pings lost (one every 2 ms)",
                millis(report.longest_gap),
                report.sent.saturating_sub(report.received),
                report.sent
            );
            screen.event("", screen.judge(is_back, words))?;
        }
        let switch = millis(migration.heard.saturating_duration_since(migration.silent));
        let words = format!("The lab itself needed {switch} ms of that to switch the station over.");
        screen.detail(screen.paint(Style::Dim, words))?;
        Ok(is_back && changes.iter().all(|(_, at)| at.is_some()))
    }

    /// Waits until the first station answers `observer` over both families, and a moment longer.
    fn wait_for_replies(&self, observer: usize) -> anyhow::Result<bool> {
        let (from, to) = (&self.fabric.guests[observer].namespace, self.fabric.guests[0].plan.addresses());
        let is_back = signals::wait_until(PATIENCE, || {
            let mut answers = 0;
            for address in to {
                answers += usize::from(ping::ping(from, address, Duration::from_millis(200))?.is_some());
            }
            Ok((answers == to.len()).then_some(()))
        })?;
        signals::sleep(Duration::from_millis(300))?;
        Ok(is_back.is_some())
    }

    /// For each hypervisor but `target`: a thread that waits until the row of `mac` points to `vtep`.
    fn watch_rows(&self, target: usize, mac: MacAddr, vtep: IpAddr) -> anyhow::Result<Vec<(usize, RowWatch)>> {
        let others = self.fabric.hypervisors.iter().enumerate().filter(|(index, _)| *index != target);
        others
            .map(|(index, host)| {
                let mut watch = FdbWatch::open(&host.namespace)?;
                let is_it =
                    move |change: &FdbChange| !change.is_gone && change.row.mac == mac && change.row.destination == Some(vtep);
                let wait = move || watch.wait(Duration::from_secs(10), is_it);
                Ok((index, std::thread::Builder::new().name("fdb".into()).spawn(wait)?))
            })
            .collect()
    }

    fn show_proof(&mut self) -> anyhow::Result<bool> {
        self.screen.chapter("Proof", "every frame that left a hypervisor's underlay interface since before evpnd began")?;
        let counters = self.capture.stop()?;
        let head = ["VXLAN to one VTEP", "replicated", "unknown flooded", "wrong VTEP", "to a group", "BGP", "ARP/ND"];
        let widths = head.map(|title| title.len() + 2);
        let row =
            |cells: [String; 7]| -> String { cells.iter().zip(widths).map(|(cell, width)| format!("{cell:>width$}")).collect() };
        self.screen.line(format_args!("{:8}{}", "", self.screen.paint(Style::Dim, row(head.map(String::from)))))?;
        for (host, counted) in self.fabric.hypervisors.iter().zip(&counters) {
            let c = counted;
            let numbers =
                [c.vxlan_unicast, c.replicated, c.flooded, c.wrong_vtep, c.multicast(), c.bgp, c.resolution + c.own_mld];
            self.screen.line(format_args!("{:<8}{}", host.plan.name, row(numbers.map(|number| number.to_string()))))?;
        }
        for (host, counted) in self.fabric.hypervisors.iter().zip(&counters) {
            for (what, count) in &counted.stray_multicast {
                self.screen.event(&host.plan.name, self.screen.paint(Style::Bad, format_args!("{count} frames of {what}")))?;
            }
            if counted.lost > 0 {
                self.screen.event(&host.plan.name, self.screen.paint(Style::Bad, "the capture lost frames: no proof"))?;
            }
        }
        for line in [
            "replicated       ARP and ND by VMs, sent to each VTEP of the flood list as unicast",
            "unknown flooded  the same inner unicast frame sent to more than one VTEP",
            "wrong VTEP       an inner unicast frame sent to a VTEP that has not that VM",
            "to a group       outer multicast or broadcast of any kind but the next",
            "ARP/ND           the underlay resolving its own addresses",
        ] {
            self.screen.line(format_args!("{:8}{}", "", self.screen.paint(Style::Dim, line)))?;
        }
        let is_clean = counters.iter().all(Counters::is_clean);
        let total: u64 = counters.iter().map(|c| c.vxlan_unicast).sum();
        let groups: u64 = counters.iter().map(Counters::multicast).sum();
        let flooded: u64 = counters.iter().map(|c| c.flooded).sum();
        let words = format!("{total} VXLAN packets, each to one VTEP; to a group: {groups}; flooded to learn: {flooded}");
        self.screen.event("all", self.screen.judge(is_clean, words))?;
        Ok(is_clean)
    }

    fn station(&self, mac: MacAddr) -> &str {
        self.fabric.guests.iter().find(|guest| guest.plan.mac == mac).map_or("", |guest| guest.plan.name.as_str())
    }
}
