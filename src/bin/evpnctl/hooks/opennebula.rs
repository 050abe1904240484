//! OpenNebula: scripts in `vnm/vxlan/{pre,post,clean}.d/`, run by the driver of the same name after its own work at that stage, with the
//! words that it was called with (`pre` none, `post` the deploy id and a host, `clean` a host: none is needed here) and the part of the
//! virtual machine's XML that drivers of networks get, in base64 on standard input. They run as `oneadmin`, who must be in the
//! group of the control socket. The driver makes the device and the bridge before `pre`, and removes them before `clean`.

use std::process::ExitCode;

use roxmltree::{Document, Node};

use super::{Hook, Nic};

/// A virtual machine, as the document has it.
#[derive(Debug, PartialEq, Eq)]
struct Machine {
    /// Who holds its VNIs.
    caller: String,
    /// The interfaces that the driver serves, and whether each is being plugged into the running machine, or out of it.
    nics: Vec<(Nic, bool)>,
    /// What stands for a VNI of theirs and is none.
    strange: Vec<String>,
    /// The machine runs, and goes on: one interface, of this driver or not, is plugged in or out.
    changes: bool,
}

/// One call at `stage`: `pre`, `post` or `clean`. Never fails: the driver makes what the guest needs.
pub(crate) fn opennebula(hook: &Hook<'_>, stage: &str) -> ExitCode {
    let machine = decode(&hook.document()).and_then(|xml| machine(&xml));
    for vlan in machine.iter().flat_map(|machine| &machine.strange) {
        hook.complain(&format!("{stage}: VLAN_ID {vlan} is not a VNI (1 to 16777215): its interface is left alone"));
    }
    match (stage, machine) {
        ("pre" | "post" | "clean", Err(why)) => hook.complain(&format!("{stage}: the document cannot be read: {why}")),
        ("pre", Ok(machine)) => {
            hook.hold(&machine.caller, &all(&machine), true);
        }
        ("post", Ok(machine)) => hook.claim(&all(&machine)),
        ("clean", Ok(machine)) if machine.changes => {
            let (leaving, staying): (Vec<_>, Vec<_>) = machine.nics.iter().partition(|(_, changes)| *changes);
            let leaving: Vec<Nic> = leaving.into_iter().map(|(nic, _)| nic.clone()).collect();
            hook.release(&leaving);
            let unused =
                leaving.iter().filter_map(|nic| nic.vni).filter(|vni| staying.iter().all(|(nic, _)| nic.vni != Some(*vni)));
            unused.for_each(|vni| hook.let_go_of(&machine.caller, vni));
        }
        ("clean", Ok(machine)) => {
            hook.release(&all(&machine));
            hook.let_go(&machine.caller);
        }
        _ => hook.complain(&format!("knows no stage {stage}: expected pre, post or clean")),
    }
    ExitCode::SUCCESS
}

fn all(machine: &Machine) -> Vec<Nic> {
    machine.nics.iter().map(|(nic, _)| nic.clone()).collect()
}

/// Base64 (RFC 4648 §4), line breaks left out.
fn decode(text: &str) -> Result<String, String> {
    let (mut bits, mut count, mut octets) = (0_u32, 0, Vec::new());
    for c in text.bytes().filter(|c| !c.is_ascii_whitespace() && *c != b'=') {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err("it is not base64".to_owned()),
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            octets.push((bits >> count) as u8);
        }
    }
    String::from_utf8(octets).map_err(|_| "it is not text".to_owned())
}

