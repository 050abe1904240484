//! The difference of two configurations: what a reload has to do. What is not named here is not touched, so that a reload
//! of an unchanged file costs nothing, and one changed description no session.

use std::collections::BTreeMap;

use super::model::{Config, Cost, Difference, Limits, Metrics, Neighbor, NeighborChange, VniChange, VniConfig, VniSettings};

/// What has to be done to come from `old` to `new`.
pub fn difference(old: &Config, new: &Config) -> Difference {
    let mut found = Difference::default();
    neighbors(&old.neighbors, &new.neighbors, &mut found);
    vnis(old, new, &mut found);
    rest(old, new, &mut found);
    found
}

fn neighbors(old: &[Neighbor], new: &[Neighbor], found: &mut Difference) {
    let before: BTreeMap<_, _> = old.iter().map(|neighbor| (neighbor.who, neighbor)).collect();
    let after: BTreeMap<_, _> = new.iter().map(|neighbor| (neighbor.who, neighbor)).collect();
    found.neighbors_removed = old.iter().map(|neighbor| neighbor.who).filter(|who| !after.contains_key(who)).collect();
    for neighbor in new {
        match before.get(&neighbor.who) {
            None => found.neighbors_added.push(neighbor.clone()),
            Some(before) if *before == neighbor => {}
            Some(before) => {
                let (cost, keys) = neighbor_keys(before, neighbor);
                found.neighbors_changed.push(NeighborChange { neighbor: neighbor.clone(), cost, keys });
            }
        }
    }
}

/// The keys in which two neighbors differ, and what the dearest of them costs: most are settled when the session opens.
fn neighbor_keys(old: &Neighbor, new: &Neighbor) -> (Cost, Vec<&'static str>) {
    // Taken apart so that a new field cannot be forgotten here.
    let Neighbor {
        who: _,
        asn,
        port,
        local_address,
        passive,
        hold_time_secs,
        connect_retry_secs,
        password,
        ttl_security,
        multihop,
        route_reflector_client,
        graceful_restart,
        max_routes,
        description,
        enabled,
    } = old;
    let table = [
        ("asn", *asn != new.asn, Cost::Routes),
        ("port", *port != new.port, Cost::Session),
        ("local-address", *local_address != new.local_address, Cost::Session),
        ("passive", *passive != new.passive, Cost::Session),
        ("hold-time", *hold_time_secs != new.hold_time_secs, Cost::Session),
        ("connect-retry", *connect_retry_secs != new.connect_retry_secs, Cost::Nothing),
        ("password", *password != new.password, Cost::Session),
        ("ttl-security", *ttl_security != new.ttl_security, Cost::Session),
        ("multihop", *multihop != new.multihop, Cost::Session),
        ("route-reflector-client", *route_reflector_client != new.route_reflector_client, Cost::Session),
        ("graceful-restart", *graceful_restart != new.graceful_restart, Cost::Session),
        ("max-routes", *max_routes != new.max_routes, Cost::Nothing),
        ("description", *description != new.description, Cost::Nothing),
        ("enabled", *enabled != new.enabled, Cost::Routes),
    ];
    let changed = table.iter().filter(|(_, changed, _)| *changed);
    (changed.clone().map(|(.., cost)| *cost).max().unwrap_or(Cost::Nothing), changed.map(|(key, ..)| *key).collect())
}

fn vnis(old: &Config, new: &Config, found: &mut Difference) {
    found.vnis_removed = old.vnis.keys().filter(|vni| !new.vnis.contains_key(vni)).copied().collect();
    for (vni, after) in &new.vnis {
        match old.vnis.get(vni) {
            None => found.vnis_added.push(after.clone()),
            Some(before) => found.vnis_changed.extend(vni_change(before, after)),
        }
    }
}

/// What changes of a VNI, and what has to be done for it; `None`: nothing.
pub fn vni_change(before: &VniConfig, after: &VniConfig) -> Option<VniChange> {
    if before == after {
        return None;
    }
    let VniConfig { vni: _, rd, existing, settings } = before;
    let VniSettings {
        device,
        bridge,
        import,
        export,
        neighbor_suppression,
        neighbor_learning,
        isolated_ports,
        probe_silent,
        announce_own,
        flood,
        learning,
        install,
        install_lifetime_secs,
        mtu,
        static_macs,
    } = settings;
    let now = &after.settings;
    // The third: the device spec changes; otherwise the routes do.
    let table = [
        ("device", *device != now.device, true),
        ("bridge", *bridge != now.bridge, true),
        ("rd", *rd != after.rd, false),
        ("import", *import != now.import, false),
        ("export", *export != now.export, false),
        ("neighbor-suppression", *neighbor_suppression != now.neighbor_suppression, true),
        ("flood", *flood != now.flood, false),
        ("learning", *learning != now.learning, true),
        ("install", *install != now.install, true),
        ("install-lifetime", *install_lifetime_secs != now.install_lifetime_secs, true),
        ("neighbor-learning", *neighbor_learning != now.neighbor_learning, true),
        ("isolated-ports", *isolated_ports != now.isolated_ports, true),
        ("probe-silent", *probe_silent != now.probe_silent, true),
        ("announce-own", *announce_own != now.announce_own, false),
        ("mtu", *mtu != now.mtu, true),
        ("static", *static_macs != now.static_macs, false),
        // Of a request, not of a file.
        ("existing", *existing != after.existing, true),
    ];
    let changed = || table.iter().filter(|(_, changed, _)| *changed);
    Some(VniChange {
        vni: after.clone(),
        device: changed().any(|(_, _, device)| *device),
        // What ARP and ND are answered for is the instance's to know.
        instance: changed().any(|(_, _, device)| !*device)
            || before.suppresses() != after.suppresses()
            || *learning != now.learning,
        keys: changed().map(|(key, _, _)| *key).collect(),
    })
}

