//! Lines of which nothing is carried, and why that is so. `*` stands for any one word; the first pattern that fits counts.

use super::finding::{Fate, Verdict};
use super::lines::begins;

use Fate::{NotCarried as Lost, NotNeeded as Fine};

/// A pattern, what becomes of lines that begin so, why, and what to do instead.
type Known = (&'static str, Fate, &'static str, &'static str);

const POLICY: &str = "evpnd filters no routes";
const POLICY_HELP: &str = "choose what a VNI takes and gives by its route targets (import, export), or filter at the reflector";
const NO_DELAY: &str = "evpnd does not hold routes back after a start";
const NO_DELAY_HELP: &str = "its rows and its End-of-RIB wait for restart-time, see [graceful-restart]";
const OF_FRR: &str = "it is about FRR itself";
const LOGS: &str = "evpnd logs to the journal: journalctl -u evpnd; EVPND_LOG=debug tells more";
const HOST: &str = "a setting of the host, not of evpnd";
const HOST_HELP: &str = "write it into the host's network configuration (sysctl, systemd-networkd, ifupdown)";
const ONE_PATH: &str = "evpnd takes one path for each MAC, by RFC 7432 and RFC 4271 §9.1";
const ALWAYS: &str = "evpnd always does so";
const MULTIHOMING: &str = "evpnd has no Ethernet segments of its own (EVPN multihoming)";
const MULTIHOMING_HELP: &str = "keep FRR on hosts with multihomed links; evpnd takes such hosts' routes";
const ROUTED: &str = "evpnd announces no IP prefixes (type 5)";
const ROUTED_HELP: &str = "keep FRR on hosts that route";
const GATEWAY: &str = "evpnd announces the MAC and the addresses of the host's own bridge, unless announce-own = false";

/// At the top of the file.
const TOP: &[Known] = &[
    ("frr", Fine, OF_FRR, ""),
    ("hostname", Fine, "evpnd tells its neighbors the host's own name", ""),
    ("domainname", Fine, "evpnd tells its neighbors the host's own name", ""),
    ("log", Fine, LOGS, ""),
    ("no log", Fine, LOGS, ""),
    ("debug", Fine, LOGS, ""),
    ("service", Fine, OF_FRR, ""),
    ("no service", Fine, OF_FRR, ""),
    ("password", Fine, "evpnd has no telnet: evpnctl speaks over a Unix socket", ""),
    ("enable password", Fine, "evpnd has no telnet: evpnctl speaks over a Unix socket", ""),
    ("username", Fine, OF_FRR, ""),
    ("banner", Fine, OF_FRR, ""),
    ("line", Fine, OF_FRR, ""),
    ("exec-timeout", Fine, OF_FRR, ""),
    ("agentx", Lost, "evpnd speaks no SNMP", "read its Prometheus metrics: listen in [metrics]"),
    ("zebra", Fine, "a setting of zebra", ""),
    ("no zebra", Fine, "a setting of zebra", ""),
    ("fpm", Fine, "a setting of zebra", ""),
    ("allow-external-route-update", Fine, "a setting of zebra", ""),
    ("ip nht", Fine, "a setting of zebra: evpnd resolves no next hops, the kernel does", ""),
    ("ipv6 nht", Fine, "a setting of zebra: evpnd resolves no next hops, the kernel does", ""),
    ("ip protocol", Fine, "a setting of zebra", ""),
    ("ipv6 protocol", Fine, "a setting of zebra", ""),
    ("no ip forwarding", Fine, "evpnd does not touch forwarding", ""),
    ("no ipv6 forwarding", Fine, "evpnd does not touch forwarding", ""),
    ("ip forwarding", Lost, HOST, HOST_HELP),
    ("ipv6 forwarding", Lost, HOST, HOST_HELP),
    ("ip route", Lost, "a static route is the host's", HOST_HELP),
    ("ipv6 route", Lost, "a static route is the host's", HOST_HELP),
    ("ip router-id", Fine, "evpnd's is [router] router-id", ""),
    ("ip prefix-list", Lost, POLICY, POLICY_HELP),
    ("ipv6 prefix-list", Lost, POLICY, POLICY_HELP),
    ("ip as-path", Lost, POLICY, POLICY_HELP),
    ("ip community-list", Lost, POLICY, POLICY_HELP),
    ("ip extcommunity-list", Lost, POLICY, POLICY_HELP),
    ("ip access-list", Lost, POLICY, POLICY_HELP),
    ("ipv6 access-list", Lost, POLICY, POLICY_HELP),
    ("access-list", Lost, POLICY, POLICY_HELP),
    ("mac access-list", Lost, POLICY, POLICY_HELP),
    ("route-map", Lost, POLICY, POLICY_HELP),
    ("bgp as-path", Lost, POLICY, POLICY_HELP),
    ("bgp community-list", Lost, POLICY, POLICY_HELP),
    ("bgp extcommunity-list", Lost, POLICY, POLICY_HELP),
    ("bgp large-community-list", Lost, POLICY, POLICY_HELP),
    ("bgp community", Lost, POLICY, POLICY_HELP),
    ("bgp route-map", Lost, POLICY, POLICY_HELP),
    ("evpn mh", Lost, MULTIHOMING, MULTIHOMING_HELP),
    ("bfd", Lost, "evpnd has no BFD", "a short hold-time (3 at least) finds a dead neighbor nearly as soon"),
    ("rpki", Lost, "evpnd validates no origins", POLICY_HELP),
    ("key chain", Lost, "evpnd has no key chains", "write password or password-file into [[neighbor]]"),
];

/// Below `router bgp`.
const ROUTER: &[Known] = &[
    ("no bgp default ipv4-unicast", Fine, "every neighbor of evpnd speaks EVPN and nothing else", ""),
    ("bgp default ipv4-unicast", Fine, "every neighbor of evpnd speaks EVPN and nothing else", ""),
    ("no bgp ebgp-requires-policy", Fine, "evpnd exchanges routes without a policy", ""),
    ("bgp ebgp-requires-policy", Lost, POLICY, POLICY_HELP),
    ("bgp log-neighbor-changes", Fine, ALWAYS, ""),
    ("no bgp log-neighbor-changes", Fine, "evpnd says when a session goes or comes", ""),
    ("bgp suppress-duplicates", Fine, ALWAYS, ""),
    ("no bgp suppress-duplicates", Fine, "evpnd sends no UPDATE twice", ""),
    ("no bgp network import-check", Fine, "evpnd announces no networks", ""),
    ("bgp network import-check", Fine, "evpnd announces no networks", ""),
    ("bgp default show", Fine, OF_FRR, ""),
    ("no bgp default show", Fine, OF_FRR, ""),
    ("bgp bestpath", Fine, ONE_PATH, ""),
    ("no bgp bestpath", Fine, ONE_PATH, ""),
    ("bgp always-compare-med", Fine, ONE_PATH, ""),
    ("bgp deterministic-med", Fine, ONE_PATH, ""),
    ("no bgp deterministic-med", Fine, ONE_PATH, ""),
    ("maximum-paths", Fine, ONE_PATH, ""),
    ("bgp fast-external-failover", Fine, "evpnd's sessions end with TCP or the hold time", ""),
    ("no bgp fast-external-failover", Fine, "evpnd's sessions end with TCP or the hold time", ""),
    ("bgp fast-convergence", Fine, "evpnd's sessions end with TCP or the hold time", ""),
    ("bgp disable-ebgp-connected-route-check", Fine, "evpnd connects over any route", ""),
    ("bgp default subgroup-pkt-queue-max", Fine, OF_FRR, ""),
    ("coalesce-time", Fine, "evpnd sends what is ready at once", ""),
    ("write-quanta", Fine, OF_FRR, ""),
    ("read-quanta", Fine, OF_FRR, ""),
    ("bgp input-queue-limit", Fine, OF_FRR, ""),
    ("bgp output-queue-limit", Fine, OF_FRR, ""),
    ("bgp route-map", Lost, POLICY, POLICY_HELP),
    ("bgp suppress-fib-pending", Fine, "routes are passed on as they come; rows follow within milliseconds", ""),
    ("bgp update-delay", Lost, NO_DELAY, NO_DELAY_HELP),
    ("update-delay", Lost, NO_DELAY, NO_DELAY_HELP),
    ("bgp graceful-shutdown", Lost, "evpnd does not announce a shutdown to come", "when the host is to leave: evpnctl drain"),
    ("bgp confederation", Lost, "evpnd knows no confederations", "make the sub-AS the AS of this host"),
    ("bgp default local-preference", Lost, "evpnd announces a local preference of 100", "nothing, where all hosts are alike"),
    ("bgp client-to-client", Fine, "evpnd reflects between clients", ""),
    (
        "no bgp client-to-client",
        Lost,
        "evpnd reflects between clients",
        "nothing, unless the clients are neighbors of one another: they then hear routes twice",
    ),
    ("bgp route-reflector", Lost, POLICY, POLICY_HELP),
    ("bgp reject-as-sets", Lost, POLICY, POLICY_HELP),
    ("bgp minimum-holdtime", Lost, "evpnd takes any hold time from 3 s", "write hold-time into [[neighbor]]"),
    ("bgp tcp-keepalive", Fine, "the hold time finds dead neighbors", ""),
    ("bgp dampening", Lost, "evpnd does not dampen routes", "see [duplicate-detection] for MACs that move too often"),
    ("bgp maxas-limit", Lost, POLICY, POLICY_HELP),
    ("distance", Fine, ONE_PATH, ""),
    ("table-map", Fine, OF_FRR, ""),
    ("segment-routing", Lost, "evpnd speaks VXLAN only", "keep FRR for it"),
];

/// Lines of neighbors that are not keys, in the router or in `l2vpn evpn`.
const NEIGHBOR: &[Known] = &[
    ("neighbor * bfd", Lost, "evpnd has no BFD", "a short hold-time (3 at least) finds a dead neighbor nearly as soon"),
    ("neighbor * disable-connected-check", Fine, "evpnd connects over any route", ""),
    ("neighbor * enforce-multihop", Fine, "evpnd connects over any route", ""),
    ("neighbor * advertisement-interval", Fine, "evpnd sends what is ready at once", ""),
    ("neighbor * capability extended-nexthop", Fine, "the next hop of an EVPN route may be IPv6 anyway", ""),
    ("neighbor * capability software-version", Fine, OF_FRR, ""),
    ("no neighbor * capability", Fine, OF_FRR, ""),
    ("neighbor * capability dynamic", Fine, OF_FRR, ""),
    ("neighbor * capability link-local", Fine, OF_FRR, ""),
    ("neighbor * capability orf", Lost, POLICY, POLICY_HELP),
    ("neighbor * dont-capability-negotiate", Lost, "EVPN needs capabilities", "take such a neighbor away"),
    ("neighbor * override-capability", Lost, "EVPN needs capabilities", "take such a neighbor away"),
    ("neighbor * strict-capability-match", Fine, "a session without EVPN is refused", ""),
    ("neighbor * local-as", Lost, "evpnd has one AS for all neighbors", "tell the neighbor the AS in [router]"),
    ("neighbor * local-role", Lost, "evpnd has no roles (RFC 9234)", "nothing: roles concern IPv4 and IPv6 unicast"),
    ("neighbor * enforce-first-as", Fine, "evpnd takes routes by their AS path as it is", ""),
    ("no neighbor * enforce-first-as", Fine, "evpnd does not refuse other first ASes", ""),
    ("neighbor * solo", Fine, OF_FRR, ""),
    (
        "neighbor * tcp-mss",
        Lost,
        "evpnd leaves the segment size to the kernel",
        "set the MTU of the route: ip route change … mtu N",
    ),
    ("neighbor * sender-as-path-loop-detection", Fine, "who gets its own route back drops it", ""),
    ("neighbor * path-attribute", Lost, POLICY, POLICY_HELP),
    ("neighbor * oad", Lost, "evpnd does not know one-administration domains", "nothing, where the AS path does not matter"),
    ("neighbor * aigp", Lost, "evpnd does not know AIGP", "nothing: it concerns IPv4 and IPv6 unicast"),
    ("neighbor * extended-optional-parameters", Fine, ALWAYS, ""),
    ("neighbor * send-community", Fine, ALWAYS, ""),
    ("neighbor * send-large-community", Fine, ALWAYS, ""),
    ("no neighbor * send-community", Lost, "EVPN cannot do without extended communities", "nothing"),
    ("neighbor * attribute-unchanged", Fine, "evpnd passes EVPN routes on with the next hop they have (RFC 8365 §5.1.3)", ""),
    (
        "neighbor * next-hop-self",
        Lost,
        "the next hop of an EVPN route stays the VTEP (RFC 8365 §5.1.3)",
        "nothing, unless this host decapsulates for others",
    ),
    ("neighbor * next-hop-unchanged", Fine, "evpnd passes EVPN routes on with the next hop they have (RFC 8365 §5.1.3)", ""),
    ("neighbor * soft-reconfiguration", Fine, "evpnd keeps what it hears", ""),
    (
        "neighbor * allowas-in",
        Lost,
        "evpnd drops routes with its own AS in their path (RFC 4271 §9.1.2)",
        "give each host an AS of its own, or all of them one AS and reflectors",
    ),
    ("neighbor * as-override", Lost, "evpnd does not rewrite AS paths", "give each host an AS of its own"),
    ("neighbor * remove-private-AS", Lost, "evpnd does not rewrite AS paths", "nothing within a fabric"),
    ("neighbor * route-map", Lost, POLICY, POLICY_HELP),
    ("neighbor * prefix-list", Lost, POLICY, POLICY_HELP),
    ("neighbor * filter-list", Lost, POLICY, POLICY_HELP),
    ("neighbor * distribute-list", Lost, POLICY, POLICY_HELP),
    ("neighbor * unsuppress-map", Lost, POLICY, POLICY_HELP),
    ("neighbor * advertise-map", Lost, POLICY, POLICY_HELP),
    ("neighbor * soo", Lost, POLICY, POLICY_HELP),
    ("neighbor * weight", Lost, POLICY, POLICY_HELP),
    ("neighbor * default-originate", Lost, ROUTED, ROUTED_HELP),
    ("neighbor * addpath", Lost, "evpnd announces the best path only", "name both reflectors as neighbors"),
    ("neighbor * disable-addpath-rx", Fine, "evpnd announces and takes one path of a route from a neighbor", ""),
    (
        "neighbor * route-server-client",
        Lost,
        "evpnd leaves next hops alone, but writes its AS into the path",
        "nothing, where the AS path does not matter",
    ),
    ("neighbor * dampening", Lost, "evpnd does not dampen routes", "see [duplicate-detection] for MACs that move too often"),
    (
        "neighbor * graceful-shutdown",
        Lost,
        "evpnd does not announce a shutdown to come",
        "when the host is to leave: evpnctl drain",
    ),
    ("neighbor * timers delayopen", Lost, "evpnd sends its OPEN at once", "nothing"),
    (
        "neighbor * ip-transparent",
        Lost,
        "evpnd connects from addresses of the host only",
        "write local-address into [[neighbor]]",
    ),
];

/// In `address-family l2vpn evpn`, and in a `vni` block.
const EVPN: &[Known] = &[
    ("advertise-default-gw", Fine, GATEWAY, ""),
    ("advertise-svi-ip", Fine, GATEWAY, ""),
    ("advertise-subnet", Lost, ROUTED, ROUTED_HELP),
    ("advertise ipv4", Lost, ROUTED, ROUTED_HELP),
    ("advertise ipv6", Lost, ROUTED, ROUTED_HELP),
    ("advertise-pip", Lost, ROUTED, ROUTED_HELP),
    ("no advertise-pip", Fine, ROUTED, ""),
    ("default-originate", Lost, ROUTED, ROUTED_HELP),
    ("rd", Lost, "the route distinguisher of type 5 routes", ROUTED_HELP),
    ("route-target", Lost, "a route target of type 5 routes", ROUTED_HELP),
    ("enable-resolve-overlay-index", Lost, ROUTED, ROUTED_HELP),
    ("flooding head-end-replication", Fine, "evpnd does so unless told otherwise (flood)", ""),
    ("no flooding", Fine, "evpnd floods unless told otherwise (flood)", ""),
    ("mac-vrf soo", Lost, POLICY, POLICY_HELP),
    ("use-es-l3nhg", Lost, MULTIHOMING, MULTIHOMING_HELP),
    ("ead-evi-tx", Lost, MULTIHOMING, MULTIHOMING_HELP),
    ("ead-evi-rx", Lost, MULTIHOMING, MULTIHOMING_HELP),
    ("disable-ead-evi-rx", Lost, MULTIHOMING, MULTIHOMING_HELP),
    ("disable-ead-evi-tx", Lost, MULTIHOMING, MULTIHOMING_HELP),
    ("ead-es-frag", Lost, MULTIHOMING, MULTIHOMING_HELP),
    ("ead-es-route-target", Lost, MULTIHOMING, MULTIHOMING_HELP),
    ("vrf", Fine, OF_FRR, ""),
];

/// First words of blocks whose lines are told of with their head.
const BLOCKS: &[&str] =
    &["route-map", "bfd", "rpki", "key", "nexthop-group", "pbr-map", "pseudowire", "segment-routing", "mpls", "line", "l2vpn"];

/// Whether a line at the top begins a block.
pub(super) fn begins_block(words: &[&str]) -> bool {
    words.first().is_some_and(|word| BLOCKS.contains(word))
}

fn find(list: &[Known], words: &[&str]) -> Option<Verdict> {
    let (_, fate, why, instead) = list.iter().find(|(pattern, ..)| begins(words, pattern))?;
    Some(Verdict { fate: *fate, why: (*why).to_owned(), instead: (*instead).to_owned() })
}

/// A line at the top of the file.
pub(super) fn at_top(words: &[&str]) -> Option<Verdict> {
    find(TOP, words)
}

/// A line of the router.
pub(super) fn in_router(words: &[&str]) -> Option<Verdict> {
    find(ROUTER, words)
}

/// A line of a neighbor.
pub(super) fn of_neighbor(words: &[&str]) -> Option<Verdict> {
    find(NEIGHBOR, words)
}

/// A line of the family or of a VNI.
pub(super) fn in_evpn(words: &[&str]) -> Option<Verdict> {
    find(EVPN, words)
}

/// A line of an interface.
pub(super) fn in_interface(words: &[&str]) -> Verdict {
    let (why, instead) = match words {
        ["evpn", "mh", ..] => (MULTIHOMING, MULTIHOMING_HELP),
        ["ip" | "ipv6", "ospf" | "ospf6" | "router" | "rip" | "pim" | "igmp", ..] | ["isis", ..] => {
            ("evpnd speaks BGP EVPN and nothing else", "keep this protocol with FRR: it may run beside evpnd")
        }
        _ => ("a setting of an interface", HOST_HELP),
    };
    Verdict { fate: Lost, why: why.to_owned(), instead: instead.to_owned() }
}
