//! `[vni-defaults]` and `[[vni]]`, and VNIs that `evpnctl vni add` asks for: they pass the same checks.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use toml::Spanned;

use crate::base::{MacAddr, Vni};
use crate::control::VniAdd;
use crate::wire::rd::Rd;

use super::model::{
    Config, ExportTarget, Flood, ImportTarget, Install, Learning, Limits, NO_BRIDGE, VniConfig, VniSettings, Vxlan,
};
use super::names::{NAME_HELP, expand, template};
use super::reader::{Section, parsed};
use super::report::Mistakes;
use super::router::mtu;

const TARGET: &str = "a route target";
const TARGET_HELP: &str =
    "write \"auto\", \"65000:100\", \"10.0.0.1:100\", \"4200000000:100\" or, to import from any AS, \"*:100\"";
const RD_HELP: &str = "write rd = \"10.0.0.1:100\", or leave it out: evpnd keeps a number for each VNI";

/// Shorter, and rows would come and go within a conversation; longer, and nothing would be on demand.
const LIFETIME: std::ops::RangeInclusive<u32> = 10..=86_400;

const GROUP_HELP: &str = "write the group that the other hosts flood to, such as group = \"239.1.1.1\"";

/// What `[vni-defaults]` and `[[vni]]` have in common.
#[derive(Default)]
struct Settings {
    device: Option<String>,
    bridge: Option<String>,
    import: Option<Vec<ImportTarget>>,
    export: Option<Vec<ExportTarget>>,
    flood: Option<Flood>,
    learning: Option<Learning>,
    install: Option<Install>,
    install_lifetime_secs: Option<u32>,
    neighbor_suppression: Option<bool>,
    neighbor_learning: Option<bool>,
    isolated_ports: Option<bool>,
    probe_silent: Option<bool>,
    announce_own: Option<bool>,
    mtu: Option<u32>,
    static_macs: Option<Vec<MacAddr>>,
}

impl Settings {
    fn read(section: &Section<'_>, vtep: Option<IpAddr>, mistakes: &mut Mistakes) -> Self {
        Self {
            device: template(section, "device", mistakes),
            bridge: template(section, "bridge", mistakes),
            import: targets(section, "import", import_target, mistakes),
            export: export_targets(section, mistakes),
            flood: flood(section, vtep, mistakes),
            learning: learning(section, mistakes),
            install: install(section, mistakes),
            install_lifetime_secs: section
                .integer("install-lifetime", LIFETIME, "a number of seconds", mistakes)
                .map(Spanned::into_inner),
            neighbor_suppression: section.boolean("neighbor-suppression", mistakes).map(Spanned::into_inner),
            neighbor_learning: section.boolean("neighbor-learning", mistakes).map(Spanned::into_inner),
            isolated_ports: section.boolean("isolated-ports", mistakes).map(Spanned::into_inner),
            probe_silent: section.boolean("probe-silent", mistakes).map(Spanned::into_inner),
            announce_own: section.boolean("announce-own", mistakes).map(Spanned::into_inner),
            mtu: mtu(section, mistakes),
            static_macs: static_macs(section, mistakes),
        }
    }

    /// `defaults` with what is given here instead.
    fn over(self, defaults: &VniSettings) -> VniSettings {
        VniSettings {
            device: self.device.unwrap_or_else(|| defaults.device.clone()),
            bridge: self.bridge.unwrap_or_else(|| defaults.bridge.clone()),
            import: self.import.unwrap_or_else(|| defaults.import.clone()),
            export: self.export.unwrap_or_else(|| defaults.export.clone()),
            flood: self.flood.unwrap_or(defaults.flood),
            learning: self.learning.unwrap_or(defaults.learning),
            install: self.install.unwrap_or(defaults.install),
            install_lifetime_secs: self.install_lifetime_secs.unwrap_or(defaults.install_lifetime_secs),
            neighbor_suppression: self.neighbor_suppression.unwrap_or(defaults.neighbor_suppression),
            neighbor_learning: self.neighbor_learning.unwrap_or(defaults.neighbor_learning),
            isolated_ports: self.isolated_ports.unwrap_or(defaults.isolated_ports),
            probe_silent: self.probe_silent.unwrap_or(defaults.probe_silent),
            announce_own: self.announce_own.or(defaults.announce_own),
            mtu: self.mtu.or(defaults.mtu),
            static_macs: self.static_macs.unwrap_or_else(|| defaults.static_macs.clone()),
        }
    }
}

