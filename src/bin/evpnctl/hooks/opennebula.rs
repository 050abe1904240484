//! OpenNebula: scripts in `vnm/vxlan/{pre,post,clean}.d/`, called with the deploy id (none for `clean`) and the virtual machine's XML in
//! base64 on standard input. They run as `oneadmin`, who must be in the group of the control socket. The driver makes the
//! device and the bridge itself, before or after us: whoever is first names them, the other adopts them.

use std::process::ExitCode;

use roxmltree::{Document, Node};

use super::{Hook, Nic};

/// One call at `stage`: `pre`, `post` or `clean`. Never fails: the driver makes what the guest needs.
pub(crate) fn opennebula(hook: &Hook<'_>, stage: &str) -> ExitCode {
    let guest = decode(&hook.document()).and_then(|xml| machine(&xml));
    match (stage, guest) {
        (_, Err(why)) => hook.complain(&format!("{stage}: the document cannot be read: {why}")),
        ("pre", Ok((caller, nics))) => {
            hook.hold(&caller, &nics);
        }
        ("post", Ok((_, nics))) => hook.claim(&nics),
        ("clean", Ok((caller, nics))) => {
            hook.release(&nics);
            hook.let_go(&caller);
        }
        _ => hook.complain(&format!("knows no stage {stage}: expected pre, post or clean")),
    }
    ExitCode::SUCCESS
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

/// Who holds VNIs, and the interfaces of VXLAN networks.
fn machine(xml: &str) -> Result<(String, Vec<Nic>), String> {
    let document = Document::parse(xml).map_err(|error| error.to_string())?;
    let root = document.root_element();
    let id = text(root, "ID").filter(|_| root.has_tag_name("VM")).ok_or("expected <VM> with an <ID>")?;
    let template = root.children().find(|child| child.has_tag_name("TEMPLATE"));
    let all = template.into_iter().flat_map(|template| template.children()).filter(|node| node.has_tag_name("NIC"));
    let vxlan = all.filter(|nic| text(*nic, "VN_MAD").is_none_or(|driver| driver == "vxlan"));
    let nics = vxlan.filter_map(|nic| {
        let vlan = text(nic, "VLAN_ID")?;
        // As the driver calls it: PHYDEV.VLAN_ID; longer than the kernel takes, the daemon's own name does.
        let device = text(nic, "PHYDEV").map(|phydev| format!("{phydev}.{vlan}")).filter(|name| name.len() < 16);
        Some(Nic {
            mac: text(nic, "MAC").and_then(|mac| mac.parse().ok()),
            bridge: text(nic, "BRIDGE"),
            port: text(nic, "TARGET"),
            device,
            vni: vlan.parse().ok(),
            network: None,
        })
    });
    Ok((format!("opennebula:{id}"), nics.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_read_out_of_base64() {
        // printf '<VM><ID>17</ID><TEMPLATE>…' | base64
        let text = "PFZNPjxJRD4xNzwvSUQ+PFRFTVBMQVRFPjxOSUM+PFZOX01BRD52eGxhbjwvVk5fTUFEPjxWTEFO\n\
             X0lEPjEwMDwvVkxBTl9JRD48UEhZREVWPmV0aDA8L1BIWURFVj48L05JQz48TklDPjxWTl9NQUQ+\n\
             ODAyLjFRPC9WTl9NQUQ+PFZMQU5fSUQ+NzwvVkxBTl9JRD48L05JQz48L1RFTVBMQVRFPjwvVk0+\n";
        let (caller, nics) = machine(&decode(text).unwrap()).unwrap();
        assert_eq!(caller, "opennebula:17");
        assert_eq!(nics.len(), 1, "802.1Q is not ours");
        assert_eq!((nics[0].vni, nics[0].device.as_deref()), ("100".parse().ok(), Some("eth0.100")));
        assert_eq!(decode("Zm9v\nYmE="), Ok("fooba".to_owned()));
        assert!(decode("<VM/>").is_err());
        assert!(machine("<VM/>").is_err());
    }
}
