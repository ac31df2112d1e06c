//! What a playbook's firmware stage comes to on this device: which image, and back by which; or why it
//! is refused. Pure.

use std::time::Duration;

use firmware_catalog::{
    Catalog, Scheme, Subject,
    catalog::{Direction, Target, WayBack},
    firmware::SIGNATURE_NAMESPACE,
    model,
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
    if target.direction == Direction::Same || to == from {
        return Ok(None);
    }
    signed(&target, offer, at)?;
    let image = stored(offer, &target.image).ok_or_else(|| {
        let why = format!(
            "the image of {to} ({}, sha256 {}) is not stored: `nicmend firmware import FILE`",
            target.image.file, target.image.sha256
        );
        Declined::new(Exit::Wrong, "firmware-image", why)
    })?;
    target.image.check_length(image.bytes).map_err(|why| {
        Declined::new(Exit::Refused, "firmware-image", format!("the image of {to}: {why}"))
    })?;
    let way_back = way_back(&target, offer, &from)?;
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
    let mut leases = Leases::with_drain(drain);
    if let Some(ms) = target.activation_ms_max {
        (leases.activate_ms, leases.back_ms) = (ms, ms.max(BACK_MS_MIN));
    }
    Ok(Some(FirmwareAction {
        device: device.id.clone(),
        version_name: device.version_name.clone(),
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

/// udev may have to name an interface again before it is there.
const BACK_MS_MIN: u64 = 30_000;

fn refused(rule: &str, why: String) -> Declined {
    Declined::new(Exit::Refused, rule, why)
}

/// An entry that carries a signature counts only where somebody whom this host knows made it. Where the
/// site signs its firmware, one without counts for nothing: whoever can write to a catalog can leave a
/// signature out.
fn signed(target: &Target, offer: &Offer, at: Timestamp) -> Result<(), Declined> {
    if let Some(doubt) = &offer.doubt {
        let why = format!("{}: whose signature counts is not known: {doubt}", target.version);
        return Err(refused("firmware-signature", why));
    }
    let (people, revoked) = (&offer.registry.people, &offer.registry.revoked);
    let (namespace, message) = (SIGNATURE_NAMESPACE, target.signed_message.as_slice());
    let Some(signature) = &target.image.signature else {
        let signer = people.signers().iter().find(|signer| signer.is_named_for(namespace));
        return signer.map_or(Ok(()), |signer| {
            let why = format!(
                "{}: its catalog entry ({}) is not signed, and this site signs its firmware \
                 (allowed_signers names {} for {namespace})",
                target.version, target.origin, signer.who
            );
            Err(refused("firmware-signature", why))
        });
    };
    sshsig::verify(people, revoked, namespace, message, signature.as_bytes(), at)
        .map(|_| ())
        .map_err(|why| refused("firmware-signature", format!("{}: {why}", target.version)))
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
    let Some(name) = &device.version_name else { return Ok(target.version.to_string()) };
    let shown = |text: &str| scheme.and_then(|scheme| shown(scheme, text));
    let unlike = || {
        let why = format!(
            "{} prints {running} by ethtool and {seen} as {name} by devlink: what it would print of {} \
             is not known, so success could not be told",
            device.id.handle, target.version
        );
        refused("firmware-version", why)
    };
    match (shown(running), shown(&target.version.to_string())) {
        (Some(now), Some(to)) if now == seen => Ok(to),
        (_, _) => Err(unlike()),
    }
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

fn stored(offer: &Offer, image: &firmware_catalog::firmware::Image) -> Option<Image> {
    offer.images.iter().find(|stored| stored.sha256 == image.sha256).cloned()
}

fn way_back(target: &Target, offer: &Offer, from: &str) -> Result<Option<Image>, Declined> {
    let (found, why) = match &target.way_back {
        WayBack::Image(image) => (
            stored(offer, image),
            format!(
                "{} (sha256 {}) is not stored: `nicmend firmware import` it",
                image.file, image.sha256
            ),
        ),
        WayBack::None(why) => (None, why.clone()),
    };
    if found.is_none() && !offer.no_way_back {
        let why = format!(
            "there would be no way back to {from}: {why}; or accept that with --no-way-back"
        );
        return Err(refused("no-way-back", why));
    }
    Ok(found)
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
    Adapter { argv: tool.argv.clone(), raw_access: true }
}