/// An import target as it is written.
fn import_target(text: &str) -> Option<ImportTarget> {
    match text.strip_prefix("*:") {
        Some(number) => number.parse().ok().map(|number| ImportTarget::AnyAs { number }),
        None if text == "auto" => Some(ImportTarget::Auto),
        None => text.parse().ok().map(ImportTarget::Exact),
    }
}

/// An export target as it is written.
fn export_target(text: &str) -> Option<ExportTarget> {
    if text == "auto" { Some(ExportTarget::Auto) } else { text.parse().ok().map(ExportTarget::Exact) }
}

/// A list of targets, each once.
fn targets<T: Ord>(section: &Section<'_>, key: &str, read: fn(&str) -> Option<T>, mistakes: &mut Mistakes) -> Option<Vec<T>> {
    let list = section.strings(key, "route targets", true, mistakes)?;
    let mut found = Vec::new();
    for text in list.get_ref() {
        match read(text.get_ref()) {
            Some(target) if !found.contains(&target) => found.push(target),
            Some(_) => {}
            None if key == "export" && text.get_ref().starts_with("*:") => mistakes.add(
                text.span(),
                format!("export = {:?} names no AS", text.get_ref()),
                "expected a whole route target",
                "\"*\" can only be imported: write the AS, as in \"65000:100\"",
            ),
            None => {
                let message = format!("{key} = {:?} is not {TARGET}", text.get_ref());
                mistakes.add(text.span(), message, format!("expected {TARGET}"), TARGET_HELP);
            }
        }
    }
    Some(found)
}

fn export_targets(section: &Section<'_>, mistakes: &mut Mistakes) -> Option<Vec<ExportTarget>> {
    let found = targets(section, "export", export_target, mistakes)?;
    if found.is_empty()
        && mistakes.is_empty()
        && let Some(span) = section.has("export")
    {
        mistakes.add(
            span,
            "routes without a route target are imported by nobody",
            "expected at least one route target",
            TARGET_HELP,
        );
    }
    Some(found)
}

fn static_macs(section: &Section<'_>, mistakes: &mut Mistakes) -> Option<Vec<MacAddr>> {
    let list = section.strings("static", "MAC addresses", false, mistakes)?;
    let mut found: Vec<MacAddr> = Vec::new();
    for text in list.get_ref() {
        let help = "write it like \"02:00:00:00:00:01\"";
        let Some(mac) = parsed::<MacAddr>("static", text, "a MAC address", help, mistakes) else { continue };
        if !mac.get_ref().is_station() {
            mistakes.add(
                mac.span(),
                format!("no host can own {}", mac.get_ref()),
                "expected a unicast MAC address",
                "zero, multicast and broadcast addresses are not announced",
            );
        } else if found.contains(mac.get_ref()) {
            mistakes.add(mac.span(), format!("static names {} twice", mac.get_ref()), "already in the list", "take one away");
        } else {
            found.push(mac.into_inner());
        }
    }
    Some(found)
}

