//! `models/*.yaml`: one file a vendor, one entry a family, one line a PCI device.

use std::sync::Arc;

use playbooks::parse::{
    Problem,
    yaml::{Findings, Node, shown},
};

use super::{LIST_MAX, NAME_MAX, each, file, needed, optional, texts, word};
use crate::{
    Origin,
    kernel::Version,
    model::{Activate, Adapter, Devlink, Family, Flash, Function, Model, Support, TIME_MS_MAX},
    scheme::Scheme,
};

pub(crate) fn models(source: &[u8], origin: &Origin) -> Result<Vec<Model>, Vec<Problem>> {
    file(source, |document, findings| {
        let fields =
            findings.fields(document, "a file of models", &["vendor", "adapters", "families"])?;
        let vendor = fields.need("vendor", findings).and_then(|node| vendor(node, findings));
        let adapters = match fields.get("adapters") {
            None => Some(Vec::new()),
            Some(node) => {
                let items = findings.list(node, "`adapters`", 16)?;
                each(items, |item| adapter(item, findings))
            }
        }?;
        let node = fields.need("families", findings)?;
        let items = findings.list(node, "`families`", LIST_MAX)?;
        let vendor = vendor?;
        let families = each(items, |item| family(item, &vendor, &adapters, origin, findings))?;
        Some(families.into_iter().flatten().collect())
    })
}

struct Vendor {
    id: u16,
    name: String,
}

fn vendor(node: &Node, findings: &mut Findings) -> Option<Vendor> {
    let fields = findings.fields(node, "a vendor", &["id", "name"])?;
    let id = fields.need("id", findings).and_then(|node| pci_id(node, findings));
    Some(Vendor { name: needed(&fields, "name", findings)?, id: id? })
}

/// Four hexadecimal digits, as in pci.ids.
fn pci_id(node: &Node, findings: &mut Findings) -> Option<u16> {
    let text = findings.line(node, "a PCI id", 16)?;
    let plain = text.len() == 4 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let id = plain.then(|| u16::from_str_radix(text, 16).ok()).flatten();
    if id.is_none() {
        let message = format!("`{}` is no PCI id", shown(text));
        findings.mend(node.mark, message, "four hexadecimal digits, such as \"101d\"");
    }
    id
}

fn adapter(node: &Node, findings: &mut Findings) -> Option<Adapter> {
    let fields = findings.fields(node, "an adapter", &["name", "argv", "timeout-ms", "source"])?;
    let name = fields.need("name", findings).and_then(|node| findings.name(node, "`name`"));
    let argv = texts(&fields, "argv", findings)?;
    let program = argv.first().map_or("", String::as_str);
    // A relative path would depend on where we were started.
    let sane =
        (!program.contains('/') || program.starts_with('/')) && !program.contains(['{', '}']);
    if program.is_empty() || !sane {
        let help = "the program's name or absolute path first, its arguments after it";
        findings.mend(fields.mark_of("argv"), "an adapter's `argv` names no program", help);
        return None;
    }
    let most = u32::try_from(TIME_MS_MAX).unwrap_or(u32::MAX);
    let timeout = fields
        .need("timeout-ms", findings)
        .and_then(|node| findings.whole(node, "`timeout-ms`", 1..=most));
    let source = needed(&fields, "source", findings);
    let (name, timeout_ms) = (name?.to_owned(), u64::from(timeout?));
    Some(Adapter { name, argv, timeout_ms, source: source? })
}

const FAMILY: &[&str] = &[
    "family",
    "driver",
    "firmware-format",
    "firmware-train",
    "ring",
    "coalesce",
    "coalesce-limits",
    "version-scheme",
    "flash",
    "activate",
    "activation-ms-max",
    "rollback",
    "devlink",
    "sources",
    "devices",
];

