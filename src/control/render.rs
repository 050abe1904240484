//! Replies for people: tables and stories in 100 columns. What programs read is the JSON of `reply`; the words and columns
//! here may change, the keys there may not.

use std::fmt::{Display, Write};

use crate::base::{MacAddr, Vni};

use super::event::MonitorLine;
use super::reply::{
    DiffView, Duplicate, Explanation, MacKind, MacView, MessageCounts, NeighborView, Reply, RouteView, RowCounts, RowState,
    Status, VniView, VtepView,
};
use super::table::{Row, Table, tame, wrapped};

/// Writes the replies to one request: one, or the pages of a table one after another.
#[derive(Debug, Default)]
pub struct Renderer {
    /// One neighbor or VNI was asked for: everything about it is shown.
    detailed: bool,
    table: Option<Table>,
    /// RD and key of the route whose paths are being shown.
    route: Option<(String, String)>,
}

impl Renderer {
    /// `detailed`: show everything about each neighbor or VNI, and not a line.
    pub fn new(detailed: bool) -> Self {
        Self { detailed, ..Self::default() }
    }

    /// The reply in words, with a newline at its end; empty where there is nothing to say.
    pub fn page(&mut self, reply: &Reply) -> String {
        match reply {
            Reply::Status(status) => render_status(status),
            Reply::Neighbors(page) if self.detailed => page.items.iter().map(neighbor_in_detail).collect(),
            Reply::Neighbors(page) => {
                self.rows(&["NEIGHBOR", "#AS", "STATE", "#FOR", "#RECEIVED", "#SENT", "DESCRIPTION"], &page.items, neighbor)
            }
            Reply::Vnis(page) if self.detailed => page.items.iter().map(vni_in_detail).collect(),
            Reply::Vnis(page) => {
                self.rows(&["#VNI", "DEVICE", "BRIDGE", "STATE", "#VTEPS", "#LOCAL", "#REMOTE", "ROWS"], &page.items, vni)
            }
            Reply::Vteps(page) => self.rows(&["VTEP", "#MACS", "#VNIS", "WHICH"], &page.items, vtep),
            Reply::Macs(page) => self.rows(&["#VNI", "MAC", "KIND", "WHERE", "#SEQ", "ROW", "ADDRESSES"], &page.items, mac),
            Reply::Routes(page) => page.items.iter().map(|route| self.route(route)).collect(),
            Reply::Explanation(explanation) => render_explanation(explanation),
            Reply::Diff(page) => self.rows(&["#VNI", "MAC", "WANTED", "FOUND", "STATE"], &page.items, diff),
            Reply::Event(line) => monitor_line(line),
            Reply::Done { message } | Reply::Refused { message } | Reply::NotFound { message } => {
                if message.is_empty() {
                    String::new()
                } else {
                    format!("{}\n", message.trim_end())
                }
            }
        }
    }

    fn rows<T>(&mut self, header: &'static [&'static str], items: &[T], row: fn(&T) -> Row) -> String {
        let rows: Vec<Row> = items.iter().map(row).collect();
        self.table.get_or_insert_with(|| Table::new(header)).page(&rows)
    }

    fn route(&mut self, route: &RouteView) -> String {
        let mut out = String::new();
        let key = (route.rd.clone(), route.key.clone());
        if self.route.as_ref() != Some(&key) {
            let _ = writeln!(out, "{} {}", route.rd, route.key);
            self.route = Some(key);
        }
        let mut said = Vec::new();
        let mut say = |name: &str, value: Option<&dyn Display>| said.extend(value.map(|value| format!("{name} {value}")));
        say("from", route.neighbor.as_ref().map(|from| from as _));
        say("via", route.next_hop.as_ref().map(|via| via as _));
        say("VNI", route.vni.as_ref().map(|vni| vni as _));
        say("second label", route.second_label.as_ref().map(|label| label as _));
        say("ESI", route.esi.as_ref().map(|esi| esi as _));
        let targets = route.route_targets.join(" ");
        say("RT", (!targets.is_empty()).then_some(&targets as _));
        say("sequence", route.sequence.as_ref().map(|sequence| sequence as _));
        if route.sticky {
            said.push("sticky".to_owned());
        }
        let mut say = |name: &str, value: Option<&dyn Display>| said.extend(value.map(|value| format!("{name} {value}")));
        say("AS path", (!route.as_path.is_empty()).then_some(&route.as_path as _));
        say("local-pref", route.local_pref.as_ref().map(|pref| pref as _));
        say("MED", route.med.as_ref().map(|med| med as _));
        say("originator", route.originator_id.as_ref().map(|originator| originator as _));
        let clusters = joined(&route.cluster_list, " ");
        say("clusters", (!clusters.is_empty()).then_some(&clusters as _));
        match route.encapsulation {
            None | Some(8) => {}
            Some(other) => said.push(format!("encapsulation {other}")),
        }
        said.extend(route.other.iter().cloned());
        said.push(age(route.age_secs));
        if route.neighbor.is_none() {
            said.insert(0, "our own".to_owned());
        }
        let mark = match (route.best, route.stale) {
            (true, false) => "  * ",
            (true, true) => "  *s",
            (false, true) => "   s",
            (false, false) => "    ",
        };
        wrapped(mark, "      ", said.iter().map(String::as_str), ", ", &mut out);
        out
    }
}