fn flood(section: &Section<'_>, vtep: Option<IpAddr>, mistakes: &mut Mistakes) -> Option<Flood> {
    let group = section.parsed::<IpAddr>("group", "a multicast address", GROUP_HELP, mistakes);
    if let (Some(group), None) = (&group, section.has("flood")) {
        let help = "write flood = \"multicast\" beside it, or take it away";
        mistakes.add(group.span(), "a group without flood has no meaning", "expected flood = \"multicast\"", help);
        return None;
    }
    let text = section.string("flood", "how to flood", mistakes)?;
    match (*text.get_ref(), group) {
        (way @ ("ingress-replication" | "none"), Some(group)) => {
            let help = "take it away, or write flood = \"multicast\"";
            mistakes.add(group.span(), format!("with flood = {way:?} a group has no meaning"), "not used", help);
            None
        }
        ("ingress-replication", None) => Some(Flood::IngressReplication),
        ("none", None) => Some(Flood::None),
        ("multicast", Some(group)) => {
            let address = *group.get_ref();
            let fault = if !address.is_multicast() {
                format!("{address} is not a multicast address")
            } else if vtep.is_some_and(|vtep| vtep.is_ipv4() != address.is_ipv4()) {
                format!("group {address} is of another address family than the VTEP")
            } else {
                return Some(Flood::Multicast(address));
            };
            mistakes.add(group.span(), fault, "expected a multicast address of the VTEP's family", GROUP_HELP);
            None
        }
        ("multicast", None) => {
            if section.has("group").is_none() {
                mistakes.add(text.span(), "flood = \"multicast\" needs a group", "to which one?", GROUP_HELP);
            }
            None
        }
        (other, _) => {
            let message = format!("flood = {other:?} is no way to flood");
            let help = "\"ingress-replication\": a copy to each VTEP; \"none\": not at all; \"multicast\": to a group";
            mistakes.add(text.span(), message, "expected \"ingress-replication\", \"none\" or \"multicast\"", help);
            None
        }
    }
}

fn install(section: &Section<'_>, mistakes: &mut Mistakes) -> Option<Install> {
    let text = section.string("install", "when rows are written", mistakes)?;
    match *text.get_ref() {
        "always" => Some(Install::Always),
        "on-demand" => Some(Install::OnDemand),
        other => {
            let message = format!("install = {other:?} is no time to write rows");
            let help = "\"always\": when they are announced; \"on-demand\": when a frame for them comes";
            mistakes.add(text.span(), message, "expected \"always\" or \"on-demand\"", help);
            None
        }
    }
}

/// `true`, `false` or `"beside"`.
fn learning(section: &Section<'_>, mistakes: &mut Mistakes) -> Option<Learning> {
    if !section.is_string("learning") {
        let learns = section.boolean("learning", mistakes)?.into_inner();
        return Some(if learns { Learning::Alone } else { Learning::Off });
    }
    let text = section.string("learning", "how MACs are found", mistakes)?;
    if *text.get_ref() == "beside" {
        return Some(Learning::Beside);
    }
    let help = "true: by the kernel alone; false: by type 2 alone; \"beside\": by both, while other hosts have no EVPN yet";
    let message = format!("learning = {:?} is no way to find MACs", text.get_ref());
    mistakes.add(text.span(), message, "expected true, false or \"beside\"", help);
    None
}

/// Settings that exclude one another: the fault, what was expected, what to do.
fn exclusion(settings: &VniSettings, suppression: bool, bare: bool) -> Option<[&'static str; 3]> {
    let VniSettings { flood, learning, install, .. } = *settings;
    if bare && (flood != Flood::None || install != Install::Always) {
        return Some([
            "a device without a bridge serves known hosts only",
            "expected flood = \"none\" and install = \"always\" beside bridge = \"none\"",
            "write flood = \"none\" beside it, or name a bridge",
        ]);
    }
    if install == Install::OnDemand && flood != Flood::None {
        return Some([
            "with install = \"on-demand\" no row would ever be written",
            "the kernel floods what it has no row for, and tells nobody",
            "write flood = \"none\" beside it, or take install away",
        ]);
    }
    match (flood, learning, suppression) {
        (Flood::None, Learning::Alone | Learning::Beside, _) => Some([
            "with flood = \"none\" and learning no host is ever found",
            "nothing is flooded that others could learn from",
            "take learning away, so that MACs are announced; or flood",
        ]),
        (Flood::None, Learning::Off, false) => Some([
            "with flood = \"none\" and neighbor-suppression = false no host is ever found",
            "ARP and ND are neither flooded nor answered",
            "take neighbor-suppression away, so that they are answered here; or flood",
        ]),
        _ => None,
    }
}

