//! The daemon as metrics for Prometheus (`docs/METRICS.md`): what `evpnctl show status` says, with each neighbor and VNI, and
//! how fast rows come into the kernel. Walks the rows and the table once, as `show status` does; the rim keeps what was
//! written for a second, so that nobody can have it walked all the time.

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::base::Time;
use crate::control::counters::COUNTERS;
use crate::control::metrics::Exposition;
use crate::control::{MessageCounts, RowCounts};
use crate::session::SessionStats;

use super::show::{message_counts, row_counts, state_name, vni_state};
use super::{Peer, Speaker, VniState};

/// Neighbors, and VNIs, that have series of their own: the first so many by address and number. More are counted in
/// `evpnd_metrics_left_out`; a scrape stays below some megabytes.
pub const SERIES_LIMIT: usize = 1000;

/// Session states, in RFC 4271's order, as they are called in labels.
const SESSION_STATES: [&str; 7] = ["idle", "connect", "active", "open_sent", "open_confirm", "established", "disabled"];
/// States of VNIs, as they are called in labels.
const VNI_STATES: [&str; 4] = ["ready", "down", "unusable", "waiting"];

/// Messages of a neighbor in one direction: name, help, where they are counted.
type MessageFamily = (&'static str, &'static str, fn(&SessionStats) -> &crate::session::MessageCounts);
/// A number of a neighbor: name, help, whether it only grows, how to read it.
type NeighborNumber = (&'static str, &'static str, bool, fn(&Speaker, Time, &Peer) -> u64);

const NEIGHBOR_NUMBERS: &[NeighborNumber] = &[
    ("evpnd_neighbor_up", "1 where the session is established", false, |_, _, peer| {
        u64::from(peer.session.established().is_some())
    }),
    ("evpnd_neighbor_state_seconds", "Seconds since the session came up, or went down", false, |_, now, peer| {
        now.secs_since(peer.session.stats().since)
    }),
    ("evpnd_neighbor_end_of_rib", "1 where it has sent all it has since the session is up", false, |_, _, peer| {
        u64::from(peer.end_of_rib)
    }),
    ("evpnd_neighbor_routes_received", "Paths held from it", false, |speaker, _, peer| {
        u64::from(speaker.rib.peer_routes(peer.id))
    }),
    (
        "evpnd_neighbor_routes_stale",
        "Paths kept over the loss of its session that it did not confirm yet",
        false,
        |speaker, _, peer| u64::from(speaker.rib.stale_routes(peer.id)),
    ),
    ("evpnd_neighbor_pending", "1 where routes wait to be sent to it", false, |speaker, _, peer| {
        u64::from(peer.session.established().is_some() && speaker.rib.has_pending(peer.id))
    }),
    ("evpnd_neighbor_established_total", "Times the session came up", true, |_, _, peer| peer.session.stats().established),
    ("evpnd_neighbor_dropped_total", "Times the session went down", true, |_, _, peer| peer.session.stats().dropped),
    ("evpnd_neighbor_received_bytes_total", "Octets received from it", true, |_, _, peer| peer.octets_in),
    ("evpnd_neighbor_sent_bytes_total", "Octets that TCP took for it", true, |_, _, peer| peer.octets_out),
    ("evpnd_neighbor_update_mistakes_total", "Mistakes in its UPDATEs (RFC 7606)", true, |_, _, peer| peer.update_mistakes),
];

impl Speaker {
    /// Everything as text in the exposition format.
    pub fn metrics(&self, now: Time) -> Exposition {
        let mut out = Exposition::default();
        let (rows, rows_by_vni) = self.fib.counts();
        self.daemon_metrics(now, row_counts(&rows), &mut out);
        self.neighbor_metrics(now, &mut out);
        let by_vni = rows_by_vni.iter().map(|(vni, rows)| (*vni, row_counts(rows))).collect();
        self.vni_metrics(&by_vni, &mut out);
        let left_out = |count: usize| count.saturating_sub(SERIES_LIMIT);
        out.gauge("evpnd_metrics_left_out", "Neighbors and VNIs beyond the first 1000, which have no series of their own");
        out.sample("evpnd_metrics_left_out", &[("kind", &"neighbor")], left_out(self.peers.iter().count()));
        out.sample("evpnd_metrics_left_out", &[("kind", &"vni")], left_out(self.vnis.len()));

        let pace = self.fib.pace();
        let help =
            "Seconds from the turn in which an UPDATE or another cause of a row arrived to the kernel's confirmation of the row";
        out.histogram("evpnd_update_to_kernel_seconds", help, &pace.latency, 1_000_000);
        out.histogram("evpnd_batch_rows", "Rows in each batch sent to the kernel", &pace.sizes, 1);

        let mut counters = self.counters();
        for (name, help) in COUNTERS {
            out.one_counter(&format!("evpnd_{name}_total"), help, counters.remove(*name).unwrap_or_default());
        }
        for (name, count) in counters {
            out.one_counter(&format!("evpnd_{name}_total"), "See docs/CONTROL.md", count);
        }
        out
    }

