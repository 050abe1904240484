//! `adopt = "all"`: VNIs of devices that nobody declared. Each is a VNI at run time that this rule holds (`on_demand`): with its device it comes
//! and goes, and a restart has it back before its device is told of.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::base::{Time, Vni};
use crate::config::{Flood, VniChange, VniConfig};
use crate::control::{HELD_BY_RULE, Level, Reply, VniAdd};
use crate::fib::{FoundDevice, UnfitDevice};

use super::{Action, Speaker};

/// Devices that could serve a VNI: more than one, where it is not known which is meant.
type ByVni = BTreeMap<Vni, Vec<FoundDevice>>;

/// The devices of the host that somebody else made.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What the kernel room told; `None`: nothing yet.
    devices: Option<(Vec<FoundDevice>, Vec<UnfitDevice>)>,
    /// Those that the rule would have and that are not taken, by their VNI.
    not_taken: BTreeMap<Option<Vni>, Vec<UnfitDevice>>,
    /// Of those the log has told, by their names.
    told: BTreeSet<String>,
    /// VNIs that could not be had.
    refused: BTreeSet<Vni>,
}

impl Speaker {
    /// The kernel room told of the devices there are.
    pub(super) fn devices_found(&mut self, now: Time, devices: Vec<FoundDevice>, unfit: Vec<UnfitDevice>) {
        let mendable = |speaker: &Self| -> Vec<Vni> {
            let existing = speaker.vnis.values().map(|state| &state.config).filter(|config| config.existing);
            existing.filter(|config| speaker.may_mend(config)).map(|config| config.vni).collect()
        };
        let before = mendable(self);
        self.found.devices = Some((devices, unfit));
        self.adopt_found(now);
        if self.config.vxlan.adopt.fix && mendable(self) != before {
            self.wish_devices();
        }
    }

    /// Takes the devices that the configuration says, and gives up those that are gone, or taken no more.
    pub(super) fn adopt_found(&mut self, now: Time) {
        let Some((taken, _)) = self.taken() else { return };
        let held: Vec<Vni> = self.held_by_rule().filter(|(vni, _)| !taken.contains_key(vni)).map(|(vni, _)| vni).collect();
        for vni in held {
            self.vni_del(now, vni, Some(HELD_BY_RULE));
        }
        self.found.refused.retain(|vni| taken.contains_key(vni));
        self.adopt(now, |_| true);
        self.follow_groups(now);
    }

    /// A VNI went: what could not be had beside it is tried again.
    pub(super) fn adopt_refused(&mut self, now: Time) {
        let refused = self.found.refused.clone();
        if !refused.is_empty() {
            self.adopt(now, |vni| refused.contains(&vni));
        }
    }

    /// Why the rule has a VNI no more.
    pub(super) fn why_left(&self, vni: Vni) -> String {
        let there = |(devices, _): &(Vec<FoundDevice>, Vec<UnfitDevice>)| devices.iter().any(|found| found.vni == vni);
        match self.found.devices.as_ref().is_some_and(there) {
            true => format!("{HELD_BY_RULE} leaves its device out now"),
            false => format!("{HELD_BY_RULE} finds no device of it any more"),
        }
    }

    /// VNIs that the rule holds, and the devices for which it has them.
    fn held_by_rule(&self) -> impl Iterator<Item = (Vni, Option<&String>)> {
        let held = self.kept.run_time.iter().filter(|(_, kept)| kept.callers.contains(HELD_BY_RULE));
        held.map(|(&vni, kept)| (vni, kept.request.device.as_ref()))
    }

    /// The devices that the configuration says, and those that it would say if they could be used, where they are known.
    fn taken(&self) -> Option<(ByVni, Vec<UnfitDevice>)> {
        let (devices, unfit) = self.found.devices.clone().filter(|_| !self.stopping && self.drain.is_none())?;
        let (rule, has_vtep) = (&self.config.vxlan.adopt, self.config.router.vtep.is_some());
        let mut taken = ByVni::new();
        for found in devices.into_iter().filter(|found| has_vtep && rule.takes(found.vni, &found.device)) {
            taken.entry(found.vni).or_default().push(found);
        }
        let is_meant = |unfit: &UnfitDevice| match unfit.vni {
            Some(vni) => rule.takes(vni, &unfit.device),
            None => rule.looks_at(&unfit.device),
        };
        Some((taken, unfit.into_iter().filter(|unfit| has_vtep && is_meant(unfit)).collect()))
    }

