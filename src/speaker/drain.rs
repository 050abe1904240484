//! The way out for good: withdraw everything, say Cease, remove our rows and the devices that we made.
//!
//! The order costs the fabric no frame that it need not lose: peers hear the withdraws first and stop sending here,
//! then the rows go, then the sessions, then the devices.

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
        let vnis: Vec<Vni> = self.vnis.keys().copied().collect();
        for &vni in &vnis {
            self.evpn.remove_instance(now, &mut self.rib, &mut self.fib, vni);
        }
        self.drain = Some(Drain { request: Some(request), step: Step::Withdrawing, deadline: now + PATIENCE, vnis });
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
                let cleared = drain.vnis.iter().all(|&vni| self.fib.is_cleared(vni));
                if (told && cleared && !self.rib.has_changes()) || late {
                    self.drain_devices(now);
                }
            }
            Step::Removing if late => self.finish_drain("the kernel did not answer in time".to_owned()),
            Step::Removing | Step::Done => {}
        }
    }

    fn drain_devices(&mut self, now: Time) {
        self.shutdown_for_drain(now);
        let has_kernel = self.config.router.vtep.is_some() && !self.vnis.is_empty();
        let Some(drain) = &mut self.drain else { return };
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

    /// The kernel room removed what it could.
    pub(super) fn devices_removed(&mut self, vnis: &[Vni], kept: &[(Vni, String)]) {
        let mut what = Vec::new();
        if !vnis.is_empty() {
            what.push(format!("devices of VNI {} removed", join(vnis)));
        }
        what.extend(kept.iter().map(|(vni, why)| format!("VNI {vni} keeps its device: {why}")));
        let what = if what.is_empty() { "no device was ours to remove".to_owned() } else { what.join("; ") };
        if self.drain.is_some() {
            self.finish_drain(what);
        } else {
            self.events.note(crate::control::Level::Info, what);
        }
    }

    fn finish_drain(&mut self, what: String) {
        let Some(drain) = &mut self.drain else { return };
        if drain.step == Step::Done {
            return;
        }
        drain.step = Step::Done;
        drain.deadline = Time::from_micros(u64::MAX);
        if let Some(request) = drain.request.take() {
            let message = format!("drained: sessions are closed, our rows are gone; {what}");
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
