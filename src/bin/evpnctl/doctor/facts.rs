//! What `evpnctl doctor` sees: the daemon's own view, the host's interfaces, routes, settings and counters, and whether VTEPs
//! answer. Read with `ip -j` and from /proc, as an operator would; what cannot be read is said and left out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::process::{Command, Stdio};

use evpnd::config::is_ignored;
use evpnd::control::{MAX_PAGE, NeighborView, Page, Reply, Request, Status, VniView, VtepView};
use serde_json::Value;

use super::firewall::{self, Obstacle, Rules, sockets};
use crate::arguments::Cli;
use crate::daemon::{Daemon, Failure};

/// VTEPs that are looked at one by one, in order of address: more pings would be a flood, and take long.
pub(super) const PROBED: usize = 64;
/// What VXLAN adds to a tenant's packet: Ethernet 14, IP 20 or 40, UDP 8, VXLAN 8 (RFC 7348 §5).
pub(super) fn overhead(vtep: IpAddr) -> u64 {
    if vtep.is_ipv4() { 50 } else { 70 }
}

/// An interface, as `ip -j -d link` and `ip -j addr` show it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Link {
    pub name: String,
    pub mtu: u64,
    pub up: bool,
    pub kind: String,
    pub master: Option<String>,
    pub addresses: Vec<IpAddr>,
    /// Of these, addresses of IPv6 that the kernel does not use: another host has them (true), or it is not known yet that none has
    /// (RFC 4862 §5.4).
    pub not_unique: BTreeMap<IpAddr, bool>,
    /// `linkinfo.info_data`.
    pub data: Value,
    /// `linkinfo.info_slave_data` of a bridge port.
    pub port: Option<Value>,
}

/// How a VTEP is reached.
#[derive(Debug, Clone, Default)]
pub(super) struct Reach {
    /// The devices that packets to it leave by; empty: no route.
    pub devices: BTreeSet<String>,
    /// Whether it answered; none: it was not asked.
    pub answers: Option<bool>,
    /// The size of the largest packet of a tenant, tunnelled, and whether it got through.
    pub large: Option<(u64, bool)>,
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Why the daemon could not be asked.
    pub no_daemon: Option<String>,
    pub status: Option<Status>,
    pub neighbors: Vec<NeighborView>,
    pub vnis: Vec<VniView>,
    pub vteps: Vec<VtepView>,
    /// Items of `evpnctl diff`.
    pub differences: usize,
    pub links: Vec<Link>,
    pub reach: BTreeMap<IpAddr, Reach>,
    /// `rp_filter` that is in force, by device.
    pub rp_filter: BTreeMap<String, u8>,
    /// Programs of other routing daemons, and of more than one evpnd, in this network namespace.
    pub rivals: Vec<String>,
    /// UDP datagrams that came with a wrong checksum while all this was looked at.
    pub bad_checksums: u64,
    /// Whether the clock is synchronised.
    pub clock: Option<bool>,
    /// What the packet filter drops of tunnels and their bridges.
    pub obstacles: Vec<Obstacle>,
    /// Bridges where evpnd's filter keeps all of IPv6 from this host.
    pub closed_to_ipv6: BTreeSet<String>,
    /// Bridges whose guests reach the sockets of this host's tunnels.
    pub open_sockets: Vec<sockets::Open>,
    /// Frames of bridges pass the host's iptables rules (br_netfilter).
    pub bridges_are_filtered: bool,
    /// What could not be looked at, and why.
    pub skipped: Vec<String>,
}

pub(super) fn gather(cli: &Cli) -> Facts {
    let mut facts = Facts::default();
    let checksums_before = bad_checksums();
    match Daemon::connect(cli, None) {
        Ok(mut daemon) => facts.ask(&mut daemon),
        Err(Failure::Daemon(why)) => facts.no_daemon = Some(why),
        Err(Failure::Output(error)) => facts.no_daemon = Some(error.to_string()),
    }
    facts.look_at_links();
    facts.look_at_ways();
    facts.look_at_host();
    facts.bad_checksums = bad_checksums().saturating_sub(checksums_before);
    facts
}

/// Every item of a table that comes in pages.
pub(crate) fn all<T>(
    daemon: &mut Daemon,
    request: impl Fn(Option<String>) -> Request,
    page: impl Fn(Reply) -> Option<Page<T>>,
) -> Vec<T> {
    let (mut items, mut after) = (Vec::new(), None);
    loop {
        let Some(found) = daemon.ask(&request(after)).ok().and_then(&page) else { return items };
        items.extend(found.items);
        after = found.next;
        if after.is_none() {
            return items;
        }
    }
}

