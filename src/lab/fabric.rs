//! The lab itself: namespaces, the underlay, the daemons and the stations, made in that order and taken away by `Drop`.
//!
//! Nothing is made in the namespace of the caller. Without names (the default of the demo) the namespaces are only open
//! files of this process and the daemons die with it: even `kill -9` leaves nothing. With names (`lab up`,
//! `--keep`) everything is recorded in `state.rs` as it is made, so that `lab down` removes exactly that.

#![allow(clippy::disallowed_methods, reason = "a move is timed in real time")]

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::announce::{Announcer, announce};
use super::client::Client;
use super::links::Links;
use super::netns::{self, NETNS_DIRECTORY, Namespace};
use super::plan::{self, GuestPlan, HostPlan, Plan, TENANT_MTU, UNDERLAY_MTU, UPLINK};
use super::process::{Daemon, Launch};
use super::reflector;
use super::signals::wait_until;
use super::state::{self, DaemonRecord, NamespaceRecord, PRIVATE_NAMES, State};

/// How a lab lives.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Where its files go: made by the lab, removed with it.
    pub directory: PathBuf,
    /// The evpnd to start: this very program unless a test says otherwise.
    pub evpnd: PathBuf,
    /// Whether the namespaces get names. Without, the daemons die with the thread that built the lab.
    pub names: Names,
}

/// Where the namespaces of a lab get names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// They get none.
    None,
    /// Where `ip netns` sees them, each with this prefix and a dash.
    System(String),
    /// In the lab's own directory, seen only in the caller's mount namespace: for a user namespace.
    Private,
}

/// A machine on the underlay.
#[derive(Debug)]
pub struct Host {
    /// What was planned.
    pub plan: HostPlan,
    /// Where it is.
    pub namespace: Namespace,
    /// Its daemon's control socket; none where that is not an evpnd, or is not started.
    pub client: Option<Client>,
}

/// A station.
#[derive(Debug)]
pub struct Guest {
    /// What was planned.
    pub plan: GuestPlan,
    /// Where it is.
    pub namespace: Namespace,
    /// Index of the hypervisor to which its cable goes now.
    pub place: usize,
    /// Where it was, while its port there still exists.
    old_place: Option<usize>,
    /// How many cables it has had.
    cables: u32,
}

impl Guest {
    /// The inner end of its cable.
    fn cable(&self) -> String {
        format!("cable{}", self.cables)
    }
}

/// When a station moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// It fell silent on its old hypervisor.
    pub silent: Instant,
    /// It could be heard on the new one.
    pub heard: Instant,
}

/// A lab that stands. Dropping it removes everything, unless [`Fabric::keep`] was called.
#[derive(Debug)]
pub struct Fabric {
    /// What was planned.
    pub plan: Plan,
    /// The switch between the machines.
    pub underlay: Namespace,
    /// The route reflector.
    pub reflector: Host,
    /// The hypervisors.
    pub hypervisors: Vec<Host>,
    /// The stations.
    pub guests: Vec<Guest>,
    // Dropped in this order: the processes end before the names and the files go.
    daemons: Vec<Daemon>,
    traces: Traces,
    setting: Setting,
}

/// What a lab leaves in the file system, and the way to remove it.
#[derive(Debug)]
struct Traces {
    state: State,
    directory: PathBuf,
    keep: bool,
}

