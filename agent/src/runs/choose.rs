//! What a playbook's firmware stage comes to on this device: which image, and back by which; or why it
//! is refused. Pure.

use std::time::Duration;

use firmware_catalog::{
    Catalog, Scheme, Subject,
    catalog::{Direction, Target, WayBack},
    firmware::{Entry, SIGNATURE_NAMESPACE},
    model,
    scheme::Version,
};
use jiff::Timestamp;
use playbooks::playbook::{Activate, Firmware};
use policy::sshsig;

use super::{Declined, Exit};
use crate::{
    approvals::Registry,
    firmware::device::Device,
    plan::firmware::{Activation, Adapter, FirmwareAction, Flash, Image, Leases},
};

/// What lies in the store, and what the request accepts.
#[derive(Debug, Clone, Default)]
pub struct Offer {
    /// Whose signatures count.
    pub registry: Registry,
    /// Why that is not known, where the registry is in doubt: then no firmware is to be trusted.
    pub doubt: Option<String>,
    /// What lies in `STATE/firmware`.
    pub images: Vec<Image>,
    /// Why that could not be looked at, where it could not: then nobody knows what is stored.
    pub unread: Option<String>,
    /// `--no-way-back`: go even where no image of the running version is stored.
    pub no_way_back: bool,
}

/// What the stage does here; `None` where the version runs already.
///
/// # Errors
/// Exit 2 where the request makes no sense or the image is missing, 4 where a rule forbids it.
pub fn choose(
    device: &Device,
    subject: &Subject,
    catalog: &Catalog,
    wanted: &Firmware,
    offer: &Offer,
    drain: Duration,
    at: Timestamp,
) -> Result<Option<FirmwareAction>, Declined> {
    let handle = &device.id.handle;
    let from = device.seen.running.clone().unwrap_or_default();
    if let Some(stored) = device.seen.stored.as_ref().filter(|stored| **stored != from) {
        let why = format!(
            "{handle} runs {from} and stores {stored}: an update waits that is not ours; activate it or \
             flash {from} again first"
        );
        return Err(refused("firmware-pending", why));
    }
    let target = catalog.resolve(subject, &wanted.version).map_err(|refusal| {
        let exit = if refusal.is_wrong_request() { Exit::Wrong } else { Exit::Refused };
        Declined::new(exit, refusal.rule(), refusal.to_string())
    })?;
    let scheme = catalog.scheme_of(subject);
    let to = comparable(device, subject, scheme, &target)?;
    if target.direction == Direction::Same {
        return Ok(None);
    }
    told_apart(&target, &from, &to)?;
    let image = held(&target.entry, offer, at)?;
    let way_back = way_back(&target, offer, &from, at)?;
    let flash = flash(device, &target);
    let flash = flash.ok_or_else(|| {
        let why =
            format!("{handle}: its driver has no devlink, and the catalog names no other way");
        refused("firmware-path", why)
    })?;
    let activate = activate(&target, wanted.activate).ok_or_else(|| {
        let why =
            format!("a {} has no {:?} to activate firmware by", target.model, wanted.activate);
        refused("firmware-path", why)
    })?;
    let leases = leases(&target, &flash, &activate, drain);
    Ok(Some(FirmwareAction {
        device: device.id.clone(),
        version_name: device.version_name.clone(),
        scheme,
        from,
        to,
        image,
        way_back,
        component: None,
        flash,
        activate,
        ports: device.ports.clone(),
        leases,
    }))
}

/// Whether what the device prints will tell the new version from the one that runs.
fn told_apart(target: &Target, from: &str, to: &str) -> Result<(), Declined> {
    let version = &target.entry.version;
    let why = match target.direction {
        Direction::Perhaps => format!(
            "{from} runs; whether that is {version} ({}) is not told, since one of them leaves out the \
             build: an entry whose version is written as the driver prints it would settle that",
            target.entry.origin
        ),
        _ if from == to => format!(
            "the device prints {from} for what runs and for {version} alike: success could not be told"
        ),
        Direction::Older | Direction::Newer | Direction::Unordered | Direction::Same => {
            return Ok(());
        }
    };
    Err(refused("firmware-version", why))
}

