//! Requests that must ask the kernel first: `diff` and `explain`. They wait here until it has answered.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::base::{MacAddr, Time, Vni};
use crate::control::{Candidate, DiffView, Explanation, Page, Reply, page_size};
use crate::evpn::{MacExplanation, Place};
use crate::fib::device::DeviceState;
use crate::fib::message::{Binding, CheckedRow, KernelCommand, KernelNeighbor, KernelRow, NeighborOwner, Remote};
use crate::fib::{RowView, Status};

use super::{Action, RequestId, Speaker, show_duplicates};

/// Why rows were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Token {
    /// A device became ready: what stands in it?
    Adopt,
    /// Notifications were lost, or it is time to look.
    Audit,
    /// All have said what they have: what of an earlier run was wanted by nobody?
    Leftovers,
    /// What stands of a VNI that nobody wants any more?
    Unwanted,
    /// Some rows, one by one, for the audit.
    Check,
    /// The neighbours of a bridge: of one that became ready, after notifications were lost, or for the audit.
    Neighbors,
    /// `evpnctl diff`.
    Diff(RequestId),
    /// `evpnctl explain`.
    Explain(RequestId),
}

/// A device with more rows than this is not listed before it is written to: up to here that takes some 10 ms, ten times as many
/// rows take a second.
const LISTED_AT_MOST: usize = 8192;

/// Questions to the kernel that are under way, and the requests that wait for them.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    next_token: u64,
    tokens: BTreeMap<u64, Token>,
    diffs: BTreeMap<RequestId, DiffRequest>,
    explains: BTreeMap<RequestId, (Vni, MacAddr)>,
}

#[derive(Debug)]
struct DiffRequest {
    /// Answers still to come.
    waiting: usize,
    found: BTreeMap<(Vni, MacAddr, String), DiffView>,
    after: Option<String>,
    limit: Option<u32>,
    /// What cannot be compared, and why.
    problems: Vec<(Vni, String)>,
}

/// What one question of a diff brought.
enum Answer {
    Rows(Result<Vec<KernelRow>, String>),
    Neighbors(Result<Vec<KernelNeighbor>, String>),
}

impl Waiting {
    /// Questions, and requests that wait for their answers.
    pub(super) fn len(&self) -> usize {
        self.tokens.len() + self.diffs.len() + self.explains.len()
    }

    fn token(&mut self, why: Token) -> u64 {
        self.next_token += 1;
        self.tokens.insert(self.next_token, why);
        self.next_token
    }
}

impl Speaker {
    pub(super) fn ask_rows(&mut self, vni: Vni, why: Token) -> u64 {
        let token = self.requests.token(why);
        let at_most = if why == Token::Adopt { LISTED_AT_MOST } else { usize::MAX };
        self.actions.push_back(Action::Kernel(KernelCommand::Dump { token, vni, at_most }));
        token
    }

    /// Asks for the neighbours of a bridge.
    pub(super) fn ask_neighbors(&mut self, vni: Vni, why: Token) -> u64 {
        let token = self.requests.token(why);
        self.actions.push_back(Action::Kernel(KernelCommand::DumpNeighbors { token, vni }));
        token
    }

    /// The neighbours of one VNI's bridge, for whoever asked.
    pub(super) fn neighbors_read(&mut self, now: Time, token: u64, vni: Vni, neighbors: Result<Vec<KernelNeighbor>, String>) {
        let (bridge, is_bare) = match self.vnis.get(&vni).and_then(|state| state.device.as_ref()) {
            Some(DeviceState::Ready(device)) => (Some(device.bridge_ifindex), device.is_bare()),
            _ => (None, false),
        };
        let what = self.requests.tokens.remove(&token);
        if what == Some(Token::Neighbors)
            && let Some(state) = self.vnis.get_mut(&vni)
        {
            state.neighbors_known = true;
        }
        match (what, neighbors) {
            (Some(Token::Neighbors), Ok(found)) => {
                if let Some(bridge) = bridge {
                    // Those of an earlier run of us count once, when they are adopted: later they are our own word. Without a bridge
                    // the addresses are this host's: the kernel room tells them all, and who had none is not asked whether it has.
                    let adopts = !self.fib.has_bridge(vni) && !is_bare;
                    for neighbor in found.iter().filter(|neighbor| adopts || neighbor.owner != NeighborOwner::Ours) {
                        self.found_by_host(now, vni, neighbor);
                    }
                    let differences = self.fib.handle_neighbors(now, vni, bridge, &found) as u64;
                    self.note_healed(now, vni, differences);
                    self.tell_moves_of_before(now);
                }
                self.audit_goes_on(now, token);
                self.listed(vni, Token::Neighbors, token);
            }
            (Some(Token::Neighbors), Err(error)) => {
                if bridge.is_some() {
                    self.rows_unread(now, vni, &error);
                }
                self.audit_goes_on(now, token);
                self.listed(vni, Token::Neighbors, token);
            }
            (Some(Token::Unwanted), found) => self.leftover_neighbors_read(now, vni, found),
            (Some(Token::Diff(id)), found) => self.continue_diff(id, vni, Answer::Neighbors(found)),
            _ => {}
        }
    }