/// Reads `[vni-defaults]`.
pub(super) fn defaults(
    section: Option<&Section<'_>>,
    vxlan: &Vxlan,
    vtep: Option<IpAddr>,
    mistakes: &mut Mistakes,
) -> VniSettings {
    let built_in = VniSettings {
        device: vxlan.device.clone(),
        bridge: vxlan.bridge.clone(),
        import: vec![ImportTarget::Auto],
        export: vec![ExportTarget::Auto],
        flood: Flood::IngressReplication,
        learning: Learning::Off,
        install: Install::Always,
        install_lifetime_secs: 300,
        neighbor_suppression: true,
        neighbor_learning: true,
        isolated_ports: false,
        probe_silent: true,
        announce_own: None,
        mtu: vxlan.mtu,
        static_macs: Vec::new(),
    };
    match section {
        Some(section) => Settings::read(section, vtep, mistakes).over(&built_in),
        None => built_in,
    }
}

/// The VNIs read so far and where they stand, so that what may be used once only is.
#[derive(Default)]
pub(super) struct Vnis {
    vnis: BTreeMap<Vni, VniConfig>,
    places: BTreeMap<Vni, Range<usize>>,
    names: BTreeMap<String, Vni>,
    rds: BTreeMap<Rd, Vni>,
    vtep: Option<IpAddr>,
}

impl Vnis {
    /// None yet, on a host with this VTEP.
    pub fn new(vtep: Option<IpAddr>) -> Self {
        Self { vtep, ..Self::default() }
    }

    /// The VNIs.
    pub fn into_inner(self) -> BTreeMap<Vni, VniConfig> {
        self.vnis
    }

    /// Reads one `[[vni]]`, which may stand for many VNIs.
    pub fn read(&mut self, section: &Section<'_>, defaults: &VniSettings, limits: &Limits, mistakes: &mut Mistakes) {
        let ids = self.ids(section, limits, mistakes);
        let settings = Settings::read(section, self.vtep, mistakes).over(defaults);
        if let Some([fault, expected, help]) = exclusion(&settings, settings.neighbor_suppression, settings.bridge == NO_BRIDGE) {
            let keys = ["bridge", "install", "learning", "neighbor-suppression", "flood"];
            let span = keys.iter().find_map(|key| section.has(key)).unwrap_or_else(|| section.span());
            mistakes.add(span, fault, expected, help);
        }
        let rd = section.parsed::<Rd>("rd", "a route distinguisher", RD_HELP, mistakes);
        let Some(ids) = ids else { return };
        if let (Some(rd), true) = (&rd, ids.get_ref().len() > 1) {
            mistakes.add(
                rd.span(),
                "one route distinguisher cannot serve several VNIs (RFC 7432 §7.9)",
                "must be unique",
                "leave rd out, or write a [[vni]] for each",
            );
            return;
        }
        // One complaint of a kind for a section: the second is the same mistake.
        for vni in ids.get_ref() {
            let place = ids.span();
            let Some(config) = self.named(section, *vni, &settings, rd.as_ref(), &place, mistakes) else { return };
            self.places.insert(*vni, place);
            self.vnis.insert(*vni, config);
        }
    }

