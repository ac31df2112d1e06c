//! nftables by the interface's index (`iif`, `oif`, `fib … oif`, `fwd`, `dup`): a new interface has another
//! index, and the rule goes on silently matching nothing. And base chains and flowtables hooked on it: the kernel
//! takes the hook away with the interface.
//!
//! Source: include/uapi/linux/netfilter/{nf_tables,nfnetlink}.h, net/netfilter/nft_{meta,cmp,lookup,fib}.c.

use std::{collections::BTreeSet, path::Path};

use super::links::Links;
use crate::{
    fault::{Fault, Kind, Result},
    host::{
        Ask, Host,
        tlv::{Attr, Attrs, Writer},
    },
};

/// Bytes of `struct nfgenmsg`: u8 family, u8 version, u16 resource.
const NFGENMSG_BYTES: usize = 4;
/// NFNL_SUBSYS_NFTABLES.
const NFTABLES: u8 = 10;
/// Answers to one question: rules, or messages of a set's elements.
const ANSWERS_MAX: usize = 100_000;
const GET_RULE: u8 = 7;
const GET_ELEMENTS: u8 = 13;
const GET_FLOWTABLE: u8 = 23;
const GET_CHAIN: u8 = 4;
/// NFTA_CHAIN_NAME, NFTA_CHAIN_HOOK, NFTA_HOOK_DEV, NFTA_HOOK_DEVS.
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_DEVICE: u16 = 3;
const CHAIN_DEVICES: u16 = 4;
/// NFTA_RULE_TABLE (and of elements and flowtables), NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS.
const TABLE: u16 = 1;
const CHAIN: u16 = 2;
const EXPRESSIONS: u16 = 4;
/// NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_SET_ELEM_KEY.
const SET: u16 = 2;
const ELEMENTS: u16 = 3;
const KEY: u16 = 1;
/// NFTA_FLOWTABLE_NAME, NFTA_FLOWTABLE_HOOK, NFTA_FLOWTABLE_HOOK_DEVS, NFTA_DEVICE_NAME.
const FLOWTABLE_NAME: u16 = 2;
const HOOK: u16 = 3;
const HOOK_DEVICES: u16 = 3;
/// NFTA_EXPR_NAME, NFTA_EXPR_DATA.
const NAME: u16 = 1;
const DATA: u16 = 2;
/// NFTA_DATA_VALUE.
const VALUE: u16 = 1;

