//! The chains of a rule set, and the walk of one packet through them: jumps, returns, maps of verdicts and policies. Where a rule may
//! match or not (`Answer::Maybe`), both ways are followed; a packet is dropped when every way ends so.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Way;
use super::values::{Answer, Packet, Sets, compare};

/// Jumps into each other: the kernel takes 16 (NFT_JUMP_STACK_SIZE).
const DEPTH: usize = 16;
/// Targets of iptables that look at a packet or mark it, and let it go on.
const HARMLESS: [&str; 13] = [
    "LOG",
    "NFLOG",
    "MARK",
    "CONNMARK",
    "CT",
    "TCPMSS",
    "CHECKSUM",
    "CLASSIFY",
    "DSCP",
    "TTL",
    "SECMARK",
    "CONNSECMARK",
    "TRACE",
];

/// Who drops a packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Dropped {
    /// Family, table and chain, as `nft list chain` takes them.
    pub chain: String,
    /// The rule; none: the chain's policy.
    pub handle: Option<u64>,
}

impl Dropped {
    fn words(&self) -> String {
        self.handle
            .map_or_else(|| format!("the policy of {}", self.chain), |handle| format!("{} (rule handle {handle})", self.chain))
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Passes,
    Dropped(Dropped),
    /// It hangs on a rule that is not understood; which.
    Unclear(String),
}

#[derive(Debug, Default)]
struct Chain {
    family: String,
    hook: Option<String>,
    /// The devices of a chain at `ingress` or `egress`; empty: not said.
    devices: Vec<String>,
    /// It drops what no rule takes.
    drops: bool,
    /// Handles and expressions.
    rules: Vec<(u64, Vec<Value>)>,
}

impl Chain {
    /// It is at a device, and it is not said at which.
    fn is_nowhere(&self) -> bool {
        self.devices.is_empty() && matches!(self.hook.as_deref(), Some("ingress" | "egress"))
    }

