//! Which block a line stands in. FRR reads a line in the node it is in, and where it means nothing there, in the node around
//! it; so do we. Blocks of other protocols are named as a whole.

use ipnet::IpNet;

use super::draft::Draft;
use super::finding::{Verdict, carried, not_carried, not_needed};
use super::lines::{ImportError, Line, lines};
use super::{known, neighbor, router, segment};

/// Where we are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Top,
    /// `router bgp` of the default VRF.
    Router,
    /// `address-family l2vpn evpn` in it.
    Evpn,
    /// A `vni` block in that: its place among the segments.
    Segment(usize),
    Interface(String),
    Vrf(String),
    /// A block of something else, named by this finding. In a family of our router a line of the router ends it.
    Other {
        finding: usize,
        family: bool,
    },
}

/// First words that begin something at the top, also where nobody wrote that the block before has ended.
const STARTS: &[&str] = &[
    "router",
    "interface",
    "vrf",
    "route-map",
    "line",
    "hostname",
    "domainname",
    "log",
    "frr",
    "service",
    "debug",
    "password",
    "enable",
    "access-list",
    "agentx",
    "bfd",
    "end",
    "ip",
    "ipv6",
    "key",
    "mpls",
    "nexthop-group",
    "pbr-map",
    "pseudowire",
    "rpki",
    "segment-routing",
    "username",
    "zebra",
    "evpn",
    "banner",
    "mac",
];

/// Reads a whole file.
pub(super) fn walk(text: &str) -> Result<Draft, ImportError> {
    let mut walk = Walk { draft: Draft::default(), place: Place::Top };
    for line in lines(text)? {
        walk.line(&line);
    }
    if walk.draft.asn.is_none() { Err(ImportError::NoRouter) } else { Ok(walk.draft) }
}

struct Walk {
    draft: Draft,
    place: Place,
}

impl Walk {
    fn line(&mut self, line: &Line<'_>) {
        let words = line.words();
        match words[0] {
            "end" => self.place = Place::Top,
            // What vtysh says before what it was asked for.
            "Building" | "Current" if matches!(words[1..], ["configuration..." | "configuration:"]) => {}
            "exit" | "quit" | "exit-address-family" | "exit-vni" | "exit-vrf" | "exit-vrf-policy" => self.leave(words[0]),
            _ => self.speaking_line(line, &words),
        }
    }

    fn leave(&mut self, word: &str) {
        self.place = match (&self.place, word) {
            // The end of a family within a block of something else is not the end of the block.
            (Place::Other { family: false, .. }, "exit-address-family" | "exit-vni") => return,
            (Place::Segment(_), "exit" | "quit" | "exit-vni") => Place::Evpn,
            (Place::Evpn | Place::Segment(_) | Place::Other { family: true, .. }, _) => Place::Router,
            _ => Place::Top,
        };
    }

    fn speaking_line(&mut self, line: &Line<'_>, words: &[&str]) {
        if !line.indented
            && STARTS.contains(&words[0])
            && !(matches!(self.place, Place::Interface(_)) && words[1..].starts_with(&["address"]))
        {
            self.place = Place::Top;
        }
        let verdict = match self.place.clone() {
            Place::Top => return self.top(line, words),
            Place::Router => self.in_router(line, words),
            Place::Evpn => self.in_evpn(line, words),
            Place::Segment(index) => match segment::in_segment(&mut self.draft, index, words) {
                Some(verdict) => {
                    let finding = self.draft.note(line, verdict);
                    self.draft.vnis[index].findings.push(finding);
                    return;
                }
                None => {
                    self.place = Place::Evpn;
                    let verdict = self.in_evpn(line, words);
                    if verdict.is_none() {
                        self.place = Place::Segment(index);
                    }
                    verdict
                }
            },
            Place::Interface(name) => Some(self.in_interface(&name, words)),
            Place::Vrf(name) => Some(self.in_vrf(&name, words)),
            Place::Other { finding, family } => {
                if family && !line.indented && router::begins_in_router(words) {
                    self.place = Place::Router;
                    self.in_router(line, words)
                } else {
                    self.draft.findings[finding].last_line = line.number;
                    return;
                }
            }
        };
        match verdict {
            Some(Said::Verdict(verdict)) => {
                self.draft.note(line, verdict);
            }
            Some(Said::Noted) => {}
            None => {
                let unknown =
                    not_carried("evpnd does not know this line", "see whether a key of the configuration says the same");
                self.draft.note(line, unknown);
            }
        }
    }

    fn top(&mut self, line: &Line<'_>, words: &[&str]) {
        if words[0] == "router" {
            return self.router(line, words);
        }
        let verdict = match words {
            ["interface", name, ..] => {
                self.place = Place::Interface((*name).to_owned());
                not_needed("the block of an interface: its lines are told one by one")
            }
            ["vrf", name] => {
                self.place = Place::Vrf((*name).to_owned());
                not_needed("the block of a VRF: its lines are told one by one")
            }
            ["frr", "defaults", profile] => {
                let datacenter = *profile == "datacenter";
                // Each daemon says its own.
                self.draft.datacenter |= datacenter;
                if datacenter {
                    carried("[[neighbor]] hold-time")
                } else {
                    not_needed("evpnd has defaults of its own (a hold-time of 90 s); of two hold times the smaller one counts")
                }
            }
            ["vni", number, ..] => self.l3_vni(number, "default"),
            _ => match router::graceful(&mut self.draft, words).or_else(|| known::at_top(words)) {
                Some(verdict) => verdict,
                None => {
                    let unknown = not_carried(
                        "evpnd does not know this line",
                        "keep what it is for with FRR, or with the host's own tools",
                    );
                    let finding = self.draft.note(line, unknown);
                    self.place = Place::Other { finding, family: false };
                    return;
                }
            },
        };
        let block = known::begins_block(words);
        let finding = self.draft.note(line, verdict);
        if block {
            self.place = Place::Other { finding, family: false };
        }
    }

