//! Floor 3: another control plane's configuration to ours. Pure: octets in, the text of an `evpnd.toml` and what became of every line
//! out. The daemon never comes here; `evpnctl import-frr` does.
//!
//! | file | what it is for |
//! | --- | --- |
//! | `lines` | octets to lines of words, with limits; what a report may show of a line |
//! | `finding` | what became of a line: carried, not needed, not carried |
//! | `walk` | which block a line stands in (FRR's nodes), and who reads it there |
//! | `draft` | what was understood so far |
//! | `router`, `neighbor`, `segment` | the lines of `router bgp`, of its neighbors, of `address-family l2vpn evpn` |
//! | `known` | lines of which nothing is carried, and why that is so |
//! | `finish` | the draft as a whole: groups spelt out, the tunnel address found, VNIs named |
//! | `write` | the text |

mod draft;
mod finding;
mod finish;
mod known;
mod lines;
mod neighbor;
mod router;
mod segment;
mod walk;
mod write;

use std::net::IpAddr;

use crate::base::Vni;

pub use finding::{Fate, Finding};
pub use lines::{ImportError, MAX_LINES, MAX_OCTETS};

/// What is known of the host that the configuration is of; empty where nothing is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// Addresses, each with its interface.
    pub addresses: Vec<(String, IpAddr)>,
    /// VXLAN devices that are ports of bridges.
    pub devices: Vec<Device>,
    /// The tunnel address, where an operator says it.
    pub vtep: Option<IpAddr>,
}

/// A VXLAN device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its VNI.
    pub vni: Vni,
    /// Its local address, where it has one.
    pub local: Option<IpAddr>,
}

/// What came of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The text of an `evpnd.toml`. It holds the passwords of the file.
    pub toml: String,
    /// What became of each line, in the order of the file; blank lines, remarks and the ends of blocks are not in it.
    pub findings: Vec<Finding>,
    /// The report of `evpnd check` on the text, where it has mistakes: what only the operator can fill in.
    pub mistakes: Option<String>,
}

impl Import {
    /// The findings of one fate, in the order of the file.
    pub fn of(&self, fate: Fate) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.fate == fate)
    }
}

/// Reads an integrated `frr.conf`, as `vtysh -c 'show running-config'` of FRR 8 and newer writes it. `name` is what reports call it;
/// `wrote` what they call the result.
///
/// # Errors
///
/// Where there is nothing to import: it is too large, or holds no `router bgp`.
pub fn frr(name: &str, octets: &[u8], host: &Host, wrote: &str) -> Result<Import, ImportError> {
    let text = lines::text(octets)?;
    let draft = walk::walk(&text)?;
    let (plan, findings) = finish::finish(draft, host);
    let toml = write::write(name, &plan, &findings);
    let mistakes = crate::config::parse(wrote, &toml).err().map(|error| error.to_string());
    Ok(Import { toml, findings, mistakes })
}
