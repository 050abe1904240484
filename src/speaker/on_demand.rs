//! What hooks of a hypervisor ask for while the daemon runs: VNIs that stay as long as some caller wants them, and MACs that
//! are claimed for a port before their guest spoke. Both are kept over a restart within a boot: guests outlive the daemon. A VNI
//! that was added without a caller ends with it.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{MacAddr, Time, Vni};
use crate::config::{self, Config, VniChange, VniConfig};
use crate::control::{HELD_BY_HAND, HELD_BY_RULE, Level, Reply, VniAdd};
use crate::fib::message::{KernelCommand, LocalMac};

use super::{Action, RequestId, Speaker};

/// Holds of VNIs by callers, over all VNIs: each takes a line in the state file.
const CALLERS: usize = 65_536;
/// Claimed MACs, over all VNIs.
const CLAIMS: usize = 65_536;
/// The longest name of a caller, octets.
const CALLER_LEN: usize = 128;

/// A VNI that requests brought.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KeptVni {
    /// As it was first asked for; its `caller` is empty.
    pub request: VniAdd,
    /// Who wants it. The empty name stands for `evpnctl vni add` without `--for`.
    pub callers: BTreeSet<String>,
}

/// Questions to the kernel about stations, and for whom they are asked.
#[derive(Debug, Default)]
pub(super) struct Stations {
    next_token: u64,
    waiting: BTreeMap<u64, Asked>,
}

#[derive(Debug)]
struct Asked {
    /// `None`: the claim is renewed.
    request: Option<RequestId>,
    vni: Vni,
    mac: MacAddr,
    /// `None`: it is released.
    port: Option<String>,
}

/// Reads what can be read: a VNI that another version described otherwise must not cost the rest of the state file.
pub(super) fn lenient<'de, D: serde::Deserializer<'de>>(from: D) -> Result<BTreeMap<Vni, KeptVni>, D::Error> {
    let all: BTreeMap<Vni, serde_json::Value> = serde::Deserialize::deserialize(from)?;
    Ok(all.into_iter().filter_map(|(vni, kept)| Some((vni, serde_json::from_value(kept).ok()?))).collect())
}

impl Speaker {
    /// VNIs of an earlier run of this boot, as the configuration of now makes them; after a boot there is no guest any more.
    pub(super) fn restore_run_time_vnis(&mut self, now: Time) {
        if !self.kept.is_restart {
            self.kept.run_time.clear();
            self.kept.claims.clear();
            return;
        }
        let mut all: BTreeMap<Vni, VniConfig> = self.vnis.iter().map(|(&vni, state)| (vni, state.config.clone())).collect();
        let mut restored = Vec::new();
        for (vni, mut kept) in std::mem::take(&mut self.kept.run_time) {
            // What was added by hand ends with the daemon that was told so.
            kept.callers.remove("");
            if kept.callers.is_empty() {
                continue;
            }
            if !all.contains_key(&vni) {
                match config::vni_at_run_time(&self.config, &all, &kept.request) {
                    Ok(config) => {
                        all.insert(vni, config.clone());
                        restored.push(config);
                    }
                    Err(why) => {
                        let text = format!(
                            "VNI {vni}, which {} holds, cannot be had any more: {why}",
                            in_words(kept.callers.first().map_or("", String::as_str))
                        );
                        self.events.note(Level::Error, text);
                        continue;
                    }
                }
            }
            self.kept.run_time.insert(vni, kept);
        }
        self.kept.claims.retain(|vni, _| all.contains_key(vni));
        self.add_run_time_vnis(now, restored);
    }

    fn config_at_run_time(&self, request: &VniAdd) -> Result<VniConfig, String> {
        let existing = self.vnis.iter().map(|(&vni, state)| (vni, state.config.clone())).collect();
        let config = config::vni_at_run_time(&self.config, &existing, request)?;
        match self.vnis.iter().find(|(_, state)| Some(state.rd) == config.rd) {
            Some((other, _)) => Err(format!("VNI {other} has this route distinguisher already")),
            None => Ok(config),
        }
    }