    fn router(&mut self, line: &Line<'_>, words: &[&str]) {
        let verdict = match words {
            ["router", "bgp", asn, rest @ ..] if !matches!(rest.first(), Some(&"vrf" | &"view")) => match asn.parse() {
                Ok(asn) if self.draft.asn.is_none_or(|own| own == asn) => {
                    self.draft.asn = Some(asn);
                    self.place = Place::Router;
                    self.draft.note(line, carried("[router] asn"));
                    return;
                }
                Ok(_) => not_carried("a second AS: evpnd has one", "run a second evpnd with a configuration of its own"),
                Err(_) => not_carried(format!("{asn:.20} is not an AS number"), "write asn = … into [router]"),
            },
            ["router", "bgp", _, "vrf", ..] => not_carried(
                "routing between segments (L3 VNIs, type 5 routes) is not evpnd's: it carries segments (L2 VNIs)",
                "keep FRR for this VRF, on hosts that route",
            ),
            ["router", "bgp", ..] => not_carried("a view", "run a second evpnd with a configuration of its own"),
            _ => not_carried("evpnd speaks BGP EVPN and nothing else", "keep this protocol with FRR: it may run beside evpnd"),
        };
        let finding = self.draft.note(line, verdict);
        self.place = Place::Other { finding, family: false };
    }

    fn in_router(&mut self, line: &Line<'_>, words: &[&str]) -> Option<Said> {
        if let ["address-family", afi, rest @ ..] = words {
            if *afi == "l2vpn" {
                self.place = Place::Evpn;
                return Some(Said::Verdict(not_needed("every neighbor of evpnd speaks EVPN and nothing else")));
            }
            let why = format!("evpnd speaks no {afi} {}", rest.first().unwrap_or(&"unicast"));
            let instead = "keep the underlay's routing with FRR (a bgpd without l2vpn evpn, listening elsewhere: -p PORT), or with static routes";
            let finding = self.draft.note(line, not_carried(why.trim_end(), instead));
            self.place = Place::Other { finding, family: true };
            return Some(Said::Noted);
        }
        if neighbor::is_of_neighbor(words) {
            neighbor::line(&mut self.draft, line, words, false);
            return Some(Said::Noted);
        }
        if words.starts_with(&["bgp", "listen", "range"]) {
            neighbor::listen_range(&mut self.draft, line, words);
            return Some(Said::Noted);
        }
        let verdict = router::line(&mut self.draft, words)?;
        Some(Said::Verdict(verdict))
    }

    fn in_evpn(&mut self, line: &Line<'_>, words: &[&str]) -> Option<Said> {
        if let ["vni", number] = words {
            let (verdict, index) = segment::begin(&mut self.draft, number);
            let finding = self.draft.note(line, verdict);
            if let Some(index) = index {
                self.draft.vnis[index].findings.push(finding);
                self.place = Place::Segment(index);
            } else {
                self.place = Place::Other { finding, family: false };
            }
            return Some(Said::Noted);
        }
        if neighbor::is_of_neighbor(words) {
            neighbor::line(&mut self.draft, line, words, true);
            return Some(Said::Noted);
        }
        if words == ["advertise-all-vni"] {
            let finding = self.draft.note(line, carried("[vxlan] adopt"));
            self.draft.all_vnis = Some(finding);
            return Some(Said::Noted);
        }
        if let Some(verdict) = segment::in_evpn(&mut self.draft, words) {
            return Some(Said::Verdict(verdict));
        }
        // As FRR does: what means nothing in the family is the router's.
        let said = self.in_router(line, words);
        if said.is_some() && self.place == Place::Evpn {
            self.place = Place::Router;
        }
        said
    }

    fn in_interface(&mut self, interface: &str, words: &[&str]) -> Said {
        Said::Verdict(match words {
            ["ip" | "ipv6", "address", address, ..] => match address.parse::<IpNet>() {
                Ok(net) => {
                    self.draft.addresses.entry(interface.to_owned()).or_default().push(net);
                    not_carried(
                        "addresses are the host's, and zebra set this one",
                        "write it into the host's network configuration, so that it is there without FRR",
                    )
                }
                Err(_) => not_carried("this is no address", "write it into the host's network configuration"),
            },
            ["description", ..] => not_needed("a remark on an interface"),
            _ => known::in_interface(words),
        })
    }

    /// `vni` of a VRF, the default one's at the top of the file: its device routes, and is not adopted.
    fn l3_vni(&mut self, number: &str, vrf: &str) -> Verdict {
        if let Ok(vni) = number.parse() {
            self.draft.l3_vnis.insert(vni, vrf.to_owned());
        }
        not_carried(
            "an L3 VNI: evpnd carries segments (L2 VNIs) and does not route between them",
            "keep FRR on hosts that route; evpnd leaves the device of this VNI alone",
        )
    }

    fn in_vrf(&mut self, vrf: &str, words: &[&str]) -> Said {
        Said::Verdict(match words {
            ["vni", number, ..] => self.l3_vni(number, vrf),
            _ => not_carried("routes and settings of a VRF are not evpnd's", "write them into the host's network configuration"),
        })
    }
}

/// Who has noted what became of a line.
enum Said {
    /// Nobody yet.
    Verdict(Verdict),
    /// The reader.
    Noted,
}
