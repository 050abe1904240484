//! What `evpnctl migrate` sees: the VXLAN devices of the host and their rows, the daemon's view, and who announces what.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use evpnd::base::{MacAddr, Vni};
use evpnd::config::{Config, NO_BRIDGE};
use evpnd::control::{HELD_BY_RULE, MAX_PAGE, MacKind, Reply, Request, VniView};
use serde_json::Value;

use super::block::{Block, way_of};
use super::fixed::{self, Known, Neighbor, Row};
use super::plan::{Fabric, Here, Tunnel};
use super::record::Record;
use crate::arguments::Migrate;
use crate::daemon::{Daemon, Failure};
use crate::doctor::facts::{Link, all, json, links};

/// Everything that was seen.
pub(super) struct Facts {
    pub tunnels: Vec<Tunnel>,
    pub fabric: Fabric,
    pub vnis: Vec<VniView>,
    /// The configuration file: where, its text, what it says.
    pub path: PathBuf,
    pub text: String,
    pub config: Config,
    pub record: Record,
}

/// Why there is nothing to go on.
pub(super) enum Trouble {
    /// In words.
    Words(String),
    /// The daemon is not there.
    Daemon(Failure),
}

impl From<String> for Trouble {
    fn from(words: String) -> Self {
        Self::Words(words)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Daemon(failure)
    }
}

/// # Errors
/// Where the daemon reads another file than the one that would be written into. Where its file cannot be seen from here (it lives in a
/// container) nothing is known.
pub(super) fn check_file(path: &Path, daemon: &mut Daemon) -> Result<(), Trouble> {
    let Reply::Status(status) = daemon.ask(&Request::ShowStatus {})? else { return Ok(()) };
    let file = |path: &Path| std::fs::metadata(path).map(|of| (of.dev(), of.ino())).ok();
    match (file(Path::new(&status.config_file)), file(path)) {
        (Some(its), Some(given)) if its != given => Err(Trouble::Words(format!(
            "the daemon reads {its}, and not {given}: nothing was done; ask with --config {its}",
            its = status.config_file,
            given = path.display(),
        ))),
        _ => Ok(()),
    }
}

/// The configuration file, and what it says.
pub(super) fn configuration(path: &Path) -> Result<(String, Config), String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read the configuration {}: {error}; --config names another", path.display()))?;
    let config = evpnd::config::parse(&path.display().to_string(), &text)
        .map_err(|error| format!("nothing is done while the configuration is wrong:\n{error}"))?;
    Ok((text, config))
}

impl Facts {
    pub(super) fn gather(what: &Migrate, daemon: &mut Daemon) -> Result<Self, Trouble> {
        let path = what.config.clone();
        let (text, config) = configuration(&path)?;
        let record = Record::load(&config.router.state_directory)?;
        let (mut fabric, vnis) = ask(daemon)?;
        let tunnels = tunnels()?;
        for vni in tunnels.iter().filter_map(|tunnel| tunnel.vni) {
            let wrote = |before: &super::record::Before| !before.fixed.is_empty() || !before.neighbors.is_empty();
            let rows = tunnels.iter().any(|tunnel| tunnel.vni == Some(vni) && fixed::any(tunnel));
            if rows || record.vnis.get(&vni).is_some_and(|entry| wrote(&entry.before)) {
                fabric.macs.insert(vni, macs(daemon, vni)?);
            }
        }
        Ok(Self { tunnels, fabric, vnis, path, text, config, record })
    }

    /// What the daemon and its file say of a VNI, whose device has this name.
    pub(super) fn here(&self, vni: Vni, device: &str) -> Here {
        let config = self.config.vnis.get(&vni);
        let view = self.vnis.iter().find(|view| view.vni == vni);
        let mut holders = view.map(|view| view.callers.clone()).unwrap_or_default();
        let made = view.is_some_and(|view| view.made_device);
        // What the file declares is not adopted; it would be at once when it leaves the file.
        if config.is_some()
            && !made
            && self.config.vxlan.adopt.takes(vni, device)
            && !holders.iter().any(|who| who == HELD_BY_RULE)
        {
            holders.push(HELD_BY_RULE.to_owned());
        }
        Here {
            known: config.is_some(),
            way: config.and_then(way_of),
            ours: Block::read(&self.text).has(vni),
            bare: config.is_some_and(|vni| vni.settings.bridge == NO_BRIDGE),
            made,
            holders,
        }
    }
}