fn text(node: Node<'_, '_>, name: &str) -> Option<String> {
    let text = node.children().find(|child| child.has_tag_name(name))?.text()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// What the document says. The front-end puts each element that it picks out into a `<TEMPLATE>` of its own: there are many.
fn machine(xml: &str) -> Result<Machine, String> {
    let document = Document::parse(xml).map_err(|error| error.to_string())?;
    let root = document.root_element();
    let id = text(root, "ID").filter(|_| root.has_tag_name("VM")).ok_or("expected <VM> with an <ID>")?;
    let templates = root.children().filter(|child| child.has_tag_name("TEMPLATE"));
    let all: Vec<Node<'_, '_>> = templates.flat_map(|template| template.children()).collect();
    let changes = |node: &Node<'_, '_>| text(*node, "ATTACH").is_some_and(|says| says == "YES");
    let vxlan =
        all.iter().filter(|node| node.has_tag_name("NIC") && text(**node, "VN_MAD").is_some_and(|driver| driver == "vxlan"));
    let mut strange = Vec::new();
    let nics = vxlan.filter_map(|node| {
        let vlan = text(*node, "VLAN_ID")?;
        let Ok(vni) = vlan.parse() else {
            strange.push(vlan);
            return None;
        };
        let nic = Nic {
            mac: text(*node, "MAC").and_then(|mac| mac.parse().ok()),
            bridge: text(*node, "BRIDGE"),
            port: text(*node, "TARGET"),
            vni: Some(vni),
            network: None,
        };
        Some((nic, changes(node)))
    });
    let interfaces = |node: &&Node<'_, '_>| ["NIC", "NIC_ALIAS", "PCI"].iter().any(|name| node.has_tag_name(*name));
    let nics = nics.collect();
    let changed = all.iter().filter(interfaces).any(changes);
    Ok(Machine { caller: format!("opennebula:{id}"), nics, strange, changes: changed })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NIC: &str = "<NIC><MAC>02:00:0a:00:00:01</MAC><VN_MAD>vxlan</VN_MAD><VLAN_ID>100</VLAN_ID><PHYDEV>eth0</PHYDEV></NIC>";

    #[test]
    fn a_machine_is_read_out_of_base64() {
        // printf '<VM><ID>17</ID><TEMPLATE>…' | base64
        let text = "PFZNPjxJRD4xNzwvSUQ+PFRFTVBMQVRFPjxOSUM+PFZOX01BRD52eGxhbjwvVk5fTUFEPjxWTEFO\n\
             X0lEPjEwMDwvVkxBTl9JRD48UEhZREVWPmV0aDA8L1BIWURFVj48L05JQz48TklDPjxWTl9NQUQ+\n\
             ODAyLjFRPC9WTl9NQUQ+PFZMQU5fSUQ+NzwvVkxBTl9JRD48L05JQz48L1RFTVBMQVRFPjwvVk0+\n";
        let found = machine(&decode(text).unwrap()).unwrap();
        assert_eq!((found.caller.as_str(), found.changes), ("opennebula:17", false));
        assert_eq!(found.nics.len(), 1, "802.1Q is not ours");
        let nic = &found.nics[0].0;
        assert_eq!((nic.vni, nic.mac), ("100".parse().ok(), None));
        assert_eq!(decode("Zm9v\nYmE="), Ok("fooba".to_owned()));
        assert!(decode("<VM/>").is_err());
        assert!(machine("<VM/>").is_err());
    }

    #[test]
    fn every_template_of_the_document_is_looked_through() {
        let second = NIC.replace("00:01", "00:02");
        let text = format!(
            "<VM><ID>17</ID><TEMPLATE><CONTEXT/></TEMPLATE><USER_TEMPLATE/><TEMPLATE>{NIC}</TEMPLATE><TEMPLATE>{second}</TEMPLATE></VM>"
        );
        assert_eq!(machine(&text).unwrap().nics.len(), 2);
    }

    #[test]
    fn what_is_plugged_in_or_out_is_told_from_the_rest() {
        let with =
            |more: &str| machine(&format!("<VM><ID>17</ID><TEMPLATE>{NIC}</TEMPLATE><TEMPLATE>{more}</TEMPLATE></VM>")).unwrap();
        let nic = with(&NIC.replace("<NIC>", "<NIC><ATTACH>YES</ATTACH>"));
        assert_eq!(nic.nics.iter().map(|(_, changes)| *changes).collect::<Vec<_>>(), [false, true]);
        assert!(nic.changes);
        // An interface of another kind: the machine goes on all the same.
        for other in ["NIC_ALIAS", "PCI"] {
            let found = with(&format!("<{other}><ATTACH>YES</ATTACH><VN_MAD>vxlan</VN_MAD></{other}>"));
            assert!(found.changes && found.nics.len() == 1 && !found.nics[0].1, "{other}: {found:?}");
        }
        assert!(!with("<DISK><ATTACH>YES</ATTACH></DISK>").changes);
    }
}
