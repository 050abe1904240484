//! The words of `evpnctl`: its help, its man page and its completions are made of them.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use evpnd::base::{MacAddr, Vni};

#[derive(Parser)]
#[command(name = "evpnctl", version, about = "Talk to a running evpnd", arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 refused, not found or (diff) different, 2 usage, 3 daemon not reachable")]
pub(crate) struct Cli {
    /// Socket of the daemon
    #[arg(long, global = true, value_name = "PATH", default_value = "/run/evpnd/evpnd.sock")]
    pub(crate) socket: PathBuf,
    /// Print JSON for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show what the daemon knows
    Show {
        #[command(subcommand)]
        what: Show,
    },
    /// Tell the story of one MAC, from the BGP paths to the kernel row
    Explain {
        /// vni N mac M
        #[arg(value_names = ["vni", "N", "mac", "M"], num_args = 2..=4, required = true)]
        words: Vec<String>,
    },
    /// Show where the kernel differs from what it should hold; exit 0 and no output when it does not
    Diff,
    /// Print events as they happen
    Monitor,
    /// Leave the fabric for good: withdraw everything, close the sessions, remove our rows and devices
    Drain,
    /// Apply the changes of the configuration file
    Reload,
    /// Add or delete VNIs at run time
    Vni {
        #[command(subcommand)]
        what: VniCommand,
    },
    /// Claim MACs for a port before their guest spoke, or release them
    Mac {
        #[command(subcommand)]
        what: MacCommand,
    },
    /// Look for what breaks VXLAN in practice, with a remedy for each finding; exit 0 where nothing is found
    Doctor {
        /// Be silent about what is known and meant so: a check, or one at a place (isolation:br100); may be given several times
        #[arg(long, value_name = "CHECK[:WHERE]")]
        ignore: Vec<Ignore>,
    },
    /// Make an evpnd.toml of an frr.conf, and tell of every line that could not be carried over; needs no daemon
    ImportFrr {
        /// The integrated frr.conf, or what vtysh -c 'show running-config' says; - is standard input
        file: PathBuf,
        /// Where to write it, readable by its owner only; without, to standard output
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Replace what is there (it keeps its owner)
        #[arg(long, requires = "output")]
        force: bool,
        /// The tunnel address of the host, where the file is of another one than this
        #[arg(long, value_name = "ADDRESS")]
        vtep: Option<IpAddr>,
    },
    /// Take this host's VXLAN devices from multicast, a list of VTEPs or FRR to EVPN, in place, and back; shows what would be done
    Migrate(Migrate),
    /// Reset something
    Clear {
        #[command(subcommand)]
        what: Clear,
    },
    /// Be a hook of libvirt: hold VNIs and claim MACs for the guest whose document is on standard input
    LibvirtHook {
        #[command(flatten)]
        map: Map,
        /// qemu, lxc or network: the name of the hook's file
        driver: String,
        /// What libvirt gives: NAME OPERATION SUB-OPERATION EXTRA
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Be a hook of OpenNebula's vxlan driver: the same for the machine whose document is on standard input
    OpennebulaHook {
        #[command(flatten)]
        map: Map,
        /// pre, post or clean: the name of the hook's directory
        stage: String,
        /// What OpenNebula gives: the deploy id, a host
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

#[derive(Args)]
pub(crate) struct Migrate {
    /// Only this VNI; may be given several times
    #[arg(long = "vni", value_name = "N", conflicts_with = "all")]
    pub(crate) vnis: Vec<Vni>,
    /// Every VXLAN device that can be converted
    #[arg(long)]
    pub(crate) all: bool,
    /// Do it; without, nothing is changed
    #[arg(long, visible_alias = "yes", conflicts_with = "dry_run")]
    pub(crate) apply: bool,
    /// Only show what would be done (as without --apply)
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The last step, once every host of the segment is beside EVPN: off the group or the list, learning off
    #[arg(long, conflicts_with = "undo")]
    pub(crate) finish: bool,
    /// One step back
    #[arg(long)]
    pub(crate) undo: bool,
    /// Once evpnd has taken over what FRR did on this host: end FRR so that its rows stay
    #[arg(long, conflicts_with_all = ["finish", "undo", "vnis", "all"])]
    pub(crate) stop_frr: bool,
    /// Do it though other hosts would not be reached
    #[arg(long)]
    pub(crate) force: bool,
    /// How long other hosts get to hear that this one joins or leaves a group
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub(crate) wait: u64,
    /// The configuration of the daemon: what is converted is written into it
    #[arg(long, value_name = "FILE", default_value = "/etc/evpnd/evpnd.toml", overrides_with = "config")]
    pub(crate) config: PathBuf,
}

#[derive(Args)]
pub(crate) struct Map {
    /// Lines of a bridge or network and its VNI, or none; a bridge br100 that is not in it is VNI 100, unless a line says * none
    #[arg(long = "map", value_name = "FILE", default_value = "/etc/evpnd/bridges")]
    pub(crate) file: PathBuf,
}

#[derive(Subcommand)]
pub(crate) enum MacCommand {
    /// Announce MACs of a guest at this port from now on, though it has not spoken
    Claim {
        #[arg(required = true, value_name = "MAC")]
        macs: Vec<MacAddr>,
        /// In which VNI
        #[arg(long)]
        vni: Vni,
        /// A port of the VNI's bridge: the guest's tap
        #[arg(long, value_name = "NAME")]
        port: String,
    },
    /// Withdraw MACs of a guest that is gone, at once
    Release {
        #[arg(required = true, value_name = "MAC")]
        macs: Vec<MacAddr>,
        /// In which VNI
        #[arg(long)]
        vni: Vni,
    },
}

#[derive(Subcommand)]
pub(crate) enum Show {
    /// The daemon at a glance
    Status,
    /// BGP neighbors, or everything about one
    Neighbors { address: Option<IpAddr> },
    /// VNIs, or everything about one
    Vnis { vni: Option<Vni> },
    /// Remote VTEPs
    Vteps,
    /// The MAC tables
    Macs {
        /// Only this VNI
        #[arg(long)]
        vni: Option<Vni>,
        /// Only this MAC
        #[arg(long)]
        mac: Option<MacAddr>,
        /// Only those that two hosts have at once, or that contend for an address with another MAC
        #[arg(long)]
        duplicates: bool,
    },
    /// The BGP table
    Routes {
        /// Only this route type (2: MAC/IP, 3: multicast)
        #[arg(long = "type", value_name = "N")]
        route_type: Option<u8>,
        /// Only this VNI
        #[arg(long)]
        vni: Option<Vni>,
        /// Only this route distinguisher
        #[arg(long)]
        rd: Option<String>,
        /// Only paths from this neighbor
        #[arg(long)]
        neighbor: Option<IpAddr>,
    },
}

#[derive(Subcommand)]
pub(crate) enum VniCommand {
    /// Add VNIs until the daemon ends, or for as long as callers want them (--for); what is not given is as in [vni-defaults]
    Add {
        #[arg(required = true, value_name = "ID")]
        ids: Vec<Vni>,
        /// Name of the device to make; {vni} is replaced
        #[arg(long)]
        device: Option<String>,
        /// Name of the bridge to make; {vni} is replaced
        #[arg(long)]
        bridge: Option<String>,
        /// Route distinguisher
        #[arg(long)]
        rd: Option<String>,
        /// Import route target: auto, 65000:100, *:100; may be given several times
        #[arg(long, value_delimiter = ',')]
        import: Option<Vec<String>>,
        /// Export route target; may be given several times
        #[arg(long, value_delimiter = ',')]
        export: Option<Vec<String>>,
        /// Whether this host answers ARP and ND
        #[arg(long, value_name = "true|false")]
        neighbor_suppression: Option<bool>,
        /// MTU in octets of the devices to make
        #[arg(long)]
        mtu: Option<u32>,
        /// Who wants them: they stay until the last caller has let go of them
        #[arg(long = "for", value_name = "CALLER")]
        caller: Option<String>,
        /// Somebody else makes their devices: none is made, and one that goes is waited for
        #[arg(long)]
        existing: bool,
        /// Return when they are announced, or fail after so long
        #[arg(long, value_name = "SECONDS")]
        wait: Option<u64>,
    },
    /// Delete VNIs: withdraw their routes, remove their rows and the devices evpnd made
    Del {
        /// Which; with --for, none stands for all that the caller holds
        #[arg(required_unless_present = "caller", value_name = "ID")]
        ids: Vec<Vni>,
        /// Only this caller lets go of them; they go when nobody else holds them
        #[arg(long = "for", value_name = "CALLER")]
        caller: Option<String>,
    },
}

#[derive(Subcommand)]
pub(crate) enum Clear {
    /// Reset the session of a neighbor; it comes back by itself
    Neighbor { address: IpAddr },
    /// Follow duplicate MACs and addresses again: all of them, those of a VNI, or one
    Duplicate {
        /// [vni N] [mac M | ip A]
        #[arg(value_names = ["vni", "N", "mac", "M"], num_args = 0..=4)]
        words: Vec<String>,
    },
}

/// Every check, as in docs/DOCTOR.md.
pub(crate) const CHECKS: [&str; 26] = [
    "daemon",
    "overflow",
    "session",
    "vni",
    "rows",
    "limits",
    "duplicates",
    "addresses",
    "leftovers",
    "vtep-address",
    "route",
    "no-answer",
    "mtu",
    "path-mtu",
    "port-mtu",
    "rp-filter",
    "learning",
    "bridge",
    "isolation",
    "injection",
    "nd",
    "rivals",
    "firewall",
    "br-netfilter",
    "checksum",
    "clock",
];

/// What somebody knows of and wants to hear no more: a check, everywhere or at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ignore {
    pub(crate) check: String,
    pub(crate) at: Option<String>,
}

impl FromStr for Ignore {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (check, at) = text.split_once(':').map_or((text, None), |(check, at)| (check, Some(at.to_owned())));
        if !CHECKS.contains(&check) {
            return Err(format!("there is no check \"{check}\": {}", CHECKS.join(", ")));
        }
        if at.as_deref() == Some("") {
            return Err(format!("the place is missing: {check}:br100, or {check} for all of them"));
        }
        Ok(Self { check: check.to_owned(), at })
    }
}
