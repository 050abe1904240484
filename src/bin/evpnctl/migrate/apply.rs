//! Carries plans out, for all VNIs together: each part of all plans, then the next, so that the configuration is written once and the
//! others are given time once. What fails ends its own VNI; the rest goes on. Read `plan` first.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use evpnd::base::Vni;
use evpnd::control::{DiffView, MAX_PAGE, Reply, Request, VniView};
use evpnd::fib::Status;

use super::block::{self, Block};
use super::facts::{Facts, Trouble, read_rows};
use super::plan::{Plan, Stage, Tunnel};
use super::record::{Record, write_whole};
use super::step::{Membership, Step};
use crate::arguments::Migrate;
use crate::daemon::{Daemon, Failure};
use crate::hooks::{deadline, is_over};

/// How the devices begin that join and leave groups for others.
pub(super) const HELPER: &str = "evpnd-grp";
/// The highest number of one that is looked at.
const MOST: u32 = 9999;
/// How long the daemon may take for its part.
const PATIENCE: Duration = Duration::from_secs(60);

/// Rows that the daemon does not remove for so long are nobody's.
const ORPHANED: Duration = Duration::from_secs(2);

/// What failed, by VNI.
type Failures = BTreeMap<Vni, String>;

struct Run<'a> {
    plans: Vec<&'a Plan>,
    failed: Failures,
    /// VNIs that are in use on this host: a helper has another.
    used: BTreeSet<Vni>,
    /// Nothing is told meanwhile.
    quiet: bool,
}

/// Does what the plans say. What failed.
pub(super) fn apply(quiet: bool, what: &Migrate, facts: Facts, plans: &[Plan], daemon: &mut Daemon) -> Result<Failures, Trouble> {
    let chosen: Vec<&Plan> = plans.iter().filter(|plan| plan.refusals.is_empty() && !plan.is_empty()).collect();
    let used = facts.tunnels.iter().filter_map(|tunnel| tunnel.vni).collect();
    let mut run = Run { plans: chosen, failed: Failures::new(), used, quiet };
    let Facts { path, text, config, mut record, tunnels, vnis, .. } = facts;
    // In the file and not with the daemon: an interrupted run did not come to the reload.
    let unknown = |plan: &&Plan| config.vnis.contains_key(&plan.vni) && !vnis.iter().any(|view| view.vni == plan.vni);
    let idle: Vec<Vni> = plans.iter().filter(|plan| plan.is_empty()).filter(unknown).map(|plan| plan.vni).collect();
    let directory = &config.router.state_directory;
    for plan in &run.plans {
        keep(&mut record, plan.vni, plan.entry.as_ref());
    }
    record.save(directory)?;
    // Of a run that was interrupted: until the end, for they may be all that keeps this host in a group that others flood to.
    let left: Vec<&Tunnel> = tunnels.iter().filter(|tunnel| tunnel.name.starts_with(HELPER)).collect();
    let memberships =
        run.memberships(left.iter().map(|helper| number_of(&helper.name).saturating_add(1)).max().unwrap_or_default());
    run.all(|plan| &plan.first, &memberships);
    if run.plans.iter().any(|plan| plan.pauses().0) {
        run.pause(what.wait);
    }
    run.all(|plan| &plan.second, &memberships);
    // Also where nothing is to be written: an interrupted run may not have come to the reload.
    if run.plans.iter().any(|plan| !plan.third.is_empty() || plan.way.is_some()) || !idle.is_empty() {
        let written = run.configure(&path, &text, &config, daemon)?;
        run.wait(daemon, &path, &written, &mut record)?;
        run.wait_for_idle(daemon, &idle)?;
    }
    run.all(|plan| &plan.third, &memberships);
    if run.alive().any(|plan| plan.pauses().1) {
        run.pause(what.wait);
    }
    run.all(|plan| &plan.last, &memberships);
    for plan in run.alive() {
        keep(&mut record, plan.vni, plan.entry_after.as_ref());
        run.say(&format!("VNI {}: done: {}", plan.vni, plan.then));
    }
    record.save(directory)?;
    let needed = |group| record.vnis.values().any(|entry| entry.leaving && entry.before.group == group);
    for Tunnel { name, .. } in left.iter().filter(|helper| !needed(helper.group)) {
        // The last that is up with its group has the socket leave that when it is set down (`vxlan_group_used`).
        let _ = ip(&format!("link set {name} down")).and_then(|()| ip(&format!("link del {name}")));
    }
    for (vni, why) in run.failed.iter().filter(|_| !quiet) {
        let again = "what was done before it stands; asked for again, it goes on from there, and --undo takes it back";
        let _ = writeln!(io::stderr(), "evpnctl: VNI {vni}: {why}; {again}");
    }
    if !quiet && run.plans.is_empty() && idle.is_empty() && !plans.is_empty() && plans.iter().all(|plan| plan.refusals.is_empty())
    {
        let more = plans.iter().any(|plan| matches!(plan.stage, Stage::Beside | Stage::Unfinished)) && !what.finish && !what.undo;
        println(&format!("nothing to do{}", if more { "; --finish is the last step" } else { "" }));
    }
    Ok(run.failed)
}