impl Facts {
    fn ask(&mut self, daemon: &mut Daemon) {
        let limit = Some(MAX_PAGE);
        if let Ok(Reply::Status(status)) = daemon.ask(&Request::ShowStatus {}) {
            self.status = Some(status);
        }
        let request = |after| Request::ShowNeighbors { address: None, after, limit };
        self.neighbors = all(daemon, request, |reply| if let Reply::Neighbors(page) = reply { Some(page) } else { None });
        let request = |after| Request::ShowVnis { vni: None, after, limit };
        self.vnis = all(daemon, request, |reply| if let Reply::Vnis(page) = reply { Some(page) } else { None });
        let request = |after| Request::ShowVteps { after, limit };
        self.vteps = all(daemon, request, |reply| if let Reply::Vteps(page) = reply { Some(page) } else { None });
        if let Ok(Reply::Diff(page)) = daemon.ask(&Request::Diff { after: None, limit }) {
            self.differences = page.items.len();
        }
    }

    fn look_at_links(&mut self) {
        match links() {
            Ok(links) => self.links = links,
            Err(why) => self.skipped.push(format!("interfaces ({why})")),
        }
    }

    /// An interface by its name.
    pub(super) fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The address that this host's tunnels have.
    pub(super) fn local(&self) -> Option<IpAddr> {
        self.status.as_ref()?.vtep
    }

    /// The VXLAN devices to look at: the daemon's, and those of bridges that it does not have, or not yet. Other programs' own are left
    /// alone, as are devices for many VNIs, and those that the configuration names to be.
    pub(super) fn tunnels(&self) -> Vec<&Link> {
        let ignored = self.status.as_ref().map_or(&[][..], |status| &status.ignored_devices);
        self.tunnels_but(ignored)
    }

    fn tunnels_but(&self, ignored: &[String]) -> Vec<&Link> {
        let known: BTreeSet<&str> = self.vnis.iter().filter(|vni| vni.is_here()).map(|vni| vni.device.as_str()).collect();
        let bridged = |link: &Link| {
            let master = link.master.as_deref().and_then(|name| self.link(name));
            master.is_some_and(|master| master.kind == "bridge")
                && link.data["external"] != true
                && evpnd::kernel::owner(&link.name).is_none()
                && !is_ignored(ignored, &link.name)
        };
        let vxlans = self.links.iter().filter(|link| link.kind == "vxlan");
        vxlans.filter(|link| known.contains(link.name.as_str()) || bridged(link)).collect()
    }

    /// Whether the operator said that this host is a station of the segment of a bridge, as its gateway is: `announce-own = true`, not by default.
    pub(super) fn is_meant(&self, bridge: &str) -> bool {
        self.vnis.iter().any(|vni| vni.bridge == bridge && vni.announce_own == Some(true))
    }

    /// The bridges that they are in.
    pub(super) fn bridges(&self) -> Vec<&Link> {
        self.bridges_of(self.tunnels())
    }

    /// The same with those of tunnels that are left alone: their guests may reach the same sockets.
    pub(super) fn bridges_with_ignored(&self) -> Vec<&Link> {
        self.bridges_of(self.tunnels_but(&[]))
    }

    fn bridges_of(&self, tunnels: Vec<&Link>) -> Vec<&Link> {
        let names: BTreeSet<&str> = tunnels.into_iter().filter_map(|tunnel| tunnel.master.as_deref()).collect();
        names.into_iter().filter_map(|name| self.link(name)).filter(|link| link.kind == "bridge").collect()
    }

    /// The largest packet of a tenant, tunnelled to `vtep`, with its outer IP header.
    pub(super) fn largest_packet(&self, vtep: IpAddr) -> Option<u64> {
        // The outer Ethernet header is not part of a packet's size; the inner one is.
        self.tunnels().iter().map(|link| link.mtu + overhead(vtep)).max()
    }