    fn add_run_time_vnis(&mut self, now: Time, configs: Vec<VniConfig>) {
        if configs.is_empty() {
            return;
        }
        let vnis: Vec<Vni> = configs.iter().map(|config| config.vni).collect();
        self.add_vnis(now, configs);
        for vni in vnis {
            if let Some(state) = self.vnis.get_mut(&vni) {
                state.run_time = true;
            }
        }
    }

    /// `evpnctl vni add`.
    pub(super) fn vni_add(&mut self, now: Time, request: &VniAdd) -> Reply {
        let vni = request.vni;
        let caller = request.caller.clone().unwrap_or_default();
        if caller.len() > CALLER_LEN || caller.contains(char::is_control) {
            return Reply::Refused {
                message: format!("the name of a caller has at most {CALLER_LEN} octets and no control characters"),
            };
        }
        let there = self.vnis.get(&vni).map(|state| state.run_time);
        let holds = |kept: &KeptVni| kept.callers.contains(&caller);
        if self.kept.run_time.get(&vni).is_some_and(holds) || (there == Some(false) && caller.is_empty()) {
            return Reply::Done { message: format!("VNI {vni} is there already") };
        }
        if self.kept.run_time.values().map(|kept| kept.callers.len()).sum::<usize>() >= CALLERS {
            self.events.count("callers_refused");
            return Reply::Refused {
                message: format!("{CALLERS} callers hold VNIs already: see evpnctl show vnis ID, and vni del --for"),
            };
        }
        // As `adopt = "all"` has it: a device that floods to a group is run beside that.
        let group = request.group.or_else(|| self.group_of_existing(vni).filter(|_| request.existing));
        let request = &VniAdd { group, ..request.clone() };
        let making = !request.existing && self.let_make(vni);
        if there.is_none() {
            match self.config_at_run_time(request) {
                Ok(config) => self.add_run_time_vnis(now, vec![config]),
                Err(message) => {
                    self.events.count("vnis_refused");
                    return Reply::Refused { message };
                }
            }
        }
        let request = VniAdd { caller: None, ..request.clone() };
        self.kept.run_time.entry(vni).or_insert_with(|| KeptVni { request, callers: BTreeSet::new() }).callers.insert(caller);
        self.save();
        if making {
            self.wish_devices();
        }
        let message = match there {
            None => format!("VNI {vni} added; it is announced as soon as its device is ready (evpnctl show vnis {vni})"),
            Some(_) => format!("VNI {vni} is there already, and stays as long as this caller wants it"),
        };
        Reply::Done { message }
    }

    /// Somebody wants a VNI whatever becomes of the device that others made. Whether that is new.
    fn let_make(&mut self, vni: Vni) -> bool {
        let (Some(state), Some(kept)) = (self.vnis.get_mut(&vni), self.kept.run_time.get_mut(&vni)) else { return false };
        kept.request.existing = false;
        std::mem::take(&mut state.config.existing)
    }

