//! Whether a packet has what a rule asks for: yes, no, or nobody knows here.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::Way;

/// What is known of a packet, which is UDP and the first of its flow (each flow of tunnelled frames has its own source port, RFC 7348
/// §5: none is ever an answer to another).
#[derive(Debug, Clone)]
pub(super) struct Packet {
    pub way: Way,
    pub v4: bool,
    pub from: Option<IpAddr>,
    pub to: Option<IpAddr>,
    /// The names by which rules may see the device that it comes or goes by.
    pub devices: Option<Vec<String>>,
    /// Where it goes.
    pub port: u16,
    /// Of a frame in a bridge, as rules of family `bridge` see it: an ARP, which every guest needs, and which no connection tracking has.
    pub segment: Option<Segment>,
}

/// The bridge that a frame between guests and a tunnel passes; the tunnel's port is in `devices`.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub bridge: String,
    /// The guests' ports.
    pub others: Vec<String>,
    /// From a guest into the tunnel, and not out of it.
    pub into: bool,
}

/// The named sets and maps of a rule set.
#[derive(Debug, Default)]
pub(super) struct Sets {
    /// By family, table and name.
    pub elements: BTreeMap<String, Vec<Value>>,
    /// Some rule takes packets from connection tracking.
    pub untracked: bool,
}

impl Sets {
    /// The elements of `@name`.
    pub(super) fn named(&self, table: &str, name: &str) -> Option<&[Value]> {
        self.elements.get(&format!("{table} {}", name.strip_prefix('@')?)).map(Vec::as_slice)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
    Maybe,
}

impl Answer {
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Maybe,
        }
    }

    fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
        }
    }

    fn any(answers: impl IntoIterator<Item = Self>) -> Self {
        let mut found = Self::No;
        for answer in answers {
            match answer {
                Self::Yes => return Self::Yes,
                Self::Maybe => found = Self::Maybe,
                Self::No => {}
            }
        }
        found
    }

    /// Of several things of which one is the case, and it is not known which.
    fn either(answers: impl IntoIterator<Item = Self>) -> Self {
        answers.into_iter().reduce(|all, next| if all == next { all } else { Self::Maybe }).unwrap_or(Self::Maybe)
    }
}

impl From<bool> for Answer {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// A thing that a rule may ask for, as the packet has it.
enum Seen<'a> {
    Number(u64),
    /// A number, and the words that `nft` has for it.
    Named(u64, &'static [&'static str]),
    Device(&'a str),
    /// Not `lo`.
    SomeDevice,
    Address(IpAddr),
    /// Not a loopback, multicast or unspecified one.
    SomeAddress,
    /// Whether a route is there.
    Truth(bool),
    /// One of these.
    Either(Vec<Seen<'a>>),
    Tuple(Vec<Seen<'a>>),
    Unknown,
    /// No packet of this kind has it: the rule does not match, whatever it asks for.
    Absent,
}

/// Whether the packet is as `left op right` says; `table` is the family and table of the rule.
pub(super) fn compare(op: &str, left: &Value, right: &Value, table: &str, sets: &Sets, packet: &Packet) -> Answer {
    let seen = seen(left, packet, sets);
    if matches!(seen, Seen::Absent)
        || matches!(&seen, Seen::Tuple(parts) if parts.iter().any(|part| matches!(part, Seen::Absent)))
    {
        return Answer::No;
    }
    let number = |wanted: &Value| match (&seen, wanted.as_u64()) {
        (Seen::Number(number) | Seen::Named(number, _), Some(wanted)) => Some(number.cmp(&wanted)),
        _ => None,
    };
    match op {
        "==" | "in" => equal(&seen, right, table, sets),
        "!=" => equal(&seen, right, table, sets).not(),
        "<" => number(right).map_or(Answer::Maybe, |order| order.is_lt().into()),
        ">" => number(right).map_or(Answer::Maybe, |order| order.is_gt().into()),
        "<=" => number(right).map_or(Answer::Maybe, |order| order.is_le().into()),
        ">=" => number(right).map_or(Answer::Maybe, |order| order.is_ge().into()),
        _ => Answer::Maybe,
    }
}

fn seen<'a>(left: &Value, packet: &'a Packet, sets: &Sets) -> Seen<'a> {
    let Some((kind, body)) = left.as_object().and_then(|left| left.iter().next()) else { return Seen::Unknown };
    let text = |key: &str| body[key].as_str().unwrap_or_default();
    match kind.as_str() {
        "payload" => payload(text("protocol"), text("field"), packet),
        "meta" => meta(text("key"), packet),
        // `nft_ct_get_eval` (net/netfilter/nft_ct.c): what has no connection is invalid.
        "ct" if packet.segment.is_some() => match text("key") {
            "state" => Seen::Named(1, &["invalid"]),
            _ => Seen::Unknown,
        },
        "ct" => match text("key") {
            "state" if sets.untracked => Seen::Either(vec![Seen::Named(8, &["new"]), Seen::Named(64, &["untracked"])]),
            "state" => Seen::Named(8, &["new"]),
            // Nothing that translates addresses was seen on the way here: a rule that does so is not followed.
            "status" => Seen::Named(0, &[]),
            "direction" => Seen::Named(0, &["original"]),
            _ => Seen::Unknown,
        },
        "fib" => fib(text("result"), &body["flags"], packet),
        "concat" => Seen::Tuple(body.as_array().into_iter().flatten().map(|part| seen(part, packet, sets)).collect()),
        _ => Seen::Unknown,
    }
}

