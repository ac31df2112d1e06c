//! Traffic control: qdiscs, classes, and filters with their actions.
//!
//! Source: include/uapi/linux/{pkt_sched,pkt_cls,rtnetlink}.h, net/sched. A dump is nearly what makes
//! the same again; where it is not, this page says what is changed, and what is not known to come back
//! whole is said beforehand. What the kernel made by itself has handle 0, and it makes that again.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    filter,
    links::Links,
    message::{Builder, dump_if_any, raw, word},
    object::{Class, Maker, Object},
};
use crate::{
    fault::Result,
    host::{Host, tlv::Attrs},
};

const RTM_NEWQDISC: u16 = 36;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTCLASS: u16 = 40;
const RTM_GETTCLASS: u16 = 42;
/// Bytes of `struct tcmsg`: u8 family, pads, i32 index, u32 handle, u32 parent, u32 info.
pub(super) const TCMSG_BYTES: usize = 20;
pub(super) const TCA_KIND: u16 = 1;
pub(super) const TCA_OPTIONS: u16 = 2;
const TCA_STAB: u16 = 8;
const TCA_INGRESS_BLOCK: u16 = 13;
const TCA_EGRESS_BLOCK: u16 = 14;
/// TC_H_ROOT.
const ROOT: u32 = u32::MAX;
const MAJOR: u32 = 0xffff_0000;
/// Deeper trees than anybody draws.
const DEPTH_MAX: u32 = 32;

/// Qdiscs whose dump, told again, makes the same: each was made, read, told again and compared.
const QDISCS: [&str; 16] = [
    "pfifo",
    "bfifo",
    "pfifo_fast",
    "noqueue",
    "mq",
    "prio",
    "tbf",
    "htb",
    "hfsc",
    "drr",
    "fq",
    "fq_codel",
    "codel",
    "sfq",
    "ingress",
    "clsact",
];
/// Those whose classes somebody makes; the classes of others come with the qdisc.
const WITH_CLASSES: [&str; 3] = ["htb", "hfsc", "drr"];
/// Those that take filters.
const WITH_FILTERS: [&str; 7] = ["htb", "hfsc", "drr", "prio", "sfq", "ingress", "clsact"];
const TCA_HTB_PARMS: u16 = 1;
const TCA_HTB_INIT: u16 = 2;
/// TC_HTB_PROTOVER: what is told; a dump reports the module's own version.
const HTB_VERSION: u32 = 3;
/// Byte offsets in `struct tc_htb_glob` (version, rate2quantum, defcls, debug, direct_pkts) and
/// `struct tc_htb_opt` (two rates of 12 bytes, buffer, cbuffer, quantum, level, prio).
const HTB_DIRECT_AT: usize = 16;
const HTB_LEVEL_AT: usize = 36;
/// TCA_CODEL_* and TCA_FQ_CODEL_* TARGET, INTERVAL, CE_THRESHOLD.
const CODEL_TIMES: [u16; 3] = [1, 3, 5];
const FQ_CODEL_TIMES: [u16; 3] = [1, 3, 7];
/// Byte offsets in `struct tc_sfq_qopt` (quantum, perturb, limit, divisor, flows), and their defaults,
/// SFQ_MAX_DEPTH and SFQ_DEFAULT_FLOWS.
const SFQ_LIMIT_AT: usize = 8;
const SFQ_LIMIT_DEFAULT: u32 = 127;
const SFQ_FLOWS_AT: usize = 16;
const SFQ_FLOWS_DEFAULT: u32 = 128;
/// Byte offset of the jitter in `struct tc_netem_qopt`, and the bytes of the whole.
const NETEM_JITTER_AT: usize = 20;

struct Node<'a> {
    kind: String,
    index: u32,
    handle: u32,
    parent: u32,
    header: &'a [u8],
    attributes: &'a [u8],
}

