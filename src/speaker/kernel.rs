//! Devices, rows and local MACs: what the kernel room tells, and what follows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::base::{Time, Vni};
use crate::config::{Config, Flood, Install, Learning, VniConfig};
use crate::control::{Event, Level};
use crate::evpn::InstanceConfig;
use crate::fib::device::{DeviceSpec, DeviceState, ReadyDevice};
use crate::fib::message::{Binding, KernelCommand, KernelEvent, KernelNeighbor, KernelRow};
use crate::fib::{Status, errno_words};
use crate::wire::rd::Rd;

use super::show_kernel::Token;
use super::{Action, Speaker};

/// One VNI of this host.
#[derive(Debug)]
pub struct VniState {
    /// As configured.
    pub config: VniConfig,
    /// Added by `evpnctl vni add`; a reload leaves it alone.
    pub run_time: bool,
    /// Its route distinguisher.
    pub rd: Rd,
    /// What the kernel room last said; `None`: nothing yet.
    pub device: Option<DeviceState>,
    /// Its existing rows are being read; the device counts as ready when they are known.
    pub(super) adopting: bool,
    /// Rows put back so far.
    pub healed: u64,
    /// The stations at its local ports were read.
    pub(super) local_macs_known: bool,
    /// The neighbours of its bridge were read: the addresses that these stations had in an earlier run.
    pub(super) neighbors_known: bool,
}

/// The pause before rows that could not be read are read again.
const READ_AGAIN_AFTER: std::time::Duration = std::time::Duration::from_secs(5);
/// For so long a device may be down before its VNI is withdrawn: whoever sets it down and up again, as `ifreload` does, makes
/// no host of the fabric delete its rows and write them again.
const DOWN_FOR: std::time::Duration = std::time::Duration::from_secs(1);
/// Refused rows told of at once.
const FAILURES_TOLD: usize = 8;

impl VniState {
    /// The device, where rows can be written.
    pub fn ready(&self) -> Option<&ReadyDevice> {
        match &self.device {
            Some(DeviceState::Ready(device)) if !self.adopting => Some(device),
            _ => None,
        }
    }
}

/// What a VNI needs of the kernel.
pub(super) fn device_spec(config: &Config, vni: &VniConfig) -> Option<DeviceSpec> {
    let group = match vni.settings.flood {
        Flood::Multicast(group) => Some(group),
        Flood::IngressReplication | Flood::None => None,
    };
    Some(DeviceSpec {
        device: vni.settings.device.clone(),
        bridge: vni.settings.bridge.clone(),
        existing: vni.existing,
        bare: vni.is_bare(),
        port: config.vxlan.port,
        mtu: vni.settings.mtu,
        // Hosts without EVPN are found by what they flood.
        learning: vni.settings.learning != Learning::Off || group.is_some(),
        group,
        neighbor_suppression: vni.suppresses(),
        neighbor_learning: vni.listens(),
        isolated_ports: vni.settings.isolated_ports,
        probe_silent: vni.listens() && vni.settings.probe_silent,
        on_demand: vni.settings.install == Install::OnDemand,
        questions: vni.suppresses() && vni.settings.flood == Flood::None,
        fix: config.vxlan.adopt.fix,
        nexthop_groups: config.vxlan.nexthop_groups,
        ..DeviceSpec::new(vni.vni, config.router.vtep?)
    })
}

impl Speaker {
    /// New VNIs: numbers for their route distinguishers, instances, wishes for devices.
    pub(super) fn add_vnis(&mut self, now: Time, vnis: Vec<VniConfig>) {
        self.number_rds(&vnis);
        self.renew_instances(now, &BTreeSet::new());
        for config in vnis {
            self.wanted_again(config.vni);
            let rd = self.rd_of(&config);
            // Before the first route: what is announced sleeps.
            self.fib.set_on_demand(now, config.vni, config.on_demand());
            self.evpn.add_instance(now, &mut self.rib, &mut self.fib, instance_config(&config, rd));
            match self.vnis.get_mut(&config.vni) {
                Some(state) => {
                    state.run_time = false;
                    state.rd = rd;
                    state.config = config;
                }
                None => {
                    let state = VniState {
                        run_time: false,
                        rd,
                        device: None,
                        adopting: false,
                        healed: 0,
                        local_macs_known: false,
                        neighbors_known: false,
                        config,
                    };
                    self.vnis.insert(state.config.vni, state);
                }
            }
        }
        self.wish_devices();
    }