    /// Takes those of `which` that can be taken.
    fn adopt(&mut self, now: Time, which: impl Fn(Vni) -> bool) {
        let Some((taken, mut not_taken)) = self.taken() else { return };
        let held: BTreeMap<Vni, Option<String>> = self.held_by_rule().map(|(vni, device)| (vni, device.cloned())).collect();
        for (vni, mut devices) in taken {
            if self.vnis.get(&vni).is_some_and(|state| !state.run_time) {
                continue;
            }
            if let Some(device) = held.get(&vni) {
                // It goes on with the one that it has, by its group or without.
                if let Some(found) = devices.iter().find(|found| Some(&found.device) == device.as_ref()) {
                    self.follow_group(now, vni, self.group_beside(found));
                }
                if devices.iter().any(|found| Some(&found.device) == device.as_ref()) {
                    devices.retain(|found| Some(&found.device) != device.as_ref());
                    not_taken.extend(devices.iter().map(|found| twin(found, device.iter())));
                }
                continue;
            }
            if devices.len() > 1 {
                let others = |found: &FoundDevice| {
                    let name = found.device.clone();
                    twin(found, devices.iter().map(|other| &other.device).filter(|other| **other != name))
                };
                not_taken.extend(devices.iter().map(others));
                continue;
            }
            let Some(found) = devices.pop().filter(|_| which(vni)) else { continue };
            let group = self.group_beside(&found);
            let request = VniAdd {
                device: Some(found.device.clone()),
                bridge: Some(found.bridge.clone()),
                existing: true,
                group,
                caller: Some(HELD_BY_RULE.to_owned()),
                ..VniAdd::new(vni)
            };
            if let Reply::Refused { message: reason } = self.vni_add(now, &request) {
                self.found.refused.insert(vni);
                let remedy = format!("give VNI {vni} a device and a bridge of its own");
                not_taken.push(UnfitDevice { vni: Some(vni), device: found.device, bridge: Some(found.bridge), reason, remedy });
            } else {
                self.found.refused.remove(&vni);
            }
        }
        self.note_not_taken(not_taken);
    }

    /// Keeps what is not taken for whoever asks, and tells the log of what is new.
    fn note_not_taken(&mut self, devices: Vec<UnfitDevice>) {
        self.found.not_taken.clear();
        let mut names = BTreeSet::new();
        for mut unfit in devices {
            unfit.remedy = format!("{}; or ignore-devices = [\"{}\"] in [vxlan]", unfit.remedy, unfit.device);
            // One without a bridge may be put into it this moment, as platforms do.
            if unfit.bridge.is_some() {
                if !self.found.told.contains(&unfit.device) {
                    self.events.note(Level::Warn, in_words(&unfit));
                }
                names.insert(unfit.device.clone());
            }
            self.found.not_taken.entry(unfit.vni).or_default().push(unfit);
        }
        self.found.told = names;
    }

    /// VNIs of devices that are not taken, and that are not here otherwise.
    pub(super) fn vnis_not_taken(&self) -> impl Iterator<Item = (Vni, &[UnfitDevice])> {
        let with_vni = self.found.not_taken.iter().filter_map(|(vni, unfit)| Some(((*vni)?, &unfit[..])));
        with_vni.filter(|(vni, _)| !self.vnis.contains_key(vni))
    }

    /// What is not taken beside what a VNI has: a sentence each.
    pub(super) fn not_taken_beside(&self, vni: Vni) -> impl Iterator<Item = String> {
        self.found.not_taken.get(&Some(vni)).into_iter().flatten().map(in_words)
    }

    /// Devices that are not taken and have no VNI that is here: a sentence each, for `show status`.
    pub(super) fn not_taken(&self) -> impl Iterator<Item = String> {
        let without_vni = self.found.not_taken.get(&None).into_iter().flatten();
        without_vni.chain(self.vnis_not_taken().flat_map(|(_, unfit)| unfit)).map(in_words)
    }

    /// VNIs that callers hold on whatever device there is (`vni add --existing`): each goes by the group of its device, or without.
    fn follow_groups(&mut self, now: Time) {
        let here = |vni: Vni| self.vnis.get(&vni).is_some_and(|state| state.run_time && state.config.existing);
        let held = self.kept.run_time.iter().filter(|(vni, kept)| here(**vni) && !kept.callers.contains(HELD_BY_RULE));
        let follow: Vec<(Vni, Option<IpAddr>)> =
            held.filter_map(|(&vni, _)| Some((vni, self.group_beside(self.only_found(vni)?)))).collect();
        for (vni, group) in follow {
            self.follow_group(now, vni, group);
        }
    }