    fn look_at_ways(&mut self) {
        let local = self.local();
        let vteps: Vec<IpAddr> = self.vteps.iter().map(|vtep| vtep.address).collect();
        for &vtep in &vteps {
            let way = json("ip", &["-j", "route", "get", "fibmatch", &vtep.to_string()]);
            let entries = way.unwrap_or_default();
            let mut reach = Reach::default();
            for entry in entries.as_array().into_iter().flatten() {
                let hops = entry["nexthops"].as_array().cloned().unwrap_or_default();
                let devices = std::iter::once(entry).chain(&hops).filter_map(|hop| hop["dev"].as_str());
                reach.devices.extend(devices.map(str::to_owned));
            }
            self.reach.insert(vtep, reach);
        }
        if vteps.len() > PROBED {
            self.skipped.push(format!("whether VTEPs answer, but for the first {PROBED} of {}", vteps.len()));
        }
        let Some(local) = local else { return };
        let probed: Vec<IpAddr> = vteps.into_iter().filter(|vtep| !self.reach[vtep].devices.is_empty()).take(PROBED).collect();
        let small = ping_all(local, probed.iter().map(|vtep| (*vtep, 56)));
        if small.is_none() && !probed.is_empty() {
            return self.skipped.push("whether VTEPs answer (there is no ping: install iputils-ping)".to_owned());
        }
        let small = small.unwrap_or_default();
        // ICMP header 8, IP header 20 or 40.
        let headers = |vtep: &IpAddr| if vtep.is_ipv4() { 28 } else { 48 };
        let answering = probed.iter().filter(|vtep| small.get(vtep) == Some(&true));
        let sizes: Vec<(IpAddr, u64)> = answering.filter_map(|vtep| Some((*vtep, self.largest_packet(*vtep)?))).collect();
        let large =
            ping_all(local, sizes.iter().map(|(vtep, size)| (*vtep, size.saturating_sub(headers(vtep))))).unwrap_or_default();
        for (vtep, answers) in small {
            self.reach.entry(vtep).or_default().answers = Some(answers);
        }
        for (vtep, size) in sizes {
            self.reach.entry(vtep).or_default().large = large.get(&vtep).map(|through| (size, *through));
        }
    }

    fn look_at_host(&mut self) {
        let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u8>().ok();
        let all = number("/proc/sys/net/ipv4/conf/all/rp_filter").unwrap_or_default();
        for link in &self.links {
            if let Some(own) = number(&format!("/proc/sys/net/ipv4/conf/{}/rp_filter", link.name)) {
                self.rp_filter.insert(link.name.clone(), own.max(all));
            }
        }
        self.bridges_are_filtered = number("/proc/sys/net/bridge/bridge-nf-call-iptables") == Some(1);
        self.rivals = rivals();
        self.rivals.retain(|name| may_speak_evpn(name));
        self.clock = clock();
        match Rules::read() {
            Ok(rules) => {
                let (obstacles, unclear) = firewall::look(self, &rules);
                self.obstacles = obstacles;
                self.skipped.extend(unclear);
                self.look_at_sockets(&rules);
            }
            Err(why) => self.skipped.push(format!("firewall rules ({why})")),
        }
    }
}

impl Facts {
    /// Asks for the filters of each bridge, which are the daemon's where it keeps guests from the host.
    fn look_at_sockets(&mut self, rules: &Rules) {
        let (mut filters, mut why_not) = (BTreeMap::new(), None);
        for bridge in self.bridges_with_ignored() {
            match json("tc", &["-j", "filter", "show", "dev", &bridge.name, "ingress"]) {
                Ok(found) => drop(filters.insert(bridge.name.clone(), found)),
                Err(why) => drop(why_not.replace(why)),
            }
        }
        let closed = filters.iter().filter(|(_, filters)| sockets::is_closed(filters));
        self.closed_to_ipv6 = closed.map(|(bridge, _)| bridge.clone()).collect();
        let (open, unclear) = sockets::open(self, rules, &filters);
        self.open_sockets = open;
        let unclear = unclear.into_iter().map(|place| format!("it hangs on {place}, which asks for what is not known here"));
        self.skipped.extend(unclear.chain(why_not).map(|why| format!("whether guests reach the sockets of tunnels ({why})")));
    }
}