/// `1 hypervisor`, `2 hypervisors`.
pub fn many(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// An age in at most two units: `59 s`, `3m05s`, `2h10m`, `5d3h`.
pub fn age(secs: u64) -> String {
    let (minutes, hours, days) = (secs / 60, secs / 3600, secs / 86400);
    match secs {
        0..60 => format!("{secs} s"),
        60..3600 => format!("{minutes}m{:02}s", secs % 60),
        3600..86400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

/// `2026-07-01T12:34:56.789Z` (RFC 3339) from milliseconds since 1970-01-01 UTC.
pub fn utc(unix_millis: u64) -> String {
    let (days, millis) = (unix_millis / 86_400_000, unix_millis % 86_400_000);
    // Days to a date of the Gregorian calendar, in years that begin in March (H. Hinnant, "chrono-compatible low-level
    // date algorithms", civil_from_days).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (secs, millis) = (millis / 1000, millis % 1000);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{millis:03}Z", secs / 3600, secs / 60 % 60, secs % 60)
}

fn joined<T: Display>(items: &[T], between: &str) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

fn or_dash<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn render_status(status: &Status) -> String {
    let mut out = format!("evpnd {}, up for {}", status.version, age(status.uptime_secs));
    out += if status.draining { ", draining\n" } else { "\n" };
    let vtep = status.vtep.map_or("no VTEP (reflector)".to_owned(), |vtep| format!("VTEP {vtep}"));
    let _ = writeln!(out, "AS {}, router-id {}, {vtep}", status.asn, status.router_id);
    if !status.config_file.is_empty() {
        let _ = writeln!(out, "  file         {}", status.config_file);
    }
    let _ = writeln!(out, "  neighbors    {} of {} established", status.neighbors.up, status.neighbors.configured);
    let _ = writeln!(out, "  VNIs         {} of {} ready, {} remote VTEPs", status.vnis.up, status.vnis.configured, status.vteps);
    let _ = writeln!(out, "  BGP table    {} routes, {} paths", status.routes, status.paths);
    let _ = writeln!(out, "  MACs         {} local, {} remote", status.macs.local, status.macs.remote);
    let _ = writeln!(out, "  kernel rows  {}", row_counts(&status.rows));
    if status.overflows > 0 {
        let _ = writeln!(out, "  overflows    {} of the kernel's event queue, each answered by a full dump", status.overflows);
    }
    let counted: Vec<_> = status.counters.iter().filter(|(_, count)| **count > 0).collect();
    if !counted.is_empty() {
        out += "counters\n";
        let width = counted.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, count) in counted {
            let _ = writeln!(out, "  {name:width$}  {count}");
        }
    }
    if !status.warnings.is_empty() {
        out += "warnings\n";
        for warning in &status.warnings {
            wrapped("  - ", "    ", warning.split(' '), " ", &mut out);
        }
    }
    out
}

fn row_counts(rows: &RowCounts) -> String {
    let mut said = format!("{} wanted, {} in sync", rows.wanted, rows.in_sync);
    for (count, what) in
        [(rows.dirty, "to be written"), (rows.in_flight, "in flight"), (rows.on_demand, "on demand"), (rows.failed, "FAILED")]
    {
        if count > 0 {
            let _ = write!(said, ", {count} {what}");
        }
    }
    said
}

fn neighbor(neighbor: &NeighborView) -> Row {
    let mut description = neighbor.description.clone();
    if description.is_empty() {
        description = neighbor.host_name.clone().unwrap_or_default();
    }
    let mut marks = Vec::new();
    if neighbor.client {
        marks.push("client");
    }
    if neighbor.dynamic {
        marks.push("dynamic");
    }
    if !marks.is_empty() {
        description = format!("{description} ({})", marks.join(", ")).trim_start().to_owned();
    }
    let cells = vec![
        neighbor.address.to_string(),
        neighbor.asn.to_string(),
        neighbor.state.clone(),
        age(neighbor.since_secs),
        neighbor.routes_received.to_string(),
        neighbor.routes_advertised.to_string(),
        description,
    ];
    let mut notes: Vec<String> = if neighbor.state == "established" { None } else { last_error(neighbor) }.into_iter().collect();
    notes.extend(neighbor.rest_secs.map(|secs| format!("let in again in {}", age(secs))));
    Row { cells, notes }
}

fn last_error(neighbor: &NeighborView) -> Option<String> {
    let error = neighbor.last_error.as_ref()?;
    let ago = neighbor.last_error_secs.map_or(String::new(), |secs| format!(" {} ago", age(secs)));
    Some(format!("last error{ago}: {error}"))
}

fn neighbor_in_detail(neighbor: &NeighborView) -> String {
    let mut out = String::new();
    let session = if neighbor.external { "eBGP" } else { "iBGP" };
    let _ = writeln!(
        out,
        "{}: AS {} ({session}), {} for {}",
        neighbor.address,
        neighbor.asn,
        neighbor.state,
        age(neighbor.since_secs)
    );
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            wrapped(&format!("  {name:<14}"), &" ".repeat(16), value.split(' '), " ", &mut out);
        }
    };
    line("description", neighbor.description.clone());
    let mut kind = Vec::new();
    for (is, word) in [(neighbor.client, "route reflector client"), (neighbor.dynamic, "dynamic"), (neighbor.passive, "passive")]
    {
        if is {
            kind.push(word);
        }
    }
    line("kind", kind.join(", "));
    let name = neighbor.host_name.as_ref().map_or(String::new(), |name| format!(", host {name}"));
    line("router-id", neighbor.router_id.map_or(String::new(), |id| format!("{id}{name}")));
    let ours = neighbor.local_address.map(|address| format!("{address} port {}", or_dash(neighbor.local_port)));
    line("transport", ours.map_or(String::new(), |ours| format!("{ours}, to port {}", or_dash(neighbor.remote_port))));
    line(
        "hold time",
        match neighbor.hold_time_secs {
            Some(0) => "0 s, no keepalives".to_owned(),
            Some(secs) => format!("{secs} s"),
            None => String::new(),
        },
    );
    line("capabilities", neighbor.capabilities.join(", "));
    let most = neighbor.max_routes.map_or(String::new(), |most| format!(" of at most {most}"));
    let complete = if neighbor.end_of_rib { ", End-of-RIB received" } else { "" };
    let waiting = if neighbor.pending { ", more waits to be sent" } else { "" };
    line(
        "routes",
        format!("{} received{most}, {} advertised{complete}{waiting}", neighbor.routes_received, neighbor.routes_advertised),
    );
    line("graceful restart", neighbor.graceful_restart.clone());
    line("received", messages(&neighbor.messages_in));
    line("sent", messages(&neighbor.messages_out));
    if neighbor.update_mistakes > 0 {
        line("mistakes", format!("{} in its UPDATEs", neighbor.update_mistakes));
    }
    line("rests", neighbor.rest_secs.map_or(String::new(), |secs| format!("let in again in {}", age(secs))));
    line("sessions", format!("came up {} times, went down {} times", neighbor.established_count, neighbor.dropped_count));
    line(
        "last error",
        last_error(neighbor).map_or(String::new(), |error| error.trim_start_matches("last error").trim().to_owned()),
    );
    out
}