fn ask(daemon: &mut Daemon) -> Result<(Fabric, Vec<VniView>), Failure> {
    let limit = Some(MAX_PAGE);
    let mut fabric = Fabric::default();
    if let Reply::Status(status) = daemon.ask(&Request::ShowStatus {})? {
        fabric.vtep = status.vtep;
    }
    let request = |after| Request::ShowNeighbors { address: None, after, limit };
    let neighbors = all(daemon, request, |reply| if let Reply::Neighbors(page) = reply { Some(page) } else { None });
    let silent = neighbors.iter().find(|neighbor| !neighbor.dynamic && neighbor.state != "disabled" && !neighbor.end_of_rib);
    fabric.doubt = match silent {
        _ if neighbors.is_empty() => Some("this daemon has no neighbor".to_owned()),
        Some(neighbor) => Some(format!("neighbor {} has not said all it has ({})", neighbor.address, neighbor.state)),
        None => None,
    };
    let request = |after| Request::ShowVnis { vni: None, after, limit };
    let mut vnis = all(daemon, request, |reply| if let Reply::Vnis(page) = reply { Some(page) } else { None });
    vnis.retain(VniView::is_here);
    for view in &vnis {
        let request =
            |after| Request::ShowRoutes { route_type: Some(3), vni: Some(view.vni), rd: None, neighbor: None, after, limit };
        let routes = all(daemon, request, |reply| if let Reply::Routes(page) = reply { Some(page) } else { None });
        let announced = fabric.vteps.entry(view.vni).or_default();
        for route in routes.into_iter().filter(|route| route.best && route.neighbor.is_some()) {
            if let Some(vtep) = route.next_hop.filter(|vtep| Some(*vtep) != fabric.vtep) {
                announced.insert(vtep, route.group);
            }
        }
    }
    Ok((fabric, vnis))
}

/// What is known of the MACs of a VNI.
fn macs(daemon: &mut Daemon, vni: Vni) -> Result<fixed::Macs, Failure> {
    let limit = Some(MAX_PAGE);
    let request = |after| Request::ShowMacs { vni: Some(vni), mac: None, duplicates: false, after, limit };
    let views = all(daemon, request, |reply| if let Reply::Macs(page) = reply { Some(page) } else { None });
    let known = views.into_iter().filter(|view| view.kind == MacKind::Local || view.vtep.is_some());
    Ok(known.map(|view| (view.mac, Known { remote: view.vtep.map(|vtep| (vtep, view.remote_vni)), ips: view.ips })).collect())
}

/// Every VXLAN device of the host.
fn tunnels() -> Result<Vec<Tunnel>, String> {
    let links = links()?;
    links.iter().filter(|link| link.kind == "vxlan").map(|link| tunnel(link, &links)).collect()
}

fn tunnel(link: &Link, links: &[Link]) -> Result<Tunnel, String> {
    let data = &link.data;
    let address = |keys: &[&str]| {
        let found = keys.iter().find_map(|key| data[*key].as_str());
        found.and_then(|text| text.parse::<IpAddr>().ok()).filter(|ip| !ip.is_unspecified())
    };
    let yes = |value: &Value| value.as_bool().unwrap_or_default() || value.as_str() == Some("on") || value.as_u64() == Some(1);
    let bridge = link.master.as_ref().and_then(|name| links.iter().find(|other| other.name == *name));
    let bridge = bridge.filter(|bridge| bridge.kind == "bridge");
    let port = link.port.as_ref();
    let external = yes(&data["external"]);
    let mut tunnel = Tunnel {
        name: link.name.clone(),
        vni: data["id"].as_u64().filter(|_| !external).and_then(|id| Vni::new(id.try_into().ok()?)),
        bridge: bridge.map(|bridge| bridge.name.clone()),
        vlan_aware: bridge.is_some_and(|bridge| yes(&bridge.data["vlan_filtering"])),
        group: address(&["group", "group6", "remote", "remote6"]),
        underlay: data["link"].as_str().map(str::to_owned),
        local: address(&["local", "local6"]),
        port: data["port"].as_u64().and_then(|port| port.try_into().ok()).unwrap_or_default(),
        zero_checksums: yes(&data["udp_zero_csum6_rx"]),
        learning: yes(&data["learning"]),
        external,
        port_learning: port.is_some_and(|port| yes(&port["learning"])),
        suppression: port.is_some_and(|port| yes(&port["neigh_suppress"])),
        proxy: yes(&data["proxy"]),
        ipv6_off: bridge.is_some_and(|bridge| {
            let path = format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", bridge.name);
            std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "1")
        }),
        ..Tunnel::default()
    };
    if tunnel.vni.is_some() {
        read_rows(&mut tunnel)?;
        read_neighbors(&mut tunnel)?;
    }
    Ok(tunnel)
}

