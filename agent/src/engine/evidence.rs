//! A run's evidence on disk: every window, and for each verdict the bundle that names what it rests on.
//!
//! `runs/<run>/<window>.json` and `.samples` hold a window; `runs/<run>/stage-<n>.evidence.json` names
//! the windows of one verdict with their digests, the criteria and the seed. The log holds the bundle's
//! digest, so whoever trusts the log can trust a verdict computed again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    fault::{Fault, Kind, Result},
    measure::{Window, evidence},
    store::Store,
    verdict::{Case, Criterions},
};

/// The version of the bundle's format.
const FORMAT: u32 = 1;

/// What one verdict rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Bundle {
    pub format: u32,
    pub by: Criterions,
    pub seed: u64,
    pub parts: usize,
    pub baseline: Vec<Piece>,
    pub candidate: Vec<Piece>,
    /// The untouched NIC's windows: baseline, candidate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub control: Option<[Vec<Piece>; 2]>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub storm_period_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub blind: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notes: Vec<String>,
}

/// One stored window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Piece {
    /// `baseline`, `stage-1`, `stage-1-turn-03`, …
    pub name: String,
    /// `sha256:…` of the two files.
    pub window: String,
    pub samples: String,
}

/// Stores a window under a name; durable when this returns.
pub fn put_window(store: &dyn Store, run: &str, name: &str, window: &Window) -> Result<Piece> {
    let samples = evidence::write(&window.samples);
    let json = serde_json::to_vec_pretty(window)
        .map_err(|e| Fault::new(Kind::Malformed, format!("store window {name}"), e.to_string()))?;
    store.put(&format!("runs/{run}/{name}.samples"), &samples)?;
    store.put(&format!("runs/{run}/{name}.json"), &json)?;
    Ok(Piece { name: name.to_owned(), window: digest(&json), samples: digest(&samples) })
}

/// Stores what a verdict rests on; its digest.
pub fn put_bundle(store: &dyn Store, run: &str, point: &str, bundle: &Bundle) -> Result<String> {
    let act = || format!("store the evidence of {point}");
    let json = serde_json::to_vec_pretty(bundle)
        .map_err(|e| Fault::new(Kind::Malformed, act(), e.to_string()))?;
    store.put(&format!("runs/{run}/{point}.evidence.json"), &json)?;
    Ok(digest(&json))
}

/// Stores a case and its windows: the candidate's as `point`, the baseline's as `reference`, with a
/// number where there are several. The bundle's digest.
pub fn put_case(
    store: &dyn Store,
    run: &str,
    (point, reference): (&str, &str),
    case: &Case,
) -> Result<String> {
    let put = |name: &str, windows: &[Arc<Window>]| -> Result<Vec<Piece>> {
        let numbered = |nth: usize| match nth {
            0 => name.to_owned(),
            nth => format!("{name}-{}", nth + 1),
        };
        let windows = windows.iter().enumerate();
        windows.map(|(nth, window)| put_window(store, run, &numbered(nth), window)).collect()
    };
    let sides = [put(reference, &case.baseline)?, put(point, &case.candidate)?];
    put_bundle(store, run, point, &Bundle::of(case, sides, None))
}

/// A verdict's case, read back; every file must be the one that `recorded` (from the log) vouches for.
pub fn case(store: &dyn Store, run: &str, point: &str, recorded: &str) -> Result<Case> {
    let name = format!("runs/{run}/{point}.evidence.json");
    let bytes = vouched(store, &name, recorded)?;
    let bundle: Bundle = serde_json::from_slice(&bytes)
        .map_err(|e| Fault::new(Kind::Malformed, format!("read {name}"), e.to_string()))?;
    if bundle.format != FORMAT {
        let cause = format!("format {}, this version reads {FORMAT}", bundle.format);
        return Err(Fault::new(Kind::Unsupported, format!("read {name}"), cause));
    }
    let all = |pieces: &[Piece]| -> Result<Vec<Arc<Window>>> {
        pieces.iter().map(|piece| window(store, run, piece).map(Arc::new)).collect()
    };
    let control = match &bundle.control {
        Some([baseline, candidate]) => Some([all(baseline)?, all(candidate)?]),
        None => None,
    };
    Ok(Case {
        baseline: all(&bundle.baseline)?,
        candidate: all(&bundle.candidate)?,
        control,
        by: bundle.by,
        seed: bundle.seed,
        parts: bundle.parts,
        storm_period_ns: bundle.storm_period_ns,
        blind: bundle.blind,
        notes: bundle.notes,
    })
}

impl Bundle {
    /// The bundle of a case whose windows are stored as these pieces.
    pub fn of(case: &Case, sides: [Vec<Piece>; 2], control: Option<[Vec<Piece>; 2]>) -> Bundle {
        let [baseline, candidate] = sides;
        Bundle {
            format: FORMAT,
            by: case.by.clone(),
            seed: case.seed,
            parts: case.parts,
            baseline,
            candidate,
            control,
            storm_period_ns: case.storm_period_ns,
            blind: case.blind.clone(),
            notes: case.notes.clone(),
        }
    }
}

fn window(store: &dyn Store, run: &str, piece: &Piece) -> Result<Window> {
    let name = format!("runs/{run}/{}.json", piece.name);
    let mut window: Window = serde_json::from_slice(&vouched(store, &name, &piece.window)?)
        .map_err(|e| Fault::new(Kind::Malformed, format!("read {name}"), e.to_string()))?;
    let name = format!("runs/{run}/{}.samples", piece.name);
    window.samples = evidence::read(&vouched(store, &name, &piece.samples)?, &name)?;
    Ok(window)
}

/// The file, if it is the one whose digest was recorded.
fn vouched(store: &dyn Store, name: &str, recorded: &str) -> Result<Vec<u8>> {
    let act = || format!("read {name}");
    let bytes = store.get(name)?.ok_or_else(|| Fault::new(Kind::Gone, act(), "it is not there"))?;
    match digest(&bytes) {
        found if found == recorded => Ok(bytes),
        found => {
            let cause = format!("altered since it was recorded: {found}, recorded {recorded}");
            Err(Fault::new(Kind::Drift, act(), cause))
        }
    }
}

/// `sha256:<hex>`, as the log names evidence.
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}
