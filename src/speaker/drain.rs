//! The way out for good: withdraw everything, say Cease, remove our rows and the devices that we made.
//!
//! The order costs the fabric no frame that it need not lose: peers hear the withdraws first and stop sending here,
//! then the rows go, then the sessions, then the devices.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::{Time, Vni};
use crate::control::{Event, Reply};
use crate::fib::message::KernelCommand;
use crate::wire::notification::cease;

use super::{Action, RequestId, Speaker};

/// A peer or a kernel that does not answer holds the drain up for so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A drain under way.
#[derive(Debug)]
pub(super) struct Drain {
    request: Option<RequestId>,
    step: Step,
    pub(super) deadline: Time,
    vnis: Vec<Vni>,
    /// Those of which rows were left when its patience was over.
    left: Vec<Vni>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// Withdraws are being sent, rows deleted.
    Withdrawing,
    /// Sessions are closed, devices are being removed.
    Removing,
    Done,
}

impl Speaker {
    /// Begins a drain; the reply comes when it is done.
    pub(super) fn begin_drain(&mut self, now: Time, request: RequestId) -> Option<Reply> {
        if self.drain.is_some() {
            return Some(Reply::Refused { message: "a drain is under way already".to_owned() });
        }
        for &vni in self.vnis.keys() {
            self.evpn.remove_instance(now, &mut self.rib, &mut self.fib, vni);
        }
        // Those as well that nobody wants any more, or that are on their way out.
        let vnis: BTreeSet<Vni> = self.vnis.keys().chain(self.kept.devices.keys()).chain(&self.removing).copied().collect();
        let vnis = vnis.into_iter().collect();
        self.drain =
            Some(Drain { request: Some(request), step: Step::Withdrawing, deadline: now + PATIENCE, vnis, left: Vec::new() });
        // What stood before us is confirmed by nobody now.
        self.sweep_now(now, "this host leaves the fabric");
        self.look_for_leftovers();
        None
    }

    /// Whether a drain was asked for.
    pub fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    pub(super) fn continue_drain(&mut self, now: Time) {
        let Some(drain) = &self.drain else { return };
        let late = now >= drain.deadline;
        match drain.step {
            Step::Withdrawing => {
                let told = self.peers.iter().all(|peer| peer.session.established().is_none() || !self.rib.has_pending(peer.id));
                let cleared = drain.vnis.iter().all(|&vni| self.is_gone(vni));
                if (told && cleared && !self.rib.has_changes()) || late {
                    self.drain_devices(now);
                }
            }
            Step::Removing if late => self.finish_drain("the kernel did not answer in time".to_owned()),
            Step::Removing | Step::Done => {}
        }
    }

    /// Whether nothing of ours stands for a VNI, and that is known.
    fn is_gone(&self, vni: Vni) -> bool {
        let unread = self.is_unread(vni) || self.fib.unlisted().contains(&vni);
        !unread && !self.vnis.get(&vni).is_some_and(|state| state.adopting) && self.fib.is_cleared(vni)
    }

    fn drain_devices(&mut self, now: Time) {
        self.shutdown_for_drain(now);
        let vnis = self.drain.iter().flat_map(|drain| &drain.vnis);
        let left = vnis.copied().filter(|vni| !self.is_gone(*vni)).collect();
        let Some(drain) = &mut self.drain else { return };
        drain.left = left;
        let has_kernel = self.config.router.vtep.is_some() && !drain.vnis.is_empty();
        drain.step = Step::Removing;
        drain.deadline = now + PATIENCE;
        if has_kernel {
            let vnis = drain.vnis.clone();
            self.actions.push_back(Action::Kernel(KernelCommand::Remotes { in_use: Vec::new() }));
            self.actions.push_back(Action::Kernel(KernelCommand::Remove { vnis }));
        } else {
            self.finish_drain("all routes are withdrawn".to_owned());
        }
    }

    fn shutdown_for_drain(&mut self, now: Time) {
        for id in self.peers.ids() {
            self.remove_peer(now, id, cease::ADMIN_SHUTDOWN, "drained");
        }
    }

    /// The kernel room removed what it could: nothing is left of `vnis`, of which `ours` had devices that evpnd made.
    pub(super) fn devices_removed(&mut self, vnis: &[Vni], ours: &[Vni], kept: &[(Vni, String)]) {
        let mut what = Vec::new();
        if !ours.is_empty() {
            what.push(format!("devices of VNI {} removed", join(ours)));
        }
        what.extend(kept.iter().map(|(vni, why)| format!("VNI {vni} keeps its device: {why}")));
        let what = if what.is_empty() { "no device was ours to remove".to_owned() } else { what.join("; ") };
        let Some(drain) = &self.drain else {
            if !ours.is_empty() || !kept.is_empty() {
                self.events.note(crate::control::Level::Info, what);
            }
            return;
        };
        // With a device that is removed go its rows.
        let left: Vec<Vni> = drain.left.iter().copied().filter(|vni| !vnis.contains(vni)).collect();
        let rows = match left.is_empty() {
            true => "our rows are gone".to_owned(),
            false => format!("rows of VNI {} could not all be deleted in time", join(&left)),
        };
        self.finish_drain(format!("{rows}; {what}"));
    }

    fn finish_drain(&mut self, what: String) {
        let Some(drain) = &mut self.drain else { return };
        if drain.step == Step::Done {
            return;
        }
        drain.step = Step::Done;
        drain.deadline = Time::from_micros(u64::MAX);
        if let Some(request) = drain.request.take() {
            let message = format!("drained: sessions are closed, {what}");
            self.actions.push_back(Action::Reply(request, Box::new(Reply::Done { message })));
        }
        self.events.push(Event::Drained { what });
        self.forget_run();
        self.actions.push_back(Action::Exit);
    }
}

fn join(vnis: &[Vni]) -> String {
    vnis.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