    /// Numbers for the VNIs that are here and for those about to come, apart from those that stand in a route distinguisher of
    /// the configuration.
    pub(super) fn number_rds(&mut self, coming: &[VniConfig]) {
        let here = self.vnis.values().map(|state| &state.config);
        let configured: BTreeMap<Vni, Option<Rd>> = here.chain(coming).map(|config| (config.vni, config.rd)).collect();
        let router_id = self.config.router.router_id;
        let taken = configured.values().flatten().filter_map(|rd| rd.number_of(router_id)).collect();
        let without_rd = configured.iter().filter(|(_, rd)| rd.is_none()).map(|(&vni, _)| vni);
        let numbers = crate::evpn::assign_rd_numbers(&self.kept.rd_numbers, without_rd, &taken);
        if self.kept.rd_numbers != numbers {
            self.kept.rd_numbers = numbers;
            self.actions.push_back(Action::Save(self.kept.clone()));
        }
    }

    pub(super) fn rd_of(&self, config: &VniConfig) -> Rd {
        let number = self.kept.rd_numbers.get(&config.vni).copied().unwrap_or_default();
        config.rd.unwrap_or_else(|| Rd::from_ipv4(self.config.router.router_id, number))
    }

    /// Makes the instances of `changed` anew as their VNIs are configured now, and those whose route distinguisher is another one.
    pub(super) fn renew_instances(&mut self, now: Time, changed: &BTreeSet<Vni>) {
        let rds = self.vnis.iter().map(|(&vni, state)| (vni, self.rd_of(&state.config), state.rd));
        let renewed: Vec<(Vni, Rd)> =
            rds.filter(|(vni, rd, before)| rd != before || changed.contains(vni)).map(|(vni, rd, _)| (vni, rd)).collect();
        // All of them are withdrawn first, for one may get the route distinguisher that another had.
        let mut announced = Vec::new();
        for &(vni, _) in &renewed {
            if self.evpn.instance(vni).is_some_and(|instance| instance.ready) {
                announced.push(vni);
            }
            self.evpn.device_down(now, &mut self.rib, vni);
        }
        for (vni, rd) in renewed {
            let Some(state) = self.vnis.get_mut(&vni) else { continue };
            state.rd = rd;
            self.evpn.add_instance(now, &mut self.rib, &mut self.fib, instance_config(&state.config, rd));
        }
        for vni in announced {
            self.evpn.device_up(now, &mut self.rib, vni);
        }
    }

    /// Tells the kernel room the whole list of devices.
    pub(super) fn wish_devices(&mut self) {
        if self.config.router.vtep.is_none() {
            return;
        }
        let spec = |vni: &VniState| {
            let spec = device_spec(&self.config, &vni.config)?;
            let fix = spec.fix && self.may_mend(&vni.config);
            Some(DeviceSpec { group: spec.group.or_else(|| self.group_kept(spec.vni)), fix, ..spec })
        };
        let specs = self.vnis.values().filter_map(spec).collect();
        self.actions.push_back(Action::Kernel(KernelCommand::Devices(specs)));
    }

    /// A VNI leaves: routes are withdrawn, rows cleared, devices that we made are removed.
    pub(super) fn remove_vni(&mut self, now: Time, vni: Vni, why: &str) {
        let is_known = self.is_known(vni);
        if self.vnis.remove(&vni).is_none() {
            return;
        }
        self.regroupings.remove(&vni);
        self.evpn.remove_instance(now, &mut self.rib, &mut self.fib, vni);
        self.fib.set_on_demand(now, vni, None);
        self.events.push(Event::VniGone { vni, reason: why.to_owned() });
        if is_known {
            self.removing.insert(vni);
        } else {
            self.look_for_leftovers();
        }
    }

    /// Devices of VNIs that left are removed when their rows are.
    pub(super) fn remove_devices_when_cleared(&mut self) {
        if self.removing.is_empty() || self.drain.is_some() {
            return;
        }
        let cleared: Vec<Vni> = self.removing.iter().copied().filter(|&vni| self.fib.is_cleared(vni)).collect();
        if cleared.is_empty() {
            return;
        }
        for vni in &cleared {
            self.removing.remove(vni);
            self.fib.device_gone(*vni);
            self.fib.neighbors_gone(*vni);
        }
        self.actions.push_back(Action::Kernel(KernelCommand::Remove { vnis: cleared }));
        self.wish_devices();
    }