impl Fabric {
    /// Builds the underlay and every machine and station; no daemon runs yet and no station is attached.
    pub fn build(plan: Plan, setting: Setting) -> anyhow::Result<Self> {
        let make_directory = || fs::DirBuilder::new().mode(0o755).create(&setting.directory);
        match make_directory() {
            // Another lab that ended just now took the directory of all labs with it.
            Err(e) if e.kind() == io::ErrorKind::NotFound => state::base_directory().and_then(|_| Ok(make_directory()?)),
            other => other.map_err(Into::into),
        }
        .with_context(|| format!("make the directory {}", setting.directory.display()))?;
        let mut traces = Traces { state: State::new(&plan.options), directory: setting.directory.clone(), keep: false };
        traces.state.save(&setting.directory)?;

        match &setting.names {
            Names::None => {}
            Names::System(_) => drop(netns::prepare_netns_directory()?),
            Names::Private => {
                let directory = setting.directory.join(PRIVATE_NAMES);
                fs::create_dir(&directory)?;
                netns::mount_tmpfs(&directory)?;
            }
        }
        let underlay = make(&mut traces, &setting, "underlay")?;
        // The switch is no IPv6 host; so it says nothing by itself.
        underlay.set_sysctl("ipv6/conf/default/disable_ipv6", "1")?;
        let mut switch = Links::open(&underlay)?;
        switch.add_bridge("br0")?;
        switch.set_up("br0")?;
        let mut host = |traces: &mut Traces, plan: &HostPlan| -> anyhow::Result<Host> {
            let namespace = make(traces, &setting, &plan.name)?;
            connect(&mut switch, &namespace, plan)?;
            Ok(Host { plan: plan.clone(), namespace, client: None })
        };
        let reflector = host(&mut traces, &plan.reflector)?;
        let hypervisors: Vec<Host> = plan.hypervisors.iter().map(|plan| host(&mut traces, plan)).collect::<Result<_, _>>()?;
        let mut guests = Vec::with_capacity(plan.guests.len());
        for guest in &plan.guests {
            super::signals::check()?;
            let namespace = make(&mut traces, &setting, &guest.name)?;
            plug(&hypervisors[guest.home].namespace, &namespace, guest)?;
            guests.push(Guest { plan: guest.clone(), namespace, place: guest.home, old_place: None, cables: 1 });
        }
        traces.state.save(&setting.directory)?;
        Ok(Self { plan, underlay, reflector, hypervisors, guests, daemons: Vec::new(), traces, setting })
    }

    /// Starts the reflector and waits until it listens (an evpnd) or at least still runs.
    pub fn start_reflector(&mut self) -> anyhow::Result<()> {
        let directory = self.node_directory(&self.reflector.plan.name)?;
        let program = reflector::reflector(&self.plan, &directory, &self.setting.evpnd)?;
        self.reflector.client = self.start(&program, None, &directory)?;
        self.wait_ready(self.reflector.client.clone())?;
        if self.reflector.client.is_none() {
            self.wait_for_bgp()?;
        }
        Ok(())
    }

    /// Starts evpnd on every hypervisor; returns when all of them answer on their sockets.
    pub fn start_hypervisors(&mut self) -> anyhow::Result<()> {
        for index in 0..self.hypervisors.len() {
            let directory = self.node_directory(&self.hypervisors[index].plan.name)?;
            let program = reflector::hypervisor(&self.plan, &self.hypervisors[index].plan, &directory, &self.setting.evpnd)?;
            self.hypervisors[index].client = self.start(&program, Some(index), &directory)?;
        }
        for index in 0..self.hypervisors.len() {
            self.wait_ready(self.hypervisors[index].client.clone())?;
        }
        Ok(())
    }

