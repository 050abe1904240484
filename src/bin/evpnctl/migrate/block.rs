//! The part of the configuration file that `evpnctl migrate` writes: the `[[vni]]` sections between two lines of comment. Text in,
//! text out; everything else of the file stays as it is, to the octet.

use std::collections::BTreeMap;
use std::fmt::Write;

use evpnd::base::Vni;
use evpnd::config::{Config, Flood, Install, Learning, VniConfig};

use super::plan::Way;

const BEGIN: &str = "# evpnctl migrate writes what stands between this line and the next of its kind: better leave it alone.";
const END: &str = "# What evpnctl migrate writes ends here.";

/// The sections between the two lines, by VNI, each without its header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Block {
    entries: BTreeMap<Vni, String>,
}

impl Block {
    /// Reads them out of a file. Lines that are no section of ours are dropped with the next writing.
    pub(super) fn read(text: &str) -> Self {
        let mut block = Self::default();
        let Some((_, inside, _)) = cut(text) else { return block };
        for section in inside.split("[[vni]]").skip(1) {
            let section = section.trim();
            let id = section.lines().find_map(|line| line.strip_prefix("id = ")?.trim().parse().ok());
            if let Some(vni) = id {
                block.entries.insert(vni, format!("{section}\n"));
            }
        }
        block
    }

    /// Whether a VNI is among them.
    pub(super) fn has(&self, vni: Vni) -> bool {
        self.entries.contains_key(&vni)
    }

    /// The VNI as it should be from now on.
    pub(super) fn set(&mut self, vni: Vni, lines: String) {
        self.entries.insert(vni, lines);
    }

    /// The VNI leaves.
    pub(super) fn remove(&mut self, vni: Vni) {
        self.entries.remove(&vni);
    }

    /// The file with these sections in place of those that it has.
    pub(super) fn write(&self, text: &str) -> String {
        let (before, after) = match cut(text) {
            Some((before, _, after)) => (before, after),
            None => (text, ""),
        };
        let mut out = before.trim_end().to_owned();
        if !self.entries.is_empty() {
            let _ = write!(out, "\n\n{BEGIN}\n");
            for lines in self.entries.values() {
                let _ = write!(out, "\n[[vni]]\n{lines}");
            }
            let _ = write!(out, "\n{END}");
        }
        out.push('\n');
        let after = after.trim_start_matches('\n');
        if !after.is_empty() {
            let _ = write!(out, "\n{after}");
        }
        out
    }
}

/// What stands before the block, in it and behind it.
fn cut(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once(BEGIN)?;
    // Without its end it reaches to that of the file: what an operator wrote below goes nowhere else either.
    let (inside, after) = rest.split_once(END).unwrap_or((rest, ""));
    Some((before, inside, after))
}

/// The lines of a VNI that runs in this way. Names are written where they are not what the file says already.
pub(super) fn lines(config: &Config, vni: Vni, way: Way, device: &str, bridge: &str) -> String {
    let mut out = format!("id = {vni}\n");
    let number = vni.to_string();
    for (key, name, template) in
        [("device", device, &config.vni_defaults.device), ("bridge", bridge, &config.vni_defaults.bridge)]
    {
        if template.replace("{vni}", &number) != name {
            let _ = writeln!(out, "{key} = {name:?}");
        }
    }
    match way {
        Way::BesideGroup(group) => {
            let _ = write!(out, "flood = \"multicast\"\ngroup = \"{group}\"\n");
        }
        Way::BesideList => out.push_str("flood = \"ingress-replication\"\nlearning = \"beside\"\n"),
        Way::Known => out.push_str("flood = \"none\"\n"),
        Way::Proper => {}
    }
    // What the defaults say otherwise is said here.
    if config.vni_defaults.flood != Flood::IngressReplication && way == Way::Proper {
        out.push_str("flood = \"ingress-replication\"\n");
    }
    if config.vni_defaults.install != Install::Always {
        out.push_str("install = \"always\"\n");
    }
    if config.vni_defaults.learning != Learning::Off && way != Way::BesideList {
        out.push_str("learning = false\n");
    }
    out
}

/// How a VNI of the file runs; none where it is in no way that this command knows.
pub(super) fn way_of(vni: &VniConfig) -> Option<Way> {
    match (vni.settings.flood, vni.settings.learning) {
        (Flood::Multicast(group), Learning::Off | Learning::Beside) => Some(Way::BesideGroup(group)),
        (Flood::IngressReplication, Learning::Beside) => Some(Way::BesideList),
        (Flood::IngressReplication, Learning::Off) => Some(Way::Proper),
        (Flood::None, Learning::Off) if vni.settings.install == Install::Always => Some(Way::Known),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "[router]\nasn = 65000\nvtep = \"10.0.0.1\"\n\n[[neighbor]]\naddress = \"10.0.0.254\"\n";

    fn vni(number: u32) -> Vni {
        Vni::new(number).unwrap()
    }

    fn config(text: &str) -> Config {
        evpnd::config::parse("evpnd.toml", text).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again_and_taken_away_without_a_trace() {
        let plain = config(FILE);
        let ways = [Way::BesideGroup("239.1.1.1".parse().unwrap()), Way::BesideList, Way::Proper, Way::Known];
        let mut block = Block::read(FILE);
        for (number, way) in (100..).zip(ways) {
            let bridge = if number == 100 { "onebr.7".to_owned() } else { format!("br{number}") };
            block.set(vni(number), lines(&plain, vni(number), way, &format!("vxlan{number}"), &bridge));
        }
        let text = block.write(FILE);
        assert!(text.starts_with(FILE), "{text}");
        assert_eq!(Block::read(&text), block);
        let read = config(&text);
        assert_eq!(read.vnis[&vni(100)].settings.bridge, "onebr.7");
        for (number, way) in (100..).zip(ways) {
            assert_eq!(way_of(&read.vnis[&vni(number)]), Some(way));
        }
        // Written twice it is the same; with other sections behind it these stay.
        let more = format!("{text}\n[[vni]]\nid = 7\n");
        let again = block.write(&more);
        assert_eq!(block.write(&again), again);
        assert!(config(&again).vnis.contains_key(&vni(7)), "{again}");
        assert!(!Block::read(&again).has(vni(7)));
        for number in 100..104 {
            block.remove(vni(number));
        }
        assert_eq!(block.write(&text), FILE);
    }

    #[test]
    fn what_the_defaults_say_otherwise_is_said() {
        let text = format!("{FILE}[vni-defaults]\nlearning = true\n");
        let defaults = config(&text);
        for way in [Way::BesideGroup("239.1.1.1".parse().unwrap()), Way::BesideList, Way::Proper, Way::Known] {
            let mut block = Block::default();
            block.set(vni(100), lines(&defaults, vni(100), way, "vxlan100", "br100"));
            assert_eq!(way_of(&config(&block.write(&text)).vnis[&vni(100)]), Some(way));
        }
        let text = format!("{FILE}[vni-defaults]\nflood = \"none\"\ninstall = \"on-demand\"\n");
        let mut block = Block::default();
        block.set(vni(100), lines(&config(&text), vni(100), Way::Proper, "vxlan100", "br100"));
        assert_eq!(way_of(&config(&block.write(&text)).vnis[&vni(100)]), Some(Way::Proper));
    }
}