    /// Tells the kernel room which remotes are in use, when one has fallen out of use and everything that stood before us
    /// is known.
    pub(super) fn release_remotes(&mut self) {
        let known = self.sweep_at.is_none() && !self.sweep_waits && self.drain.is_none() && self.config.router.vtep.is_some();
        if self.fib.remotes_shrunk()
            && known
            && !self.vnis.values().any(|state| state.adopting)
            && let Some(in_use) = self.fib.poll_remotes()
        {
            self.actions.push_back(Action::Kernel(KernelCommand::Remotes { in_use }));
        }
    }

    /// What the kernel room says. The caller calls [`Speaker::handle_work`] after the last of a bundle.
    pub fn handle_kernel(&mut self, now: Time, event: KernelEvent) {
        match event {
            KernelEvent::BatchDone(done) => {
                if let Some(why) = &done.fatal {
                    self.events.count("batches_failed_whole");
                    self.events
                        .note(Level::Warn, format!("a batch of rows could not be sent to the kernel: {why}; it is sent again"));
                }
                self.fib.handle_batch_done(now, &done);
                self.report_failed_rows(now);
            }
            KernelEvent::LocalMac(mac) => {
                self.follow_claims(std::slice::from_ref(&mac), false);
                self.evpn.handle_local_mac(now, &mut self.rib, &mut self.fib, &mac);
            }
            KernelEvent::LocalMacGone { vni, mac } => {
                if !self.renew_claim(vni, mac) {
                    self.evpn.handle_local_mac_gone(now, &mut self.rib, &mut self.fib, vni, mac);
                }
            }
            KernelEvent::StationSet { token, outcome } => self.station_set(now, token, outcome),
            KernelEvent::LocalMacs { vni, macs } => {
                self.follow_claims(&macs, true);
                self.evpn.handle_local_macs(now, &mut self.rib, &mut self.fib, vni, &macs);
                if let Some(state) = self.vnis.get_mut(&vni) {
                    state.local_macs_known = true;
                }
                self.renew_claims(vni, &macs);
            }
            KernelEvent::RowGone { vni, row } => {
                if self.fib.handle_row_gone(now, vni, &row) {
                    self.note_healed(now, vni, 1);
                }
            }
            KernelEvent::RowChanged { vni, row } => {
                if self.fib.handle_row_changed(now, vni, &row) {
                    self.note_healed(now, vni, 1);
                }
            }
            KernelEvent::RemotesGone { vnis, remotes } => {
                for (vni, rows) in self.fib.handle_remotes_gone(now, &vnis, &remotes) {
                    self.note_healed(now, vni, rows);
                }
            }
            KernelEvent::RowsOfOtherForm { vni } => self.fib.reassert_all(now, &[vni]),
            KernelEvent::Device(DeviceState::Ready(device)) => self.device_ready(now, device),
            KernelEvent::Device(DeviceState::Unusable { vni, reason, remedy }) => self.device_unusable(now, vni, reason, remedy),
            KernelEvent::Found { devices, unfit } => self.devices_found(now, devices, unfit),
            KernelEvent::Isolated { vni, ports } => self.note_isolated(now, vni, ports),
            KernelEvent::Opened { vni, bridge } => self.note_opened(now, vni, bridge),
            KernelEvent::DeviceGone { vni, reason } => self.device_gone(now, vni, &reason),
            KernelEvent::Rows { token, vni, rows } => self.rows_read(now, token, vni, rows),
            KernelEvent::TooManyRows { token, vni } => self.too_many_rows(now, token, vni),
            KernelEvent::Checked { token, rows } => self.rows_checked(now, token, &rows),
            KernelEvent::DeviceMended { vni, what } => self.note_mended(now, vni, &what),
            KernelEvent::Row { token, row } => self.row_read(now, token, row),
            KernelEvent::Overflow { lost } => {
                self.overflows = lost;
                self.events.push(Event::Overflow { times: lost });
                let ready: Vec<Vni> =
                    self.vnis.iter().filter(|(_, state)| state.ready().is_some()).map(|(&vni, _)| vni).collect();
                for vni in ready {
                    self.list(vni, Token::Audit);
                    self.list(vni, Token::Neighbors);
                }
            }
            KernelEvent::Neighbors { token, vni, neighbors } => self.neighbors_read(now, token, vni, neighbors),
            KernelEvent::NeighborGone { vni, ip } => {
                if self.fib.handle_neighbor_gone(now, vni, ip) {
                    self.note_healed(now, vni, 1);
                }
            }
            KernelEvent::NeighborLost { vni, ip } => self.fib.handle_neighbor_lost(now, vni, ip),
            KernelEvent::NeighborChanged { vni, neighbor } => {
                self.found_by_host(now, vni, &neighbor);
                if self.fib.handle_neighbor_changed(now, vni, &neighbor) {
                    self.note_healed(now, vni, 1);
                }
            }
            KernelEvent::Host { vni, station } => {
                self.evpn.handle_host(now, &mut self.rib, &mut self.fib, vni, station.as_ref());
            }
            KernelEvent::LocalAddress { vni, mac, ip, router } => {
                self.evpn.handle_local_address(now, &mut self.rib, &mut self.fib, vni, (mac, ip), router, true);
            }
            KernelEvent::Leased { vni, mac, ip } => {
                self.evpn.handle_lease(now, &mut self.rib, &mut self.fib, vni, mac, ip);
            }
            KernelEvent::LocalAddressGone { vni, mac, ip } => {
                self.evpn.handle_local_address_gone(now, &mut self.rib, &mut self.fib, vni, mac, ip);
            }
            KernelEvent::Missed { vni, mac } => self.fib.handle_missed(now, vni, mac),
            KernelEvent::Asked { vni, ip } => self.fib.handle_asked(now, vni, ip),
            KernelEvent::MissesDropped { times } => self.misses_dropped = times,
            KernelEvent::GuestsTold { sent, refused } => self.guests_told = (sent, refused),
            KernelEvent::LimitsMet(met) => self.limits_met = met,
            KernelEvent::Removed { vnis, kept } => {
                let ours = self.those_made(&vnis);
                self.leftovers_removed(now, &vnis, &kept);
                self.devices_removed(&vnis, &ours, &kept);
            }
            KernelEvent::Marked { links } => self.marked_told(now, links),
            KernelEvent::Fatal(why) => self.kernel_fault = Some(why),
        }
    }

