//! libvirt: `/etc/libvirt/hooks/qemu` (and `lxc`) with the guest's name, an operation, a sub-operation and an extra argument, the
//! domain's XML on standard input; `/etc/libvirt/hooks/network` with the network's. Nothing is printed on standard
//! output: of `migrate` and `restore` it would be taken for another domain. libvirt itself is never called: it waits for us.
//!
//! At the destination of a live migration libvirt calls `migrate`, `prepare`, `start` and `started` before the guest's memory is copied: it
//! runs at the source all the while (seen with 9.0; `qemuMigrationDstPrepareAny`). Its MACs are not claimed then: they move with its
//! first frames, which QEMU sends when it runs here. That a migration is coming is remembered from `migrate` to `started`.

use std::process::ExitCode;

use roxmltree::{Document, Node};

use super::{Hook, Nic, code};

/// The domain or the network port that holds VNIs, and its interfaces.
#[derive(Debug, PartialEq, Eq)]
struct Guest {
    caller: String,
    nics: Vec<Nic>,
}

/// One call. `words` as libvirt gives them: name, operation, sub-operation, extra.
pub(crate) fn libvirt(hook: &Hook<'_>, driver: &str, words: &[String]) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (operation, part) = match words.as_slice() {
        [_, operation, part, ..] => (*operation, *part),
        _ => {
            hook.complain("expected the arguments of a libvirt hook: NAME OPERATION SUB-OPERATION EXTRA");
            return ExitCode::SUCCESS;
        }
    };
    let read = match driver {
        "network" => port,
        _ => domain,
    };
    let wanted = match driver {
        "network" => matches!(operation, "port-created" | "port-deleted"),
        _ => matches!(operation, "migrate" | "prepare" | "started" | "stopped" | "release" | "reconnect" | "attach"),
    };
    if !wanted {
        return ExitCode::SUCCESS;
    }
    let guest = match read(&hook.document()) {
        Ok(guest) => guest,
        Err(why) => {
            hook.complain(&format!("{operation}: the document cannot be read: {why}"));
            return ExitCode::SUCCESS;
        }
    };
    match (operation, part) {
        // The bridge, the device and the type 3 route before the tap.
        ("prepare", "begin") => return code(hook.hold(&guest.caller, &guest.nics, false)),
        ("port-created", "begin") => {
            let works = hook.hold(&guest.caller, &guest.nics, false);
            if !works {
                // libvirt forgets a port that failed without a word, and the next try is another port.
                hook.let_go(&guest.caller);
            }
            return code(works);
        }
        // The VNIs themselves wait for `prepare`: after a migration that fails before it nobody would let go of them.
        ("migrate", "begin") => {
            if let Err(why) = hook.mark(&guest.caller).set() {
                hook.complain(&why);
            }
        }
        ("started", "begin") => started(hook, &guest),
        // libvirtd was restarted, or took over a guest that runs: a failure would end the guest.
        ("reconnect" | "attach", "begin") => {
            hook.hold(&guest.caller, &guest.nics, false);
            hook.claim(&guest.nics);
        }
        ("stopped", "end") => hook.release(&guest.nics),
        // Also after a crash and at the source of a migration: nobody else says that a guest is gone.
        ("release" | "port-deleted", _) => {
            hook.release(&guest.nics);
            hook.let_go(&guest.caller);
            hook.mark(&guest.caller).take();
        }
        _ => {}
    }
    ExitCode::SUCCESS
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.has_tag_name(name))
}

