//! Changes while the daemon runs: a reload applies the file's differences and touches nothing else; VNIs come and go by
//! request; a neighbor is reset.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::base::{MacAddr, Time, Vni};
use crate::config::{self, Config, Cost, Difference, NeighborAddress, NeighborChange, VniChange};
use crate::control::{Event, Reply};
use crate::rib::PeerId;
use crate::wire::notification::cease;

use super::audit::Audit;
use super::{Action, RequestId, Speaker};

impl Speaker {
    /// The file was read again. `Err`: it is wrong, in the words of the report; nothing changes.
    pub fn reload(&mut self, now: Time, outcome: Result<Config, String>, request: Option<RequestId>) {
        let reply = match outcome {
            Err(report) => {
                self.events.push(Event::ConfigRefused { error: report.lines().next().unwrap_or_default().to_owned() });
                Reply::Refused { message: report }
            }
            Ok(config) => match self.clash(&config).map_or_else(|| self.run_time_changes(&config), Err) {
                Err(message) => {
                    self.events.push(Event::ConfigRefused { error: message.clone() });
                    Reply::Refused { message }
                }
                Ok(of_callers) => {
                    let (changes, needs_restart) = self.apply(now, config, of_callers);
                    let message = Event::ConfigReloaded { changes, needs_restart };
                    self.events.push(message.clone());
                    Reply::Done { message: message.to_string() }
                }
            },
        };
        if let Some(request) = request {
            self.actions.push_back(Action::Reply(request, Box::new(reply)));
        }
        self.settle(now);
    }

    /// Why a file that is right in itself cannot be applied beside the VNIs that requests added.
    fn clash(&self, config: &Config) -> Option<String> {
        let mut added = self.vnis.values().filter(|state| state.run_time && !config.vnis.contains_key(&state.config.vni));
        added.find_map(|state| {
            let (vni, rd) = (state.config.vni, state.config.rd?);
            let other = config.vnis.values().find(|other| other.rd == Some(rd))?.vni;
            Some(format!(
                "VNI {other} has the route distinguisher {rd}, which VNI {vni} has that was added at run time: give it another one, \
                 or run `evpnctl vni del {vni}` first"
            ))
        })
    }

    fn apply(&mut self, now: Time, config: Config, of_callers: Vec<VniChange>) -> (Vec<String>, Vec<String>) {
        let mut difference = config::difference(&self.config, &config);
        difference.vnis_changed.extend(of_callers);
        let mut stay = Vec::new();
        difference.vnis_removed.retain(|&vni| {
            let kept = self.keep_for_callers(vni);
            stay.extend(kept.then(|| format!("VNI {vni} left the file and stays for its callers")));
            !kept
        });
        let mut changes = difference.changes();
        changes.extend(stay);
        let neighbors_changed = !(difference.neighbors_added.is_empty()
            && difference.neighbors_removed.is_empty()
            && difference.neighbors_changed.is_empty());
        let Difference {
            neighbors_added,
            neighbors_removed,
            neighbors_changed: altered,
            vnis_added,
            vnis_removed,
            vnis_changed,
            ..
        } = difference;
        // What needs a restart stays in force as it was.
        let router = self.config.router.clone();
        let (control, metrics, event_buffer) =
            (self.config.control.clone(), self.config.metrics.clone(), self.config.limits.event_buffer);
        let needs_restart = difference.needs_restart;
        let graceful_changed = self.config.graceful_restart != config.graceful_restart;
        let form_changes = self.config.vxlan.nexthop_groups != config.vxlan.nexthop_groups;
        let audit_changes = self.config.vxlan.audit_interval_secs != config.vxlan.audit_interval_secs;
        let standing = self.standing();
        self.config = config;
        self.config.router = router;
        self.config.control = control;
        self.config.metrics = metrics;
        self.config.limits.event_buffer = event_buffer;
        if audit_changes {
            self.audit = Audit::new(now, &self.config);
        }

        self.rib.set_max_attribute_octets(u64::from(self.config.limits.attribute_octets_per_neighbor));
        if graceful_changed {
            self.renew_graceful_capabilities();
        }
        let rule = self.config.duplicate_detection;
        self.evpn.set_duplicate_rule(now, &mut self.rib, &mut self.fib, rule);
        self.rib.set_max_paths(self.config.limits.paths_per_route);
        self.fib.set_awake_limit(self.config.limits.on_demand_rows as usize);
        self.evpn.set_limits(now, super::evpn_limits(&self.config));

        for who in neighbors_removed {
            self.remove_neighbor(now, who);
        }
        for change in altered {
            self.change_neighbor(now, change);
        }
        for neighbor in neighbors_added {
            self.add_neighbor(now, &neighbor);
        }
        for vni in vnis_removed {
            if self.vnis.get(&vni).is_some_and(|state| !state.run_time) {
                self.remove_vni(now, vni, "it left the configuration");
            }
        }
        self.change_vnis(now, vnis_changed);
        if !vnis_added.is_empty() {
            self.add_vnis(now, vnis_added);
        }
        changes.extend(self.tell_in_place(&standing));
        self.limits_changed(now);
        self.adopt_found(now);
        self.wish_devices();
        if form_changes {
            // Behind the wish, so that the kernel room writes them in the new form.
            let vnis: Vec<Vni> = self.vnis.keys().copied().collect();
            self.fib.reassert_all(now, &vnis);
        }
        if neighbors_changed {
            self.actions.push_back(Action::NeighborsChanged);
        }
        (changes, needs_restart)
    }

