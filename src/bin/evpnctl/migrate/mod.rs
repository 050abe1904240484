//! `evpnctl migrate`: the way off multicast, off static lists, rows and neighbours and off FRR, device by device and in place
//! (docs/platforms/migration.md). Read `plan` first: it says what is done and why in this order; `facts` looks, `apply` does,
//! `block` writes the configuration, `record` keeps how it was, `frr` ends FRR where `underlay` does not mind,
//! `held` says what others than the file have,
//! `fixed` what becomes of rows and neighbours that somebody wrote by hand.

mod apply;
mod block;
mod facts;
mod fixed;
mod frr;
mod held;
mod plan;
mod record;
mod step;
#[cfg(test)]
mod tests;
mod underlay;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::process::ExitCode;

use evpnd::base::Vni;
use evpnd::config::NO_BRIDGE;
use serde_json::{Value, json};

use crate::arguments::{Cli, Migrate};
use crate::daemon::{Daemon, Failure};
use crate::requests::usage;
use facts::{Facts, Trouble};
use plan::{Goal, Plan, Stage, Way};
use record::Lock;

/// Shows, and with `--apply` does. Exit codes as everywhere: 1 where something that was asked for is refused or failed.
pub(crate) fn run(cli: &Cli, what: &Migrate) -> ExitCode {
    if what.apply && !what.stop_frr && what.vnis.is_empty() && !what.all {
        usage("say what is to be converted: --vni N, or --all");
    }
    let done = Daemon::connect(cli, None).map_err(Trouble::from).and_then(|mut daemon| {
        facts::check_file(&what.config, &mut daemon)?;
        let _lock = what.apply.then(|| lock(what)).transpose()?;
        if what.stop_frr { frr::stop(cli.json, what, &mut daemon) } else { convert(cli.json, what, &mut daemon) }
    });
    let (code, why) = match done {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => return ExitCode::from(1),
        Err(Trouble::Words(why)) => (1, why),
        Err(Trouble::Daemon(Failure::Daemon(why))) => (3, why),
        Err(Trouble::Daemon(Failure::Output(error))) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
        Err(Trouble::Daemon(Failure::Output(error))) => (1, format!("cannot write: {error}")),
    };
    let _ = writeln!(io::stderr(), "evpnctl: {}", why.trim_end());
    ExitCode::from(code)
}

/// What is changed is changed by one run at a time.
fn lock(what: &Migrate) -> Result<Lock, String> {
    // SAFETY: asks for a number.
    if unsafe { libc::geteuid() } != 0 {
        return Err("changing devices and the configuration needs root".to_owned());
    }
    Lock::take(&facts::configuration(&what.config)?.1.router.state_directory)
}

/// A device that is left alone, and why.
type Skipped = (String, String);

fn convert(json: bool, what: &Migrate, daemon: &mut Daemon) -> Result<bool, Trouble> {
    let facts = Facts::gather(what, daemon)?;
    let (plans, skipped) = plans(what, &facts);
    if !what.apply {
        tell(json, what, &facts, &plans, &skipped, None)?;
        let missing = what.vnis.iter().any(|vni| skipped_vni(*vni, &plans));
        // Without a word of what is to be done it is a look at what is there.
        let asked = what.dry_run || what.all || what.finish || what.undo || !what.vnis.is_empty();
        let refused = plans.iter().any(|plan| !plan.refusals.is_empty());
        return Ok(!(missing || asked && refused));
    }
    if !json && plans.is_empty() && skipped.is_empty() {
        let _ = writeln!(io::stdout(), "{NO_DEVICE}");
    }
    let outcome = apply::apply(json, what, facts, &plans, daemon)?;
    let refused = plans.iter().any(|plan| !plan.refusals.is_empty()) || what.vnis.iter().any(|vni| skipped_vni(*vni, &plans));
    if json {
        tell(json, what, &Facts::gather(what, daemon)?, &plans, &skipped, Some(&outcome))?;
    } else {
        let mut err = io::stderr().lock();
        for plan in &plans {
            for why in &plan.refusals {
                let _ = writeln!(err, "evpnctl: VNI {} is left as it is: {why}", plan.vni);
            }
        }
        for (name, why) in &skipped {
            let _ = writeln!(err, "evpnctl: {name} is left as it is: {why}");
        }
    }
    Ok(outcome.is_empty() && !refused)
}

const NO_DEVICE: &str = "this host has no VXLAN device";