    /// The one device of a VNI that somebody else made, where it is known.
    fn only_found(&self, vni: Vni) -> Option<&FoundDevice> {
        let (devices, _) = self.found.devices.as_ref()?;
        let mut of_vni = devices.iter().filter(|found| found.vni == vni);
        of_vni.next().filter(|_| of_vni.next().is_none())
    }

    /// The group of the device of a VNI that somebody else is to have made, as far as it is known.
    pub(super) fn group_of_existing(&self, vni: Vni) -> Option<IpAddr> {
        self.group_beside(self.only_found(vni)?)
    }

    /// Whether a device may be mended: not one of somebody else before it is known whether it has a group, which then stays.
    pub(super) fn may_mend(&self, config: &VniConfig) -> bool {
        !config.existing || self.only_found(config.vni).is_some()
    }

    /// The group beside which a device is run: hosts that know nothing but the group would hear no broadcast of one that left it unasked.
    /// Where `[vni-defaults]` say how to flood, they say it.
    fn group_beside(&self, found: &FoundDevice) -> Option<IpAddr> {
        let vtep = self.config.router.vtep?;
        let unsaid = self.config.vni_defaults.flood == Flood::IngressReplication;
        found.group.filter(|group| unsaid && group.is_ipv4() == vtep.is_ipv4())
    }

    /// The group was taken from a device, or given to it, by whoever made it.
    fn follow_group(&mut self, now: Time, vni: Vni, group: Option<IpAddr>) {
        let Some(kept) = self.kept.run_time.get_mut(&vni).filter(|kept| kept.request.group != group) else { return };
        kept.request.group = group;
        let flood = group.map_or(self.config.vni_defaults.flood, Flood::Multicast);
        let Some(mut config) = self.vnis.get(&vni).map(|state| state.config.clone()) else { return };
        config.settings.flood = flood;
        let what = match group {
            Some(group) => format!("VNI {vni} runs beside multicast now: its device has the group {group}"),
            None => format!("VNI {vni} runs by EVPN alone now: its device has no group any more"),
        };
        self.events.note(Level::Info, what);
        self.change_vnis(now, vec![VniChange { vni: config, device: true, instance: true, keys: vec!["flood"] }]);
        self.actions.push_back(Action::Save(self.kept.clone()));
        self.wish_devices();
    }
}

/// A device that is not taken, in a sentence.
pub(super) fn in_words(unfit: &UnfitDevice) -> String {
    format!("{} is not taken: {}; {}", unfit.device, unfit.reason, unfit.remedy)
}