    fn peers_of(&self, who: NeighborAddress) -> Vec<PeerId> {
        self.peers.iter().filter(|peer| peer.neighbor.who == who).map(|peer| peer.id).collect()
    }

    fn remove_neighbor(&mut self, now: Time, who: NeighborAddress) {
        self.peers.ranges.retain(|range| range.who != who);
        for id in self.peers_of(who) {
            self.remove_peer(now, id, cease::PEER_DECONFIGURED, "removed from the configuration");
        }
    }

    fn change_neighbor(&mut self, now: Time, change: NeighborChange) {
        let who = change.neighbor.who;
        if let Some(range) = self.peers.ranges.iter_mut().find(|range| range.who == who) {
            *range = change.neighbor.clone();
        }
        for id in self.peers_of(who) {
            match change.cost {
                Cost::Nothing => self.renew_peer(id, &change.neighbor),
                Cost::Session => self.reopen_peer(now, id, &change.neighbor),
                Cost::Routes => {
                    let (subcode, text) = match change.neighbor.enabled {
                        false => (cease::ADMIN_SHUTDOWN, "disabled"),
                        true => (cease::PEER_DECONFIGURED, "configuration changed"),
                    };
                    self.remove_peer(now, id, subcode, text);
                    self.forget_peer(id);
                }
            }
        }
        if change.cost == Cost::Routes && matches!(who, NeighborAddress::Address(_)) {
            self.add_neighbor(now, &change.neighbor);
        }
    }

    pub(super) fn change_vnis(&mut self, now: Time, changes: Vec<VniChange>) {
        let mut instances = BTreeSet::new();
        for change in changes {
            let vni = change.vni.vni;
            let Some(before) = self.vnis.get(&vni).map(|state| state.config.clone()) else { continue };
            let at_once = self.note_regrouping(now, &before, &change.vni);
            instances.extend((change.instance && at_once).then_some(vni));
            if let Some(state) = self.vnis.get_mut(&vni) {
                state.config = change.vni;
            }
            self.set_install(now, vni);
        }
        if !instances.is_empty() {
            self.number_rds(&[]);
            self.renew_instances(now, &instances);
        }
    }

    /// `evpnctl clear duplicate`.
    pub(super) fn clear_duplicate(&mut self, now: Time, vni: Option<Vni>, mac: Option<MacAddr>, ip: Option<IpAddr>) -> Reply {
        if let Some(vni) = vni
            && !self.vnis.contains_key(&vni)
        {
            return Reply::NotFound { message: format!("no VNI {vni}") };
        }
        let macs = if ip.is_none() { self.evpn.clear_duplicates(now, &mut self.rib, &mut self.fib, vni, mac) } else { 0 };
        let addresses = self.evpn.clear_conflicts(vni, mac, ip);
        let what = mac.map(|mac| mac.to_string()).or(ip.map(|ip| ip.to_string()));
        if let (0, Some(what)) = (macs + addresses, what) {
            let place = vni.map_or_else(String::new, |vni| format!(" in VNI {vni}"));
            let message = format!("{what}{place} is not marked as a duplicate (evpnctl show macs --duplicates)");
            return Reply::NotFound { message };
        }
        let many = |count, one: &str, more: &str| match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            count => Some(format!("{count} {more}")),
        };
        let cleared = [many(macs, "MAC", "MACs"), many(addresses, "address", "addresses")].into_iter().flatten();
        let cleared: Vec<String> = cleared.collect();
        let message = match (macs + addresses, cleared.join(" and ")) {
            (0, _) => "nothing was marked as a duplicate".to_owned(),
            (1, what) => format!("{what} is a duplicate no longer"),
            (_, what) => format!("{what} are duplicates no longer"),
        };
        Reply::Done { message }
    }

    /// `evpnctl clear neighbor`.
    pub(super) fn clear_neighbor(&mut self, now: Time, address: std::net::IpAddr) -> Reply {
        let Some(peer) = self.peers.by_address(address) else {
            return Reply::NotFound { message: format!("no neighbor {address}") };
        };
        let (id, enabled) = (peer.id, peer.neighbor.enabled);
        if let Some(peer) = self.peers.by_id_mut(id) {
            peer.watch.forgive();
            peer.session.stop(now, cease::ADMIN_RESET, "reset by the operator");
        }
        self.drain_session(now, id);
        if enabled && let Some(peer) = self.peers.by_id_mut(id) {
            peer.session.start(now);
        }
        self.drain_session(now, id);
        Reply::Done { message: format!("neighbor {address} reset") }
    }
}