    /// `evpnctl vni del`: without a caller whoever holds it.
    pub(super) fn vni_del(&mut self, now: Time, vni: Vni, caller: Option<&str>) -> Reply {
        let run_time = match self.vnis.get(&vni) {
            None => return Reply::NotFound { message: format!("no VNI {vni}") },
            Some(state) => state.run_time,
        };
        if let Some(caller) = caller {
            let Some(kept) = self.kept.run_time.get_mut(&vni).filter(|kept| kept.callers.contains(caller)) else {
                return Reply::NotFound { message: format!("{} does not hold VNI {vni}", in_words(caller)) };
            };
            kept.callers.remove(caller);
            if let Some(other) = kept.callers.first() {
                let message = format!("VNI {vni} stays: {} holds it{}", in_words(other), more(kept.callers.len() - 1));
                self.save();
                return Reply::Done { message };
            }
        }
        if !run_time && caller.is_none() {
            let message = format!("VNI {vni} stands in the configuration file: remove it there and run `evpnctl reload`");
            return Reply::Refused { message };
        }
        self.kept.run_time.remove(&vni);
        if !run_time {
            self.save();
            return Reply::Done { message: format!("VNI {vni} stays: it stands in the configuration file") };
        }
        self.kept.claims.remove(&vni);
        self.save();
        let by_rule = caller.filter(|caller| *caller == HELD_BY_RULE).map(|_| self.why_left(vni));
        self.remove_vni(now, vni, by_rule.as_deref().unwrap_or("deleted by request"));
        // Though its rows are still being deleted: added again meanwhile, its device must be told of anew.
        self.wish_devices();
        self.adopt_refused(now);
        Reply::Done { message: format!("VNI {vni} deleted") }
    }

    /// `evpnctl vni del --for CALLER`: everything that it holds.
    pub(super) fn caller_gone(&mut self, now: Time, caller: &str) -> Reply {
        let held: Vec<Vni> =
            self.kept.run_time.iter().filter(|(_, kept)| kept.callers.contains(caller)).map(|(&vni, _)| vni).collect();
        let mut said = Vec::new();
        for vni in held {
            if let Reply::Done { message } = self.vni_del(now, vni, Some(caller)) {
                said.push(message);
            }
        }
        match said.is_empty() {
            true => Reply::NotFound { message: format!("{} holds no VNI", in_words(caller)) },
            false => Reply::Done { message: said.join("; ") },
        }
    }

    /// What another configuration changes of the VNIs that stay beside it for their callers: each is as if it were asked for now, as
    /// a restart would make it.
    ///
    /// # Errors
    /// Which cannot be had with it, why, and what to do.
    pub(super) fn run_time_changes(&self, config: &Config) -> Result<Vec<VniChange>, String> {
        // What needs a restart stays in force as it was.
        let config = Config { router: self.config.router.clone(), ..config.clone() };
        let names = |vni: &VniConfig| {
            let both = [vni.settings.device.clone(), vni.settings.bridge.clone()];
            // Names are for what is made.
            let made = !vni.existing;
            both.into_iter().filter(move |name| made && name != config::NO_BRIDGE)
        };
        let mut taken: BTreeMap<String, Vni> =
            config.vnis.values().flat_map(|vni| names(vni).map(move |name| (name, vni.vni))).collect();
        let mut changes = Vec::new();
        for (&vni, kept) in self.kept.run_time.iter().filter(|(vni, _)| !config.vnis.contains_key(vni)) {
            let Some(state) = self.vnis.get(&vni) else { continue };
            let made = config::vni_at_run_time(&config, &BTreeMap::new(), &kept.request).and_then(|after| {
                match names(&after).find_map(|name| taken.insert(name.clone(), vni).map(|other| (name, other))) {
                    Some((name, other)) => Err(format!("{name} belongs to VNI {other} already")),
                    None => Ok(after),
                }
            });
            let holder = in_words(kept.callers.first().map_or("", String::as_str));
            let after = made.map_err(|why| {
                format!(
                    "VNI {vni}, which {holder} holds, cannot be had with this file: {why}; change it, or run \
                     `evpnctl vni del {vni}` first"
                )
            })?;
            changes.extend(config::vni_change(&state.config, &after));
        }
        Ok(changes)
    }

    /// Whether somebody holds a VNI that the configuration file names no more: then it stays, as a request's.
    pub(super) fn keep_for_callers(&mut self, vni: Vni) -> bool {
        let held = self.kept.run_time.contains_key(&vni);
        if let Some(state) = self.vnis.get_mut(&vni).filter(|_| held) {
            state.run_time = true;
        }
        held
    }