fn skipped_vni(vni: Vni, plans: &[Plan]) -> bool {
    !plans.iter().any(|plan| plan.vni == vni)
}

/// A plan for each device that is asked for, and what is left alone.
fn plans(what: &Migrate, facts: &Facts) -> (Vec<Plan>, Vec<Skipped>) {
    let (mut plans, mut skipped) = (Vec::new(), Vec::new());
    let asked = |vni: Option<Vni>| what.vnis.is_empty() || vni.is_some_and(|vni| what.vnis.contains(&vni));
    let mut count: BTreeMap<Vni, usize> = BTreeMap::new();
    for vni in facts.tunnels.iter().filter_map(|tunnel| tunnel.vni) {
        *count.entry(vni).or_default() += 1;
    }
    for tunnel in facts.tunnels.iter().filter(|tunnel| asked(tunnel.vni) && !tunnel.name.starts_with(apply::HELPER)) {
        let bare = tunnel.vni.is_some_and(|vni| {
            let was = facts.record.vnis.get(&vni).is_some_and(|entry| entry.before.bare);
            was || facts.here(vni, &tunnel.name).bare
        });
        let why = plan::why_not(tunnel, bare).or_else(|| {
            let twice = tunnel.vni.is_some_and(|vni| count[&vni] > 1);
            twice.then(|| "another device has the same VNI: keep one".to_owned())
        });
        let (None, Some(vni)) = (&why, tunnel.vni) else {
            skipped.push((tunnel.name.clone(), why.unwrap_or_default()));
            continue;
        };
        let (here, entry) = (facts.here(vni, &tunnel.name), facts.record.vnis.get(&vni));
        if what.undo && what.vnis.is_empty() && plan::is_foreign(&here, entry) {
            skipped.push((tunnel.name.clone(), "it was not converted by evpnctl migrate".to_owned()));
            continue;
        }
        let next = match plan::stage(tunnel, &here, entry) {
            // What would come next is shown; it is done when it is asked for.
            Stage::Beside | Stage::Unfinished if !what.apply => Goal::Finish,
            _ => Goal::Begin,
        };
        let goal = match (what.finish, what.undo) {
            (true, _) => Goal::Finish,
            (_, true) => Goal::Undo,
            _ => next,
        };
        plans.push(plan::plan((goal, what.force), vni, tunnel, &here, &facts.fabric, entry));
    }
    for vni in what.vnis.iter().filter(|vni| !facts.tunnels.iter().any(|tunnel| tunnel.vni == Some(**vni))) {
        skipped.push((format!("VNI {vni}"), "this host has no VXLAN device of it (ip -d link show type vxlan)".to_owned()));
    }
    plans.sort_by_key(|plan| plan.vni);
    share_groups(&mut plans, facts);
    (plans, skipped)
}

/// One group for many VNIs: the host is in it until the last has left it.
fn share_groups(plans: &mut [Plan], facts: &Facts) {
    let leaving: BTreeSet<Vni> =
        plans.iter().filter(|plan| plan.pauses().1 && plan.refusals.is_empty()).map(|plan| plan.vni).collect();
    for plan in plans.iter_mut().filter(|plan| leaving.contains(&plan.vni)) {
        let own = facts.tunnels.iter().find(|tunnel| tunnel.name == plan.device);
        let Some((group, underlay)) = own.map(|own| (own.group, &own.underlay)) else { continue };
        let same = |tunnel: &&plan::Tunnel| {
            let others = tunnel.vni.is_some_and(|vni| !leaving.contains(&vni)) && !tunnel.name.starts_with(apply::HELPER);
            others && tunnel.group == group && tunnel.underlay == *underlay
        };
        let others: Vec<String> =
            facts.tunnels.iter().filter(same).filter_map(|tunnel| tunnel.vni).map(|vni| vni.to_string()).collect();
        if let (Some(group), false) = (group, others.is_empty()) {
            plan.notes.push(format!(
                "VNI {} on this host floods to {group} as well, which keeps the host in it: what others still send there comes \
                 twice until that is finished, too",
                others.join(", ")
            ));
        }
    }
}

/// The lines of a plan, in the order in which they are done.
fn steps(plan: &Plan, wait: u64, path: &str) -> Vec<String> {
    let pause = format!("wait {wait} s for the other hosts to hear of it");
    let (first, last) = plan.pauses();
    let mut out: Vec<String> = plan.first.iter().map(ToString::to_string).collect();
    out.extend(first.then(|| pause.clone()));
    out.extend(plan.second.iter().map(ToString::to_string));
    out.extend(plan.way.map(|way| match way {
        Some(way) => format!("{path}: VNI {}: {}; evpnctl reload", plan.vni, plan::keys(way)),
        None => format!("{path}: VNI {} leaves it; evpnctl reload", plan.vni),
    }));
    out.extend(plan.third.iter().map(ToString::to_string));
    out.extend(last.then_some(pause));
    out.extend(plan.last.iter().map(ToString::to_string));
    out
}

