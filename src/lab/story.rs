//! The events of the daemons as the demo tells them: who said what, with the names that people gave to addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use super::fabric::Fabric;
use super::plan::Plan;
use super::screen::{Screen, Style};
use crate::base::MacAddr;
use crate::control::{Event, Level, Place};

/// Lines of one kind that are shown; more are counted.
const SHOWN: usize = 14;

/// Listens to every hypervisor and tells what they say.
#[derive(Debug)]
pub struct Story {
    sender: SyncSender<(usize, Event)>,
    receiver: Receiver<(usize, Event)>,
    hosts: Vec<String>,
    vteps: BTreeMap<IpAddr, String>,
    stations: BTreeMap<MacAddr, String>,
    shown: BTreeMap<&'static str, usize>,
    told: BTreeSet<(usize, String)>,
}

impl Story {
    /// For a lab of this plan.
    pub fn new(plan: &Plan) -> Self {
        // The daemon drops and counts where the lab is behind: a bounded queue is enough.
        let (sender, receiver) = sync_channel(4096);
        Self {
            sender,
            receiver,
            hosts: plan.hypervisors.iter().map(|host| host.name.clone()).collect(),
            vteps: plan.hypervisors.iter().map(|host| (host.address, host.name.clone())).collect(),
            stations: plan.guests.iter().map(|guest| (guest.mac, guest.name.clone())).collect(),
            shown: BTreeMap::new(),
            told: BTreeSet::new(),
        }
    }

    /// Starts to listen: to be called as soon as the daemons answer.
    pub fn listen(&self, fabric: &Fabric) -> anyhow::Result<()> {
        for (index, host) in fabric.hypervisors.iter().enumerate() {
            if let Some(client) = &host.client {
                client.monitor(index, self.sender.clone())?;
            }
        }
        Ok(())
    }

    /// Tells what is so though nobody heard it happen: it did before the monitors listened.
    pub fn catch_up(&mut self, screen: &Screen, fabric: &Fabric) -> anyhow::Result<()> {
        self.tell(screen)?;
        for (index, host) in fabric.hypervisors.iter().enumerate() {
            let Some(client) = &host.client else { continue };
            for neighbor in client.neighbors()? {
                let host_name = neighbor.host_name;
                let hold_time_secs = neighbor.hold_time_secs.unwrap_or(0);
                let up = Event::SessionUp { neighbor: neighbor.address, asn: neighbor.asn, host_name, hold_time_secs };
                self.line(screen, index, &up)?;
            }
            for view in client.vnis()? {
                let (device, bridge, made) = (view.device, view.bridge, view.made_device);
                self.line(screen, index, &Event::VniReady { vni: view.vni, device, bridge, made, warnings: view.warnings })?;
            }
            for vtep in client.vteps()? {
                for vni in vtep.vnis {
                    self.line(screen, index, &Event::VtepAppeared { vni, vtep: vtep.address })?;
                }
            }
        }
        Ok(())
    }

    /// Tells what was heard since the last call.
    pub fn tell(&mut self, screen: &Screen) -> anyhow::Result<()> {
        loop {
            match self.receiver.try_recv() {
                Ok((host, event)) => self.line(screen, host, &event)?,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return Ok(()),
            }
        }
    }

    /// Ends a chapter: says how much was not shown.
    pub fn rest(&mut self, screen: &Screen) -> anyhow::Result<()> {
        self.tell(screen)?;
        for (kind, count) in std::mem::take(&mut self.shown) {
            if count > SHOWN {
                screen.detail(screen.paint(Style::Dim, format_args!("… and {} more like this ({kind})", count - SHOWN)))?;
            }
        }
        Ok(())
    }

    fn line(&mut self, screen: &Screen, host: usize, event: &Event) -> anyhow::Result<()> {
        let (kind, text) = match event {
            Event::SessionUp { .. } => ("sessions", event.to_string()),
            Event::VniReady { .. } => ("VNIs", event.to_string()),
            Event::VtepAppeared { vni, vtep } => ("type 3", format!("type 3 from {}: takes part in VNI {vni}", self.vtep(*vtep))),
            Event::MacLearned { vni, mac, place: Place::Port(port), .. } => {
                ("own stations", format!("VNI {vni}: {mac} speaks on port {port}, so it is announced"))
            }
            Event::MacLearned { vni, mac, place: Place::Vtep(vtep), .. } => {
                let station = self.stations.get(mac).cloned().unwrap_or_default();
                ("type 2", format!("type 2 from {}: {mac} ({station}) in VNI {vni}", self.vtep(*vtep)))
            }
            Event::MacMoved { vni, mac, from, to, sequence } => {
                let (from, to) = (self.place(from), self.place(to));
                ("moves", format!("VNI {vni}: {mac} moved from {from} to {to} (sequence {sequence})"))
            }
            Event::Note { .. }
            | Event::UpdateMistake { .. }
            | Event::LimitNear { .. }
            | Event::NeighborRests { .. }
            | Event::Missed { .. } => return Ok(()),
            other if other.level() <= Level::Warn => {
                let name = self.hosts.get(host).map_or("", String::as_str);
                return Ok(screen.event(name, screen.paint(Style::Bad, other))?);
            }
            _ => return Ok(()),
        };
        let is_once = matches!(kind, "sessions" | "VNIs" | "type 3");
        if is_once && !self.told.insert((host, text.clone())) {
            return Ok(());
        }
        let count = self.shown.entry(kind).or_default();
        *count += 1;
        if *count <= SHOWN {
            screen.event(self.hosts.get(host).map_or("", String::as_str), text)?;
        }
        Ok(())
    }

    fn place(&self, place: &Place) -> String {
        match place {
            Place::Port(port) => format!("its port {port}"),
            Place::Vtep(vtep) => self.vteps.get(vtep).cloned().unwrap_or_else(|| vtep.to_string()),
        }
    }

    fn vtep(&self, address: IpAddr) -> String {
        match self.vteps.get(&address) {
            Some(name) => format!("{name} ({address})"),
            None => address.to_string(),
        }
    }
}