/// The interfaces of this network namespace; the error says why they could not be read.
pub(crate) fn links() -> Result<Vec<Link>, String> {
    let (links, addresses) = (json("ip", &["-j", "-d", "link", "show"])?, json("ip", &["-j", "addr", "show"])?);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for link in links.as_array().into_iter().flatten() {
        let info = &link["linkinfo"];
        let name = text(&link["ifname"]);
        let own = addresses.as_array().into_iter().flatten().filter(|entry| entry["ifname"] == link["ifname"]);
        let own: Vec<Value> = own.flat_map(|entry| entry["addr_info"].as_array().cloned().unwrap_or_default()).collect();
        found.push(Link {
            mtu: link["mtu"].as_u64().unwrap_or_default(),
            up: link["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "UP")),
            kind: text(&info["info_kind"]),
            master: link["master"].as_str().map(str::to_owned),
            addresses: own.iter().filter_map(address_of).collect(),
            not_unique: own.iter().filter_map(not_unique).collect(),
            data: info["info_data"].clone(),
            port: (info["info_slave_kind"] == "bridge").then(|| info["info_slave_data"].clone()),
            name,
        });
    }
    Ok(found)
}

fn address_of(info: &Value) -> Option<IpAddr> {
    info["local"].as_str()?.parse().ok()
}

/// An address that duplicate address detection keeps from being used, and whether it found another host that has it. An `optimistic` one is
/// used meanwhile (RFC 4429).
pub(super) fn not_unique(info: &Value) -> Option<(IpAddr, bool)> {
    let is = |flag: &str| info[flag] == true;
    (is("dadfailed") || (is("tentative") && !is("optimistic"))).then_some((address_of(info)?, is("dadfailed")))
}

pub(crate) fn json(program: &str, words: &[&str]) -> Result<Value, String> {
    let output =
        Command::new(program).args(words).stderr(Stdio::null()).output().map_err(|error| format!("{program}: {error}"))?;
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{program}: {error}"))
}

/// Pings everybody at once, with so many octets of data and without fragments. `None`: there is no ping.
fn ping_all(local: IpAddr, targets: impl Iterator<Item = (IpAddr, u64)>) -> Option<BTreeMap<IpAddr, bool>> {
    let mut running = Vec::new();
    for (vtep, octets) in targets {
        let mut ping = Command::new("ping");
        ping.args([
            "-n",
            "-q",
            "-c",
            "2",
            "-i",
            "0.3",
            "-W",
            "1",
            "-M",
            "do",
            "-s",
            &octets.to_string(),
            "-I",
            &local.to_string(),
        ]);
        let child = ping.arg(vtep.to_string()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        running.push((vtep, child));
    }
    Some(running.into_iter().map(|(vtep, mut child)| (vtep, child.wait().is_ok_and(|status| status.success()))).collect())
}

/// UDP datagrams with a wrong checksum since the host began.
fn bad_checksums() -> u64 {
    bad_checksums4("/proc/net/snmp", "Udp:") + bad_checksums6("/proc/net/snmp6")
}

/// `InCsumErrors` of a line of /proc/net/snmp; two lines of each kind, names and numbers.
fn bad_checksums4(path: &str, kind: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut lines = text.lines().filter(|line| line.starts_with(kind)).map(|line| line.split_whitespace());
    let (Some(names), Some(numbers)) = (lines.next(), lines.next()) else { return 0 };
    let found = names.zip(numbers).find(|(name, _)| *name == "InCsumErrors");
    found.and_then(|(_, number)| number.parse().ok()).unwrap_or_default()
}

fn bad_checksums6(path: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Udp6InCsumErrors"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or_default()
}

/// Routing daemons beside ours, in our network namespace.
pub(crate) fn rivals() -> Vec<String> {
    let own = std::fs::read_link("/proc/self/ns/net").ok();
    let (mut found, mut evpnds) = (BTreeSet::new(), 0);
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(name) = std::fs::read_to_string(process.path().join("comm")) else { continue };
        let name = name.trim();
        if !matches!(name, "evpnd" | "zebra" | "bgpd" | "gobgpd" | "bird") {
            continue;
        }
        if own.is_none() || std::fs::read_link(process.path().join("ns/net")).ok() != own {
            continue;
        }
        if name == "evpnd" {
            evpnds += 1;
        } else {
            found.insert(name.to_owned());
        }
    }
    if evpnds > 1 {
        found.insert(format!("evpnd, {evpnds} times"));
    }
    found.into_iter().collect()
}

/// Whether a routing daemon may do what evpnd does. FRR and BIRD route many an underlay and have no EVPN there: they are asked. zebra
/// alone has none, it only writes what bgpd says.
fn may_speak_evpn(name: &str) -> bool {
    let asked = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    match name {
        "zebra" => false,
        // Where vtysh is not here, or reaches another bgpd, nobody knows.
        "bgpd" => asked("vtysh", &["-c", "show running-config"])
            .is_none_or(|text| !text.contains("router bgp") || text.lines().any(|line| line.trim() == "advertise-all-vni")),
        // BIRD 2 has no EVPN; BIRD 3 has it as a kind of protocol.
        "bird" => asked("birdc", &["-r", "show", "protocols"]).is_some_and(|text| {
            text.lines().any(|line| line.split_whitespace().nth(1).is_some_and(|kind| kind.eq_ignore_ascii_case("evpn")))
        }),
        _ => true,
    }
}

/// Whether the kernel takes the clock for synchronised (adjtimex(2)); none where it says nothing.
fn clock() -> Option<bool> {
    // SAFETY: all zero is a valid timex, which asks and changes nothing.
    let mut now: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is that of `now`, which lives through the call.
    match unsafe { libc::adjtimex(&raw mut now) } {
        -1 => None,
        state => Some(state != libc::TIME_ERROR && now.status & libc::STA_UNSYNC == 0),
    }
}