    /// An error with the end of its log where a daemon has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        super::signals::check()?;
        self.daemons.iter_mut().try_for_each(Daemon::check)
    }

    /// Puts a station's port into the bridge of its network on the hypervisor where its cable is, waits for the bridge
    /// that evpnd makes, and announces the station.
    pub fn attach(&mut self, guest: usize) -> anyhow::Result<()> {
        let guest = &self.guests[guest];
        let host = &self.hypervisors[guest.place];
        let mut links = Links::open(&host.namespace)?;
        let bridge = guest.plan.bridge();
        if links.wait_for(&bridge, Duration::from_secs(10))?.is_none() {
            bail!("{} has made no {bridge} within 10 s:\n{}", host.plan.name, self.log_of(&host.plan.name));
        }
        links.set_master(&guest.plan.name, Some(&bridge))?;
        links.set_up(&guest.plan.name)?;
        wait_for_cable(&mut Links::open(&guest.namespace)?, UPLINK)?;
        announce(&guest.namespace, UPLINK, guest.plan.mac, &guest.plan.addresses())?;
        Ok(())
    }

    /// Moves a station as live migration does: its new port is made ready on the other hypervisor, the station falls
    /// silent on the old one, speaks on the new one, and the new hypervisor announces it. The old port stays, as the
    /// source's tap does for a while; [`Fabric::release`] removes it.
    pub fn migrate(&mut self, guest: usize, to: usize) -> anyhow::Result<Migration> {
        let station = &mut self.guests[guest];
        anyhow::ensure!(station.place != to && station.old_place.is_none(), "{} cannot move there", station.plan.name);
        let target = &self.hypervisors[to].namespace;
        let (old, new) = (station.cable(), station.cables + 1);
        lay_cable(target, &station.namespace, &station.plan, new)?;
        let mut ports = Links::open(target)?;
        let mut inside = Links::open(&station.namespace)?;
        wait_for_cable(&mut inside, &format!("cable{new}"))?;
        let announcer = Announcer::open(&station.namespace, UPLINK)?;

        let silent = Instant::now();
        inside.block_port(&old)?;
        ports.set_master(&station.plan.name, Some(&station.plan.bridge()))?;
        let heard = Instant::now();
        announcer.announce(station.plan.mac, &station.plan.addresses())?;
        station.old_place = Some(std::mem::replace(&mut station.place, to));
        station.cables = new;
        Ok(Migration { silent, heard })
    }

    /// Removes the port that a migrated station left on its old hypervisor.
    pub fn release(&mut self, guest: usize) -> anyhow::Result<()> {
        let station = &mut self.guests[guest];
        if let Some(old) = station.old_place.take() {
            Links::open(&self.hypervisors[old].namespace)?.delete(&station.plan.name)?;
        }
        Ok(())
    }

    /// The end of a node's log.
    pub fn log_of(&self, node: &str) -> String {
        match self.daemons.iter().find(|daemon| daemon.name == node) {
            Some(daemon) => super::process::tail(&daemon.log, 12),
            None => "    (no daemon there)".into(),
        }
    }

    /// Leaves everything as it stands: only for a lab with names.
    pub fn keep(mut self) -> anyhow::Result<State> {
        self.traces.state.is_complete = true;
        self.traces.state.save(&self.traces.directory)?;
        self.traces.keep = true;
        self.daemons.clear();
        Ok(self.traces.state.clone())
    }

    /// Starts a process that holds the user namespace and the names of a lab that stays: this program with `args`.
    pub fn start_holder(&mut self, args: &[String]) -> anyhow::Result<()> {
        let holder = Daemon::start(&Launch {
            name: "holder",
            program: &self.setting.evpnd,
            args,
            namespace: &Namespace::current()?,
            log: &self.setting.directory.join("holder.log"),
            dies_with_us: false,
        })?;
        self.traces.state.holder = Some(holder.id);
        self.daemons.push(holder);
        self.traces.state.save(&self.traces.directory)
    }

    fn node_directory(&self, node: &str) -> anyhow::Result<PathBuf> {
        let directory = self.setting.directory.join(node);
        fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        Ok(directory)
    }

    /// Starts a program on a hypervisor, or on the reflector where `hypervisor` is `None`.
    fn start(
        &mut self,
        program: &reflector::Program,
        hypervisor: Option<usize>,
        directory: &Path,
    ) -> anyhow::Result<Option<Client>> {
        let host = hypervisor.map_or(&self.reflector, |index| &self.hypervisors[index]);
        let daemon = Daemon::start(&Launch {
            name: &host.plan.name,
            program: &program.path,
            args: &program.args,
            namespace: &host.namespace,
            log: &directory.join("log"),
            dies_with_us: self.setting.names == Names::None,
        })?;
        self.traces.state.daemons.push(DaemonRecord {
            node: daemon.name.clone(),
            process: daemon.id,
            program: program.path.clone(),
            socket: program.socket.clone(),
            log: daemon.log.clone(),
        });
        self.daemons.push(daemon);
        self.traces.state.save(&self.traces.directory)?;
        Ok(program.socket.as_deref().map(Client::new))
    }

    fn wait_ready(&mut self, client: Option<Client>) -> anyhow::Result<()> {
        let Some(client) = client else { return Ok(()) };
        let ready = wait_until(Duration::from_secs(10), || {
            self.check()?;
            Ok(client.is_ready().then_some(()))
        })?;
        ready.with_context(|| format!("{client:?} does not listen after 10 s"))
    }

    /// Waits until something in the reflector's namespace listens on the BGP port.
    fn wait_for_bgp(&mut self) -> anyhow::Result<()> {
        let ready = wait_until(Duration::from_secs(10), || {
            self.check()?;
            // /proc/net/tcp: local address and port in hexadecimal, state 0A is LISTEN.
            let listens = self.reflector.namespace.run(|| {
                ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"].iter().any(|file| {
                    let table = fs::read_to_string(file).unwrap_or_default();
                    table.lines().any(|line| {
                        let mut fields = line.split_ascii_whitespace().skip(1);
                        fields.next().is_some_and(|local| local.ends_with(":00B3")) && fields.nth(1) == Some("0A")
                    })
                })
            })?;
            Ok(listens.then_some(()))
        })?;
        ready.with_context(|| format!("the reflector does not listen after 10 s:\n{}", self.log_of("rr")))
    }
}

impl Drop for Fabric {
    fn drop(&mut self) {
        for daemon in &self.daemons {
            daemon.terminate();
        }
        for daemon in &mut self.daemons {
            daemon.finish();
        }
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed is said, but must not hide why the lab ended.
            if let Err(error) = self.state.remove_traces(&self.directory) {
                eprintln!("evpnd lab: left behind: {error}");
            }
        }
    }
}