    /// Asks for rows one by one.
    pub(super) fn ask_checked(&mut self, rows: Vec<(Vni, MacAddr)>) -> u64 {
        let token = self.requests.token(Token::Check);
        self.actions.push_back(Action::Kernel(KernelCommand::Check { token, rows }));
        token
    }

    /// The answer.
    pub(super) fn rows_checked(&mut self, now: Time, token: u64, rows: &[CheckedRow]) {
        if self.requests.tokens.remove(&token) != Some(Token::Check) {
            return;
        }
        for checked in rows {
            if self.fib.handle_checked(now, checked.vni, checked.mac, checked.row.as_ref()) {
                self.note_healed(now, checked.vni, 1);
            }
            if let Some(idle) = checked.idle
                && self.fib.handle_idle(now, checked.vni, checked.mac, idle)
            {
                self.evpn.handle_row_asleep(now, checked.vni, checked.mac);
            }
        }
        self.audit_goes_on(now, token);
    }

    /// A device that became ready holds too many rows to be listed first.
    pub(super) fn too_many_rows(&mut self, now: Time, token: u64, vni: Vni) {
        if self.requests.tokens.remove(&token) == Some(Token::Adopt) {
            self.device_adopted(now, vni, None);
        }
    }

    /// The kernel's rows of one VNI, for whoever asked.
    pub(super) fn rows_read(&mut self, now: Time, token: u64, vni: Vni, rows: Result<Vec<KernelRow>, String>) {
        let Some(why) = self.requests.tokens.remove(&token) else { return };
        match (why, rows) {
            (Token::Adopt, Ok(rows)) => self.device_adopted(now, vni, Some(rows)),
            (Token::Adopt, Err(error)) => {
                self.rows_unread(now, vni, &error);
                self.device_adopted(now, vni, None);
            }
            (Token::Audit, Ok(rows)) => {
                let differences = self.fib.handle_rows(now, vni, &rows) as u64;
                self.note_healed(now, vni, differences);
                self.audit_goes_on(now, token);
                self.listed(vni, Token::Audit, token);
            }
            (Token::Leftovers, Ok(rows)) => self.leftovers_read(now, vni, &rows),
            (Token::Audit | Token::Leftovers, Err(error)) => {
                self.rows_unread(now, vni, &error);
                self.audit_goes_on(now, token);
                self.listed(vni, Token::Audit, token);
            }
            (Token::Unwanted, rows) => self.leftover_rows_read(now, vni, rows),
            (Token::Diff(id), rows) => self.continue_diff(id, vni, Answer::Rows(rows)),
            (Token::Explain(_) | Token::Check | Token::Neighbors, _) => {}
        }
    }

    pub(super) fn row_read(&mut self, now: Time, token: u64, row: Option<String>) {
        let Some(Token::Explain(id)) = self.requests.tokens.remove(&token) else { return };
        if let Some((vni, mac)) = self.requests.explains.remove(&id) {
            let reply = self.explanation(now, vni, mac, row);
            self.actions.push_back(Action::Reply(id, Box::new(Reply::Explanation(reply))));
        }
    }

    pub(super) fn begin_diff(&mut self, id: RequestId, after: Option<&str>, limit: Option<u32>) -> Option<Reply> {
        let ready: Vec<Vni> = self.vnis.iter().filter(|(_, state)| state.ready().is_some()).map(|(&vni, _)| vni).collect();
        let problems = self
            .vnis
            .iter()
            .filter(|(_, state)| state.ready().is_none())
            .map(|(&vni, _)| (vni, format!("VNI {vni} is not ready")));
        let request = DiffRequest {
            waiting: 2 * ready.len(),
            found: BTreeMap::new(),
            after: after.map(str::to_owned),
            limit,
            problems: problems.collect(),
        };
        if ready.is_empty() {
            return Some(finish_diff(request));
        }
        self.requests.diffs.insert(id, request);
        for vni in ready {
            self.ask_rows(vni, Token::Diff(id));
            self.ask_neighbors(vni, Token::Diff(id));
        }
        None
    }