    /// Who holds a VNI, for `show vnis`.
    pub(super) fn callers(&self, vni: Vni) -> Vec<String> {
        self.kept
            .run_time
            .get(&vni)
            .into_iter()
            .flat_map(|kept| &kept.callers)
            .map(|caller| in_words(caller).to_owned())
            .collect()
    }

    /// `evpnctl mac claim` (with a port) and `mac release`: the reply comes when the kernel has answered.
    pub(super) fn set_station(&mut self, id: RequestId, vni: Vni, mac: MacAddr, port: Option<String>) -> Option<Reply> {
        let Some(state) = self.vnis.get(&vni) else {
            return Some(Reply::NotFound { message: format!("no VNI {vni}") });
        };
        let ready = state.ready().is_some();
        if port.is_none() && self.forget_claim(vni, mac) {
            self.save();
        }
        if !ready {
            let message = format!("VNI {vni} has no device that is ready (evpnctl show vnis {vni})");
            return Some(if port.is_some() { Reply::Refused { message } } else { Reply::NotFound { message } });
        }
        if !mac.is_station() {
            return Some(Reply::Refused { message: format!("{mac} is no address that a guest can have") });
        }
        if port.is_some() && self.kept.claims.values().map(BTreeMap::len).sum::<usize>() >= CLAIMS {
            self.events.count("claims_refused");
            return Some(Reply::Refused { message: format!("{CLAIMS} MACs are claimed already") });
        }
        self.ask_station(Some(id), vni, mac, port);
        None
    }

    fn ask_station(&mut self, request: Option<RequestId>, vni: Vni, mac: MacAddr, port: Option<String>) {
        let token = self.stations.next_token;
        self.stations.next_token += 1;
        self.actions.push_back(Action::Kernel(KernelCommand::SetStation { token, vni, mac, port: port.clone() }));
        self.stations.waiting.insert(token, Asked { request, vni, mac, port });
    }

    /// The kernel room answered.
    pub(super) fn station_set(&mut self, now: Time, token: u64, outcome: Result<(), String>) {
        let Some(Asked { request, vni, mac, port }) = self.stations.waiting.remove(&token) else { return };
        let reply = match (outcome, port) {
            (Ok(()), Some(port)) => {
                let message = format!("{mac} is claimed in VNI {vni} for {port}");
                let before = self.kept.claims.entry(vni).or_default().insert(mac, port.clone());
                if before.as_ref() != Some(&port) {
                    self.save();
                }
                Reply::Done { message }
            }
            (Ok(()), None) => Reply::Done { message: format!("{mac} is released in VNI {vni}") },
            (Err(message), None) => Reply::NotFound { message },
            (Err(message), Some(_)) => {
                if request.is_none() {
                    // Its port went with its guest, or it is the port's no more: it is as gone as the kernel said.
                    self.evpn.handle_local_mac_gone(now, &mut self.rib, &mut self.fib, vni, mac);
                    self.forget_claim(vni, mac);
                    self.save();
                }
                Reply::Refused { message }
            }
        };
        if let Some(request) = request {
            self.actions.push_back(Action::Reply(request, Box::new(reply)));
        }
    }

    /// A local MAC aged out, or its port went. Whether it is claimed and asked for again: a guest that says nothing for a while
    /// is still there. Not where another host has it by now.
    pub(super) fn renew_claim(&mut self, vni: Vni, mac: MacAddr) -> bool {
        let Some(port) = self.kept.claims.get(&vni).and_then(|claims| claims.get(&mac)).cloned() else { return false };
        if self.evpn.remote_vtep(vni, mac).is_some() {
            self.forget_claim(vni, mac);
            self.save();
            return false;
        }
        self.ask_station(None, vni, mac, Some(port));
        true
    }

    /// The whole set of a VNI's local MACs was read: claims that are not in it are asked for again.
    pub(super) fn renew_claims(&mut self, vni: Vni, macs: &[LocalMac]) {
        let Some(claims) = self.kept.claims.get(&vni) else { return };
        let there: BTreeSet<MacAddr> = macs.iter().map(|heard| heard.mac).collect();
        let missing: Vec<MacAddr> = claims.keys().filter(|mac| !there.contains(mac)).copied().collect();
        for mac in missing {
            self.renew_claim(vni, mac);
        }
    }