    /// The VNI with its names; `None` after a complaint.
    fn named(
        &mut self,
        section: &Section<'_>,
        vni: Vni,
        settings: &VniSettings,
        rd: Option<&Spanned<Rd>>,
        place: &Range<usize>,
        mistakes: &mut Mistakes,
    ) -> Option<VniConfig> {
        if let Some(first) = self.places.get(&vni) {
            mistakes.add_pair(
                place.clone(),
                format!("VNI {vni} is given twice"),
                "given again",
                "take one of the two away",
                (first.clone(), "first given"),
            );
            return None;
        }
        let mut names = Vec::with_capacity(2);
        for (key, template) in [("device", &settings.device), ("bridge", &settings.bridge)] {
            let span = section.has(key).unwrap_or_else(|| place.clone());
            let name = match expand(template, vni) {
                Ok(name) => name,
                Err(fault) => {
                    mistakes.add(
                        span,
                        format!("VNI {vni} cannot have this {key}: {fault}"),
                        format!("with {key} = {template:?}"),
                        NAME_HELP,
                    );
                    return None;
                }
            };
            if key == "bridge" && name == NO_BRIDGE {
                names.push(name);
                continue;
            }
            if let Some(other) = self.names.insert(name.clone(), vni) {
                let first = self.places.get(&other).unwrap_or(place).clone();
                let message = format!("{key} {name:?} of VNI {vni} is also a device or bridge of VNI {other}");
                let help = format!("give each VNI its own: put {{vni}} into the name, as in {key} = \"{key}{{vni}}\"");
                mistakes.add_pair(span, message, "used twice", help, (first, "first used here"));
                return None;
            }
            names.push(name);
        }
        if let Some(rd) = rd
            && let Some(other) = self.rds.insert(*rd.get_ref(), vni)
        {
            let first = self.places.get(&other).unwrap_or(place).clone();
            let message = format!("VNI {vni} and VNI {other} have the same route distinguisher (RFC 7432 §7.9)");
            mistakes.add_pair(rd.span(), message, "must be unique", RD_HELP, (first, "first used here"));
            return None;
        }
        let bridge = names.pop()?;
        let device = names.pop()?;
        let settings = VniSettings { device, bridge, ..settings.clone() };
        Some(VniConfig { vni, rd: rd.map(|rd| *rd.get_ref()), existing: false, settings })
    }

    /// What `id` or `ids` names, in order.
    fn ids(&self, section: &Section<'_>, limits: &Limits, mistakes: &mut Mistakes) -> Option<Spanned<Vec<Vni>>> {
        let found = match (section.has("id"), section.has("ids")) {
            (Some(first), Some(second)) => {
                mistakes.add_pair(
                    second,
                    "a [[vni]] has an id or ids, not both",
                    "take one of them away",
                    "write ids = \"100-199,300\" for many",
                    (first, "the other one"),
                );
                return None;
            }
            (None, None) => {
                mistakes.add(
                    section.span(),
                    "this VNI has no id",
                    "expected id or ids in this section",
                    "write id = 100, or ids = \"100-199,300\"",
                );
                return None;
            }
            (Some(_), None) => {
                let id = section.integer("id", 1..=Vni::MAX, "a VNI", mistakes)?;
                Spanned::new(id.span(), vec![Vni::new(*id.get_ref())?])
            }
            (None, Some(_)) => {
                let text = section.string("ids", "ranges of VNIs", mistakes)?;
                let room = limits.vnis as usize;
                match ranges(text.get_ref(), room) {
                    Ok(ids) => Spanned::new(text.span(), ids),
                    Err(fault) => {
                        mistakes.add(
                            text.span(),
                            fault,
                            "expected VNIs and ranges of them",
                            "write it like ids = \"100-199,300\"",
                        );
                        return None;
                    }
                }
            }
        };
        if self.vnis.len() + found.get_ref().len() > limits.vnis as usize {
            mistakes.add(
                found.span(),
                "more VNIs than [limits] allows",
                format!("at most {}", limits.vnis),
                "raise vnis in [limits], up to 65535",
            );
            return None;
        }
        Some(found)
    }
}

/// Reads `100-199,300`; at most `room` VNIs. The error is a sentence.
fn ranges(text: &str, room: usize) -> Result<Vec<Vni>, String> {
    let mut found = Vec::new();
    for piece in text.split(',') {
        let piece = piece.trim();
        let (first, last) = piece.split_once('-').map_or((piece, piece), |(first, last)| (first.trim(), last.trim()));
        let read = |text: &str| text.parse::<Vni>().map_err(|error| format!("in ids: {error}"));
        let (first, last) = (read(first)?, read(last)?);
        if first > last {
            return Err(format!("the range {piece} is the wrong way round"));
        }
        if found.len() + (last.get() - first.get()) as usize >= room {
            return Err(format!("ids names more VNIs than [limits] allows ({room})"));
        }
        found.extend((first.get()..=last.get()).filter_map(Vni::new));
    }
    Ok(found)
}