    fn continue_diff(&mut self, id: RequestId, vni: Vni, answer: Answer) {
        let Some(request) = self.requests.diffs.get_mut(&id) else { return };
        request.waiting -= 1;
        match answer {
            Answer::Neighbors(Ok(neighbors)) => {
                for difference in self.fib.diff_neighbors(vni, &neighbors) {
                    let mac = difference.wanted.or(difference.found).map_or(MacAddr::ZERO, |binding| binding.mac);
                    let view = DiffView {
                        vni,
                        mac,
                        ip: Some(difference.ip),
                        wanted: difference.wanted.map(show_binding),
                        found: difference.found.map(show_binding),
                        nexthop: None,
                        state: difference.state,
                    };
                    request.found.insert((vni, mac, format!("neighbor {}", difference.ip)), view);
                }
            }
            Answer::Rows(Ok(rows)) => {
                for difference in self.fib.diff(vni, &rows) {
                    let view = DiffView {
                        vni: difference.vni,
                        mac: difference.mac,
                        ip: None,
                        wanted: difference.wanted.as_ref().map(show_remote),
                        found: difference.found.filter(|found| !found.ip.is_unspecified()).as_ref().map(show_remote),
                        nexthop: difference.nexthop,
                        state: difference.state,
                    };
                    let remote = view.wanted.clone().or_else(|| view.found.clone()).unwrap_or_default();
                    request.found.insert((view.vni, view.mac, remote), view);
                }
            }
            Answer::Rows(Err(error)) | Answer::Neighbors(Err(error)) => {
                request.problems.push((vni, format!("VNI {vni} cannot be read: {error}")));
            }
        }
        if request.waiting == 0
            && let Some(request) = self.requests.diffs.remove(&id)
        {
            self.actions.push_back(Action::Reply(id, Box::new(finish_diff(request))));
        }
    }

    pub(super) fn begin_explain(&mut self, now: Time, id: RequestId, vni: Vni, mac: MacAddr) -> Option<Reply> {
        let Some(state) = self.vnis.get(&vni) else {
            return Some(Reply::NotFound { message: format!("no VNI {vni}") });
        };
        if state.ready().is_none() {
            return Some(Reply::Explanation(self.explanation(now, vni, mac, None)));
        }
        let token = self.requests.token(Token::Explain(id));
        self.requests.explains.insert(id, (vni, mac));
        self.actions.push_back(Action::Kernel(KernelCommand::GetRow { token, vni, mac }));
        None
    }

    fn explanation(&self, now: Time, vni: Vni, mac: MacAddr, row: Option<String>) -> Explanation {
        let told = self.evpn.explain(&self.rib, &self.fib, vni, mac);
        let neighbor = |peer| self.peers.by_id(peer).map(|peer| peer.address);
        let mut candidates = Vec::new();
        for route in &told.candidates {
            let vtep = route.vtep.map_or_else(|| "no next hop".to_owned(), |vtep| format!("VTEP {vtep}"));
            let sticky = if route.sticky { ", sticky" } else { "" };
            let text = format!("{} RD {} {vtep} VNI {} sequence {}{sticky}", route.route, route.rd, route.label, route.sequence);
            for (path, step) in &route.rib_decision {
                let is_best = path.peer == route.peer;
                // The best path of the route competes for the MAC; the others lost to it before.
                let why = if is_best { route.why.clone() } else { format!("another path of this route is better: {step}") };
                candidates.push(Candidate { path: text.clone(), neighbor: neighbor(path.peer), best: is_best, why });
            }
        }
        let local = told.local.as_ref().map(|local| {
            let kind = if local.is_static { "static" } else { "learned" };
            let announced = if local.announced { "announced" } else { "not announced" };
            format!("{}, {kind}, sequence {}, {announced}: {}", local.place, local.sequence, local.why)
        });
        let kernel: Vec<String> = row.iter().flat_map(|row| row.lines()).map(str::to_owned).collect();
        let (choice, conclusion) = self.conclude(vni, mac, &told, &kernel);
        let neighbors = self.neighbors_of(now, vni, mac);
        let duplicates = told.duplicates.iter().map(|view| show_duplicates::in_words(view, now, vni, mac)).collect();
        let view = told.row.filter(|row| row.wanted.is_some() || row.installed.is_some());
        Explanation {
            vni,
            mac,
            local,
            candidates,
            choice,
            wanted: view.and_then(|row| row.wanted).as_ref().map(show_remote),
            installed: view.and_then(|row| row.installed).as_ref().map(show_remote),
            status: view.map_or_else(|| "no row is wanted".to_owned(), |row| row_in_words(&row, now)),
            neighbors,
            duplicates,
            kernel,
            conclusion,
        }
    }

    /// The addresses of a MAC that ARP and ND are answered for, each with how its neighbour stands.
    fn neighbors_of(&self, now: Time, vni: Vni, mac: MacAddr) -> Vec<String> {
        let ips = self.evpn.ips(&self.rib, vni, mac).into_iter();
        let told = ips.filter_map(|ip| {
            let view = self.fib.neighbor(vni, ip)?;
            let binding = view.wanted.or(view.installed)?;
            Some(format!("{ip} is answered with {}: {}", show_binding(binding), status_in_words(view.status, now)))
        });
        told.collect()
    }