    fn daemon_metrics(&self, now: Time, rows: RowCounts, out: &mut Exposition) {
        let router = &self.config.router;
        let vtep = router.vtep.map_or_else(String::new, |vtep| vtep.to_string());
        out.gauge("evpnd_info", "Who this daemon is: always 1");
        let labels: [(&str, &dyn Display); 4] =
            [("version", &env!("CARGO_PKG_VERSION")), ("asn", &router.asn), ("router_id", &router.router_id), ("vtep", &vtep)];
        out.sample("evpnd_info", &labels, 1);
        out.one_gauge("evpnd_uptime_seconds", "Seconds since the daemon began", now.secs_since(self.started));
        out.one_gauge("evpnd_draining", "1 after evpnctl drain", u64::from(self.is_draining()));
        out.one_gauge(
            "evpnd_warnings",
            "What an operator should look at: the warnings of evpnctl show status",
            self.warnings().len(),
        );
        let (routes, paths) = self.rib.count();
        out.one_gauge("evpnd_routes", "Routes (destinations) in the BGP table", routes);
        out.one_gauge("evpnd_paths", "Paths in the BGP table: a route heard from two reflectors has two", paths);
        out.one_gauge("evpnd_vteps", "Remote VTEPs in some flood list", self.evpn.flood_vteps().len());
        out.gauge("evpnd_macs", "MACs over all VNIs: behind this host's ports, and behind other VTEPs");
        out.sample("evpnd_macs", &[("place", &"local")], self.evpn.local_mac_count());
        out.sample("evpnd_macs", &[("place", &"remote")], self.evpn.remote_mac_count());
        out.one_gauge("evpnd_duplicate_macs", "MACs that are at two hosts at once now", self.evpn.duplicates().0);
        let contended = self.evpn.conflict_count() + self.evpn.violation_count();
        out.one_gauge(
            "evpnd_duplicate_addresses",
            "Addresses that two MACs have at once now, or claim while one has it for good",
            contended,
        );
        out.one_gauge("evpnd_rows_wanted", "Kernel rows that should stand", rows.wanted);
        out.gauge("evpnd_rows", "Kernel rows by state");
        for (state, count) in row_states(&rows) {
            out.sample("evpnd_rows", &[("state", &state)], count);
        }
        out.gauge("evpnd_neighbors", "Neighbors by the state of their session");
        for state in SESSION_STATES {
            let count = self.peers.iter().filter(|peer| peer_state(peer) == state).count();
            out.sample("evpnd_neighbors", &[("state", &state)], count);
        }
        out.gauge("evpnd_vnis", "VNIs by the state of their device");
        for state in VNI_STATES {
            out.sample("evpnd_vnis", &[("state", &state)], self.vnis.values().filter(|vni| vni_state(vni) == state).count());
        }
        for (name, size) in self.sizes(now).named() {
            // Base units, as Prometheus has them: bytes.
            match name.strip_suffix("_octets") {
                Some(what) => out.one_gauge(&format!("evpnd_{what}_bytes"), "Memory of this room's tables, about", size),
                None => out.one_gauge(&format!("evpnd_{name}"), "Entries now; comes back down, unlike counters", size),
            }
        }
    }

