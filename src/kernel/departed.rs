//! What becomes of a VNI whose VXLAN device somebody removed. One of ours is made again at once. One that its platform made may be made
//! again by it this moment (`ifreload`, a restart of the network, a hook), under a name of its own: as long as that may be, none is made,
//! for the kernel lets a VNI have one device, and whoever comes second gets none. What is made in the end goes into the bridge where the
//! guests are, and not into a new one.

use std::borrow::Cow;
use std::time::Instant;

use super::devices::{Circumstances, Refusal};
use super::links::{Link, LinkKind, Links, VxlanInfo};
use super::manage::Managed;
use super::worker::{Worker, now};
use crate::fib::{DeviceSpec, StoodDevice};

/// So many ports of a bridge are named.
const NAMED: usize = 3;

/// Somebody's device that is gone, and may be being made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Awaited {
    /// Its name.
    pub device: String,
    /// It stood in an earlier run, and not in this one.
    pub of_before: bool,
}

/// Why there is no device, and what will be done about it.
pub(super) fn refusal(spec: &DeviceSpec, awaited: &Awaited, links: &Links, known: &Circumstances) -> Refusal {
    let Awaited { device, of_before } = awaited;
    let (spec, secs) = (&*at_home(spec, links, known), spec.make_after.as_secs());
    let bridge = links.named(&spec.bridge).filter(|_| !spec.bare);
    let guests: Vec<&str> = bridge.into_iter().flat_map(|bridge| ports(bridge, links)).collect();
    let named = guests[..guests.len().min(NAMED)].join(", ");
    let cut_off = match guests.len().saturating_sub(NAMED) {
        _ if guests.is_empty() => String::new(),
        0 => format!("; bridge {} ({named}) has no tunnel", spec.bridge),
        more => format!("; bridge {} ({named} and {more} more) has no tunnel", spec.bridge),
    };
    let place = if spec.bare { String::new() } else { format!(" in {}", spec.bridge) };
    let (went, from) = if *of_before { ("is there no more", "from its start") } else { ("was removed", "after it went") };
    Refusal {
        reason: format!("{device}, which evpnd did not make, {went}{cut_off}"),
        remedy: format!("have it made again as it was made before; {secs} s {from} evpnd makes {}{place}", spec.device),
    }
}

/// The ports of a bridge that are no tunnels, by name.
fn ports<'a>(bridge: &Link, links: &'a Links) -> impl Iterator<Item = &'a str> {
    let others = links.members(bridge.ifindex).filter(|link| !matches!(link.kind, LinkKind::Vxlan(_)));
    others.map(|link| link.name.as_str())
}

/// What is wanted, in the bridge that the last device worked in: not where that is gone, has another tunnel by now, or has no ports while
/// the one that is wanted has some.
pub(super) fn at_home<'a>(spec: &'a DeviceSpec, links: &Links, known: &Circumstances) -> Cow<'a, DeviceSpec> {
    let is_bridge = |link: &&Link| matches!(link.kind, LinkKind::Bridge { .. });
    let home = known.home.as_ref().filter(|_| !spec.bare).and_then(|(ifindex, name)| {
        // Made again as well it has another number.
        links.link(*ifindex).filter(is_bridge).or_else(|| links.named(name).filter(is_bridge))
    });
    let has_ports = |bridge: &Link| ports(bridge, links).next().is_some();
    let other = |link: &Link| matches!(&link.kind, LinkKind::Vxlan(info) if info.vni != Some(spec.vni));
    let fits = |bridge: &&Link| {
        let empty = !has_ports(bridge) && links.named(&spec.bridge).is_some_and(has_ports);
        bridge.name != spec.bridge && !empty && !links.members(bridge.ifindex).any(other)
    };
    match home.filter(fits) {
        Some(bridge) => Cow::Owned(DeviceSpec { bridge: bridge.name.clone(), ..spec.clone() }),
        None => Cow::Borrowed(spec),
    }
}

impl Managed {
    /// Until when whoever had made the removed device is given time to make it again. Nobody is waited for once that is over, or where
    /// the VNI has a device (`there`).
    pub(super) fn awaits(&mut self, there: bool, now: Instant) -> Option<Instant> {
        let until = self.awaited_until.filter(|until| !there && *until > now);
        if until.is_none() {
            (self.awaited_until, self.known.awaited) = (None, None);
        }
        until
    }

    fn await_device(&mut self, awaited: Awaited, since: Instant) {
        if !self.spec.existing {
            self.known.awaited = Some(awaited);
            self.awaited_until = Some(since + self.spec.make_after);
        }
    }

    /// The VNI is new to this run, which began at `start`. An earlier one worked with somebody's device: a boot, or a network that is
    /// restarted, may not have come to it yet. Where it stands nobody is waited for.
    pub(super) fn await_device_of_before(&mut self, stood: StoodDevice, start: Instant) {
        // Its name is not known yet: made again meanwhile as well it is not found.
        self.known.home = stood.bridge_ifindex.map(|bridge| (bridge, String::new()));
        self.await_device(Awaited { device: stood.device, of_before: true }, start);
    }
}

impl Worker {
    /// An interface changed, or is not there any more: was it somebody else's, and the only device of a wanted VNI?
    pub(super) fn note_departure(&mut self, link: &Link) {
        let LinkKind::Vxlan(VxlanInfo { vni: Some(vni), .. }) = link.kind else { return };
        if link.made || self.links.link(link.ifindex).is_some() || self.links.vxlans(vni).next().is_some() {
            return;
        }
        let Some(managed) = self.managed.get_mut(&vni) else { return };
        managed.begin_anew();
        managed.await_device(Awaited { device: link.name.clone(), of_before: false }, now());
    }
}
