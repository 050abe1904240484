//! VNIs that the daemon runs for others than the configuration file: a hook, somebody by hand, `adopt = "all"`. They are not converted,
//! and what the file has of them as well is not given back.

use evpnd::base::Vni;
use evpnd::control::{HELD_BY_HAND, HELD_BY_RULE};

use super::plan::{Goal, Here, Plan, Tunnel, list};

/// Who holds a VNI, and how each lets go of it.
pub(super) fn by(here: &Here, vni: Vni, device: &str) -> String {
    let how = |who: &String| match who.as_str() {
        HELD_BY_RULE => format!("{who} (ignore-devices = [{device:?}] in [vxlan] of the file, and evpnctl reload)"),
        HELD_BY_HAND => format!("{who} (evpnctl vni del {vni})"),
        _ => format!("{who} (evpnctl vni del {vni} --for {who})"),
    };
    list(here.holders.iter().map(how))
}

/// What others than the file hold stays as it is: how its device was before, nobody has seen.
pub(super) fn leave(plan: &mut Plan, goal: Goal, tunnel: &Tunnel, here: &Here) {
    let holders = by(here, plan.vni, &plan.device);
    let rest = tunnel.group.is_some() && !here.made || !tunnel.flood.is_empty() || super::fixed::any(tunnel);
    if goal == Goal::Undo && plan.entry.is_some() {
        plan.refusals.push(format!("the daemon runs it for {holders}: as long as it does, the device cannot be given back"));
    } else if goal != Goal::Undo && rest {
        // A device with a group runs beside that, where `[vni-defaults]` say nothing else.
        let way = if tunnel.group.is_some() { "beside its group, or as EVPN alone" } else { "as EVPN alone already" };
        plan.refusals.push(format!(
            "the daemon runs it {way}, for {holders}: a way that this command takes begins where nobody holds it; \
             what the device still has of before (evpnctl show vnis {}) goes where it is made",
            plan.vni
        ));
    } else {
        plan.notes.push(format!("the daemon runs it for {holders}"));
    }
}