/// One of several devices of a VNI: which is meant cannot be known.
fn twin<'a>(found: &FoundDevice, others: impl Iterator<Item = &'a String>) -> UnfitDevice {
    let others = others.map(String::as_str).collect::<Vec<_>>().join(", ");
    UnfitDevice {
        vni: Some(found.vni),
        device: found.device.clone(),
        bridge: Some(found.bridge.clone()),
        reason: format!("VNI {} has another VXLAN device: {others}", found.vni),
        remedy: format!("keep one: ip link del {}", found.device),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::control::Request;
    use crate::fib::KernelEvent;
    use crate::speaker::{Action, KeptState, RequestId};

    const CONFIG: &str =
        "[router]\nasn = 65000\nvtep = \"10.0.0.1\"\n[vxlan]\nadopt = \"all\"\nignore-devices = [\"lab*\"]\n[[vni]]\nid = 7\n";

    fn vni(number: u32) -> Vni {
        Vni::new(number).unwrap()
    }

    fn start(kept: KeptState) -> Speaker {
        let mut speaker = Speaker::new(config::parse("x", CONFIG).unwrap(), kept, None, 1, Time::ZERO);
        speaker.start(Time::ZERO);
        speaker
    }

    fn found(speaker: &mut Speaker, devices: &[(u32, &str)]) {
        let device = |&(number, name): &(u32, &str)| FoundDevice {
            vni: vni(number),
            device: name.into(),
            bridge: format!("b{name}"),
            group: None,
        };
        let event = KernelEvent::Found { devices: devices.iter().map(device).collect(), unfit: Vec::new() };
        speaker.handle_kernel(Time::ZERO, event);
    }

    fn unfit(number: Option<u32>, name: &str, bridge: Option<&str>) -> UnfitDevice {
        let (reason, remedy) = (format!("{name} is no good"), "another".to_owned());
        UnfitDevice { vni: number.map(vni), device: name.to_owned(), bridge: bridge.map(str::to_owned), reason, remedy }
    }

    type Row = (u32, String, String, String, usize);

    /// `show vnis` but for those of the file: VNI, state, device, reason, and how many warnings; the warnings of `show status`.
    fn shown(speaker: &mut Speaker) -> (Vec<Row>, Vec<String>) {
        let mut ask = |request| {
            speaker.handle_request(Time::ZERO, RequestId(1), request);
            std::iter::from_fn(|| speaker.poll_action())
                .find_map(|action| if let Action::Reply(_, reply) = action { Some(*reply) } else { None })
        };
        // Page by page, so that none is left out between two.
        let (mut views, mut after) = (Vec::new(), None);
        while let Some(Reply::Vnis(page)) = ask(Request::ShowVnis { vni: None, after: after.take(), limit: Some(1) }) {
            views.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let Some(Reply::Status(status)) = ask(Request::ShowStatus {}) else { panic!("no status") };
        for view in &views {
            let one = ask(Request::ShowVnis { vni: Some(view.vni), after: None, limit: None });
            assert!(matches!(&one, Some(Reply::Vnis(page)) if page.items == [view.clone()]), "{one:?}");
        }
        let of_rule = views.into_iter().filter(|view| view.vni != vni(7));
        let rows = of_rule.map(|view| {
            assert!(view.is_here() || view.remedy.is_some_and(|remedy| remedy.contains("; or ignore-devices = [")));
            (view.vni.get(), view.state, view.device, view.reason.unwrap_or_default(), view.warnings.len())
        });
        (rows.collect(), status.warnings)
    }

    #[test]
    fn what_is_not_taken_is_shown_with_the_reason() {
        let mut speaker = start(KeptState::default());
        let device = |number, name: &str, bridge: &str| FoundDevice {
            vni: vni(number),
            device: name.into(),
            bridge: bridge.into(),
            group: None,
        };
        let devices = [device(5, "tw1", "b1"), device(5, "tw2", "b2"), device(6, "t6", "b6"), device(8, "t8", "br7")];
        let more = vec![
            unfit(None, "ext", Some("b3")),
            unfit(Some(4), "bare", None),
            unfit(Some(9), "lab9", None),
            unfit(Some(6), "more6", None),
        ];
        speaker.handle_kernel(Time::ZERO, KernelEvent::Found { devices: devices.to_vec(), unfit: more });
        let (vnis, warnings) = shown(&mut speaker);
        let row = |number, state: &str, device: &str, reason: &str, warnings| {
            (number, state.into(), device.into(), reason.into(), warnings)
        };
        assert_eq!(
            vnis,
            [
                row(4, "not-taken", "bare", "bare is no good", 0),
                // Which of two is meant nobody can know.
                row(5, "not-taken", "tw1", "VNI 5 has another VXLAN device: tw2", 1),
                row(6, "waiting", "t6", "", 1),
                // In the bridge of another VNI: the kernel room will say that it cannot be used.
                row(8, "waiting", "t8", "", 0),
            ]
        );
        let ignored = "or ignore-devices = [\"ext\"] in [vxlan]";
        assert_eq!(warnings[0], format!("ext is not taken: ext is no good; another; {ignored}"));
        assert_eq!(warnings.len(), 4, "{warnings:?}");
        // The log tells of each once; one without a bridge may be on its way into it.
        let mut told = || -> Vec<String> {
            let events = std::iter::from_fn(|| speaker.poll_event()).map(|event| event.to_string());
            events
                .filter(|line| line.contains("is not taken"))
                .filter_map(|line| Some(line.split(' ').next()?.to_owned()))
                .collect()
        };
        assert_eq!(told(), ["ext", "tw1", "tw2"]);
        // One of the two goes: the other is meant. It stays so when the first comes back.
        found(&mut speaker, &[(5, "tw2")]);
        assert_eq!(shown(&mut speaker).0, [row(5, "waiting", "tw2", "", 0)]);
        found(&mut speaker, &[(5, "tw1"), (5, "tw2")]);
        assert_eq!(shown(&mut speaker).0, [row(5, "waiting", "tw2", "", 1)]);
    }
}