    /// Tells of rows that the kernel refused for the first time; what goes on failing is in `evpnctl diff`.
    fn report_failed_rows(&mut self, now: Time) {
        let failed = self.fib.stats().failed;
        if failed == self.failures_told {
            return;
        }
        self.failures_told = failed;
        for (vni, mac, row) in self.fib.failures(FAILURES_TOLD) {
            let Status::Failed { errno, attempts: 1, retry } = row.status else { continue };
            let retry_secs = retry.since(now).as_millis().div_ceil(1000) as u64;
            self.events.push(Event::RowFailed { vni, mac, error: errno_words(errno), retry_secs });
        }
    }

    fn device_ready(&mut self, now: Time, device: ReadyDevice) {
        let vni = device.vni;
        let Some(state) = self.vnis.get_mut(&vni) else { return };
        let before = match &state.device {
            Some(DeviceState::Ready(before)) => Some(before.clone()),
            _ => None,
        };
        let was_ready = before.is_some();
        let same_device = before.as_ref().is_some_and(|before| before.ifindex == device.ifindex);
        let told =
            !same_device || before.is_some_and(|before| before.warnings != device.warnings || before.bridge != device.bridge);
        if told {
            self.events.push(Event::VniReady {
                vni,
                device: device.device.clone(),
                bridge: device.bridge.clone(),
                made: device.made_device,
                warnings: device.warnings.clone(),
            });
        }
        state.device = Some(DeviceState::Ready(device.clone()));
        self.note_device(now, &device);
        self.set_install(now, vni);
        self.fib.set_ipv6_off(now, vni, device.ipv6_off);
        if !same_device {
            // The rows that stand in it are read before anything is written: what is right already is left alone.
            if was_ready {
                self.evpn.device_down(now, &mut self.rib, vni);
                self.rows_gone(vni);
            }
            if let Some(state) = self.vnis.get_mut(&vni) {
                state.adopting = true;
            }
            self.ask_rows(vni, Token::Adopt);
            self.ask_neighbors(vni, Token::Neighbors);
        } else {
            self.device_up_or_down(now, vni);
        }
    }

    /// Whether the rows of a VNI are written on demand: where that is wanted, and its device tells of frames that find none.
    pub(super) fn set_install(&mut self, now: Time, vni: Vni) {
        let Some(state) = self.vnis.get(&vni) else { return };
        let deaf = matches!(&state.device, Some(DeviceState::Ready(device)) if !device.tells_misses);
        self.fib.set_on_demand(now, vni, state.config.on_demand().filter(|_| !deaf));
    }