/// An adapter's own time is the lease of what it does.
fn leases(target: &Target, flash: &Flash, activate: &Activation, drain: Duration) -> Leases {
    let mut leases = Leases::with_drain(drain);
    if let Some(ms) = target.activation_ms_max {
        (leases.activate_ms, leases.back_ms) = (ms, ms.max(BACK_MS_MIN));
    }
    if let Flash::Adapter(Adapter { timeout_ms: Some(ms), .. }) = flash {
        leases.flash_ms = *ms;
    }
    if let Activation::Adapter(Adapter { timeout_ms: Some(ms), .. }) = activate {
        leases.activate_ms = *ms;
    }
    leases
}

/// udev may have to name an interface again before it is there.
const BACK_MS_MIN: u64 = 30_000;

fn refused(rule: &str, why: String) -> Declined {
    Declined::new(Exit::Refused, rule, why)
}

/// The stored image of an entry, forwards and back alike: vouched for as the site asks, there, and as long
/// as the entry says. That its bytes are the entry's is seen whenever they are read.
fn held(entry: &Entry, offer: &Offer, at: Timestamp) -> Result<Image, Declined> {
    let version = &entry.version;
    if let Some(unread) = &offer.unread {
        let why = format!("whether the image of {version} is stored cannot be seen: {unread}");
        return Err(Declined::new(Exit::Failed, "firmware-image", why));
    }
    signed(entry, offer, at)?;
    let Entry { image, .. } = entry;
    let stored = offer.images.iter().find(|stored| stored.sha256 == image.sha256);
    let stored = stored.cloned().ok_or_else(|| {
        let why = format!(
            "the image of {version} ({}, sha256 {}) is not stored: `nicmend firmware import FILE`",
            image.file, image.sha256
        );
        Declined::new(Exit::Wrong, "firmware-image", why)
    })?;
    match image.check_length(stored.bytes) {
        Ok(()) => Ok(stored),
        Err(why) => Err(refused("firmware-image", format!("the image of {version}: {why}"))),
    }
}

/// An entry that carries a signature counts only where somebody whom this host knows made it. Where the
/// site signs its firmware, one without counts for nothing: whoever can write to a catalog can leave a
/// signature out.
fn signed(entry: &Entry, offer: &Offer, at: Timestamp) -> Result<(), Declined> {
    let Entry { version, image, signed_message, origin, .. } = entry;
    if let Some(doubt) = &offer.doubt {
        let why = format!("{version}: whose signature counts is not known: {doubt}");
        return Err(refused("firmware-signature", why));
    }
    let (people, revoked) = (&offer.registry.people, &offer.registry.revoked);
    let namespace = SIGNATURE_NAMESPACE;
    let Some(signature) = &image.signature else {
        let signer = people.signers().iter().find(|signer| signer.is_named_for(namespace));
        return signer.map_or(Ok(()), |signer| {
            let why = format!(
                "{version}: its catalog entry ({origin}) is not signed, and this site signs its firmware \
                 (allowed_signers names {} for {namespace})",
                signer.who
            );
            Err(refused("firmware-signature", why))
        });
    };
    sshsig::verify(people, revoked, namespace, signed_message, signature.as_bytes(), at)
        .map(|_| ())
        .map_err(|why| refused("firmware-signature", format!("{version}: {why}")))
}

/// The wanted version as this device will print it, so that success can be read from it.
///
/// Proved on the running one: what `ethtool -i` prints must come to what devlink prints.
fn comparable(
    device: &Device,
    subject: &Subject,
    scheme: Option<Scheme>,
    target: &Target,
) -> Result<String, Declined> {
    let running = subject.running.as_deref().unwrap_or_default();
    let seen = device.seen.running.as_deref().unwrap_or_default();
    let version = &target.entry.version;
    let Some(name) = &device.version_name else {
        return printed_alike(scheme, seen, version).map(|()| version.to_string());
    };
    let shown = |text: &str| scheme.and_then(|scheme| shown(scheme, text));
    let unlike = || {
        let why = format!(
            "{} prints {running} by ethtool and {seen} as {name} by devlink: what it would print of {} \
             is not known, so success could not be told",
            device.id.handle, version
        );
        refused("firmware-version", why)
    };
    match (shown(running), shown(&version.to_string())) {
        (Some(now), Some(to)) if now == seen => Ok(to),
        (_, _) => Err(unlike()),
    }
}