fn messages(counts: &MessageCounts) -> String {
    format!(
        "{} OPEN, {} UPDATE, {} KEEPALIVE, {} NOTIFICATION, {} ROUTE-REFRESH",
        counts.open, counts.update, counts.keepalive, counts.notification, counts.route_refresh
    )
}

fn vni(vni: &VniView) -> Row {
    let rows = if !vni.is_here() {
        String::new()
    } else if vni.rows.in_sync + vni.rows.on_demand == vni.rows.wanted
        && vni.rows.failed + vni.rows.dirty + vni.rows.in_flight == 0
    {
        "in sync".to_owned()
    } else {
        format!("{}/{}", vni.rows.in_sync, vni.rows.wanted)
    };
    let cells = vec![
        vni.vni.to_string(),
        vni.device.clone(),
        vni.bridge.clone(),
        vni.state.clone(),
        vni.vteps.to_string(),
        vni.local_macs.to_string(),
        vni.remote_macs.to_string(),
        rows,
    ];
    let mut notes = Vec::new();
    if let Some(reason) = &vni.reason {
        notes.push(format!("{reason}{}", vni.remedy.as_ref().map_or(String::new(), |remedy| format!("; {remedy}"))));
    }
    notes.extend(vni.warnings.iter().map(|warning| format!("warning: {warning}")));
    Row { cells, notes }
}