    fn neighbor_metrics(&self, now: Time, out: &mut Exposition) {
        let mut peers: Vec<&Peer> = self.peers.iter().collect();
        peers.sort_by_key(|peer| peer.address);
        peers.truncate(SERIES_LIMIT);
        out.gauge("evpnd_neighbor_info", "A neighbor with its AS and description: always 1");
        for peer in &peers {
            let labels: [(&str, &dyn Display); 3] =
                [("neighbor", &peer.address), ("asn", &peer.neighbor.asn), ("description", &peer.neighbor.description)];
            out.sample("evpnd_neighbor_info", &labels, 1);
        }
        // Who is not wanted is not down: an alert would never end.
        peers.retain(|peer| peer.neighbor.enabled);
        for (name, help, grows, number) in NEIGHBOR_NUMBERS {
            if *grows {
                out.counter(name, help)
            } else {
                out.gauge(name, help)
            }
            for peer in &peers {
                out.sample(name, &[("neighbor", &peer.address)], number(self, now, peer));
            }
        }
        let both: [MessageFamily; 2] = [
            ("evpnd_neighbor_messages_received_total", "BGP messages received from it, by type", |stats| &stats.received),
            ("evpnd_neighbor_messages_sent_total", "BGP messages sent to it, by type", |stats| &stats.sent),
        ];
        for (name, help, counts) in both {
            out.counter(name, help);
            for peer in &peers {
                for (kind, count) in messages(&message_counts(counts(peer.session.stats()))) {
                    out.sample(name, &[("neighbor", &peer.address), ("type", &kind)], count);
                }
            }
        }
    }

    fn vni_metrics(&self, rows: &BTreeMap<crate::base::Vni, RowCounts>, out: &mut Exposition) {
        let vnis: Vec<&VniState> = self.vnis.values().take(SERIES_LIMIT).collect();
        type Number<'a> = (&'a str, &'a str, bool, &'a dyn Fn(&VniState) -> u64);
        let instance = |vni: &VniState| self.evpn.instance(vni.config.vni);
        let numbers: [Number<'_>; 9] = [
            ("evpnd_vni_ready", "1 where its device works", false, &|vni| u64::from(vni_state(vni) == "ready")),
            ("evpnd_vni_vteps", "VTEPs on its flood list", false, &|vni| instance(vni).map_or(0, |view| view.vteps as u64)),
            ("evpnd_vni_local_macs", "MACs behind its ports of this host", false, &|vni| {
                instance(vni).map_or(0, |view| view.local_macs as u64)
            }),
            ("evpnd_vni_remote_macs", "MACs that other hosts announce in it", false, &|vni| {
                instance(vni).map_or(0, |view| view.remote_macs as u64)
            }),
            ("evpnd_vni_healed_rows_total", "Its rows put back that somebody else had deleted or changed", true, &|vni| {
                vni.healed
            }),
            ("evpnd_vni_refused_local_macs_total", "Local MACs of it that a limit refused", true, &|vni| {
                instance(vni).map_or(0, |view| view.refused_local_macs)
            }),
            ("evpnd_vni_refused_remote_macs_total", "Remote MACs of it that a limit refused", true, &|vni| {
                instance(vni).map_or(0, |view| view.refused_remote_macs)
            }),
            ("evpnd_vni_refused_routes_total", "Routes of a MAC of it that a limit refused", true, &|vni| {
                instance(vni).map_or(0, |view| view.refused_routes)
            }),
            ("evpnd_vni_refused_addresses_total", "Addresses of local MACs of it that a limit refused", true, &|vni| {
                instance(vni).map_or(0, |view| view.refused_addresses)
            }),
        ];
        for (name, help, grows, number) in numbers {
            if grows {
                out.counter(name, help)
            } else {
                out.gauge(name, help)
            }
            for &vni in &vnis {
                out.sample(name, &[("vni", &vni.config.vni)], number(vni));
            }
        }
        out.gauge("evpnd_vni_rows", "Kernel rows of a VNI by state");
        for vni in vnis {
            let counts = rows.get(&vni.config.vni).copied().unwrap_or_default();
            for (state, count) in row_states(&counts) {
                out.sample("evpnd_vni_rows", &[("vni", &vni.config.vni), ("state", &state)], count);
            }
        }
    }
}

fn peer_state(peer: &Peer) -> &'static str {
    if peer.neighbor.enabled { state_name(peer.session.state()) } else { "disabled" }
}

