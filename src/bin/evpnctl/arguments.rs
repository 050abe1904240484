//! The words of `evpnctl`: its help, its man page and its completions are made of them.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
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
    /// Reset something
    Clear {
        #[command(subcommand)]
        what: Clear,
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
        /// Only those that two hosts have at once
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
    /// Add VNIs until the daemon ends; what is not given is as in [vni-defaults]
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
    },
    /// Delete VNIs: withdraw their routes, remove their rows and the devices evpnd made
    Del {
        #[arg(required = true, value_name = "ID")]
        ids: Vec<Vni>,
    },
}

#[derive(Subcommand)]
pub(crate) enum Clear {
    /// Reset the session of a neighbor; it comes back by itself
    Neighbor { address: IpAddr },
    /// Follow duplicate MACs again: all of them, those of a VNI, or one
    Duplicate {
        /// [vni N [mac M]]
        #[arg(value_names = ["vni", "N", "mac", "M"], num_args = 0..=4)]
        words: Vec<String>,
    },
}