fn keep(record: &mut Record, vni: Vni, entry: Option<&super::record::Entry>) {
    match entry {
        Some(entry) => record.vnis.insert(vni, entry.clone()),
        None => record.vnis.remove(&vni),
    };
}

fn println(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

impl Run<'_> {
    fn alive(&self) -> impl Iterator<Item = &&Plan> {
        self.plans.iter().filter(|plan| !self.failed.contains_key(&plan.vni))
    }

    fn say(&self, line: &str) {
        if !self.quiet {
            println(line);
        }
    }

    fn pause(&self, secs: u64) {
        self.say(&format!("waiting {secs} s for the other hosts to hear of it"));
        sleep(Duration::from_secs(secs));
    }

    /// Every group, with the number of its helper: many VNIs may share one.
    fn memberships(&self, first: u32) -> BTreeMap<Membership, u32> {
        let steps = self.plans.iter().flat_map(|plan| plan.first.iter().chain(&plan.last));
        let all: BTreeSet<Membership> = steps
            .filter_map(|step| match step {
                Step::Join(membership) | Step::Release(membership) | Step::Leave(membership) => Some(membership.clone()),
                _ => None,
            })
            .collect();
        all.into_iter().zip(first..).collect()
    }

    /// One part of every plan. Groups are joined and left once.
    fn all(&mut self, part: impl for<'p> Fn(&'p Plan) -> &'p Vec<Step>, memberships: &BTreeMap<Membership, u32>) {
        let mut taken: BTreeSet<(u32, bool)> = BTreeSet::new();
        for plan in self.plans.clone() {
            for step in part(plan) {
                if self.failed.contains_key(&plan.vni) {
                    break;
                }
                let shared = match step {
                    Step::Join(membership) => Some((memberships[membership], true)),
                    Step::Release(membership) | Step::Leave(membership) => Some((memberships[membership], false)),
                    _ => None,
                };
                if shared.is_some_and(|shared| !taken.insert(shared)) {
                    continue;
                }
                self.say(&format!("VNI {}: {step}", plan.vni));
                if let Err(why) = self.take(step, memberships) {
                    self.failed.insert(plan.vni, format!("{step}: {why}"));
                }
            }
        }
    }

    fn take(&self, step: &Step, memberships: &BTreeMap<Membership, u32>) -> Result<(), String> {
        let name = |membership: &Membership| format!("{HELPER}{}", memberships[membership]);
        match step {
            Step::Ip(words) => ip(words),
            Step::Bridge(lines) => batch("bridge", lines, false),
            Step::BridgeMaybe(lines) => batch("bridge", lines, true),
            Step::IpLines(lines) => batch("ip", lines, false),
            Step::IpMaybe(lines) => batch("ip", lines, true),
            Step::Join(membership) => self.join(&name(membership), membership),
            Step::Release(membership) => ip(&format!("link del {}", name(membership))),
            Step::Leave(membership) => {
                let name = name(membership);
                // An earlier run was interrupted before: what it made is gone.
                if ip(&format!("link show dev {name}")).is_err() {
                    self.join(&name, membership)?;
                }
                // It was the last that was up with this group: with it the socket leaves (`vxlan_group_used`).
                ip(&format!("link set {name} down")).and_then(|()| ip(&format!("link del {name}")))
            }
        }
    }

    /// A device of its own, whose socket is that of every device with this port and these flags (`vxlan_find_sock`).
    fn join(&self, name: &str, membership: &Membership) -> Result<(), String> {
        let Membership { group, underlay, port, zero_checksums } = membership;
        let _ = ip(&format!("link del {name}"));
        let vni = (1..=Vni::MAX).rev().filter_map(Vni::new).find(|vni| !self.used.contains(vni));
        let vni = vni.ok_or("every VNI is in use on this host")?.get() - number_of(name);
        let flag = if *zero_checksums { " udp6zerocsumrx" } else { "" };
        ip(&format!("link add {name} type vxlan id {vni} group {group} dev {underlay} dstport {port}{flag}"))?;
        ip(&format!("link set {name} up"))
    }

    /// Writes the ways into the file and has them applied. The VNIs that changed.
    fn configure(
        &mut self,
        path: &Path,
        text: &str,
        config: &evpnd::config::Config,
        daemon: &mut Daemon,
    ) -> Result<Vec<Vni>, Trouble> {
        let (mut block, mut changed) = (Block::read(text), Vec::new());
        for plan in self.alive() {
            let Some(way) = plan.way else { continue };
            changed.push(plan.vni);
            match way {
                Some(way) => block.set(plan.vni, block::lines(config, plan.vni, way, &plan.device, &plan.bridge)),
                None => block.remove(plan.vni),
            }
        }
        if !changed.is_empty() {
            self.say(&format!("{}: VNI {}; evpnctl reload", path.display(), numbers(&changed)));
            self.write(path, &block.write(text), text, daemon)?;
        } else {
            reload(daemon)?;
        }
        Ok(changed)
    }

    /// Puts a text in the file's place and has it applied; where that is refused, the old one is back.
    fn write(&self, path: &Path, text: &str, old: &str, daemon: &mut Daemon) -> Result<(), Trouble> {
        evpnd::config::parse(&path.display().to_string(), text)
            .map_err(|error| format!("the configuration would be wrong, and is left as it is:\n{error}"))?;
        write_whole(path, text)?;
        if let Err(why) = reload(daemon) {
            if let Trouble::Words(_) = why {
                write_whole(path, old)?;
            }
            return Err(why);
        }
        Ok(())
    }

    /// Waits for VNIs that the daemon had not read yet, and with which nothing else is to be done.
    fn wait_for_idle(&mut self, daemon: &mut Daemon, idle: &[Vni]) -> Result<(), Trouble> {
        let end = deadline(PATIENCE);
        for vni in idle {
            self.say(&format!("VNI {vni}: evpnctl reload: the daemon had not read it"));
            if let Err((why, _)) = wait_until_in_step(daemon, *vni, end)? {
                self.failed.insert(*vni, why);
            }
        }
        Ok(())
    }

    /// Waits until the daemon has done its part for each VNI. One whose device it refuses leaves the file again where it had just come.
    fn wait(&mut self, daemon: &mut Daemon, path: &Path, written: &[Vni], record: &mut Record) -> Result<(), Trouble> {
        let end = deadline(PATIENCE);
        let mut refused = Vec::new();
        for plan in self.plans.clone() {
            if self.failed.contains_key(&plan.vni) {
                continue;
            }
            let done = match plan.lets_go() {
                true => wait_until_let_go(daemon, plan, end)?,
                false => wait_until_in_step(daemon, plan.vni, end)?,
            };
            let Err((why, unusable)) = done else { continue };
            // Looked at for the first time and refused: it stays as it was.
            let new = unusable && plan.stage == Stage::Untouched && written.contains(&plan.vni);
            if new {
                refused.push(plan.vni);
            }
            self.failed.insert(plan.vni, why + if new { " (it has left the configuration again)" } else { "" });
        }
        if !refused.is_empty() {
            let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            let mut block = Block::read(&text);
            for vni in refused {
                block.remove(vni);
                record.vnis.remove(&vni);
            }
            self.write(path, &block.write(&text), &text, daemon)?;
        }
        Ok(())
    }
}