    /// Which place won and why, and where a frame to the MAC goes.
    fn conclude(&self, vni: Vni, mac: MacAddr, told: &MacExplanation, kernel: &[String]) -> (String, String) {
        let ready = self.vnis.get(&vni).is_some_and(|state| state.ready().is_some());
        let choice = match &told.place {
            None if told.candidates.is_empty() && told.local.is_none() => {
                "nobody announces it and no local port has heard it".to_owned()
            }
            None => "no candidate can be used".to_owned(),
            Some(Place::Vtep(vtep)) => match told.candidates.len() {
                0 | 1 => format!("VTEP {vtep}: the only route"),
                routes => format!("VTEP {vtep}: the best of {routes} routes (RFC 7432 §15)"),
            },
            Some(place) => format!("{place}: it is here"),
        };
        let choice = if told.frozen {
            format!("{choice}; frozen as a duplicate (RFC 7432 §15.1): its moves are not followed (evpnctl clear duplicate)")
        } else {
            choice
        };
        let conclusion = match (&told.place, told.row) {
            _ if !ready => format!("VNI {vni} has no usable device: nothing is sent (evpnctl show vnis {vni})"),
            (Some(place @ Place::Port(_)), _) => format!("frames to {mac} go to {place}"),
            (Some(Place::Vtep(vtep)), Some(row)) if row.status == Status::InSync && !kernel.is_empty() => {
                format!("frames to {mac} go to VTEP {vtep}, and the kernel agrees")
            }
            (Some(Place::Vtep(vtep)), Some(row)) if row.status == Status::InSync => {
                format!("frames to {mac} should go to VTEP {vtep}, but the kernel has no row: see `evpnctl diff`")
            }
            (Some(Place::Vtep(vtep)), Some(row)) if row.status == Status::OnDemand => {
                format!(
                    "nobody here talks to {mac}: the first frame to it has a row to VTEP {vtep} written (install = \"on-demand\")"
                )
            }
            (Some(Place::Vtep(vtep)), Some(row)) => {
                format!("frames to {mac} should go to VTEP {vtep}, but the row is {}", row.status)
            }
            (Some(Place::Vtep(vtep)), None) => format!("frames to {mac} should go to VTEP {vtep}, but no row is wanted"),
            (None, _) if told.bridges_own => format!("frames to {mac} are for this host: its bridge has the MAC"),
            (None, _) => format!("frames to {mac} are flooded as unknown unicast to the flood list"),
        };
        (choice, conclusion)
    }
}

/// How a row stands, with its next retry.
fn row_in_words(row: &RowView, now: Time) -> String {
    status_in_words(row.status, now)
}

fn status_in_words(status: Status, now: Time) -> String {
    match status {
        Status::Failed { retry, .. } => {
            format!("{status}, tried again in {} s", retry.since(now).as_millis().div_ceil(1000))
        }
        status => status.to_string(),
    }
}

/// The table is made anew for each page, and differences come and go meanwhile: the cursor is the last one shown.
fn finish_diff(request: DiffRequest) -> Reply {
    let DiffRequest { mut found, problems, after, limit, .. } = request;
    if !problems.is_empty() && found.is_empty() && after.is_none() {
        return Reply::Refused { message: problems.into_iter().map(|(_, why)| why).collect::<Vec<_>>().join("; ") };
    }
    for (vni, why) in problems {
        let (mac, state) = (MacAddr::ZERO, format!("not compared: {why}"));
        found.insert((vni, mac, why), DiffView { vni, mac, ip: None, wanted: None, found: None, nexthop: None, state });
    }
    let after = match after.as_deref().map(diff_cursor) {
        None => Bound::Unbounded,
        Some(Some(key)) => Bound::Excluded(key),
        Some(None) => return super::show::bad_cursor(after.unwrap_or_default()),
    };
    let mut left = found.range((after, Bound::Unbounded));
    let shown: Vec<_> = left.by_ref().take(page_size(limit)).collect();
    let next = shown.last().filter(|_| left.next().is_some()).map(|((vni, mac, remote), _)| format!("{vni} {mac} {remote}"));
    Reply::Diff(Page::new(shown.into_iter().map(|(_, view)| view.clone()).collect(), next))
}

/// Reads `100 02:00:00:00:00:01 10.0.0.2 vni 7`.
fn diff_cursor(text: &str) -> Option<(Vni, MacAddr, String)> {
    let mut words = text.splitn(3, ' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.to_owned()))
}

fn show_binding(binding: Binding) -> String {
    let router = if binding.router { " (a router)" } else { "" };
    format!("{}{router}", binding.mac)
}

pub(super) fn show_remote(remote: &Remote) -> String {
    match remote.vni {
        Some(vni) => format!("{} vni {vni}", remote.ip),
        None => remote.ip.to_string(),
    }
}