fn family(
    node: &Node,
    vendor: &Vendor,
    adapters: &[Adapter],
    origin: &Origin,
    findings: &mut Findings,
) -> Option<Vec<Model>> {
    let fields = findings.fields(node, "a family", FAMILY)?;
    let driver = needed(&fields, "driver", findings);
    let schemes = Scheme::ALL.map(|scheme| (scheme.name(), scheme));
    let activation_ms_max = match fields.get("activation-ms-max") {
        None => None,
        Some(node) => {
            let most = u32::try_from(TIME_MS_MAX).unwrap_or(u32::MAX);
            Some(u64::from(findings.whole(node, "`activation-ms-max`", 1..=most)?))
        }
    };
    let sources = texts(&fields, "sources", findings)?;
    if sources.is_empty() {
        findings.wrong(fields.mark_of("sources"), "a family without `sources`");
        return None;
    }
    let flash = ways(&fields, "flash", FLASH, adapters, Flash::Vendor, findings);
    let activate = ways(&fields, "activate", ACTIVATE, adapters, Activate::Vendor, findings);
    let shared = Arc::new(Family {
        name: needed(&fields, "family", findings)?,
        firmware_format: optional(&fields, "firmware-format", findings)?,
        firmware_train: optional(&fields, "firmware-train", findings)?,
        ring: optional(&fields, "ring", findings)?,
        coalesce: optional(&fields, "coalesce", findings)?,
        coalesce_limits: optional(&fields, "coalesce-limits", findings)?,
        scheme: word(&fields, "version-scheme", &schemes, findings)?,
        flash: flash?,
        activate: activate?,
        activation_ms_max,
        rollback: optional(&fields, "rollback", findings)?,
        devlink: match fields.get("devlink") {
            None => Vec::new(),
            Some(node) => support(node, findings)?,
        },
        sources,
    });
    let driver = driver?;
    let devices = fields.need("devices", findings)?;
    let devices = findings.list(devices, "`devices`", LIST_MAX)?;
    each(devices, |node| device(node, vendor, &driver, &shared, origin, findings))
}

const FLASH: [(&str, Flash); 2] = [("devlink", Flash::Devlink), ("ethtool", Flash::Ethtool)];

const ACTIVATE: [(&str, Activate); 5] = [
    ("live-patch", Activate::LivePatch),
    ("fw-activate", Activate::FwActivate),
    ("driver-reinit", Activate::DriverReinit),
    ("ethtool-reset", Activate::EthtoolReset),
    ("reboot", Activate::Reboot),
];

/// A list of ways: our own by their words, vendors' tools by the names of their adapters.
fn ways<T: Clone, const N: usize>(
    fields: &playbooks::parse::yaml::Fields<'_>,
    key: &'static str,
    own: [(&'static str, T); N],
    adapters: &[Adapter],
    vendor: fn(Adapter) -> T,
    findings: &mut Findings,
) -> Option<Vec<T>> {
    let Some(node) = fields.get(key) else { return Some(Vec::new()) };
    let what = format!("`{key}`");
    each(findings.list(node, &what, 8)?, |item| {
        let text = findings.line(item, &what, NAME_MAX)?;
        let word = own.iter().find(|(word, _)| *word == text).map(|(_, way)| way.clone());
        let adapter = || adapters.iter().find(|adapter| adapter.name == text).cloned().map(vendor);
        let found = word.or_else(adapter);
        if found.is_none() {
            let words = own.iter().map(|(word, _)| *word);
            let known: Vec<&str> =
                words.chain(adapters.iter().map(|adapter| adapter.name.as_str())).collect();
            findings.unknown(item.mark, &what, text, &known);
        }
        found
    })
}

fn support(node: &Node, findings: &mut Findings) -> Option<Vec<Support>> {
    let keys = Devlink::WORDS.map(|(word, _)| word);
    let fields = findings.fields(node, "devlink's support", &keys)?;
    let mut all = Vec::new();
    for (key, what) in Devlink::WORDS {
        let Some(node) = fields.get(key) else { continue };
        let looked = findings.fields(node, key, &["present", "absent"])?;
        let mut versions = |key: &'static str| {
            let Some(node) = looked.get(key) else { return Some(Vec::new()) };
            each(findings.list(node, key, 64)?, |item| {
                let text = findings.line(item, "a kernel", 32)?;
                let version = Version::parse(text);
                if version.is_none() {
                    findings.wrong(item.mark, format!("`{}` is no upstream kernel", shown(text)));
                }
                version
            })
        };
        let (present, absent) = (versions("present"), versions("absent"));
        all.push(Support { what, present: present?, absent: absent? });
    }
    Some(all)
}

fn device(
    node: &Node,
    vendor: &Vendor,
    driver: &str,
    family: &Arc<Family>,
    origin: &Origin,
    findings: &mut Findings,
) -> Option<Model> {
    const KEYS: &[&str] = &["id", "name", "product", "firmware-prefix", "function"];
    let fields = findings.fields(node, "a device", KEYS)?;
    let id = fields.need("id", findings).and_then(|node| pci_id(node, findings));
    let prefix = optional(&fields, "firmware-prefix", findings)?;
    if let Some(prefix) = &prefix
        && !prefix.strip_suffix('.').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
    {
        findings
            .wrong(fields.mark_of("firmware-prefix"), "a firmware prefix is a number and a dot");
        return None;
    }
    Some(Model {
        vendor: vendor.id,
        vendor_name: vendor.name.clone(),
        name: needed(&fields, "name", findings)?,
        product: optional(&fields, "product", findings)?,
        function: word(&fields, "function", &Function::WORDS, findings)?.unwrap_or_default(),
        driver: driver.to_owned(),
        firmware_prefix: prefix,
        family: Arc::clone(family),
        device: id?,
        origin: origin.clone(),
    })
}