fn tell(
    json: bool,
    what: &Migrate,
    facts: &Facts,
    plans: &[Plan],
    skipped: &[Skipped],
    outcome: Option<&BTreeMap<Vni, String>>,
) -> Result<(), Trouble> {
    let path = facts.path.display().to_string();
    let mut out = io::stdout().lock();
    let written = if json {
        let vnis: Vec<Value> = plans.iter().map(|plan| item(plan, what.wait, &path, outcome)).collect();
        let left: Vec<Value> = skipped.iter().map(|(name, why)| json!({"what": name, "why": why})).collect();
        writeln!(out, "{}", json!({"applied": outcome.is_some(), "vnis": vnis, "left_alone": left}))
    } else {
        let mut text = String::new();
        for plan in plans {
            text.push_str(&words(plan, what, &path));
        }
        for (name, why) in skipped {
            text.push_str(&format!("{name} is left alone: {why}\n"));
        }
        if plans.is_empty() && skipped.is_empty() {
            text.push_str(&format!("{NO_DEVICE}\n"));
        }
        let rivals: Vec<String> = crate::doctor::facts::rivals().into_iter().filter(|name| name == "zebra").collect();
        if !rivals.is_empty() {
            text.push_str("FRR (zebra) runs on this host: once evpnd has taken over, evpnctl migrate --stop-frr ends it\n");
        }
        if plans.iter().any(|plan| !plan.is_empty() && plan.refusals.is_empty()) {
            text.push_str("nothing was changed: --apply with --vni N or --all does it\n");
        }
        out.write_all(text.as_bytes())
    };
    written.map_err(|error| Trouble::Daemon(Failure::Output(error)))
}

fn words(plan: &Plan, what: &Migrate, path: &str) -> String {
    let where_it_is = match plan.stage {
        Stage::Untouched => "as it was before EVPN",
        Stage::Beside => "beside EVPN",
        Stage::Unfinished => "EVPN, not finished",
        Stage::Converted => "EVPN",
        Stage::Held => "EVPN, and not by the file",
        Stage::Other => "configured in another way",
    };
    let bridge = if plan.bridge == NO_BRIDGE { "no bridge" } else { &plan.bridge };
    let mut text = format!("VNI {}: {} in {bridge}: {where_it_is}\n    now:  {}\n", plan.vni, plan.device, plan.now);
    if plan.is_empty() && plan.refusals.is_empty() {
        text.push_str("    nothing to do\n");
        plan.notes.iter().for_each(|note| text.push_str(&format!("    note: {note}\n")));
        return text;
    }
    if !plan.then.is_empty() {
        text.push_str(&format!("    then: {}\n", plan.then));
    }
    let option = match (plan.stage, what.undo) {
        (Stage::Beside | Stage::Unfinished, false) if !what.finish => " (with --finish)",
        _ => "",
    };
    for (number, step) in (1..).zip(steps(plan, what.wait, path)) {
        text.push_str(&format!("    {number}. {step}{}\n", if number == 1 { option } else { "" }));
    }
    for note in &plan.notes {
        text.push_str(&format!("    note: {note}\n"));
    }
    for why in &plan.refusals {
        text.push_str(&format!("    not now: {why}\n"));
    }
    text
}

fn item(plan: &Plan, wait: u64, path: &str, outcome: Option<&BTreeMap<Vni, String>>) -> Value {
    let way = |way: Option<Way>| match way {
        Some(Way::BesideGroup(_)) => "beside_group",
        Some(Way::BesideList) => "beside_list",
        Some(Way::Proper) => "evpn",
        Some(Way::Known) => "evpn_known_hosts",
        None => "as_before",
    };
    json!({
        "vni": plan.vni,
        "device": plan.device,
        "bridge": plan.bridge,
        "stage": plan.stage.name(),
        "now": plan.now,
        "next": plan.way.map(way),
        "steps": steps(plan, wait, path),
        "notes": plan.notes,
        "refusals": plan.refusals,
        "error": outcome.and_then(|outcome| outcome.get(&plan.vni)),
    })
}