    /// MACs were heard: at another port than one was claimed for it speaks for itself. The same port may have got another name. In a listing
    /// of them (`listed`) that may have been before this run began: a claim is one for the port where its MAC is.
    pub(super) fn follow_claims(&mut self, heard: &[LocalMac], listed: bool) {
        let mut followed = false;
        for heard in heard {
            let Some(claims) = self.kept.claims.get_mut(&heard.vni) else { continue };
            let Some(port) = claims.get_mut(&heard.mac).filter(|port| **port != heard.port_name) else { continue };
            if self.evpn.local_port(heard.vni, heard.mac).map_or(listed, |port| port == heard.port) {
                port.clone_from(&heard.port_name);
            } else {
                self.forget_claim(heard.vni, heard.mac);
            }
            followed = true;
        }
        if followed {
            self.save();
        }
    }

    fn forget_claim(&mut self, vni: Vni, mac: MacAddr) -> bool {
        let Some(claims) = self.kept.claims.get_mut(&vni) else { return false };
        let known = claims.remove(&mac).is_some();
        if claims.is_empty() {
            self.kept.claims.remove(&vni);
        }
        known
    }

    fn save(&mut self) {
        self.actions.push_back(Action::Save(self.kept.clone()));
    }
}

fn in_words(caller: &str) -> &str {
    if caller.is_empty() { HELD_BY_HAND } else { caller }
}

