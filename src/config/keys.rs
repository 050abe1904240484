//! Every section and key a file may hold. One list for three readers: `reader` refuses what is not in it, its "did you
//! mean" is taken from it, and a test holds `docs/CONFIG.md` against it.

/// What is known about one section.
#[derive(Debug, Clone, Copy)]
pub struct SectionKeys {
    /// Its name without brackets.
    pub name: &'static str,
    /// Whether it may stand several times (`[[name]]`).
    pub repeated: bool,
    /// Its keys.
    pub keys: &'static [&'static str],
    /// Keys that take one value only, because this version can do nothing else: the value as it is written in TOML.
    pub fixed: &'static [(&'static str, &'static str)],
    /// Keys whose names are taken for later versions.
    pub later: &'static [&'static str],
}

/// `[router]`.
pub const ROUTER: SectionKeys = SectionKeys {
    name: "router",
    repeated: false,
    keys: &["asn", "router-id", "vtep", "listen", "listen-port", "state-directory"],
    fixed: &[],
    later: &[],
};

/// `[vxlan]`.
pub const VXLAN: SectionKeys = SectionKeys {
    name: "vxlan",
    repeated: false,
    keys: &[
        "port",
        "device",
        "bridge",
        "mtu",
        "audit-interval",
        "nexthop-groups",
        "adopt",
        "adopt-vnis",
        "ignore-devices",
        "fix-devices",
    ],
    fixed: &[],
    later: &[],
};

/// `[control]`.
pub const CONTROL: SectionKeys =
    SectionKeys { name: "control", repeated: false, keys: &["socket", "group"], fixed: &[], later: &[] };

/// `[metrics]`.
pub const METRICS: SectionKeys = SectionKeys { name: "metrics", repeated: false, keys: &["listen"], fixed: &[], later: &[] };

/// `[[neighbor]]`.
pub const NEIGHBOR: SectionKeys = SectionKeys {
    name: "neighbor",
    repeated: true,
    keys: &[
        "address",
        "listen-range",
        "asn",
        "port",
        "local-address",
        "passive",
        "hold-time",
        "connect-retry",
        "password",
        "password-file",
        "ttl-security",
        "multihop",
        "route-reflector-client",
        "graceful-restart",
        "max-routes",
        "description",
        "enabled",
    ],
    fixed: &[],
    later: &[],
};

/// The keys that `[vni-defaults]` and `[[vni]]` share, after those of one of them alone.
macro_rules! vni_keys {
    ($($own:literal),*) => {
        &[
            $($own,)*
            "device",
            "bridge",
            "import",
            "export",
            "flood",
            "group",
            "learning",
            "install",
            "install-lifetime",
            "neighbor-suppression",
            "neighbor-learning",
            "isolated-ports",
            "probe-silent",
            "announce-own",
            "mtu",
            "static",
        ]
    };
}

/// `[vni-defaults]`.
pub const VNI_DEFAULTS: SectionKeys =
    SectionKeys { name: "vni-defaults", repeated: false, keys: vni_keys!(), fixed: &[], later: &[] };

/// `[[vni]]`.
pub const VNI: SectionKeys =
    SectionKeys { name: "vni", repeated: true, keys: vni_keys!("id", "ids", "rd"), fixed: &[], later: &[] };

/// `[graceful-restart]`.
pub const GRACEFUL_RESTART: SectionKeys = SectionKeys {
    name: "graceful-restart",
    repeated: false,
    keys: &["enabled", "restart-time", "stale-time", "long-lived-stale-time", "loss-hold-time"],
    fixed: &[],
    later: &[],
};

/// `[duplicate-detection]`.
pub const DUPLICATES: SectionKeys = SectionKeys {
    name: "duplicate-detection",
    repeated: false,
    keys: &["moves", "seconds", "action", "recovery-seconds"],
    fixed: &[],
    later: &[],
};

/// `[limits]`.
pub const LIMITS: SectionKeys = SectionKeys {
    name: "limits",
    repeated: false,
    keys: &[
        "dynamic-neighbors",
        "pending-connections",
        "routes-per-neighbor",
        "attribute-octets-per-neighbor",
        "local-macs-per-vni",
        "local-macs-per-port",
        "remote-macs-per-vni",
        "ips-per-mac",
        "paths-per-route",
        "vnis",
        "control-connections",
        "event-buffer",
        "on-demand-rows",
    ],
    fixed: &[],
    later: &[],
};

/// Every section, in the order people write them.
pub const SECTIONS: &[SectionKeys] =
    &[ROUTER, VXLAN, CONTROL, METRICS, NEIGHBOR, VNI_DEFAULTS, VNI, GRACEFUL_RESTART, DUPLICATES, LIMITS];

impl SectionKeys {
    /// The section as its header is written.
    pub fn header(&self) -> String {
        if self.repeated { format!("[[{}]]", self.name) } else { format!("[{}]", self.name) }
    }

    /// Whether `key` may stand in it (with any value or with one only).
    pub fn has(&self, key: &str) -> bool {
        self.keys.contains(&key) || self.fixed.iter().any(|(name, _)| *name == key)
    }
}

/// The name of `known` that `found` was most likely meant to be, where one is near enough.
pub(super) fn nearest<'k>(found: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    // A name longer than any key is no slip of the fingers; it also bounds the work.
    if found.len() > 32 {
        return None;
    }
    let found = found.replace('_', "-").to_ascii_lowercase();
    known.map(|name| (edits(&found, name), name)).min().filter(|(edits, name)| *edits <= 1 + name.len() / 5).map(|(_, name)| name)
}

/// How many letters have to be added, removed, changed (Levenshtein's distance).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn finds_what_was_meant() {
        assert_eq!(nearest("hold-tme", NEIGHBOR.keys.iter().copied()), Some("hold-time"));
        assert_eq!(nearest("hold_time", NEIGHBOR.keys.iter().copied()), Some("hold-time"));
        assert_eq!(nearest("frobnicate", NEIGHBOR.keys.iter().copied()), None);
    }

    /// `docs/CONFIG.md` has a heading `## `[section]`` for each section and in it a table row that begins with each key.
    fn undocumented(text: &str) -> Vec<String> {
        let mut documented = BTreeSet::new();
        let mut section = String::new();
        for line in text.lines() {
            if let Some(heading) = line.strip_prefix("## ") {
                section = heading.trim_matches('`').to_owned();
            } else if let Some(key) = line.strip_prefix("| `").and_then(|rest| rest.split('`').next())
                && section.starts_with('[')
            {
                documented.insert(format!("{section} {key}"));
            }
        }
        let known: BTreeSet<String> = SECTIONS
            .iter()
            .flat_map(|section| {
                let keys = section.keys.iter().chain(section.fixed.iter().map(|(name, _)| name));
                keys.map(move |key| format!("{} {key}", section.header()))
            })
            .collect();
        let missing = known.difference(&documented).map(|key| format!("not documented: {key}"));
        missing.chain(documented.difference(&known).map(|key| format!("documented, but no such key: {key}"))).collect()
    }

    #[test]
    fn every_key_is_documented_and_nothing_else() {
        assert_eq!(undocumented(include_str!("../../docs/CONFIG.md")), Vec::<String>::new());
    }

    #[test]
    fn the_check_of_the_documentation_complains() {
        let without = include_str!("../../docs/CONFIG.md").replace("| `asn` |", "| asn |");
        assert_eq!(undocumented(&without).len(), 2, "[router] asn and [[neighbor]] asn");
        let with = include_str!("../../docs/CONFIG.md").replace("| `router-id` |", "| `router-name` |");
        assert_eq!(undocumented(&with).len(), 2);
    }
}