fn rest(old: &Config, new: &Config, found: &mut Difference) {
    let (before, after) = (&old.router, &new.router);
    let or_none = |address: Option<std::net::IpAddr>| address.map_or("none".to_owned(), |address| address.to_string());
    let list = |addresses: &[std::net::IpAddr]| {
        if addresses.is_empty() {
            "nothing".to_owned()
        } else {
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }
    };
    let mut restart = |what: &str, from: String, to: String| {
        if from != to {
            found.needs_restart.push(format!("{what} from {from} to {to}"));
        }
    };
    restart("asn", before.asn.to_string(), after.asn.to_string());
    restart("router-id", before.router_id.to_string(), after.router_id.to_string());
    restart("vtep", or_none(before.vtep), or_none(after.vtep));
    restart("listen", list(&before.listen), list(&after.listen));
    restart("listen-port", before.listen_port.to_string(), after.listen_port.to_string());
    restart("state-directory", before.state_directory.display().to_string(), after.state_directory.display().to_string());
    restart("the control socket", old.control.socket.display().to_string(), new.control.socket.display().to_string());
    let group = |group: &Option<String>| group.clone().unwrap_or_else(|| "none".to_owned());
    restart("the control socket's group", group(&old.control.group), group(&new.control.group));
    let places = |metrics: &Metrics| {
        let places: Vec<String> = metrics.listen.iter().map(ToString::to_string).collect();
        if places.is_empty() { "nowhere".to_owned() } else { places.join(", ") }
    };
    restart("where metrics are served", places(&old.metrics), places(&new.metrics));
    restart("event-buffer", old.limits.event_buffer.to_string(), new.limits.event_buffer.to_string());
    if old.vxlan.port != new.vxlan.port {
        found.applied.push(format!("the UDP port of devices that evpnd makes is {}", new.vxlan.port));
    }
    if old.graceful_restart != new.graceful_restart {
        found
            .applied
            .push("[graceful-restart] changed: what neighbors are told of it they hear when their sessions open next".to_owned());
    }
    if old.duplicate_detection != new.duplicate_detection {
        found.applied.push("[duplicate-detection] changed".to_owned());
    }
    if old.vxlan.nexthop_groups != new.vxlan.nexthop_groups {
        let form = if new.vxlan.nexthop_groups { "nexthop groups" } else { "destinations" };
        found.applied.push(format!("rows are written again, by {form}"));
    }
    if old.vxlan.adopt != new.vxlan.adopt {
        found.applied.push("which devices of the host are taken, or mended, changed".to_owned());
    }
    if old.vxlan.audit_interval_secs != new.vxlan.audit_interval_secs {
        found.applied.push(match new.vxlan.audit_interval_secs {
            0 => "no audit any more (audit-interval is 0)".to_owned(),
            secs => format!("audit-interval is {secs} s"),
        });
    }
    let at_reload = |limits: &Limits| Limits { event_buffer: 0, ..*limits };
    if at_reload(&old.limits) != at_reload(&new.limits) {
        found.applied.push("[limits] changed".to_owned());
    }
    if old.vni_defaults != new.vni_defaults {
        found.applied.push("defaults of VNIs to be added changed".to_owned());
    }
}

impl Difference {
    /// Whether nothing has to be done or said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is applied, one phrase each.
    pub fn changes(&self) -> Vec<String> {
        let mut said = Vec::new();
        said.extend(self.neighbors_added.iter().map(|neighbor| format!("neighbor {} added", neighbor.who)));
        said.extend(self.neighbors_removed.iter().map(|who| format!("neighbor {who} removed")));
        for change in &self.neighbors_changed {
            let reset = if change.cost == Cost::Nothing { "" } else { ", session reset" };
            said.push(format!("neighbor {}: {} changed{reset}", change.neighbor.who, change.keys.join(", ")));
        }
        // A thousand VNIs are one phrase.
        said.extend(phrase("added", self.vnis_added.iter().map(|vni| vni.vni.to_string())));
        said.extend(phrase("removed", self.vnis_removed.iter().map(ToString::to_string)));
        let mut by_keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for change in &self.vnis_changed {
            by_keys.entry(change.keys.join(", ")).or_default().push(change.vni.vni.to_string());
        }
        said.extend(by_keys.into_iter().filter_map(|(keys, vnis)| phrase(&format!("changed ({keys})"), vnis.into_iter())));
        said.extend(self.applied.iter().cloned());
        said
    }
}

/// `VNI 100 added`, `VNIs 100, 101, 102 and 97 more added`; nothing of no VNI.
pub fn phrase(what: &str, vnis: impl Iterator<Item = String>) -> Option<String> {
    let vnis: Vec<String> = vnis.collect();
    match vnis.as_slice() {
        [] => None,
        [one] => Some(format!("VNI {one} {what}")),
        some if some.len() <= 5 => Some(format!("VNIs {} {what}", some.join(", "))),
        more => Some(format!("VNIs {} and {} more {what}", more[..3].join(", "), more.len() - 3)),
    }
}