    fn is_at(&self, device: &str) -> bool {
        self.devices.iter().any(|name| name.strip_suffix('*').map_or(name == device, |start| device.starts_with(start)))
    }
}

/// The devices in a line such as `type filter hook ingress devices = { eth0, "eth1" } priority filter; policy accept;`.
fn named_devices(line: &str) -> Option<Vec<String>> {
    let (_, hook) = line.strip_prefix("type ")?.split_once(" hook ")?;
    let (_, devices) = hook.split_once(" device").filter(|_| hook.starts_with("ingress ") || hook.starts_with("egress "))?;
    let (devices, _) = devices.split_once(" priority ")?;
    let names = devices.trim_start_matches('s').split([' ', ',', '=', '{', '}', '"']);
    Some(names.filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

/// The rules of this network namespace.
#[derive(Debug, Default)]
pub(in super::super) struct Rules {
    chains: BTreeMap<String, Chain>,
    sets: Sets,
}

/// What a rule does with a packet that it matches.
enum Effect {
    Accept,
    Drop,
    Return,
    Jump(String),
    Goto(String),
    /// Nobody knows here.
    Any,
}

/// Where a packet may get to from a place.
#[derive(Debug, Default)]
struct Ends {
    accept: bool,
    drop: Option<Dropped>,
    /// The end of the chain, or `return`.
    falls: bool,
    /// The first rule of which it is not known whether it matches.
    doubt: Option<String>,
}

impl Ends {
    fn merge(&mut self, other: Self) {
        self.accept |= other.accept;
        self.drop = self.drop.take().or(other.drop);
        self.doubt = self.doubt.take().or(other.doubt);
    }
}

impl Rules {
    /// Reads them.
    ///
    /// # Errors
    /// In words, where there is no `nft` or it may not be asked.
    pub(in super::super) fn read() -> Result<Self, String> {
        let output = Command::new("nft").args(["-j", "list", "ruleset"]).stderr(Stdio::null()).output();
        let output = output.map_err(|_| "there is no nft: install nftables".to_owned())?;
        let value = serde_json::from_slice(&output.stdout).map_err(|_| "nft may not be asked: be root".to_owned())?;
        let mut rules = Self::parse(&value);
        if rules.chains.values().any(Chain::is_nowhere) {
            let output = Command::new("nft").args(["list", "chains"]).stderr(Stdio::null()).output();
            rules.name_devices(&String::from_utf8_lossy(&output.map(|output| output.stdout).unwrap_or_default()));
        }
        Ok(rules)
    }

    /// Reads from `nft list chains` at which devices chains are, which nft 1.0.6 (Debian 12) leaves out of its JSON.
    pub(super) fn name_devices(&mut self, chains: &str) {
        let (mut table, mut name) = (String::new(), "");
        for line in chains.lines().map(str::trim) {
            if let Some(opened) = line.strip_prefix("table ").and_then(|line| line.strip_suffix(" {")) {
                opened.clone_into(&mut table);
            } else if let Some(opened) = line.strip_prefix("chain ").and_then(|line| line.strip_suffix(" {")) {
                name = opened;
            } else if let Some(devices) = named_devices(line)
                && let Some(chain) = self.chains.get_mut(&format!("{table} {name}")).filter(|chain| chain.is_nowhere())
            {
                chain.devices = devices;
            }
        }
    }

    pub(super) fn parse(ruleset: &Value) -> Self {
        let mut rules = Self::default();
        let words = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for object in ruleset["nftables"].as_array().into_iter().flatten() {
            if let Some(chain) = object.get("chain") {
                let devices = chain["dev"].as_array().cloned().unwrap_or_else(|| vec![chain["dev"].clone()]);
                let known = rules.chains.entry(place(chain, "name")).or_default();
                known.family = words(&chain["family"]);
                known.hook = chain["hook"].as_str().map(str::to_owned);
                known.devices = devices.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
                known.drops = chain["policy"] == "drop";
            } else if let Some(rule) = object.get("rule") {
                let expressions = rule["expr"].as_array().cloned().unwrap_or_default();
                let untracked = expressions.iter().any(|expression| expression.get("notrack").is_some());
                rules.sets.untracked |= untracked;
                let handle = rule["handle"].as_u64().unwrap_or_default();
                rules.chains.entry(place(rule, "chain")).or_default().rules.push((handle, expressions));
            } else if let Some(set) = object.get("set").or_else(|| object.get("map")) {
                let elements = set["elem"].as_array().cloned().unwrap_or_default();
                rules.sets.elements.insert(place(set, "name"), elements);
            }
        }
        rules
    }

    /// What becomes of a packet that passes every hook on its way. The order of chains does not matter: an `accept` ends its own only.
    pub(super) fn verdict(&self, packet: &Packet) -> Verdict {
        let mut unclear = None;
        for (place, chain) in &self.chains {
            let Some(meets) = meets(chain, packet) else { continue };
            let mut ends = self.walk(place, packet, 0);
            if ends.falls && chain.drops {
                ends.drop.get_or_insert_with(|| Dropped { chain: place.clone(), handle: None });
            }
            let accepted = ends.accept || (ends.falls && !chain.drops);
            match ends.drop {
                Some(by) if !accepted && meets => return Verdict::Dropped(by),
                Some(by) => drop(unclear.get_or_insert_with(|| match ends.doubt {
                    Some(place) => place,
                    None if chain.is_nowhere() => format!("{}, at a device that nft does not tell", by.words()),
                    None => by.words(),
                })),
                None => {}
            }
        }
        unclear.map_or(Verdict::Passes, Verdict::Unclear)
    }

    fn walk(&self, place: &str, packet: &Packet, depth: usize) -> Ends {
        let mut ends = Ends::default();
        let Some(chain) = self.chains.get(place).filter(|_| depth < DEPTH) else {
            let drop = Some(Dropped { chain: place.to_owned(), handle: None });
            return Ends { accept: true, drop, falls: true, doubt: Some(place.to_owned()) };
        };
        // Sets are of the chain's own table.
        let table = place.rsplit_once(' ').map_or("", |(table, _)| table);
        for (handle, expressions) in &chain.rules {
            let here = Dropped { chain: place.to_owned(), handle: Some(*handle) };
            for (answer, effect) in self.effects(expressions, table, packet) {
                let (inner, goes_on) = match effect {
                    Effect::Accept => (Ends { accept: true, ..Ends::default() }, false),
                    Effect::Drop => (Ends { drop: Some(here.clone()), ..Ends::default() }, false),
                    Effect::Return => (Ends { falls: true, ..Ends::default() }, false),
                    Effect::Jump(target) => {
                        let mut inner = self.walk(&format!("{table} {target}"), packet, depth + 1);
                        let goes_on = std::mem::take(&mut inner.falls);
                        (inner, goes_on)
                    }
                    Effect::Goto(target) => (self.walk(&format!("{table} {target}"), packet, depth + 1), false),
                    Effect::Any => {
                        let doubt = Some(here.words());
                        (Ends { accept: true, drop: Some(here.clone()), falls: false, doubt }, true)
                    }
                };
                ends.falls |= inner.falls;
                ends.merge(inner);
                if answer == Answer::Maybe {
                    ends.doubt.get_or_insert_with(|| here.words());
                } else if !goes_on {
                    return ends;
                }
            }
        }
        ends.falls = true;
        ends
    }

    /// What a rule may do with a packet: nothing where it does not match; what is certain comes last.
    fn effects(&self, expressions: &[Value], table: &str, packet: &Packet) -> Vec<(Answer, Effect)> {
        let mut matches = Answer::Yes;
        for (name, body) in expressions.iter().filter_map(Value::as_object).flatten() {
            let target = || body["target"].as_str().unwrap_or_default().to_owned();
            let effect = match name.as_str() {
                "match" => {
                    let op = body["op"].as_str().unwrap_or_default();
                    matches = matches.and(compare(op, &body["left"], &body["right"], table, &self.sets, packet));
                    None
                }
                "limit" | "quota" | "meter" | "ct count" => {
                    matches = matches.and(Answer::Maybe);
                    None
                }
                "counter" | "log" | "mangle" | "notrack" | "set" | "map" | "dup" | "flow" | "last" | "secmark" | "continue"
                | "ct helper" | "ct timeout" | "ct expectation" => None,
                "accept" | "masquerade" | "snat" => Some(Effect::Accept),
                "drop" | "reject" => Some(Effect::Drop),
                "return" => Some(Effect::Return),
                "jump" => Some(Effect::Jump(target())),
                "goto" => Some(Effect::Goto(target())),
                "vmap" => return self.chosen(matches, body, table, packet),
                "xt" => match (body["type"].as_str(), body["name"].as_str()) {
                    (Some("match"), Some("comment")) => None,
                    (Some("match"), Some("tcp" | "icmp" | "icmp6" | "sctp" | "dccp" | "esp" | "ah")) => return Vec::new(),
                    (Some("target"), Some(name)) if HARMLESS.contains(&name) => None,
                    (Some("target"), Some("REJECT")) => Some(Effect::Drop),
                    (Some("target"), _) => Some(Effect::Any),
                    _ => {
                        matches = matches.and(Answer::Maybe);
                        // An old nft does not say which it is: it may be a target, at the end of its rule.
                        let last = expressions.last().is_some_and(|last| last.get("xt").is_some());
                        (last && body["type"].is_null()).then_some(Effect::Any)
                    }
                },
                _ => {
                    matches = matches.and(Answer::Maybe);
                    Some(Effect::Any)
                }
            };
            match (matches, effect) {
                (Answer::No, _) => return Vec::new(),
                (_, Some(effect)) => return vec![(matches, effect)],
                (_, None) => {}
            }
        }
        Vec::new()
    }

    /// A map of verdicts: those of its elements that the packet may have.
    fn chosen(&self, matches: Answer, body: &Value, table: &str, packet: &Packet) -> Vec<(Answer, Effect)> {
        let mut found = Vec::new();
        let elements = match &body["data"] {
            Value::String(name) => self.sets.named(table, name),
            data => data["set"].as_array().map(Vec::as_slice),
        };
        let Some(elements) = elements else { return vec![(Answer::Maybe, Effect::Any)] };
        for element in elements {
            let (key, verdict) = (&element[0], &element[1]);
            let answer = if key == "*" { Answer::Yes } else { compare("==", &body["key"], key, table, &self.sets, packet) };
            let target = |name: &str| verdict[name]["target"].as_str().unwrap_or_default().to_owned();
            let effect = match verdict.as_object().and_then(|verdict| verdict.keys().next()).map(String::as_str) {
                Some("accept") => Effect::Accept,
                Some("drop") => Effect::Drop,
                Some("return") => Effect::Return,
                Some("jump") => Effect::Jump(target("jump")),
                Some("goto") => Effect::Goto(target("goto")),
                Some("continue") => continue,
                _ => Effect::Any,
            };
            match matches.and(answer) {
                Answer::No => {}
                Answer::Maybe => found.push((Answer::Maybe, effect)),
                Answer::Yes => {
                    found.push((Answer::Yes, effect));
                    break;
                }
            }
        }
        found
    }
}

/// Whether a base chain sees the packet; none: it does not. False where that cannot be told.
fn meets(chain: &Chain, packet: &Packet) -> Option<bool> {
    let hook = chain.hook.as_deref()?;
    let family = match chain.family.as_str() {
        "bridge" => packet.way == Way::Bridged,
        _ if packet.way == Way::Bridged => false,
        "inet" => true,
        "ip" => packet.v4,
        "ip6" => !packet.v4,
        "netdev" => matches!(hook, "ingress" | "egress"),
        _ => false,
    };
    let hooks: &[&str] = match packet.way {
        Way::In => &["ingress", "prerouting", "input"],
        Way::Out => &["output", "postrouting", "egress"],
        Way::Through => &["forward"],
        Way::Bridged => &["prerouting", "forward", "postrouting"],
    };
    if !family || !hooks.contains(&hook) {
        return None;
    }
    if !matches!(hook, "ingress" | "egress") {
        return Some(true);
    }
    match &packet.devices {
        Some(devices) if !chain.devices.is_empty() => devices.iter().any(|name| chain.is_at(name)).then_some(true),
        _ => Some(false),
    }
}

/// Family, table and name.
fn place(object: &Value, name: &str) -> String {
    let words = |key: &str| object[key].as_str().unwrap_or_default();
    format!("{} {} {}", words("family"), words("table"), words(name))
}