fn payload<'a>(protocol: &str, field: &str, packet: &'a Packet) -> Seen<'a> {
    let address = |address: Option<IpAddr>| address.map_or(Seen::SomeAddress, Seen::Address);
    if packet.segment.is_some() {
        return match (protocol, field) {
            ("ether", "type") => ARP,
            ("arp", "ptype") => Seen::Named(0x0800, &["ip"]),
            ("ether" | "arp" | "", _) => Seen::Unknown,
            _ => Seen::Absent,
        };
    }
    match (protocol, field) {
        ("udp" | "th", "dport") => Seen::Number(packet.port.into()),
        ("udp" | "th" | "ether" | "vlan" | "", _) => Seen::Unknown,
        ("ip", _) if !packet.v4 => Seen::Absent,
        ("ip6", _) if packet.v4 => Seen::Absent,
        ("ip" | "ip6", "saddr") => address(packet.from),
        ("ip" | "ip6", "daddr") => address(packet.to),
        ("ip", "protocol") | ("ip6", "nexthdr") => UDP,
        ("ip", "version") => Seen::Number(4),
        ("ip6", "version") => Seen::Number(6),
        ("ip" | "ip6", _) => Seen::Unknown,
        ("tcp" | "icmp" | "icmpv6" | "igmp" | "sctp" | "dccp" | "udplite" | "esp" | "ah" | "comp" | "arp", _) => Seen::Absent,
        _ => Seen::Unknown,
    }
}

const UDP: Seen<'static> = Seen::Named(17, &["udp"]);
const ARP: Seen<'static> = Seen::Named(0x0806, &["arp"]);

fn one_of(names: &[String]) -> Seen<'_> {
    Seen::Either(names.iter().map(|name| Seen::Device(name)).collect())
}

fn meta_of_frame<'a>(key: &str, segment: &'a Segment, packet: &'a Packet) -> Seen<'a> {
    let tunnel = packet.devices.as_deref().unwrap_or_default();
    let (from, to) = if segment.into { (segment.others.as_slice(), tunnel) } else { (tunnel, segment.others.as_slice()) };
    match key {
        "protocol" => ARP,
        "nfproto" => Seen::Named(7, &["bridge"]),
        "l4proto" => Seen::Absent,
        "iif" | "iifname" => one_of(from),
        "oif" | "oifname" => one_of(to),
        "ibrname" | "obrname" => Seen::Device(&segment.bridge),
        _ => Seen::Unknown,
    }
}

fn meta<'a>(key: &str, packet: &'a Packet) -> Seen<'a> {
    if let Some(segment) = &packet.segment {
        return meta_of_frame(key, segment, packet);
    }
    match key {
        "l4proto" => UDP,
        "nfproto" if packet.v4 => Seen::Named(2, &["ipv4"]),
        "nfproto" => Seen::Named(10, &["ipv6"]),
        "protocol" if packet.v4 => Seen::Named(0x0800, &["ip"]),
        "protocol" => Seen::Named(0x86dd, &["ip6"]),
        "pkttype" if packet.way == Way::In => Seen::Named(0, &["host", "unicast"]),
        "iif" | "iifname" if packet.way == Way::Out => Seen::Absent,
        "oif" | "oifname" if packet.way == Way::In => Seen::Absent,
        "iif" | "iifname" | "oif" | "oifname" => match &packet.devices {
            Some(devices) => one_of(devices),
            None => Seen::SomeDevice,
        },
        _ => Seen::Unknown,
    }
}

