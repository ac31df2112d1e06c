//! Traffic-control filters with their actions, as far as they can be told again.
//!
//! Source: include/uapi/linux/pkt_cls.h and tc_act/*.h, net/sched/{cls_*,act_*}.c. A BPF program in a
//! filter cannot: the kernel tells its id, and the id dies with its last user.

use std::collections::BTreeSet;

use super::{
    links::Links,
    message::{Builder, dump_if_any, raw, word},
    object::{Class, Maker, Object},
    tc::{TCA_KIND, TCA_OPTIONS, TCMSG_BYTES, handle},
};
use crate::{
    fault::Result,
    host::{Host, tlv::Attrs},
};

const RTM_NEWTFILTER: u16 = 44;
const RTM_GETTFILTER: u16 = 46;
const TCA_CHAIN: u16 = 11;
/// TCA_CLS_FLAGS_SKIP_HW, _SKIP_SW, _VERBOSE are told; in hardware or not is a report.
const FLAGS_TOLD: u32 = 1 | 2 | 16;
/// A u32 hash table with such a handle is the root that comes with the first key.
const U32_ROOT: u32 = 0x8000_0000;
const TCA_U32_DIVISOR: u16 = 4;
const TCA_U32_MARK: u16 = 10;
/// Byte offset of the counter in `struct tc_u32_mark`.
const U32_MARK_SUCCESS_AT: usize = 8;

/// What is special in a classifier's options.
struct Classifier {
    kind: &'static str,
    actions: u16,
    flags: Option<u16>,
    /// Counters and places in hardware.
    reports: &'static [u16],
    /// An old-style policer, which is not told again.
    police: Option<u16>,
}

const CLASSIFIERS: [Classifier; 4] = [
    Classifier { kind: "matchall", actions: 2, flags: Some(3), reports: &[4], police: None },
    Classifier { kind: "u32", actions: 7, flags: Some(11), reports: &[9], police: Some(6) },
    // TCA_FLOWER_IN_HW_COUNT
    Classifier { kind: "flower", actions: 3, flags: Some(22), reports: &[86], police: None },
    Classifier { kind: "fw", actions: 4, flags: None, reports: &[], police: Some(2) },
];

/// Actions, each with `struct tc_gen` as attribute 2 and times as attribute 1.
const ACTIONS: [&str; 4] = ["gact", "mirred", "skbedit", "vlan"];
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
/// TCA_ACT_COOKIE, _FLAGS, _HW_STATS are told; index, counters and places in hardware are reports.
const ACT_TOLD: [u16; 3] = [6, 7, 8];
const TIMES: u16 = 1;
const PARAMETERS: u16 = 2;
/// `struct tc_gen`: u32 index, u32 capabilities, i32 action, i32 references, i32 bindings.
const GEN_BYTES: usize = 20;
const BINDINGS_AT: usize = 16;
/// `struct tc_mirred`: tc_gen, i32 action, u32 index of the interface.
const MIRRED_LINK_AT: usize = 24;

/// Where filters are.
pub(super) struct Place<'a> {
    /// Of the interface.
    pub(super) index: u32,
    pub(super) parent: u32,
    pub(super) qdisc: &'a str,
}

/// What is learnt of a filter besides its message.
#[derive(Default)]
struct Learnt {
    doubts: Vec<String>,
    /// Indexes of its mirred actions.
    redirects: Vec<u32>,
}

/// The filters at one place of one interface; `redirects` gets the indexes of their mirred actions.
pub(super) fn read(
    host: &dyn Host,
    links: &Links,
    place: &Place<'_>,
    cannot: &mut Vec<String>,
    redirects: &mut BTreeSet<u32>,
) -> Result<Vec<Object>> {
    let Place { index, parent, qdisc } = *place;
    let mut header = [0; TCMSG_BYTES];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[12..16].copy_from_slice(&parent.to_ne_bytes());
    let device = links.names.name(index);
    let mut objects = Vec::new();
    for answer in dump_if_any(host, RTM_GETTFILTER, &header, "filters")? {
        let Some((header, attributes)) = answer.split_at_checked(TCMSG_BYTES) else { continue };
        let attrs = Attrs(attributes);
        let kind = attrs.find(TCA_KIND).map(|attr| attr.text()).unwrap_or_default();
        let own = word(&header[8..]);
        let Some(options) = attrs.find(TCA_OPTIONS).map(|attr| attr.payload) else {
            // The classifier itself, before its first filter.
            continue;
        };
        let root = kind == "u32" && own >= U32_ROOT && own & 0x000f_ffff == 0;
        if root && Attrs(options).find(TCA_U32_DIVISOR).is_some() {
            continue;
        }
        let info = word(&header[16..]);
        let (priority, protocol) = (info >> 16, u16::from_be(info as u16));
        let chain = attrs.find(TCA_CHAIN).map_or(0, |attr| word(attr.payload));
        let key = format!(
            "{kind} {own:#x} at {} of {qdisc} on {device} pref {priority} protocol {protocol:#06x} \
             chain {chain}",
            handle(parent)
        );
        let mut learnt = Learnt::default();
        let message = {
            let mut builder = Builder::new(&links.names, header);
            builder.header_link(4);
            for (raw_kind, attr) in raw(attributes) {
                match attr.kind {
                    TCA_KIND | TCA_CHAIN => {
                        builder.attribute(raw_kind, attr.payload);
                    }
                    TCA_OPTIONS => match CLASSIFIERS.iter().find(|c| c.kind == kind) {
                        Some(how) => classifier(&mut builder, how, raw_kind, options, &mut learnt),
                        None => learnt.doubts.push("not known to come back whole".to_owned()),
                    },
                    _ => {}
                }
            }
            builder.build(RTM_NEWTFILTER)
        };
        cannot.extend(learnt.doubts.iter().map(|doubt| format!("filter {key}: {doubt}")));
        redirects.extend(learnt.redirects);
        objects.push(Object {
            class: Class::Filter,
            key,
            detail: String::new(),
            maker: Maker::Somebody,
            order: objects.len() as u32,
            lifetime: None,
            message,
        });
    }
    Ok(objects)
}

