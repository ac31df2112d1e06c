//! A simulated card for a playbook's firmware stage: of a model that the catalog has the wanted version
//! for, on another version, with images that the simulation reads.

use firmware_catalog::{
    Catalog, Model, Scheme, Subject,
    catalog::{Part, Refusal, SiteFile, Target},
    model::Flash,
};
use playbooks::{
    Playbook,
    applies::{firmware_range, glob_matches},
    playbook::Firmware,
};

use super::Shelf;
use crate::{
    firmware::images,
    host::sim::Machine,
    runs::{Declined, Exit, choose::Offer},
};

/// The simulated card's board, where the catalog names none.
const BOARD: &str = "SIM0000000001";

/// What a playbook's firmware stage chooses from on the simulated machine, whose card becomes one of a model
/// that `catalog` has the wanted version for. `files` are those that the site laid over the shipped catalog.
///
/// The catalog decides as on a host: which version it is, whether it is blocked, below a minimum, or another
/// branch's. Only the images are the simulation's, and so nobody signs them.
///
/// # Errors
/// Why the catalog, or the simulation, has no such card.
pub fn shelf_for(
    playbook: &Playbook,
    catalog: &Catalog,
    files: Vec<SiteFile>,
    machine: &mut Machine,
) -> Result<Shelf, Declined> {
    let wanted = playbook.stages.iter().find_map(|stage| stage.firmware.as_ref());
    let Some(wanted) = wanted else { return Ok(Shelf::default()) };
    let mut refused = None;
    for model in catalog.models().filter(|model| is_for(playbook, model)) {
        match card(playbook, catalog, model, wanted) {
            Ok(card) => return card.put(files, machine),
            // What the catalog does have is the better reason.
            Err(refusal @ (Refusal::NoGolden { .. } | Refusal::NotInCatalog { .. })) => {
                refused.get_or_insert(refusal);
            }
            Err(refusal) => refused = Some(refusal),
        }
    }
    Err(match refused {
        Some(refusal) => Declined::new(Exit::Wrong, refusal.rule(), refusal.to_string()),
        None => {
            let why = "the catalog has no model that this playbook is for and that the simulation can \
                       play: one that devlink flashes and whose versions are of the scheme mlx5 or dotted";
            Declined::new(Exit::Wrong, "firmware-model", why)
        }
    })
}

fn is_for(playbook: &Playbook, model: &Model) -> bool {
    let (drivers, globs) = (&playbook.applies_to.driver, &playbook.applies_to.model);
    (drivers.is_empty() || drivers.contains(&model.driver))
        && (globs.is_empty() || globs.iter().any(|glob| glob_matches(glob, &model.name)))
        && model.family.flash.contains(&Flash::Devlink)
        && playable(model).is_some()
}

/// The schemes under which the simulated devices print a version by ethtool and by devlink alike.
fn playable(model: &Model) -> Option<Scheme> {
    let scheme = model.family.scheme.or_else(|| Scheme::of_driver(&model.driver));
    scheme.filter(|scheme| matches!(scheme, Scheme::Mlx5 | Scheme::Dotted))
}

struct Card {
    model: Model,
    scheme: Scheme,
    board: String,
    from: String,
    target: Target,
}

fn card(
    playbook: &Playbook,
    catalog: &Catalog,
    model: &Model,
    wanted: &Firmware,
) -> Result<Card, Refusal> {
    let scheme = playable(model).unwrap_or(Scheme::Dotted);
    let known: Vec<_> = catalog.releases_of(&model.name).collect();
    // The board of a version that could be meant, so that it is found by it.
    let board = known.iter().find(|release| release.image.is_some());
    let board = board.and_then(|release| release.boards.first().cloned());
    let board = board.unwrap_or_else(|| BOARD.to_owned());
    let mut subject = Subject {
        driver: model.driver.clone(),
        in_tree: Some(true),
        pci: Some((model.vendor, model.device)),
        board: Some(board.clone()),
        ..Subject::default()
    };
    let to = catalog.resolve(&subject, &wanted.version)?.entry.version.to_string();
    let range = playbook.applies_to.firmware.as_deref().and_then(|text| firmware_range(text).ok());
    let fits = |text: &String| {
        let Ok(version) = scheme.parse(text) else { return false };
        let within = range.as_ref().is_none_or(|range| scheme.within(range, &version) == Ok(true));
        within && version.text() != to
    };
    let released = known.iter().map(|release| release.version.text().to_owned());
    let from = released.chain(beside(&to)).find(fits).unwrap_or_default();
    subject.running = Some(from.clone());
    let target = catalog.resolve(&subject, &wanted.version)?;
    Ok(Card { model: model.clone(), scheme, board, from, target })
}

/// The versions right before and after this one, in case the catalog knows no other.
fn beside(version: &str) -> Vec<String> {
    let Some((branch, last)) = version.rsplit_once('.') else { return Vec::new() };
    let Ok(last) = last.parse::<u32>() else { return Vec::new() };
    [last.checked_sub(1), last.checked_add(1)]
        .into_iter()
        .flatten()
        .map(|last| format!("{branch}.{last}"))
        .collect()
}

impl Card {
    /// Makes the machine's NIC this card, and lays out both versions' images.
    fn put(self, mut files: Vec<SiteFile>, machine: &mut Machine) -> Result<Shelf, Declined> {
        let mut shelf = Shelf::default();
        let mut text = format!("version-scheme: {}\nfirmware:\n", self.scheme.name());
        let to = self.target.entry.version.to_string();
        for (version, state) in
            [(&to, self.target.state), (&self.from, firmware_catalog::firmware::State::Good)]
        {
            let bytes = format!("version: {version}\nboard: {}\n", self.board).into_bytes();
            let image = images::image_of(&bytes);
            let word =
                firmware_catalog::firmware::State::WORDS.iter().find(|(_, known)| *known == state);
            text += &format!(
                "  - {{ model: \"{}\", boards: [\"{}\"], version: \"{version}\", state: {}, source: rehearsal, \
                 image: {{ file: rehearsal.bin, sha256: {} }} }}\n",
                self.model.name,
                self.board,
                word.map_or("good", |(word, _)| word),
                image.sha256
            );
            shelf.offer.images.push(image);
            shelf.images.push(bytes);
        }
        files.retain(|file| file.part != Part::Firmware);
        let path = "rehearsal.yaml".to_owned();
        files.push(SiteFile { path, part: Part::Firmware, text: text.into_bytes() });
        shelf.catalog = Catalog::with_site(&files).map_err(|bad| {
            let why = bad.iter().flat_map(|file| &file.problems).map(ToString::to_string);
            let why = why.collect::<Vec<_>>().join("; ");
            Declined::new(Exit::Failed, "catalog", format!("lay out the rehearsal's images: {why}"))
        })?;
        shelf.offer = Offer { images: shelf.offer.images, ..Offer::default() };
        for nic in &mut machine.nics {
            nic.driver.clone_from(&self.model.driver);
            nic.firmware = format!("{} ({})", self.from, self.board);
            if self.scheme == Scheme::Dotted {
                nic.firmware.clone_from(&self.from);
            }
            let Some(pci) = &mut nic.pci else { continue };
            (pci.vendor, pci.device) = (self.model.vendor, self.model.device);
            pci.versions.insert("fw.version".to_owned(), self.from.clone());
            pci.versions.insert("fw.psid".to_owned(), self.board.clone());
        }
        Ok(shelf)
    }
}