/// What the routes say. That the other side is reached by the device that its packets come by is what `rp_filter` asks for as well.
fn fib<'a>(result: &str, flags: &Value, packet: &Packet) -> Seen<'a> {
    let of = |name: &str| flags.as_array().is_some_and(|flags| flags.iter().any(|flag| flag == name));
    let ours = match packet.way {
        Way::In => of("daddr"),
        Way::Out => of("saddr"),
        Way::Through | Way::Bridged => return Seen::Unknown,
    };
    match result {
        "type" if ours => Seen::Named(2, &["local"]),
        "type" => Seen::Named(1, &["unicast"]),
        "oif" | "oifname" if !ours && packet.way == Way::In => Seen::Truth(true),
        _ => Seen::Unknown,
    }
}

fn equal(seen: &Seen<'_>, right: &Value, table: &str, sets: &Sets) -> Answer {
    let within = |items: &[Value]| Answer::any(items.iter().map(|item| equal(seen, item, table, sets)));
    if let Seen::Either(choices) = seen {
        return Answer::either(choices.iter().map(|choice| equal(choice, right, table, sets)));
    }
    match right {
        // A map's elements are pairs, and are looked up by `Rules::chosen`.
        Value::Array(items) => return within(items),
        Value::String(name) if name.starts_with('@') => return sets.named(table, name).map_or(Answer::Maybe, within),
        _ => {}
    }
    if let Some(items) = right["set"].as_array().or_else(|| right["|"].as_array()) {
        return within(items);
    }
    if !right["elem"].is_null() {
        return equal(seen, &right["elem"]["val"], table, sets);
    }
    match seen {
        Seen::Tuple(parts) => match right["concat"].as_array() {
            Some(items) if items.len() == parts.len() => {
                let answers = parts.iter().zip(items).map(|(part, item)| equal(part, item, table, sets));
                answers.fold(Answer::Yes, Answer::and)
            }
            _ => Answer::Maybe,
        },
        Seen::Number(number) => same_number(*number, right),
        Seen::Named(number, names) => match right {
            Value::String(name) => names.contains(&name.as_str()).into(),
            _ => same_number(*number, right),
        },
        Seen::Device(device) => right.as_str().map_or(Answer::Maybe, |name| match name.strip_suffix('*') {
            Some(start) => device.starts_with(start).into(),
            None => (*device == name).into(),
        }),
        Seen::SomeDevice if right == "lo" => Answer::No,
        Seen::Address(address) => addresses(right).map_or(Answer::Maybe, |(first, last)| {
            (first.is_ipv4() == address.is_ipv4() && first <= *address && *address <= last).into()
        }),
        Seen::SomeAddress => match addresses(right) {
            Some((first, last)) if never(first) && never(last) => Answer::No,
            _ => Answer::Maybe,
        },
        Seen::Truth(is) => right.as_bool().map_or(Answer::Maybe, |wanted| (wanted == *is).into()),
        Seen::SomeDevice | Seen::Either(_) | Seen::Unknown | Seen::Absent => Answer::Maybe,
    }
}

fn same_number(number: u64, right: &Value) -> Answer {
    if let Some([first, last]) = right["range"].as_array().map(Vec::as_slice) {
        return match (first.as_u64(), last.as_u64()) {
            (Some(first), Some(last)) => (first..=last).contains(&number).into(),
            _ => Answer::Maybe,
        };
    }
    right.as_u64().map_or(Answer::Maybe, |wanted| (wanted == number).into())
}

/// The first and the last address that a rule asks for.
fn addresses(right: &Value) -> Option<(IpAddr, IpAddr)> {
    let address = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
    if let Some([first, last]) = right["range"].as_array().map(Vec::as_slice) {
        return Some((address(first)?, address(last)?));
    }
    if !right["prefix"].is_null() {
        let length = right["prefix"]["len"].as_u64()?.try_into().ok()?;
        let network = IpNet::new(address(&right["prefix"]["addr"])?, length).ok()?;
        return Some((network.network(), network.broadcast()));
    }
    address(right).map(|address| (address, address))
}

/// No tunnel ends at such an address.
fn never(address: IpAddr) -> bool {
    address.is_loopback()
        || address.is_multicast()
        || match address {
            IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.octets()[0] >= 240,
            IpAddr::V6(v6) => v6.is_unspecified(),
        }
}