/// A helper's number. The helpers of one run have VNIs of their own by it.
fn number_of(name: &str) -> u32 {
    name.trim_start_matches(HELPER).parse::<u32>().unwrap_or_default().min(MOST)
}

fn numbers(vnis: &[Vni]) -> String {
    vnis.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn reload(daemon: &mut Daemon) -> Result<(), Trouble> {
    match daemon.ask(&Request::Reload {})? {
        Reply::Refused { message } | Reply::NotFound { message } => {
            Err(Trouble::Words(format!("the daemon refuses the configuration, which is as it was again: {message}")))
        }
        _ => Ok(()),
    }
}

/// Not in step: why, and whether it never will be.
type Late = Result<(), (String, bool)>;

/// Waits until the daemon has its device and the kernel holds what it wants.
fn wait_until_in_step(daemon: &mut Daemon, vni: Vni, end: std::time::Instant) -> Result<Late, Failure> {
    loop {
        let view = match daemon.ask(&Request::ShowVnis { vni: Some(vni), after: None, limit: None })? {
            Reply::Vnis(page) => page.items.into_iter().next(),
            _ => None,
        };
        let why = match view {
            None => "the daemon does not know it: is --config the file that it reads?".to_owned(),
            Some(view) if view.state == "ready" || view.state == "down" => {
                let differs = |reply| match reply {
                    Reply::Diff(page) => page.items.iter().filter(|item| item.vni == vni && is_late(item)).count(),
                    _ => 0,
                };
                match differs(daemon.ask(&Request::Diff { after: None, limit: Some(MAX_PAGE) })?) {
                    0 => return Ok(Ok(())),
                    count => format!("{count} rows of the kernel are not yet as evpnd wants them (evpnctl diff)"),
                }
            }
            Some(view) => {
                let why = format!("{}; {}", view.reason.unwrap_or_default(), view.remedy.unwrap_or_default());
                if view.state == "unusable" {
                    return Ok(Err((why, true)));
                }
                format!("it is {}: {why}", view.state)
            }
        };
        if is_over(end) {
            return Ok(Err((why, false)));
        }
        sleep(Duration::from_millis(20));
    }
}

/// Whether a difference is one that the daemon is about to mend: rows of others it leaves alone.
fn is_late(item: &DiffView) -> bool {
    item.wanted.is_some() && item.state != Status::Operator.to_string()
}

/// Waits until the daemon has no such VNI any more and its rows are gone. Where it ended before it had removed them nobody will: they
/// are removed here.
fn wait_until_let_go(daemon: &mut Daemon, plan: &Plan, end: std::time::Instant) -> Result<Late, Failure> {
    let mut tunnel = Tunnel { name: plan.device.clone(), ..Tunnel::default() };
    let mut orphans = (0, deadline(ORPHANED));
    loop {
        let known = daemon.ask(&Request::ShowVnis { vni: Some(plan.vni), after: None, limit: None })?;
        let view = if let Reply::Vnis(page) = known { page.items.into_iter().find(VniView::is_here) } else { None };
        let why = if let Some(view) = view {
            match view.callers.is_empty() {
                true => "the daemon still has it: is --config the file that it reads?".to_owned(),
                false => format!("the daemon still has it, for {}", view.callers.join(", ")),
            }
        } else {
            match read_rows(&mut tunnel) {
                Ok(()) if tunnel.announced.is_empty() => return Ok(Ok(())),
                Ok(()) => {
                    let count = tunnel.announced.len();
                    if orphans.0 != count {
                        orphans = (count, deadline(ORPHANED));
                    } else if is_over(orphans.1) {
                        let halves = ["self", "master"].iter();
                        let lines = halves.flat_map(|half| {
                            tunnel.announced.iter().map(move |mac| format!("fdb del {mac} dev {} {half}", plan.device))
                        });
                        // What is left shows in the next round.
                        let _ = batch("bridge", &lines.collect::<Vec<_>>(), true);
                    }
                    format!("{count} of evpnd's rows still stand")
                }
                Err(why) => why,
            }
        };
        if is_over(end) {
            return Ok(Err((why, false)));
        }
        sleep(Duration::from_millis(20));
    }
}

#[allow(clippy::disallowed_methods, reason = "a client may sleep")]
pub(super) fn sleep(time: Duration) {
    std::thread::sleep(time);
}

fn ip(words: &str) -> Result<(), String> {
    let output = Command::new("ip").args(words.split(' ')).stdin(Stdio::null()).output();
    said("ip", output)
}

/// Lines for bridge(8) or ip(8) in one process; `maybe`: it goes on where one of them finds nothing.
fn batch(program: &str, lines: &[String], maybe: bool) -> Result<(), String> {
    let mut command = Command::new(program);
    if maybe {
        command.arg("-force");
    }
    let spawned = command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| format!("{program}: {error}"))?;
    if let Some(mut pipe) = child.stdin.take() {
        // Where it ended early it says so itself.
        let _ = pipe.write_all((lines.join("\n") + "\n").as_bytes());
    }
    match said(program, child.wait_with_output()) {
        Err(_) if maybe => Ok(()),
        done => done,
    }
}

fn said(program: &str, output: io::Result<std::process::Output>) -> Result<(), String> {
    match output {
        Err(error) => Err(format!("{program}: {error}: install iproute2")),
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("it failed").trim().to_owned()),
    }
}