fn row_states(rows: &RowCounts) -> [(&'static str, u64); 5] {
    [
        ("in_sync", rows.in_sync),
        ("dirty", rows.dirty),
        ("in_flight", rows.in_flight),
        ("failed", rows.failed),
        ("on_demand", rows.on_demand),
    ]
}

fn messages(counts: &MessageCounts) -> [(&'static str, u64); 5] {
    [
        ("open", counts.open),
        ("update", counts.update),
        ("notification", counts.notification),
        ("keepalive", counts.keepalive),
        ("route_refresh", counts.route_refresh),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::speaker::KeptState;

    fn speaker() -> Speaker {
        let text =
            "[router]\nasn = 65000\nvtep = \"10.0.0.1\"\n[[neighbor]]\naddress = \"10.0.0.2\"\n[[vni]]\nids = \"1-1001\"\n";
        let config = crate::config::parse("evpnd.toml", text).unwrap();
        let mut speaker = Speaker::new(config, KeptState::default(), None, 1, Time::ZERO);
        speaker.start(Time::ZERO);
        speaker
    }

    /// Names that are counted somewhere in the sources of the speaker and of the rim: they stand in no list but where they are.
    fn counted_in_sources() -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut directories =
            vec![concat!(env!("CARGO_MANIFEST_DIR"), "/src/speaker"), concat!(env!("CARGO_MANIFEST_DIR"), "/src/io")];
        while let Some(directory) = directories.pop() {
            for file in std::fs::read_dir(directory).unwrap() {
                let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
                for call in ["count(\"", "too_slow(\"", "closed(self.shared, \"", "hit(events, \"", "hit(&mut self.events, \""] {
                    for (at, _) in text.match_indices(call) {
                        // Not `peers.count()` of something else.
                        let name = text[at + call.len()..].split('"').next().unwrap();
                        found.insert(format!("speaker_{name}"));
                    }
                }
            }
        }
        found
    }

    #[test]
    fn every_counter_of_show_status_has_a_line_in_the_list() {
        let listed: BTreeSet<String> = COUNTERS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(listed.len(), COUNTERS.len(), "a name stands twice in src/control/counters.rs");
        let mut counted = counted_in_sources();
        assert!(counted.contains("speaker_audits") && counted.contains("speaker_control_slow_closed"), "{counted:?}");
        counted.extend(speaker().counters().into_keys());
        let missing: Vec<_> = counted.difference(&listed).collect();
        assert_eq!(missing, Vec::<&String>::new(), "counted, but without a line in src/control/counters.rs");
        let idle: Vec<_> = listed.difference(&counted).collect();
        assert_eq!(idle, Vec::<&String>::new(), "in src/control/counters.rs, but counted nowhere");
    }

    #[test]
    fn a_neighbor_that_is_not_enabled_is_not_down() {
        let text = "[router]\nasn = 65000\nvtep = \"10.0.0.1\"\n[[neighbor]]\naddress = \"10.0.0.2\"\n\
                    [[neighbor]]\naddress = \"10.0.0.3\"\nenabled = false\n";
        let config = crate::config::parse("x", text).unwrap();
        let mut speaker = Speaker::new(config, KeptState::default(), None, 1, Time::ZERO);
        speaker.start(Time::ZERO);
        let text = speaker.metrics(Time::ZERO).into_text();
        let of =
            |address: &str| text.lines().filter(|line| line.contains(&format!("neighbor=\"{address}\""))).collect::<Vec<_>>();
        assert!(of("10.0.0.2").contains(&"evpnd_neighbor_up{neighbor=\"10.0.0.2\"} 0"), "{text}");
        let off = of("10.0.0.3");
        assert!(matches!(off.as_slice(), [info] if info.starts_with("evpnd_neighbor_info{")), "{off:?}");
    }

    #[test]
    fn families_come_whole_once_and_by_the_conventions() {
        let text = speaker().metrics(Time::from_secs(5)).into_text();
        let mut seen = BTreeSet::new();
        let mut family = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(seen.insert(name.to_owned()), "{name} comes twice");
                assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
                family = name.to_owned();
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                assert!(rest.split_once(' ').is_some_and(|(_, help)| !help.is_empty()), "{line}");
            } else {
                assert!(line.starts_with(&family), "{line} stands under {family}");
            }
        }
        assert!(text.contains("evpnd_uptime_seconds 5\n") && text.contains("evpnd_neighbor_up{neighbor=\"10.0.0.2\"} 0\n"));
        assert!(text.contains("evpnd_vni_ready{vni=\"1000\"} 0\n") && !text.contains("evpnd_vni_ready{vni=\"1001\"}"), "{text}");
        assert!(text.contains("evpnd_metrics_left_out{kind=\"vni\"} 1\n"));
    }
}
