//! Which devices of the host are taken that nobody declared (`adopt`, `adopt-vnis`, `ignore-devices`), and whether what does not fit is
//! mended (`fix-devices`).

use std::ops::Range;

use toml::Spanned;

use crate::base::Vni;

use super::reader::Section;
use super::report::Mistakes;

const VNIS_HELP: &str = "write it like adopt-vnis = \"100-199,300\"";

/// What is taken, and what is done about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Adopt {
    /// Every fitting device of the host, declared or not.
    pub all: bool,
    /// Only these VNIs, both ends included; empty: any.
    pub vnis: Vec<(Vni, Vni)>,
    /// Not these devices: names, or the beginnings of names with a `*` behind.
    pub ignored: Vec<String>,
    /// What does not work on an adopted device is mended.
    pub fix: bool,
}

impl Adopt {
    /// Whether a device that nobody declared is taken.
    pub fn takes(&self, vni: Vni, device: &str) -> bool {
        let in_list = self.vnis.is_empty() || self.vnis.iter().any(|(first, last)| (*first..=*last).contains(&vni));
        in_list && self.looks_at(device)
    }

    /// Whether a device that nobody declared would be taken, as far as its name goes.
    pub fn looks_at(&self, device: &str) -> bool {
        self.all && !is_ignored(&self.ignored, device)
    }
}

/// Whether `ignore-devices` name a device: itself, or how its name begins with a `*` behind.
pub fn is_ignored(names: &[String], device: &str) -> bool {
    names.iter().any(|name| match name.strip_suffix('*') {
        Some(beginning) => device.starts_with(beginning),
        None => device == name,
    })
}

/// Reads the keys of `[vxlan]`.
pub(super) fn adopt(section: &Section<'_>, mistakes: &mut Mistakes) -> Adopt {
    let mut adopt = Adopt::default();
    if let Some(which) = section.string("adopt", "which devices are taken", mistakes) {
        match *which.get_ref() {
            "declared" => {}
            "all" => adopt.all = true,
            other => mistakes.add(
                which.span(),
                format!("adopt = {other:?} names no devices"),
                "expected \"declared\" or \"all\"",
                "\"declared\": those of VNIs of this file; \"all\": every fitting VXLAN device of the host",
            ),
        }
    }
    let mut alone: Option<(Range<usize>, &str)> = None;
    if let Some(text) = section.string("adopt-vnis", "ranges of VNIs", mistakes) {
        alone = Some((text.span(), "adopt-vnis"));
        match ranges(text.get_ref()) {
            Ok(vnis) => adopt.vnis = vnis,
            Err(fault) => mistakes.add(text.span(), fault, "expected VNIs and ranges of them", VNIS_HELP),
        }
    }
    if let Some(names) = section.strings("ignore-devices", "names of devices", true, mistakes) {
        alone = alone.or(Some((names.span(), "ignore-devices")));
        adopt.ignored = names.get_ref().iter().map(|name| (*name.get_ref()).to_owned()).collect();
        if let Some(empty) = names.get_ref().iter().find(|name| name.get_ref().is_empty()) {
            let help = "write ignore-devices = [\"vxlan9\", \"lab*\"]";
            mistakes.add(empty.span(), "the empty name is no device's", "expected the name of a device", help);
        }
    }
    if let Some((span, key)) = alone.filter(|_| !adopt.all && mistakes.is_empty()) {
        let help = "write adopt = \"all\" beside it, or take it away";
        mistakes.add(span, format!("without adopt = \"all\" {key} has no meaning"), "not used", help);
    }
    adopt.fix = section.boolean("fix-devices", mistakes).is_some_and(Spanned::into_inner);
    adopt
}

/// Reads `100-199,300`. The error is a sentence.
fn ranges(text: &str) -> Result<Vec<(Vni, Vni)>, String> {
    text.split(',')
        .map(|piece| {
            let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
            let read = |text: &str| text.trim().parse::<Vni>().map_err(|error| format!("in adopt-vnis: {error}"));
            match (read(first)?, read(last)?) {
                (first, last) if first > last => Err(format!("the range {} is the wrong way round", piece.trim())),
                range => Ok(range),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_allow_and_refuse() {
        let vni = |number| Vni::new(number).unwrap();
        let all = Adopt { all: true, ..Adopt::default() };
        assert!(all.takes(vni(7), "anything"));
        assert!(!Adopt::default().takes(vni(7), "anything"));
        let some = Adopt { vnis: ranges("100-199, 300").unwrap(), ignored: vec!["vx9".into(), "lab*".into()], ..all };
        for (number, device, taken) in [
            (100, "x", true),
            (199, "x", true),
            (300, "x", true),
            (200, "x", false),
            (100, "vx9", false),
            (100, "vx90", true),
            (100, "lab1", false),
        ] {
            assert_eq!(some.takes(vni(number), device), taken, "{number} {device}");
        }
        for bad in ["", "1-", "9-1", "0", "a"] {
            assert!(ranges(bad).is_err(), "{bad:?}");
        }
    }
}
