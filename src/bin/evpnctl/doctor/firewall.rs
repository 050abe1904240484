//! The host's packet filter, as far as it can be read: nftables by `nft -j`, which shows the rules of iptables-nft as well.

use std::process::{Command, Stdio};

use serde_json::Value;

/// What of it matters to tunnels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Rules {
    /// Rules on the way in that drop or reject a UDP port: the port, and where the rule stands.
    pub dropped: Vec<(u64, String)>,
    /// Chains on the way in that drop what no rule takes, with the UDP ports that some rule names.
    pub closed: Vec<(String, Vec<u64>)>,
    /// Chains on the way through that drop what no rule takes.
    pub forward_closed: Vec<String>,
}

impl Rules {
    /// Reads it.
    ///
    /// # Errors
    /// In words, where there is no `nft` or it may not be asked.
    pub(super) fn read() -> Result<Self, String> {
        let output = Command::new("nft").args(["-j", "list", "ruleset"]).stderr(Stdio::null()).output();
        let output = output.map_err(|_| "there is no nft: install nftables".to_owned())?;
        let value = serde_json::from_slice(&output.stdout).map_err(|_| "nft may not be asked: be root".to_owned())?;
        Ok(Self::parse(&value))
    }

    fn parse(ruleset: &Value) -> Self {
        let mut rules = Self::default();
        let objects = || ruleset["nftables"].as_array().into_iter().flatten();
        let name = |object: &Value, chain: &str| {
            format!("{} {} {}", words(&object["family"]), words(&object["table"]), words(&object[chain]))
        };
        for chain in objects().filter_map(|object| object.get("chain")) {
            let place = name(chain, "name");
            let own: Vec<&Value> =
                objects().filter_map(|object| object.get("rule")).filter(|rule| name(rule, "chain") == place).collect();
            let ports = |rule: &Value| udp_ports(rule);
            match (words(&chain["hook"]).as_str(), words(&chain["policy"]).as_str()) {
                ("input", policy) => {
                    let ending = own.iter().filter(|rule| verdict(rule, &["drop", "reject"]));
                    rules.dropped.extend(ending.flat_map(|rule| ports(rule)).map(|port| (port, place.clone())));
                    if policy == "drop" {
                        rules.closed.push((place, own.iter().flat_map(|rule| ports(rule)).collect()));
                    }
                }
                ("forward", "drop") => rules.forward_closed.push(place),
                _ => {}
            }
        }
        rules
    }
}

fn words(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn verdict(rule: &Value, verdicts: &[&str]) -> bool {
    let expressions = rule["expr"].as_array().into_iter().flatten();
    expressions.filter_map(Value::as_object).any(|expression| verdicts.iter().any(|verdict| expression.contains_key(*verdict)))
}

/// The UDP destination ports that a rule matches.
fn udp_ports(rule: &Value) -> Vec<u64> {
    let mut found = Vec::new();
    for expression in rule["expr"].as_array().into_iter().flatten() {
        let payload = &expression["match"]["left"]["payload"];
        if matches!(words(&payload["protocol"]).as_str(), "udp" | "th") && payload["field"] == "dport" {
            let right = &expression["match"]["right"];
            found.extend(right.as_u64());
            found.extend(right["set"].as_array().into_iter().flatten().filter_map(Value::as_u64));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_for_the_tunnels_port_are_found() {
        let ruleset = serde_json::json!({"nftables": [
            {"metainfo": {"version": "1.0.6"}},
            {"table": {"family": "inet", "name": "filter"}},
            {"chain": {"family": "inet", "table": "filter", "name": "input", "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}},
            {"chain": {"family": "inet", "table": "filter", "name": "forward", "hook": "forward", "policy": "drop"}},
            {"chain": {"family": "inet", "table": "filter", "name": "other"}},
            {"rule": {"family": "inet", "table": "filter", "chain": "input", "expr": [
                {"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": {"set": [53, 4789]}}},
                {"accept": null}]}},
            {"rule": {"family": "inet", "table": "filter", "chain": "input", "expr": [
                {"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": 8472}}, {"drop": null}]}},
            {"rule": {"family": "inet", "table": "filter", "chain": "other", "expr": [
                {"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": 1}}, {"drop": null}]}}
        ]});
        let rules = Rules::parse(&ruleset);
        assert_eq!(rules.dropped, [(8472, "inet filter input".to_owned())]);
        assert_eq!(rules.closed, [("inet filter input".to_owned(), vec![53, 4789, 8472])]);
        assert_eq!(rules.forward_closed, ["inet filter forward"]);
    }
}
