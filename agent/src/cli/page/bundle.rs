//! A judged stage's windows, by the bundle that the log vouches for.

use crate::{
    engine::evidence::{Bundle, Piece},
    log::RunRecord,
    measure::Window,
    report::{Evidence, Measured, Seal},
    store::Store,
};

use super::{Loaded, Point, digest, window};

/// The stage as its bundle tells it; `None` where the run has none (it was not judged, or by an older
/// version).
pub(super) fn load(run: &RunRecord, point: &Point, store: &dyn Store) -> Option<Loaded> {
    let file = format!("{}.evidence.json", point.file);
    let bytes = store.get(&format!("runs/{}/{file}", run.id)).ok()??;
    let bundle: Bundle = serde_json::from_slice(&bytes).ok()?;
    let mut evidence = vec![Evidence {
        seal: seal(&bytes, point.digest.as_deref()),
        file,
        digest: digest(&bytes),
    }];
    let turns = bundle.baseline.iter().filter(|piece| piece.name != "baseline");
    let beside = bundle.control.iter().flatten().flatten();
    for piece in bundle.candidate.iter().chain(turns).chain(beside) {
        evidence.push(sealed(run, piece, store));
    }
    let windows = bundle.candidate.iter().map(|piece| {
        let samples = store.get(&format!("runs/{}/{}.samples", run.id, piece.name));
        match samples {
            Ok(Some(bytes)) => window(run, &piece.name, store, &bytes),
            Ok(None) => Err(format!("{}.samples is missing", piece.name)),
            Err(fault) => Err(fault.to_string()),
        }
    });
    let window = windows.reduce(one_longer).unwrap_or_else(|| Err("no window".to_owned()));
    Some(Loaded { measured: Measured { name: point.name.clone(), window }, evidence })
}

/// Turns of the candidate, as one window.
fn one_longer(
    whole: Result<Window, String>,
    next: Result<Window, String>,
) -> Result<Window, String> {
    let mut whole = whole?;
    whole.append(next?);
    Ok(whole)
}

fn sealed(run: &RunRecord, piece: &Piece, store: &dyn Store) -> Evidence {
    let file = format!("{}.samples", piece.name);
    match store.get(&format!("runs/{}/{file}", run.id)) {
        Ok(Some(bytes)) => {
            Evidence { file, digest: digest(&bytes), seal: seal(&bytes, Some(&piece.samples)) }
        }
        Ok(None) | Err(_) => Evidence { file, digest: piece.samples.clone(), seal: Seal::Missing },
    }
}

fn seal(bytes: &[u8], recorded: Option<&str>) -> Seal {
    match recorded {
        None => Seal::NotInLog,
        Some(recorded) if recorded == digest(bytes) => Seal::Matches,
        Some(_) => Seal::Differs,
    }
}