    /// Reads the rows on demand whose lives are over.
    pub(super) fn look_at_lives(&mut self, now: Time) {
        if !self.stopping && self.fib.look_timeout().is_some_and(|at| at <= now) {
            let rows = self.fib.poll_lives(now);
            if !rows.is_empty() {
                self.ask_checked(rows);
            }
        }
    }

    /// Announces a VNI whose device is up; one whose device is down is withdrawn when that has lasted.
    fn device_up_or_down(&mut self, now: Time, vni: Vni) {
        let Some(up) = self.vnis.get(&vni).and_then(|state| state.ready()).map(|device| device.up) else { return };
        if up {
            self.downs.remove(&vni);
            self.evpn.device_up(now, &mut self.rib, vni);
        } else {
            self.downs.entry(vni).or_insert(now + DOWN_FOR);
        }
    }

    /// Withdraws the VNIs whose devices are down for long enough: frames that are sent here go nowhere.
    pub(super) fn withdraw_downs(&mut self, now: Time) {
        let due: Vec<Vni> = self.downs.iter().filter(|(_, at)| **at <= now).map(|(&vni, _)| vni).collect();
        for vni in due {
            self.downs.remove(&vni);
            let Some(device) = self.vnis.get(&vni).and_then(|state| state.ready()).filter(|device| !device.up) else { continue };
            if self.evpn.instance(vni).is_some_and(|instance| instance.ready) {
                let (name, bridge) = (&device.device, &device.bridge);
                self.events.note(Level::Warn, format!("VNI {vni} is withdrawn: its device {name} or bridge {bridge} is down"));
                self.evpn.device_down(now, &mut self.rib, vni);
            }
        }
    }

    /// The host itself found out about an address on a bridge, or an earlier run of us had: where its MAC is at a local port, it is
    /// as good as heard there.
    pub(super) fn found_by_host(&mut self, now: Time, vni: Vni, neighbor: &KernelNeighbor) {
        if let Some(Binding { mac, router }) = neighbor.binding {
            let router = router.then_some(true);
            self.evpn.handle_local_address(now, &mut self.rib, &mut self.fib, vni, (mac, neighbor.ip), router, false);
        }
    }

    /// A device is gone with all that stood in it and in its bridge.
    fn rows_gone(&mut self, vni: Vni) {
        if self.drain.is_some() {
            self.look_for_leftovers();
        }
        self.fib.device_gone(vni);
        self.fib.neighbors_gone(vni);
    }

    /// The rows of a device that became ready are known (or are too many to be listed, or cannot be: each is then read before
    /// it is written): from now on it is written to, and the VNI is announced.
    pub(super) fn device_adopted(&mut self, now: Time, vni: Vni, rows: Option<Vec<KernelRow>>) {
        let Some(state) = self.vnis.get_mut(&vni) else { return };
        let Some(DeviceState::Ready(device)) = &state.device else { return };
        let (ifindex, local) = (device.ifindex, device.local);
        state.adopting = false;
        let is_ipv6 = local.as_ref().map(IpAddr::is_ipv6);
        match rows {
            Some(mut rows) => {
                self.sort_flood(vni, &mut rows);
                self.fib.device_ready(now, vni, ifindex, is_ipv6, rows);
            }
            None => self.fib.device_ready_unlisted(now, vni, ifindex, is_ipv6),
        }
        self.evpn.rows_known(now, &mut self.rib, &mut self.fib, vni);
        self.device_up_or_down(now, vni);
        if self.sweep_at.is_none() && self.evpn.is_importing() {
            self.sweep_waits = true;
        } else if self.sweep_at.is_none() {
            self.fib.sweep(now);
            if self.fib.unlisted().contains(&vni) {
                self.ask_rows(vni, Token::Leftovers);
            }
        }
    }

    fn device_unusable(&mut self, now: Time, vni: Vni, reason: String, remedy: String) {
        let Some(state) = self.vnis.get_mut(&vni) else { return };
        let unusable = DeviceState::Unusable { vni, reason: reason.clone(), remedy: remedy.clone() };
        if state.device.as_ref() == Some(&unusable) {
            return;
        }
        let was_ready = matches!(state.device, Some(DeviceState::Ready(_)));
        state.device = Some(unusable);
        state.adopting = false;
        if was_ready {
            self.evpn.device_down(now, &mut self.rib, vni);
            self.rows_gone(vni);
        }
        self.events.push(Event::VniUnusable { vni, reason, remedy });
    }