/// The rows of a device, sorted by who wrote them: none (learned), somebody, a control plane (`extern_learn`).
pub(super) fn read_rows(tunnel: &mut Tunnel) -> Result<(), String> {
    let rows = json("bridge", &["-j", "fdb", "show", "dev", &tunnel.name])?;
    tunnel.flood.clear();
    tunnel.copies.clear();
    tunnel.fixed.clear();
    tunnel.learned.clear();
    tunnel.announced.clear();
    for row in rows.as_array().into_iter().flatten() {
        let marked = row["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "extern_learn"));
        let Some(mac) = row["mac"].as_str().and_then(|mac| mac.parse::<MacAddr>().ok()) else { continue };
        let dst = row["dst"].as_str().and_then(|dst| dst.parse::<IpAddr>().ok());
        let state = row["state"].as_str().unwrap_or_default();
        let number = |key: &str| row[key].as_u64();
        let written = || Row {
            mac,
            dst,
            permanent: state == "permanent",
            sticky: row["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "sticky")),
            port: number("port").and_then(|port| port.try_into().ok()),
            vni: number("vni").and_then(|vni| Vni::new(vni.try_into().ok()?)),
            via: row["viaIf"].as_str().map(str::to_owned),
        };
        if row["master"].is_string() {
            // What somebody set there keeps its state under a write of the daemon's, which leaves its mark.
            if state == "static" && row["vlan"].is_null() && mac.is_station() {
                tunnel.fixed.push(Row { dst: None, ..written() });
            }
            continue;
        }
        let fixed = !state.is_empty();
        match dst {
            _ if marked && mac != MacAddr::ZERO => tunnel.announced.push(mac),
            Some(dst) if marked => tunnel.copies.push(dst),
            Some(dst) if mac == MacAddr::ZERO && !marked && !dst.is_multicast() => tunnel.flood.push(dst),
            Some(_) if mac != MacAddr::ZERO && fixed => tunnel.fixed.push(written()),
            Some(dst) if mac != MacAddr::ZERO => *tunnel.learned.entry(dst).or_default() += 1,
            _ => {}
        }
    }
    tunnel.flood.sort_unstable();
    tunnel.fixed.sort_unstable();
    Ok(())
}

/// The neighbours that somebody wrote on a device.
fn read_neighbors(tunnel: &mut Tunnel) -> Result<(), String> {
    let found = json("ip", &["-j", "neigh", "show", "dev", &tunnel.name, "nud", "permanent"])?;
    for one in found.as_array().into_iter().flatten().filter(|one| one.get("extern_learn").is_none()) {
        let ip = one["dst"].as_str().and_then(|ip| ip.parse::<IpAddr>().ok()).filter(|ip| !ip.is_multicast());
        let mac = one["lladdr"].as_str().and_then(|mac| mac.parse::<MacAddr>().ok()).filter(|mac| mac.is_station());
        if let (Some(ip), Some(mac)) = (ip, mac) {
            tunnel.neighbors.push(Neighbor { ip, mac, router: one.get("router").is_some() });
        }
    }
    tunnel.neighbors.sort_unstable();
    Ok(())
}