impl<'a> Node<'a> {
    fn parse(answer: &'a [u8]) -> Option<Node<'a>> {
        let (header, attributes) = answer.split_at_checked(TCMSG_BYTES)?;
        Some(Node {
            kind: Attrs(attributes).find(TCA_KIND)?.text().to_owned(),
            index: word(&header[4..]),
            handle: word(&header[8..]),
            parent: word(&header[12..]),
            header,
            attributes,
        })
    }
}

/// Everything of these interfaces that somebody made; `redirects` gets the mirred actions of their filters.
pub(super) fn read(
    host: &dyn Host,
    links: &Links,
    dying: &BTreeSet<u32>,
    cannot: &mut Vec<String>,
    redirects: &mut BTreeSet<u32>,
) -> Result<Vec<Object>> {
    let answers = dump_if_any(host, RTM_GETQDISC, &[0; TCMSG_BYTES], "qdiscs")?;
    let qdiscs = answers.iter().filter_map(|answer| Node::parse(answer));
    let qdiscs = qdiscs.filter(|node| dying.contains(&node.index) && node.handle != 0);
    let qdiscs: Vec<Node<'_>> = qdiscs.collect();
    let mut objects = Vec::new();
    for &index in dying {
        let here: Vec<&Node<'_>> = qdiscs.iter().filter(|node| node.index == index).collect();
        if here.is_empty() {
            continue;
        }
        let mut header = [0; TCMSG_BYTES];
        header[4..8].copy_from_slice(&index.to_ne_bytes());
        let answers = match here.iter().any(|node| WITH_CLASSES.contains(&node.kind.as_str())) {
            true => dump_if_any(host, RTM_GETTCLASS, &header, "classes")?,
            false => Vec::new(),
        };
        let classes = answers.iter().filter_map(|answer| Node::parse(answer));
        let classes = classes.filter(|class| WITH_CLASSES.contains(&class.kind.as_str()));
        let classes: Vec<Node<'_>> = classes.collect();
        let above = above(&here, &classes);
        for node in &here {
            doubts(node, links, cannot);
            objects.push(object(links, node, Class::Qdisc, &above));
        }
        objects.extend(classes.iter().map(|c| object(links, c, Class::TrafficClass, &above)));
        for (parent, qdisc) in filter_places(&here, &classes) {
            objects.extend({
                let place = filter::Place { index, parent, qdisc: &qdisc };
                filter::read(host, links, &place, cannot, redirects)?
            });
        }
    }
    Ok(objects)
}

/// What each qdisc and class hangs under, by handle.
fn above(qdiscs: &[&Node<'_>], classes: &[Node<'_>]) -> BTreeMap<u32, u32> {
    let mut above: BTreeMap<u32, u32> = qdiscs.iter().map(|q| (q.handle, q.parent)).collect();
    for class in classes {
        let parent = if class.parent == ROOT { class.handle & MAJOR } else { class.parent };
        above.insert(class.handle, parent);
    }
    above
}

fn depth(above: &BTreeMap<u32, u32>, handle: u32) -> u32 {
    let mut at = handle;
    for depth in 0..DEPTH_MAX {
        match above.get(&at) {
            Some(&parent) if parent != ROOT && parent != at => at = parent,
            Some(_) | None => return depth,
        }
    }
    DEPTH_MAX
}

/// Where filters may be: both hooks of a clsact, else the qdisc itself and its classes.
fn filter_places(qdiscs: &[&Node<'_>], classes: &[Node<'_>]) -> Vec<(u32, String)> {
    let mut places = Vec::new();
    for qdisc in qdiscs.iter().filter(|q| WITH_FILTERS.contains(&q.kind.as_str())) {
        match qdisc.kind.as_str() {
            // TC_H_CLSACT with TC_H_MIN_INGRESS and TC_H_MIN_EGRESS.
            "clsact" => places.extend([0xffff_fff2, 0xffff_fff3].map(|p| (p, "clsact".to_owned()))),
            kind => places.push((qdisc.handle, kind.to_owned())),
        }
        let inner = classes.iter().filter(|class| class.handle & MAJOR == qdisc.handle & MAJOR);
        places.extend(inner.map(|class| (class.handle, class.kind.clone())));
    }
    places
}

fn doubts(node: &Node<'_>, links: &Links, cannot: &mut Vec<String>) {
    let attrs = Attrs(node.attributes);
    let named = named(node, links);
    let jitter =
        attrs.find(TCA_OPTIONS).and_then(|o| Some(word(o.payload.get(NETEM_JITTER_AT..)?)));
    match node.kind.as_str() {
        // The kernel does not tell the distribution of a jitter.
        "netem" if jitter == Some(0) => {}
        "netem" => cannot.push(format!("qdisc {named}: the distribution of its jitter")),
        kind if QDISCS.contains(&kind) => {}
        _ => cannot.push(format!("qdisc {named}: not known to come back whole")),
    }
    if attrs.find(TCA_STAB).is_some() {
        cannot.push(format!("qdisc {named}: its size table"));
    }
    if attrs.find(TCA_INGRESS_BLOCK).is_some() || attrs.find(TCA_EGRESS_BLOCK).is_some() {
        cannot.push(format!("qdisc {named}: its shared filter block"));
    }
}

fn named(node: &Node<'_>, links: &Links) -> String {
    let device = links.names.name(node.index);
    format!("{} {} on {device}", node.kind, handle(node.handle))
}

/// `1:10`, as tc prints it.
pub(super) fn handle(handle: u32) -> String {
    match (handle >> 16, handle & 0xffff) {
        (0xffff, 0xffff) => "root".to_owned(),
        (major, 0) => format!("{major:x}:"),
        (major, minor) => format!("{major:x}:{minor:x}"),
    }
}

fn object(links: &Links, node: &Node<'_>, class: Class, above: &BTreeMap<u32, u32>) -> Object {
    let mut header = node.header.to_vec();
    // A reference count, or a class's leaf.
    header[16..20].fill(0);
    let mut builder = Builder::new(&links.names, &header);
    builder.header_link(4);
    for (raw_kind, attr) in raw(node.attributes) {
        match attr.kind {
            TCA_KIND => {
                builder.attribute(raw_kind, attr.payload);
            }
            TCA_OPTIONS => match node.kind.as_str() {
                "htb" => htb(&mut builder, raw_kind, attr.payload),
                "codel" => codel(&mut builder, raw_kind, attr.payload, &CODEL_TIMES),
                "fq_codel" => codel(&mut builder, raw_kind, attr.payload, &FQ_CODEL_TIMES),
                "sfq" => sfq(&mut builder, raw_kind, attr.payload),
                _ => {
                    builder.attribute(raw_kind, attr.payload);
                }
            },
            // Counters, and what was said to be in doubt.
            _ => {}
        }
    }
    let kind = match class {
        Class::TrafficClass => RTM_NEWTCLASS,
        _ => RTM_NEWQDISC,
    };
    Object {
        class,
        key: named(node, links),
        detail: format!("parent {}", handle(node.parent)),
        maker: Maker::Somebody,
        order: depth(above, node.handle),
        lifetime: None,
        message: builder.build(kind),
    }
}

/// CoDel counts time in units of 1024 ns and reports it in whole microseconds, rounded down; told the
/// same, it would lose a unit each time. One microsecond more is the same number of units.
fn codel(builder: &mut Builder<'_>, outer_kind: u16, options: &[u8], times: &[u16]) {
    let outer = builder.open(outer_kind);
    for (kind, attr) in raw(options) {
        match times.contains(&attr.kind) {
            true => {
                let time = word(attr.payload).saturating_add(1);
                builder.attribute(kind, &time.to_ne_bytes());
            }
            false => {
                builder.attribute(kind, attr.payload);
            }
        }
    }
    builder.close(outer);
}

/// The default number of flows is one more than may be told, and a limit that is told bounds it; so where
/// it is in force, neither was told.
fn sfq(builder: &mut Builder<'_>, kind: u16, options: &[u8]) {
    let mut told = options.to_vec();
    let at = |at: usize| options.get(at..at + 4).map(word);
    if at(SFQ_FLOWS_AT) == Some(SFQ_FLOWS_DEFAULT) {
        told[SFQ_FLOWS_AT..SFQ_FLOWS_AT + 4].fill(0);
        if at(SFQ_LIMIT_AT) == Some(SFQ_LIMIT_DEFAULT) {
            told[SFQ_LIMIT_AT..SFQ_LIMIT_AT + 4].fill(0);
        }
    }
    builder.attribute(kind, &told);
}

fn htb(builder: &mut Builder<'_>, outer_kind: u16, options: &[u8]) {
    let outer = builder.open(outer_kind);
    for (kind, attr) in raw(options) {
        let mut payload = attr.payload.to_vec();
        let zero = |payload: &mut Vec<u8>, at: usize| {
            if let Some(place) = payload.get_mut(at..at + 4) {
                place.fill(0);
            }
        };
        match attr.kind {
            TCA_HTB_INIT => {
                if let Some(version) = payload.get_mut(..4) {
                    version.copy_from_slice(&HTB_VERSION.to_ne_bytes());
                }
                zero(&mut payload, HTB_DIRECT_AT);
            }
            TCA_HTB_PARMS => zero(&mut payload, HTB_LEVEL_AT),
            _ => {}
        }
        builder.attribute(kind, &payload);
    }
    builder.close(outer);
}