/// Makes a namespace, with a name where the lab has names.
fn make(traces: &mut Traces, setting: &Setting, node: &str) -> anyhow::Result<Namespace> {
    let namespace = Namespace::create()?;
    let path = match &setting.names {
        Names::None => None,
        Names::System(prefix) => Some(namespace.pin(Path::new(NETNS_DIRECTORY), &format!("{prefix}-{node}"))?),
        Names::Private => Some(namespace.pin(&setting.directory.join(PRIVATE_NAMES), node)?),
    };
    if let Some(path) = path {
        let inode = fs::metadata(&path)?.ino();
        traces.state.namespaces.push(NamespaceRecord { node: node.into(), path, inode });
        traces.state.save(&setting.directory)?;
    }
    Ok(namespace)
}

/// Connects a machine to the underlay.
fn connect(switch: &mut Links, namespace: &Namespace, plan: &HostPlan) -> anyhow::Result<()> {
    switch.add_veth(&plan.name, namespace, UPLINK, None, UNDERLAY_MTU)?;
    switch.set_master(&plan.name, Some("br0"))?;
    switch.set_up(&plan.name)?;
    let uplink = |key: &str| format!("ipv6/conf/{UPLINK}/{key}");
    if plan.address.is_ipv4() {
        namespace.set_sysctl(&uplink("disable_ipv6"), "1")?;
    } else {
        // A machine with one fixed address: it asks for no router and needs no other address.
        namespace.set_sysctl(&uplink("accept_ra"), "0")?;
        namespace.set_sysctl(&uplink("router_solicitations"), "0")?;
        namespace.set_sysctl(&uplink("addr_gen_mode"), "1")?;
    }
    let mut links = Links::open(namespace)?;
    let prefix_len = if plan.address.is_ipv4() { 24 } else { 64 };
    links.add_address(UPLINK, plan.address, prefix_len)?;
    links.set_up(UPLINK)?;
    Ok(())
}

/// Makes a station and its first cable. Its `eth0` is a bridge of its own, so that it can get another cable without
/// noticing, as a VM does in live migration.
fn plug(hypervisor: &Namespace, namespace: &Namespace, plan: &GuestPlan) -> anyhow::Result<()> {
    let mut links = Links::open(namespace)?;
    links.add_bridge(UPLINK)?;
    links.set_mac(UPLINK, plan.mac)?;
    namespace.set_sysctl(&format!("ipv6/conf/{UPLINK}/router_solicitations"), "0")?;
    links.add_address(UPLINK, plan.ipv4.into(), 24)?;
    links.add_address(UPLINK, plan.ipv6.into(), 64)?;
    links.set_up(UPLINK)?;
    lay_cable(hypervisor, namespace, plan, 1)
}

/// Lays a station's `number`th cable to a hypervisor; the port there is up, but in no bridge yet.
fn lay_cable(hypervisor: &Namespace, namespace: &Namespace, plan: &GuestPlan, number: u32) -> anyhow::Result<()> {
    let cable = format!("cable{number}");
    Links::open(hypervisor)?.add_veth(&plan.name, namespace, &cable, None, TENANT_MTU)?;
    // As libvirt does with a tap: the port is the switch's and the host must not speak on it.
    hypervisor.set_sysctl(&format!("ipv6/conf/{}/disable_ipv6", plan.name), "1")?;
    namespace.set_sysctl(&format!("ipv6/conf/{cable}/disable_ipv6"), "1")?;
    let mut links = Links::open(namespace)?;
    links.set_master(&cable, Some(UPLINK))?;
    // It has one cable that works: nothing to learn, and nothing to forget when that changes.
    links.set_port_learning(&cable, false)?;
    links.set_up(&cable)?;
    Links::open(hypervisor)?.set_up(&plan.name)?;
    Ok(())
}

fn wait_for_cable(links: &mut Links, name: &str) -> anyhow::Result<()> {
    anyhow::ensure!(links.wait_running(name, Duration::from_secs(10))?, "{name} of a station has no carrier after 10 s");
    Ok(())
}

/// The index of a network's VXLAN device on a host.
pub fn vxlan_index(host: &Host, vni: crate::base::Vni) -> anyhow::Result<u32> {
    let name = plan::vxlan(vni);
    Links::open(&host.namespace)?.index(&name)?.with_context(|| format!("{} has no {name}", host.plan.name))
}
