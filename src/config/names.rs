//! Names of devices and bridges: templates with `{vni}`, and what the kernel takes for a name.

use toml::Spanned;

use crate::base::Vni;

use super::reader::Section;
use super::report::Mistakes;

/// Default of `device`.
pub(super) const DEVICE_DEFAULT: &str = "vxlan{vni}";
/// Default of `bridge`.
pub(super) const BRIDGE_DEFAULT: &str = "br{vni}";

/// Room for a name in the kernel, less the closing zero (`IFNAMSIZ` is 16).
const NAME_MAX: usize = 15;

/// Reads a template; whether the names it makes are good is known once the VNI is.
pub(super) fn template(section: &Section<'_>, key: &str, mistakes: &mut Mistakes) -> Option<String> {
    let text = section.string(key, "a name, in which {vni} stands for the VNI", mistakes)?;
    check_template(key, &text, mistakes).then(|| (*text.get_ref()).to_owned())
}

fn check_template(key: &str, text: &Spanned<&str>, mistakes: &mut Mistakes) -> bool {
    // The shortest VNI shows what is wrong with the template itself; too long a name may still come of a longer VNI.
    match text.get_ref().replace("{vni}", "1").as_str() {
        name if name.contains(['{', '}']) => {
            let message = format!("{key} = {:?} holds a brace that is not {{vni}}", text.get_ref());
            mistakes.add(text.span(), message, "only {vni} is replaced", format!("write {key} = \"{}\"", example(key)));
            false
        }
        name => match fault(name) {
            Some(fault) => {
                mistakes.add(
                    text.span(),
                    format!("{key} = {:?} {fault}", text.get_ref()),
                    "expected the name of a network device",
                    NAME_HELP,
                );
                false
            }
            None => true,
        },
    }
}

/// What a good name is.
pub(super) const NAME_HELP: &str = "1 to 15 visible ASCII characters without /, :, % and blanks";

fn example(key: &str) -> &'static str {
    if key == "bridge" { BRIDGE_DEFAULT } else { DEVICE_DEFAULT }
}

/// The name a template makes for a VNI, or why the kernel would not take it.
pub(super) fn expand(template: &str, vni: Vni) -> Result<String, String> {
    let name = template.replace("{vni}", &vni.to_string());
    match fault(&name) {
        Some(fault) => Err(format!("the name {name:?} {fault}")),
        None => Ok(name),
    }
}

/// Why the kernel does not take a name (`dev_valid_name` in net/core/dev.c; `%` begins a pattern there), or why sysctl
/// would take it for something else.
fn fault(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("is empty".to_owned());
    }
    if name.len() > NAME_MAX {
        return Some(format!("has {} octets, the kernel takes at most {NAME_MAX}", name.len()));
    }
    if let Some(bad) = name.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '/' | ':' | '%' | '{' | '}')) {
        return Some(format!("holds {bad:?}"));
    }
    matches!(name, "." | ".." | "all" | "default" | "lo").then(|| "has another meaning in the kernel".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_and_measures() {
        let vni = Vni::new(16_777_215).unwrap();
        assert_eq!(expand("vxlan{vni}", vni), Ok("vxlan16777215".to_owned()));
        assert!(expand("vxlan-a-{vni}", vni).is_err_and(|error| error.contains("16 octets")));
        for bad in ["", "a b", "a/b", "a:b", "a%d", "ä", ".", "a{x}", "all"] {
            assert!(expand(bad, vni).is_err(), "{bad:?}");
        }
    }
}
