//! Text to a [`Config`]. All mistakes of a file are found in one go; a file with any is refused whole.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::graceful;
use super::keys::{
    CONTROL, DUPLICATES, GRACEFUL_RESTART, LIMITS, METRICS, NEIGHBOR, ROUTER, SECTIONS, SectionKeys, VNI, VNI_DEFAULTS, VXLAN,
    nearest,
};
use super::model::Config;
use super::neighbor;
use super::reader::{Section, type_name};
use super::report::{ConfigError, Mistakes};
use super::router::{self, RouterDraft};
use super::vni::{Vnis, defaults};

/// Reads a configuration. `file_name` is what errors and [`Config::file`] call the file; nothing is read from it.
///
/// # Errors
///
/// Every mistake with its line, column and remedy; `Display` of the error is the report for people.
pub fn parse(file_name: &str, text: &str) -> Result<Config, ConfigError> {
    let mut mistakes = Mistakes::default();
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in errors {
            let (what, expected) = error.message().split_once(", expected ").unwrap_or((error.message(), ""));
            let expected = if expected.is_empty() { String::new() } else { format!("expected {expected}") };
            mistakes.add(error.span().unwrap_or(0..0), what.replace('\n', " "), expected.replace('\n', " "), "");
        }
        return Err(mistakes.into_error(file_name, text));
    }
    match read(root.get_ref(), file_name, &mut mistakes) {
        Some(config) if mistakes.is_empty() => Ok(config),
        _ => Err(mistakes.into_error(file_name, text)),
    }
}

fn read(root: &DeTable<'_>, file_name: &str, mistakes: &mut Mistakes) -> Option<Config> {
    for (key, value) in root.iter() {
        unknown_section(key, value.span(), mistakes);
    }
    let router = match one(root, &ROUTER, mistakes) {
        Some(section) => RouterDraft::read(&section, mistakes),
        None => {
            // A misspelt section is one mistake, not two.
            if root.get(ROUTER.name).is_none() && mistakes.is_empty() {
                let help = "begin with [router] and asn = 65000, the AS number of this host";
                mistakes.add(0..0, "the section [router] is missing", "expected [router] somewhere in this file", help);
            }
            RouterDraft::missing()
        }
    };
    let vxlan = router::vxlan(one(root, &VXLAN, mistakes).as_ref(), mistakes);
    let control = router::control(one(root, &CONTROL, mistakes).as_ref(), mistakes);
    let metrics = router::metrics(one(root, &METRICS, mistakes).as_ref(), mistakes);
    let graceful_restart = graceful::read(one(root, &GRACEFUL_RESTART, mistakes).as_ref(), mistakes);
    let duplicate_detection = router::duplicates(one(root, &DUPLICATES, mistakes).as_ref(), mistakes);
    let limits = router::limits(one(root, &LIMITS, mistakes).as_ref(), mistakes);

    let vtep = router.vtep.as_ref().map(|vtep| *vtep.get_ref());
    let sections = many(root, &NEIGHBOR, mistakes);
    let neighbors: Vec<_> = sections.iter().filter_map(|section| neighbor::read(section, router.asn, vtep, mistakes)).collect();
    neighbor::check_all(&neighbors, mistakes);
    let (places, neighbors): (Vec<_>, Vec<_>) =
        neighbors.into_iter().map(|neighbor| (neighbor.span(), neighbor.into_inner())).unzip();

    let vni_defaults = defaults(one(root, &VNI_DEFAULTS, mistakes).as_ref(), &vxlan, vtep, mistakes);
    let sections = many(root, &VNI, mistakes);
    let mut vnis = Vnis::new(vtep);
    for section in &sections {
        vnis.read(section, &vni_defaults, &limits, mistakes);
    }
    if let Some(first) = sections.first().filter(|_| router.vtep_missing) {
        mistakes.add(
            first.span(),
            "a VNI needs a VTEP, and [router] names none",
            "cannot be reached without a tunnel address",
            "write vtep = \"10.0.0.1\", this host's tunnel address, into [router]",
        );
    }
    let router = router.finish(&neighbors, &places, mistakes)?;
    Some(Config {
        file: file_name.to_owned(),
        router,
        vxlan,
        control,
        metrics,
        neighbors,
        vnis: vnis.into_inner(),
        vni_defaults,
        graceful_restart,
        duplicate_detection,
        limits,
    })
}

fn unknown_section(key: &Spanned<std::borrow::Cow<'_, str>>, value: Range<usize>, mistakes: &mut Mistakes) {
    let name: &str = key.get_ref();
    if SECTIONS.iter().any(|section| section.name == name) {
        return;
    }
    // Written as `key = value`, and not as a header: the value may be a password that went astray.
    if value.start >= key.span().end {
        mistakes.hide(value);
    }
    let section = nearest(name, SECTIONS.iter().map(|section| section.name))
        .and_then(|meant| SECTIONS.iter().find(|section| section.name == meant));
    let owner = SECTIONS.iter().find(|section| section.has(name));
    let help = match (section, owner) {
        (Some(meant), _) => format!("did you mean {}?", meant.header()),
        (None, Some(owner)) => format!("{name} belongs into {}", owner.header()),
        (None, None) => format!("the sections are {}", SECTIONS.iter().map(SectionKeys::header).collect::<Vec<_>>().join(", ")),
    };
    mistakes.add(key.span(), format!("unknown section {name:?}"), "no such section", help);
}

/// A section that stands at most once.
fn one<'a>(root: &'a DeTable<'a>, keys: &'static SectionKeys, mistakes: &mut Mistakes) -> Option<Section<'a>> {
    let value = root.get(keys.name)?;
    match value.get_ref() {
        DeValue::Table(table) => Some(Section::open(keys, table, value.span(), mistakes)),
        other => {
            wrong_shape(keys, value, other, mistakes);
            None
        }
    }
}

/// A section that may stand several times.
fn many<'a>(root: &'a DeTable<'a>, keys: &'static SectionKeys, mistakes: &mut Mistakes) -> Vec<Section<'a>> {
    let Some(value) = root.get(keys.name) else { return Vec::new() };
    let DeValue::Array(list) = value.get_ref() else {
        wrong_shape(keys, value, value.get_ref(), mistakes);
        return Vec::new();
    };
    let mut sections = Vec::with_capacity(list.len());
    for item in list.iter() {
        match item.get_ref() {
            DeValue::Table(table) => sections.push(Section::open(keys, table, item.span(), mistakes)),
            other => wrong_shape(keys, item, other, mistakes),
        }
    }
    sections
}

fn wrong_shape(keys: &SectionKeys, value: &Spanned<DeValue<'_>>, found: &DeValue<'_>, mistakes: &mut Mistakes) {
    let header = keys.header();
    let message = match found {
        DeValue::Table(_) | DeValue::Array(_) => format!("{} is written {header}", keys.name),
        other => format!("{} is {}", keys.name, type_name(other)),
    };
    mistakes.add(value.span(), message, format!("expected the section {header}"), format!("write {header} in a line of its own"));
}
