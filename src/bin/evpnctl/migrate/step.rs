//! The single changes of which plans are made, and their words.

use std::fmt;
use std::net::IpAddr;

/// A group on an interface, as a VXLAN socket joins it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Membership {
    pub group: IpAddr,
    pub underlay: String,
    pub port: u16,
    pub zero_checksums: bool,
}

/// One change of the kernel, outside of what the daemon does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Words of ip(8).
    Ip(String),
    /// Lines of bridge(8).
    Bridge(Vec<String>),
    /// The same, where it may be that nothing stands to be changed.
    BridgeMaybe(Vec<String>),
    /// Lines of ip(8), and the same where nothing may stand.
    IpLines(Vec<String>),
    IpMaybe(Vec<String>),
    /// The host joins, or stays in, by a device of its own.
    Join(Membership),
    /// That device goes: the tunnel keeps the host in the group.
    Release(Membership),
    /// The host leaves by that device, which goes.
    Leave(Membership),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(words) => write!(f, "ip {words}"),
            Self::Bridge(lines) | Self::BridgeMaybe(lines) => show(f, "bridge", lines),
            Self::IpLines(lines) | Self::IpMaybe(lines) => show(f, "ip", lines),
            Self::Join(m) => write!(f, "be in {} on {} by a device that is made for it", m.group, m.underlay),
            Self::Release(m) => write!(f, "remove that device: the tunnel keeps this host in {}", m.group),
            Self::Leave(m) => write!(f, "leave {} on {}: remove the device that is made for it", m.group, m.underlay),
        }
    }
}

fn show(f: &mut fmt::Formatter<'_>, program: &str, lines: &[String]) -> fmt::Result {
    match lines {
        [first, _, more @ .., last] if !more.is_empty() => {
            write!(f, "{program} {first}; …{} more…; {program} {last}", more.len() + 1)
        }
        lines => write!(f, "{}", lines.iter().map(|line| format!("{program} {line}")).collect::<Vec<_>>().join("; ")),
    }
}