    fn device_gone(&mut self, now: Time, vni: Vni, reason: &str) {
        let Some(state) = self.vnis.get_mut(&vni) else { return };
        state.device = None;
        state.adopting = false;
        self.evpn.device_down(now, &mut self.rib, vni);
        self.rows_gone(vni);
        self.events.push(Event::VniGone { vni, reason: reason.to_owned() });
    }

    /// What stands in a device could not be read: nothing waits for it, but it is tried until it is known.
    pub(super) fn rows_unread(&mut self, now: Time, vni: Vni, error: &str) {
        self.events.note(Level::Warn, format!("cannot read the rows of VNI {vni}: {error}; it is tried again"));
        self.unread.insert(vni, now + READ_AGAIN_AFTER);
    }

    /// Asks again for rows that could not be read. A device that went meanwhile is read when it is back.
    pub(super) fn read_rows_again(&mut self, now: Time) {
        let due: Vec<Vni> = self.unread.iter().filter(|(_, at)| **at <= now).map(|(&vni, _)| vni).collect();
        for vni in due {
            self.unread.remove(&vni);
            if self.vnis.get(&vni).is_some_and(|state| state.ready().is_some()) {
                self.list(vni, Token::Audit);
                self.list(vni, Token::Neighbors);
            }
        }
    }

    /// Sweeps when every configured neighbor has said End-of-RIB, so that what none confirmed is known to be stale.
    pub(super) fn sweep_when_confirmed(&mut self, now: Time) {
        if self.sweep_waits && !self.evpn.is_importing() {
            self.sweep(now, "every route was looked at");
        }
        if self.sweep_at.is_none() || self.rib.has_changes() {
            return;
        }
        let expected: Vec<bool> =
            self.peers.iter().filter(|peer| !peer.dynamic && peer.neighbor.enabled).map(|peer| peer.end_of_rib).collect();
        // With peers that cannot be known before they come, and with none, the timer decides.
        let confirmed = !expected.is_empty() && self.peers.ranges.is_empty() && expected.iter().all(|end_of_rib| *end_of_rib);
        if confirmed {
            self.sweep(now, "every neighbor has sent all it has");
        }
    }

    pub(super) fn sweep(&mut self, now: Time, why: &str) {
        self.sweep_at = None;
        self.evpn.hush_moves(false);
        self.sweep_waits = self.evpn.is_importing();
        if !self.sweep_waits {
            self.sweep_now(now, why);
        }
    }

    pub(super) fn sweep_now(&mut self, now: Time, why: &str) {
        (self.sweep_at, self.sweep_waits) = (None, false);
        let before = self.fib.stats().swept;
        self.tell_moves_of_before(now);
        self.fib.sweep(now);
        self.note_swept(self.fib.stats().swept - before, why);
        // Now that everybody has said what he has, what stands in large devices and is wanted by nobody can be told by listing
        // them: slow, but beside everything else.
        for vni in self.fib.unlisted() {
            self.ask_rows(vni, Token::Leftovers);
        }
    }

    fn note_swept(&mut self, swept: u64, why: &str) {
        if swept > 0 {
            self.events
                .note(Level::Info, format!("{swept} rows of an earlier run are removed: no route confirmed them, and {why}"));
        }
    }

    pub(super) fn leftovers_read(&mut self, now: Time, vni: Vni, rows: &[KernelRow]) {
        let before = self.fib.stats().swept;
        let differences = self.fib.handle_rows(now, vni, rows) as u64;
        self.note_swept(self.fib.stats().swept - before, &format!("VNI {vni} was listed after that"));
        self.note_healed(now, vni, differences);
    }
}

/// The instance of a VNI as the evpn room wants it.
pub(super) fn instance_config(config: &VniConfig, rd: Rd) -> InstanceConfig {
    InstanceConfig {
        vni: config.vni,
        rd,
        import: config.settings.import.clone(),
        export: config.settings.export.clone(),
        static_macs: config.settings.static_macs.clone(),
        announce_own: config.settings.announces_own(),
        neighbors: config.suppresses(),
        macs: config.settings.learning != Learning::Alone,
        beside: config.settings.learning == Learning::Beside,
        flood: config.settings.flood,
    }
}