fn more(others: usize) -> String {
    if others == 0 { String::new() } else { format!(", and {others} more") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Request;
    use crate::fib::{FoundDevice, KernelEvent};
    use crate::speaker::KeptState;

    const CONFIG: &str = "[router]\nasn = 65000\nvtep = \"10.0.0.1\"\n[[vni]]\nid = 7\n";

    fn vni(number: u32) -> Vni {
        Vni::new(number).unwrap()
    }

    fn speaker(kept: KeptState) -> Speaker {
        let mut speaker = Speaker::new(config::parse("x", CONFIG).unwrap(), kept, None, 1, Time::ZERO);
        speaker.start(Time::ZERO);
        speaker
    }

    /// The state file after the last of the actions that keep it, the replies, and how often devices were wished for.
    fn outcome(speaker: &mut Speaker) -> (Option<KeptState>, Vec<Reply>, usize) {
        let (mut kept, mut replies, mut wishes) = (None, Vec::new(), 0);
        while let Some(action) = speaker.poll_action() {
            match action {
                Action::Save(state) => kept = Some(state),
                Action::Reply(_, reply) => replies.push(*reply),
                Action::Kernel(KernelCommand::Devices(_)) => wishes += 1,
                _ => {}
            }
        }
        (kept, replies, wishes)
    }

    #[test]
    fn what_callers_hold_outlives_the_process_and_not_the_boot() {
        let mut first = speaker(KeptState::default());
        for number in 100..400 {
            let request = VniAdd { caller: Some("web1".to_owned()), ..VniAdd::new(vni(number)) };
            first.handle_request(Time::ZERO, RequestId(1), Request::VniAdd(request));
        }
        first.handle_request(Time::ZERO, RequestId(1), Request::VniAdd(VniAdd::new(vni(600))));
        let (kept, replies, _) = outcome(&mut first);
        assert!(replies.iter().all(|reply| matches!(reply, Reply::Done { .. })), "{replies:?}");
        let text = serde_json::to_string(&kept.unwrap()).unwrap();
        let read = |is_restart| KeptState { is_restart, ..serde_json::from_str(&text).unwrap() };

        assert_eq!((first.vnis.len(), first.callers(vni(600))), (302, vec!["evpnctl vni add".to_owned()]));

        let mut second = speaker(read(true));
        let (_, _, wishes) = outcome(&mut second);
        assert!(second.vnis.len() == 301 && wishes <= 2, "{} VNIs, {wishes} wishes", second.vnis.len());
        assert_eq!(second.callers(vni(399)), ["web1"]);
        second.handle_request(Time::ZERO, RequestId(1), Request::CallerGone { caller: "web1".to_owned() });
        assert_eq!(second.vnis.keys().copied().collect::<Vec<_>>(), [vni(7)]);
        assert!(outcome(&mut second).0.unwrap().run_time.is_empty());
        assert_eq!(speaker(read(false)).vnis.len(), 1, "after a boot no guest is there");
    }

    #[test]
    fn a_vni_that_another_version_kept_costs_no_other() {
        let text = "{\"rd_numbers\":{\"7\":7},\"run_time\":{\"100\":{\"request\":{\"vni\":100,\"shape\":1},\"callers\":[\"a\"]},\
             \"200\":{\"request\":{\"vni\":200},\"callers\":[\"a\"]}}}";
        let kept: KeptState = serde_json::from_str(text).unwrap();
        assert_eq!(kept.run_time.keys().copied().collect::<Vec<_>>(), [vni(200)]);
        assert_eq!(kept.rd_numbers.len(), 1);
    }

    #[test]
    fn a_device_is_made_as_soon_as_one_caller_wants_that() {
        let mut speaker = speaker(KeptState::default());
        outcome(&mut speaker);
        let mut add = |caller: &str, existing| {
            let request = VniAdd { caller: Some(caller.to_owned()), existing, ..VniAdd::new(vni(100)) };
            speaker.handle_request(Time::ZERO, RequestId(1), Request::VniAdd(request));
            let (mut kept, mut spec) = (None, None);
            while let Some(action) = speaker.poll_action() {
                match action {
                    Action::Save(state) => kept = state.run_time.get(&vni(100)).map(|kept| kept.request.existing),
                    Action::Kernel(KernelCommand::Devices(specs)) => spec = specs.into_iter().find(|spec| spec.vni == vni(100)),
                    _ => {}
                }
            }
            (kept, spec.map(|spec| spec.existing))
        };
        assert_eq!(add("opennebula:17", true), (Some(true), Some(true)));
        assert_eq!(add("opennebula:18", true), (Some(true), None), "nothing new for the kernel");
        assert_eq!(add("me", false), (Some(false), Some(false)));
        assert_eq!(add("opennebula:19", true), (Some(false), None));
    }

    #[test]
    fn a_device_that_another_vni_was_in_the_way_of_is_adopted_when_that_goes() {
        let text = format!("{CONFIG}[vxlan]\nadopt = \"all\"\n[limits]\nvnis = 2\n");
        let mut speaker = Speaker::new(config::parse("x", &text).unwrap(), KeptState::default(), None, 1, Time::ZERO);
        speaker.start(Time::ZERO);
        speaker.vni_add(Time::ZERO, &VniAdd::new(vni(500)));
        let (device, bridge) = ("eth0.700".to_owned(), "onebr.500".to_owned());
        speaker.devices_found(Time::ZERO, vec![FoundDevice { vni: vni(700), device, bridge, group: None }], Vec::new());
        assert!(!speaker.vnis.contains_key(&vni(700)));
        speaker.vni_del(Time::ZERO, vni(500), None);
        assert!(speaker.vnis.contains_key(&vni(700)));
        speaker.vni_del(Time::ZERO, vni(700), None);
        assert!(!speaker.vnis.contains_key(&vni(700)), "not at once again, against what was asked for");
    }

    /// An earlier run of this boot had claimed a MAC for tap1 in VNI 7.
    fn claimed(mac: MacAddr) -> KeptState {
        KeptState { claims: [(vni(7), [(mac, "tap1".to_owned())].into())].into(), is_restart: true, ..KeptState::default() }
    }

    #[test]
    fn a_release_takes_the_claim_back_where_the_device_is_gone() {
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        let mut speaker = speaker(claimed(mac));
        outcome(&mut speaker);
        speaker.handle_request(Time::ZERO, RequestId(1), Request::MacRelease { vni: vni(7), mac });
        let (kept, replies, _) = outcome(&mut speaker);
        assert!(matches!(&replies[..], [Reply::NotFound { .. }]), "{replies:?}");
        assert!(kept.unwrap().claims.is_empty());
    }

    #[test]
    fn a_claim_goes_with_its_port_and_not_with_the_name_of_that() {
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        let mut speaker = speaker(claimed(mac));
        let mut hear = |port, name: &str| {
            let heard = LocalMac { vni: vni(7), mac, port, port_name: name.to_owned(), is_static: true };
            speaker.handle_kernel(Time::ZERO, KernelEvent::LocalMac(heard));
            speaker.kept.claims.get(&vni(7)).and_then(|claims| claims.get(&mac)).cloned()
        };
        assert_eq!(hear(3, "tap1").as_deref(), Some("tap1"));
        assert_eq!(hear(3, "web1").as_deref(), Some("web1"));
        assert_eq!(hear(4, "tap1"), None);
    }

    /// As the listing at a start tells it, and the one after lost notifications.
    #[test]
    fn a_claim_follows_what_a_listing_says_of_its_port() {
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        let mut speaker = speaker(claimed(mac));
        let mut list = |port, name: &str| {
            outcome(&mut speaker);
            let macs = vec![LocalMac { vni: vni(7), mac, port, port_name: name.to_owned(), is_static: true }];
            speaker.handle_kernel(Time::ZERO, KernelEvent::LocalMacs { vni: vni(7), macs });
            let saved = outcome(&mut speaker).0.is_some();
            (speaker.kept.claims.get(&vni(7)).and_then(|claims| claims.get(&mac)).cloned(), saved)
        };
        let follows = |name: &str, saved| (Some(name.to_owned()), saved);
        assert_eq!(list(3, "web1"), follows("web1", true), "renamed while evpnd was not running");
        assert_eq!(list(3, "web1"), follows("web1", false));
        assert_eq!(list(3, "web2"), follows("web2", true));
        assert_eq!(list(4, "tap9"), (None, true), "another port");
    }

    #[test]
    fn a_caller_is_named_and_counted() {
        let mut speaker = speaker(KeptState::default());
        let mut ask = |request: Request| {
            speaker.handle_request(Time::ZERO, RequestId(1), request);
            outcome(&mut speaker).1.remove(0)
        };
        let add = |number, caller: &str| Request::VniAdd(VniAdd { caller: Some(caller.to_owned()), ..VniAdd::new(vni(number)) });
        let del = |number, caller: Option<&str>| Request::VniDel { vni: vni(number), caller: caller.map(str::to_owned) };
        assert!(matches!(ask(add(100, &"x".repeat(129))), Reply::Refused { .. }));
        assert!(matches!(ask(add(100, "a\nb")), Reply::Refused { .. }));
        assert!(matches!(ask(add(100, "a")), Reply::Done { .. }));
        assert!(matches!(ask(del(100, Some("b"))), Reply::NotFound { .. }));
        // The file's VNI has callers too, and stays when they leave; by hand it cannot be deleted.
        assert!(matches!(ask(add(7, "a")), Reply::Done { .. }));
        assert!(matches!(ask(del(7, Some("a"))), Reply::Done { message } if message.contains("stays")));
        assert!(matches!(ask(del(7, None)), Reply::Refused { .. }));
        assert!(matches!(ask(del(100, None)), Reply::Done { message } if message == "VNI 100 deleted"));
        assert!(matches!(ask(del(100, Some("a"))), Reply::NotFound { .. }));
        assert!(matches!(ask(Request::CallerGone { caller: "a".to_owned() }), Reply::NotFound { .. }));
    }
}