/// The VNI that `evpnctl vni add` asks for, with the same defaults and checks as one of the file. `existing` are all VNIs
/// there are, those of the file and those added before.
///
/// # Errors
///
/// One sentence that says why it cannot be and what to do.
pub fn vni_at_run_time(config: &Config, existing: &BTreeMap<Vni, VniConfig>, add: &VniAdd) -> Result<VniConfig, String> {
    let vni = add.vni;
    if config.router.vtep.is_none() {
        return Err("this daemon has no VTEP: write vtep = \"…\" into [router] of its configuration and restart it".to_owned());
    }
    if existing.contains_key(&vni) {
        return Err(format!("VNI {vni} exists already"));
    }
    if existing.len() >= config.limits.vnis as usize {
        return Err(format!("there are {} VNIs already, as many as [limits] vnis allows", existing.len()));
    }
    let defaults = &config.vni_defaults;
    let name = |key: &str, given: &Option<String>, default: &str| {
        let name =
            expand(given.as_deref().unwrap_or(default), vni).map_err(|fault| format!("{key}: {fault}; expected {NAME_HELP}"))?;
        // Names are for what is made.
        let made = |other: &VniConfig| !add.existing && !other.existing;
        let taken = |other: &&VniConfig| made(other) && (other.settings.device == name || other.settings.bridge == name);
        match existing.values().filter(|_| key != "bridge" || name != NO_BRIDGE).find(taken) {
            Some(other) => Err(format!("{key} {name:?} belongs to VNI {} already", other.vni)),
            None => Ok(name),
        }
    };
    let device = name("device", &add.device, &defaults.device)?;
    let bridge = name("bridge", &add.bridge, &defaults.bridge)?;
    if device == bridge {
        return Err(format!("device and bridge cannot both be called {device:?}"));
    }
    let rd = match &add.rd {
        Some(text) => {
            Some(text.parse::<Rd>().map_err(|_| format!("rd {text:?} is not a route distinguisher, such as 10.0.0.1:100"))?)
        }
        None => None,
    };
    if let Some(other) = existing.values().find(|other| rd.is_some() && other.rd == rd) {
        return Err(format!("VNI {} has this route distinguisher already", other.vni));
    }
    let suppression = add.neighbor_suppression.unwrap_or(defaults.neighbor_suppression);
    if let Some([fault, _, help]) = exclusion(defaults, suppression, bridge == NO_BRIDGE) {
        return Err(format!("{fault}: {help}"));
    }
    let no_target = |text: &str| format!("{text:?} is not {TARGET}; {TARGET_HELP}");
    let import = match &add.import {
        Some(list) => list.iter().map(|text| import_target(text).ok_or_else(|| no_target(text))).collect::<Result<_, _>>()?,
        None => defaults.import.clone(),
    };
    let export: Vec<_> = match &add.export {
        Some(list) => list.iter().map(|text| export_target(text).ok_or_else(|| no_target(text))).collect::<Result<_, _>>()?,
        None => defaults.export.clone(),
    };
    if export.is_empty() {
        return Err("routes without a route target are imported by nobody: name at least one to export".to_owned());
    }
    if let Some(mtu) = add.mtu.filter(|mtu| !super::router::MTU.contains(mtu)) {
        return Err(format!(
            "an MTU of {mtu} is out of bounds; expected {} to {} octets",
            super::router::MTU.start(),
            super::router::MTU.end()
        ));
    }
    let flood = match add.group {
        Some(group) if !group.is_multicast() => return Err(format!("{group} is not a multicast address")),
        Some(group) if config.router.vtep.is_some_and(|vtep| vtep.is_ipv4() != group.is_ipv4()) => {
            return Err(format!("group {group} is of another address family than the VTEP"));
        }
        Some(group) => Flood::Multicast(group),
        None => defaults.flood,
    };
    let settings = VniSettings {
        device,
        bridge,
        import,
        export,
        flood,
        neighbor_suppression: suppression,
        mtu: add.mtu.or(defaults.mtu),
        ..defaults.clone()
    };
    Ok(VniConfig { vni, rd, existing: add.existing, settings })
}