/// Without devlink `ethtool -i` is all there is: a version that leaves out what the driver prints would not
/// be known again.
fn printed_alike(scheme: Option<Scheme>, seen: &str, wanted: &Version) -> Result<(), Declined> {
    let running = scheme.and_then(|scheme| scheme.parse(seen).ok());
    if running.is_some_and(|running| running.is_as_whole_as(wanted)) {
        return Ok(());
    }
    let why = format!(
        "the driver prints {seen}, and the catalog calls the other {wanted}, without a build or with one \
         more: success could not be told; an entry written as the driver prints it would settle that"
    );
    Err(refused("firmware-version", why))
}

/// What of `ethtool -i`'s version devlink gives for the whole firmware.
fn shown(scheme: Scheme, text: &str) -> Option<String> {
    let word = |nth: usize| text.split_whitespace().nth(nth).map(str::to_owned);
    match scheme {
        // `22.43.3608 (PSID)`: fw.version.
        Scheme::Mlx5 | Scheme::Dotted => word(0),
        // `4.40 0x8001c967 1.3534.0`: fw.bundle_id.
        Scheme::IntelNvm => word(1),
        // `233.0.151.0/pkg 233.1.135.7`: fw.
        Scheme::Bnxt => text.split_once("/pkg ").map(|(_, package)| package.trim().to_owned()),
        Scheme::IntelEetrack | Scheme::Igb | Scheme::E1000e => None,
        Scheme::Sfc | Scheme::Cxgb4 | Scheme::Qede => None,
    }
}

/// The image of what runs, held to all that the new one is held to; or that there is none, as accepted.
fn way_back(
    target: &Target,
    offer: &Offer,
    from: &str,
    at: Timestamp,
) -> Result<Option<Image>, Declined> {
    let why = match &target.way_back {
        WayBack::Entry(entry) => match held(entry, offer, at) {
            Ok(image) => return Ok(Some(image)),
            Err(declined) => declined.why,
        },
        WayBack::None(why) => why.clone(),
    };
    if offer.no_way_back {
        return Ok(None);
    }
    let why =
        format!("there would be no way back to {from}: {why}; or accept that with --no-way-back");
    Err(refused("no-way-back", why))
}

/// The best way that this device has.
fn flash(device: &Device, target: &Target) -> Option<Flash> {
    let usable = |way: &model::Flash| match way {
        model::Flash::Devlink => device.version_name.as_ref().map(|_| Flash::Devlink),
        model::Flash::Ethtool => Some(Flash::Ethtool),
        model::Flash::Vendor(tool) => Some(Flash::Adapter(adapter(tool))),
    };
    target.flash.iter().find_map(usable)
}

/// The least disruptive way that the playbook allows.
fn activate(target: &Target, wanted: Activate) -> Option<Activation> {
    let ways = &target.activate;
    match wanted {
        Activate::LivePatch => {
            ways.contains(&model::Activate::LivePatch).then_some(Activation::LivePatch)
        }
        Activate::NicReset => ways.iter().find_map(|way| match way {
            model::Activate::FwActivate => Some(Activation::NicReset),
            model::Activate::EthtoolReset => Some(Activation::EthtoolReset),
            model::Activate::Vendor(tool) => Some(Activation::Adapter(adapter(tool))),
            model::Activate::LivePatch
            | model::Activate::DriverReinit
            | model::Activate::Reboot => None,
        }),
    }
}

/// Vendors' tools drive the device past the kernel, as far as anybody knows.
fn adapter(tool: &model::Adapter) -> Adapter {
    Adapter { argv: tool.argv.clone(), raw_access: true, timeout_ms: Some(tool.timeout_ms) }
}