fn vni_in_detail(vni: &VniView) -> String {
    let mut out = format!("VNI {}: {}\n", vni.vni, vni.state);
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            wrapped(&format!("  {name:<14}"), &" ".repeat(16), value.split(' '), " ", &mut out);
        }
    };
    line("reason", vni.reason.clone().unwrap_or_default());
    line("remedy", vni.remedy.clone().unwrap_or_default());
    let ready = vni.port.is_some();
    let made = |made: bool| match (ready, made) {
        (false, _) => "",
        (true, true) => " (made by evpnd)",
        (true, false) => " (adopted)",
    };
    line("device", format!("{}{}", vni.device, made(vni.made_device)));
    line("bridge", format!("{}{}", vni.bridge, made(vni.made_bridge)));
    if let Some(port) = vni.port {
        line("tunnel", format!("from {}, UDP port {port}, MTU {}", or_dash(vni.local), or_dash(vni.mtu)));
    }
    line("rd", vni.rd.clone());
    line("import", vni.import.join(", "));
    line("export", vni.export.join(", "));
    line("added", if vni.run_time { "at run time" } else { "" }.to_owned());
    line("held by", vni.callers.join(", "));
    line("VTEPs", vni.vteps.to_string());
    line("MACs", format!("{} local, {} remote", vni.local_macs, vni.remote_macs));
    let refused: Vec<String> = [
        (vni.refused_local_macs, "local MACs"),
        (vni.refused_remote_macs, "remote MACs"),
        (vni.refused_routes, "routes of a MAC"),
        (vni.refused_addresses, "addresses of a local MAC"),
    ]
    .iter()
    .filter(|(times, _)| *times > 0)
    .map(|(times, what)| format!("{what} {times} times"))
    .collect();
    line("over limits", refused.join(", "));
    line("kernel rows", row_counts(&vni.rows));
    if vni.suppressed != RowCounts::default() {
        line("ARP and ND", format!("answered for {}", row_counts(&vni.suppressed)));
    }
    if vni.healed > 0 {
        line("put back", format!("{} rows that somebody else had deleted or changed", vni.healed));
    }
    for warning in &vni.warnings {
        line("warning", warning.clone());
    }
    out
}

fn vtep(vtep: &VtepView) -> Row {
    // A VTEP of a thousand VNIs is one line all the same.
    let shown = &vtep.vnis[..vtep.vnis.len().min(8)];
    let more = if vtep.vnis.len() > shown.len() { ", …" } else { "" };
    let which = format!("{}{more}", joined::<Vni>(shown, ", "));
    Row { cells: vec![vtep.address.to_string(), vtep.macs.to_string(), vtep.vnis.len().to_string(), which], notes: Vec::new() }
}