fn text(node: Node<'_, '_>, name: &str) -> Option<String> {
    child(node, name)?.text().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn attribute(node: Node<'_, '_>, name: &str, key: &str) -> Option<String> {
    child(node, name)?.attribute(key).map(str::to_owned)
}

/// QEMU runs. So does the guest, unless it is coming: then it still runs elsewhere.
fn started(hook: &Hook<'_>, guest: &Guest) {
    if !hook.mark(&guest.caller).take() {
        hook.claim(&guest.nics);
    }
}

/// The name that a guest's holds go by: its UUID, which a migration and a rename leave as it is.
fn caller(kind: &str, node: Node<'_, '_>) -> Result<String, String> {
    let name = text(node, "uuid").or_else(|| text(node, "name")).ok_or("neither a uuid nor a name is in it")?;
    Ok(format!("{kind}:{name}"))
}

fn domain(xml: &str) -> Result<Guest, String> {
    let document = Document::parse(xml).map_err(|error| error.to_string())?;
    let root = document.root_element();
    if !root.has_tag_name("domain") {
        return Err(format!("expected <domain>, found <{}>", root.tag_name().name()));
    }
    let devices = child(root, "devices").into_iter().flat_map(|devices| devices.children());
    let nic = |interface: Node<'_, '_>| {
        let kind = interface.attribute("type")?;
        // Open vSwitch and others are no Linux bridge.
        if !matches!(kind, "bridge" | "network") || child(interface, "virtualport").is_some() {
            return None;
        }
        Some(Nic {
            mac: attribute(interface, "mac", "address").and_then(|mac| mac.parse().ok()),
            bridge: attribute(interface, "source", "bridge"),
            network: attribute(interface, "source", "network"),
            port: attribute(interface, "target", "dev"),
            ..Nic::default()
        })
    };
    let nics = devices.filter(|device| device.has_tag_name("interface")).filter_map(nic).collect();
    Ok(Guest { caller: caller("libvirt", root)?, nics })
}

fn port(xml: &str) -> Result<Guest, String> {
    let document = Document::parse(xml).map_err(|error| error.to_string())?;
    let root = document.root_element();
    let (Some(network), Some(port)) = (child(root, "network"), child(root, "networkport")) else {
        return Err("expected <hookData> with <network> and <networkport>".to_owned());
    };
    let nic = Nic {
        mac: attribute(port, "mac", "address").and_then(|mac| mac.parse().ok()),
        bridge: attribute(port, "plug", "bridge").or_else(|| attribute(network, "bridge", "name")),
        network: text(network, "name"),
        ..Nic::default()
    };
    Ok(Guest { caller: caller("libvirt-port", port)?, nics: vec![nic] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_of_linux_bridges_are_found() {
        let xml = "<domain type='kvm' id='3' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>a</name>\
             <uuid>c7a5fdbd-cdaf-9455-926a-d65c16db1809</uuid><devices>\
             <interface type='bridge'><mac address='52:54:00:12:34:56'/><source bridge='br100'/><target dev='vnet0'/></interface>\
             <interface type='network'><mac address='52:54:00:12:34:57'/><source network='blue' portid='x' bridge='br200'/></interface>\
             <interface type='bridge'><source bridge='ovs0'/><virtualport type='openvswitch'/></interface>\
             <interface type='user'><mac address='52:54:00:12:34:58'/></interface></devices></domain>";
        let guest = domain(xml).unwrap();
        assert_eq!(guest.caller, "libvirt:c7a5fdbd-cdaf-9455-926a-d65c16db1809");
        let seen: Vec<_> =
            guest.nics.iter().map(|nic| (nic.bridge.as_deref(), nic.network.as_deref(), nic.port.as_deref())).collect();
        assert_eq!(seen, [(Some("br100"), None, Some("vnet0")), (Some("br200"), Some("blue"), None)]);
        assert_eq!(guest.nics[0].mac, "52:54:00:12:34:56".parse().ok());
    }

    #[test]
    fn documents_that_are_none_are_refused_in_words() {
        for (xml, why) in [
            ("", "root"),
            ("<domain>", "closed"),
            ("<network/>", "expected <domain>"),
            ("<domain><devices/></domain>", "neither a uuid"),
            ("<!DOCTYPE a [<!ENTITY b \"c\">]><domain/>", "DTD"),
        ] {
            let said = domain(xml).unwrap_err();
            assert!(said.contains(why), "{xml}: {said}");
        }
        assert!(port("<hookData><network/></hookData>").unwrap_err().contains("networkport"));
    }
}