/// Everything of nftables that knows one of these interfaces by index.
pub(super) fn read(host: &dyn Host, links: &Links, dying: &BTreeSet<u32>) -> Result<Vec<String>> {
    let mut found = BTreeSet::new();
    if !is_there(host) {
        return Ok(Vec::new());
    }
    for answer in dump(host, GET_RULE, &[0; NFGENMSG_BYTES], "rules")? {
        let Some(rule) = Rule::parse(&answer) else { continue };
        let mut indexes = rule.named.clone();
        for set in &rule.sets {
            indexes.extend(elements(host, answer[0], &rule.table, set)?);
        }
        for index in indexes.intersection(dying) {
            let name = links.names.name(*index);
            found.insert(format!(
                "a rule of nftables (table {}, chain {}) knows {name} by its index",
                rule.table, rule.chain
            ));
        }
    }
    let own = |name: &str| links.names.index(name).is_some_and(|index| dying.contains(&index));
    for answer in dump(host, GET_FLOWTABLE, &[0; NFGENMSG_BYTES], "flowtables")? {
        let attrs = Attrs(answer.get(NFGENMSG_BYTES..).unwrap_or(&[]));
        let devices = attrs.find(HOOK).and_then(|hook| hook.nested().find(HOOK_DEVICES));
        let text = |kind| attrs.find(kind).map_or("", |attr| attr.text());
        for device in devices.into_iter().flat_map(|devices| devices.nested()) {
            if own(device.text()) {
                let (table, name) = (text(TABLE), text(FLOWTABLE_NAME));
                let device = device.text();
                found.insert(format!("flowtable {name} (table {table}) is hooked on {device}"));
            }
        }
    }
    for answer in dump(host, GET_CHAIN, &[0; NFGENMSG_BYTES], "chains")? {
        let attrs = Attrs(answer.get(NFGENMSG_BYTES..).unwrap_or(&[]));
        let text = |kind| attrs.find(kind).map_or("", |attr| attr.text());
        let Some(hook) = attrs.find(CHAIN_HOOK).map(|hook| hook.nested()) else { continue };
        let listed = hook.find(CHAIN_DEVICES).into_iter().flat_map(|list| list.nested());
        for device in hook.find(CHAIN_DEVICE).into_iter().chain(listed) {
            if own(device.text()) {
                let (table, name) = (text(TABLE), text(CHAIN_NAME));
                let device = device.text();
                found.insert(format!("nftables chain {name} of table {table} on {device}"));
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// Asking a kernel that could load nf_tables would load it: then nobody has used it yet.
fn is_there(host: &dyn Host) -> bool {
    let release = host.read(Path::new("/proc/sys/kernel/osrelease")).unwrap_or_default();
    let builtin = Path::new("/lib/modules").join(release.trim()).join("modules.builtin");
    let (loaded, builtin) = (host.read(Path::new("/proc/modules")), host.read(&builtin));
    let named = |list: &Result<String>, name: &str| {
        list.as_ref().is_ok_and(|list| list.lines().any(|line| line.contains(name)))
    };
    named(&loaded, "nf_tables ") || named(&builtin, "/nf_tables.ko") || builtin.is_err()
}

/// A kernel without nf_tables refuses the whole subsystem as an invalid request.
fn dump(host: &dyn Host, message: u8, payload: &[u8], what: &str) -> Result<Vec<Vec<u8>>> {
    let (subsystem, payload) = (NFTABLES, payload.to_vec());
    let ask = Ask::Netfilter { subsystem, message, payload, most: ANSWERS_MAX };
    match host.request(&ask) {
        Ok(answers) if answers.len() >= ANSWERS_MAX => {
            let cause = format!("more than {ANSWERS_MAX} of them");
            Err(Fault::new(Kind::Unsupported, format!("list nftables' {what}"), cause))
        }
        Err(fault) if matches!(fault.kind, Kind::Unsupported | Kind::Invalid) => Ok(Vec::new()),
        answers => answers.map_err(|fault| fault.during(format!("list nftables' {what}"))),
    }
}

/// Words of the keys of a set: each may be an index, whatever it is concatenated with.
fn elements(host: &dyn Host, family: u8, table: &str, set: &str) -> Result<BTreeSet<u32>> {
    let mut payload = vec![family, 0, 0, 0];
    let mut attrs = Writer::new();
    attrs.text(TABLE, table).text(SET, set);
    payload.extend_from_slice(attrs.as_bytes());
    let mut words = BTreeSet::new();
    for answer in dump(host, GET_ELEMENTS, &payload, "sets")? {
        let attrs = Attrs(answer.get(NFGENMSG_BYTES..).unwrap_or(&[]));
        let list = attrs.find(ELEMENTS).map(|list| list.nested());
        for element in list.into_iter().flatten() {
            let key = element.nested().find(KEY).and_then(|key| key.nested().find(VALUE));
            words.extend(key.into_iter().flat_map(|key| of(key.payload)));
        }
    }
    Ok(words)
}

fn of(value: &[u8]) -> impl Iterator<Item = u32> {
    value.chunks_exact(4).map(super::message::word)
}

/// What a rule says of interfaces by index.
#[derive(Debug, Default)]
struct Rule {
    table: String,
    chain: String,
    /// Values that an index is compared with, or sent to.
    named: BTreeSet<u32>,
    /// Sets that one is looked up in.
    sets: BTreeSet<String>,
}

impl Rule {
    fn parse(answer: &[u8]) -> Option<Rule> {
        let attrs = Attrs(answer.get(NFGENMSG_BYTES..)?);
        let mut rule = Rule {
            table: attrs.find(TABLE)?.text().to_owned(),
            chain: attrs.find(CHAIN)?.text().to_owned(),
            ..Rule::default()
        };
        let expressions = || attrs.find(EXPRESSIONS).into_iter().flat_map(|list| list.nested());
        let reads = expressions().any(|expression| loads_an_index(&expression));
        let sends = expressions().any(|expression| matches!(name(&expression), "fwd" | "dup"));
        for expression in expressions() {
            let Some(data) = expression.nested().find(DATA).map(|data| data.nested()) else {
                continue;
            };
            // NFTA_CMP_DATA, NFTA_IMMEDIATE_DATA, NFTA_LOOKUP_SET.
            let value = |kind| data.find(kind).and_then(|data| data.nested().find(VALUE));
            match name(&expression) {
                "cmp" if reads => {
                    rule.named.extend(value(3).into_iter().flat_map(|v| of(v.payload).take(1)));
                }
                "immediate" if sends => {
                    rule.named.extend(value(2).into_iter().flat_map(|v| of(v.payload).take(1)));
                }
                "lookup" if reads => {
                    rule.sets.extend(data.find(1).map(|set| set.text().to_owned()));
                }
                _ => {}
            }
        }
        Some(rule)
    }
}

fn name<'a>(expression: &Attr<'a>) -> &'a str {
    expression.nested().find(NAME).map_or("", |name| name.text())
}

/// `meta iif`, `oif`, `sdif`; `fib … oif`.
fn loads_an_index(expression: &Attr<'_>) -> bool {
    let Some(data) = expression.nested().find(DATA).map(|data| data.nested()) else {
        return false;
    };
    // NFTA_META_KEY, NFTA_FIB_RESULT; in network byte order.
    let number = |kind| data.find(kind).and_then(|attr| attr.payload.first_chunk().copied());
    match name(expression) {
        "meta" => number(2).map(u32::from_be_bytes).is_some_and(|key| [4, 5, 33].contains(&key)),
        "fib" => number(2).map(u32::from_be_bytes) == Some(1),
        _ => false,
    }
}