fn mac(mac: &MacView) -> Row {
    let kind = match (mac.kind, mac.sticky) {
        (MacKind::Local, false) => "local",
        (MacKind::Local, true) => "local static",
        (MacKind::Remote, false) => "remote",
        (MacKind::Remote, true) => "remote static",
    };
    let duplicate = match mac.duplicate {
        None => "",
        Some(Duplicate::Warned) => ", duplicate",
        Some(Duplicate::Frozen) => ", frozen",
    };
    let place = match (mac.kind, &mac.port, mac.vtep, mac.remote_vni) {
        (MacKind::Remote, _, Some(vtep), Some(vni)) => format!("{vtep} VNI {vni}"),
        (MacKind::Remote, _, vtep, _) => or_dash(vtep),
        (MacKind::Local, port, ..) => or_dash(port.as_ref()),
    };
    let row = match mac.row {
        RowState::None => "-",
        RowState::InSync => "in sync",
        RowState::Dirty => "to be written",
        RowState::InFlight => "in flight",
        RowState::Failed => "FAILED",
        RowState::OnDemand => "on demand",
    };
    let shown = &mac.ips[..mac.ips.len().min(2)];
    let more = if mac.ips.len() > shown.len() { format!(" +{}", mac.ips.len() - shown.len()) } else { String::new() };
    let cells = vec![
        mac.vni.to_string(),
        mac.mac.to_string(),
        format!("{kind}{duplicate}{}", if mac.duplicate_ips.is_empty() { "" } else { ", duplicate address" }),
        place,
        mac.sequence.to_string(),
        row.to_owned(),
        format!("{}{more}", joined(shown, " ")),
    ];
    let contended = &mac.duplicate_ips[..mac.duplicate_ips.len().min(8)];
    let more = if mac.duplicate_ips.len() > contended.len() { ", …" } else { "" };
    let note = || format!("contends for {}{more} with another MAC", joined(contended, ", "));
    Row { cells, notes: if contended.is_empty() { Vec::new() } else { vec![note()] } }
}

fn diff(diff: &DiffView) -> Row {
    let mac = match diff.ip {
        Some(ip) => format!("neighbor {ip}"),
        None if diff.mac == MacAddr::ZERO => "flood list".to_owned(),
        None => diff.mac.to_string(),
    };
    // As `bridge fdb` says it.
    let nexthop = diff.nexthop.map(|nexthop| format!("nhid {nexthop}"));
    let found = match (&diff.found, nexthop) {
        (Some(found), Some(nexthop)) => Some(format!("{found} {nexthop}")),
        (found, nexthop) => nexthop.or(found.clone()),
    };
    let cells = vec![diff.vni.to_string(), mac, or_dash(diff.wanted.as_ref()), or_dash(found.as_ref()), diff.state.clone()];
    Row { cells, notes: Vec::new() }
}

fn render_explanation(story: &Explanation) -> String {
    let mut out = format!("VNI {}, MAC {}\n", story.vni, story.mac);
    let mut say = |heading: &str, lines: &[String], nothing: &str| {
        let _ = writeln!(out, "\n{heading}");
        if lines.is_empty() {
            let _ = writeln!(out, "  {nothing}");
        }
        for line in lines {
            wrapped("  ", "      ", line.split(' '), " ", &mut out);
        }
    };
    say("1. this host's bridge", story.local.as_slice(), "does not know it behind one of its ports");
    let candidates: Vec<String> = story
        .candidates
        .iter()
        .map(|candidate| {
            let mark = if candidate.best { "*" } else { "-" };
            let from = candidate.neighbor.map_or("our own".to_owned(), |neighbor| format!("from {neighbor}"));
            format!("{mark} {}, {from}: {}", candidate.path, candidate.why)
        })
        .collect();
    say("2. BGP paths", &candidates, "none");
    say("3. the choice among them (RFC 7432 §15)", std::slice::from_ref(&story.choice), "");
    if !story.duplicates.is_empty() {
        say("two have it at once", &story.duplicates, "");
    }
    let wanted = format!("wanted     {}", story.wanted.as_deref().unwrap_or("no row"));
    let installed = format!("installed  {}", story.installed.as_deref().unwrap_or("no row"));
    let status = format!("status     {}", story.status);
    say("4. the kernel row, as evpnd keeps it", &[wanted, installed, status], "");
    if !story.neighbors.is_empty() {
        say("its addresses: what ARP and ND are answered with on this host", &story.neighbors, "");
    }
    say("5. the kernel itself, asked just now", &story.kernel, "has no row for this MAC");
    out.push('\n');
    wrapped("So: ", "    ", story.conclusion.split(' '), " ", &mut out);
    out
}

/// One event in one line: when, how bad, what.
fn monitor_line(line: &MonitorLine) -> String {
    // An event is one line, whatever a peer or a tool put into a text.
    format!("{} {:<5} {}\n", utc(line.unix_millis), line.level, tame(&line.message))
}