fn classifier(
    builder: &mut Builder<'_>,
    how: &Classifier,
    outer_kind: u16,
    options: &[u8],
    learnt: &mut Learnt,
) {
    let outer = builder.open(outer_kind);
    for (kind, attr) in raw(options).filter(|(_, attr)| !how.reports.contains(&attr.kind)) {
        if attr.kind == how.actions {
            let at = builder.open(kind);
            raw(attr.payload).for_each(|(kind, one)| action(builder, kind, one.payload, learnt));
            builder.close(at);
        } else if Some(attr.kind) == how.flags {
            let told = word(attr.payload) & FLAGS_TOLD;
            if told != 0 {
                builder.attribute(kind, &told.to_ne_bytes());
            }
        } else if Some(attr.kind) == how.police {
            learnt.doubts.push("its policer".to_owned());
        } else if how.kind == "u32" && attr.kind == TCA_U32_MARK {
            let mut mark = attr.payload.to_vec();
            mark.get_mut(U32_MARK_SUCCESS_AT..).into_iter().for_each(|counter| counter.fill(0));
            builder.attribute(kind, &mark);
        } else {
            builder.attribute(kind, attr.payload);
        }
    }
    builder.close(outer);
}

fn action(builder: &mut Builder<'_>, outer_kind: u16, action: &[u8], learnt: &mut Learnt) {
    let attrs = Attrs(action);
    let name = attrs.find(TCA_ACT_KIND).map(|attr| attr.text()).unwrap_or_default();
    if !ACTIONS.contains(&name) {
        learnt.doubts.push(format!("its action {name}"));
        return;
    }
    let outer = builder.open(outer_kind);
    for (kind, attr) in raw(action) {
        match attr.kind {
            TCA_ACT_KIND => {
                builder.attribute(kind, attr.payload);
            }
            TCA_ACT_OPTIONS => {
                let at = builder.open(kind);
                for (kind, attr) in raw(attr.payload).filter(|(_, attr)| attr.kind != TIMES) {
                    match attr.kind {
                        PARAMETERS => parameters(builder, kind, attr.payload, name, learnt),
                        _ => {
                            builder.attribute(kind, attr.payload);
                        }
                    }
                }
                builder.close(at);
            }
            told if ACT_TOLD.contains(&told) => {
                builder.attribute(kind, attr.payload);
            }
            _ => {}
        }
    }
    builder.close(outer);
}

/// The action's own struct. Its index is left to the kernel: told, it could hit somebody else's action.
fn parameters(
    builder: &mut Builder<'_>,
    kind: u16,
    payload: &[u8],
    name: &str,
    learnt: &mut Learnt,
) {
    if payload.len() < GEN_BYTES {
        learnt.doubts.push(format!("its action {name}, which is too short"));
        return;
    }
    if word(&payload[BINDINGS_AT..]) > 1 {
        learnt.doubts.push(format!("its action {name}, which other filters share"));
    }
    let mut general = [0; GEN_BYTES];
    general[4..12].copy_from_slice(&payload[4..12]);
    let at = builder.open(kind);
    builder.bytes(&general);
    match name {
        "mirred" if payload.len() >= MIRRED_LINK_AT + 4 => {
            learnt.redirects.push(word(payload));
            builder.bytes(&payload[GEN_BYTES..MIRRED_LINK_AT]);
            builder.index(word(&payload[MIRRED_LINK_AT..]));
            builder.bytes(&payload[MIRRED_LINK_AT + 4..]);
        }
        _ => {
            builder.bytes(&payload[GEN_BYTES..]);
        }
    }
    builder.close(at);
}
