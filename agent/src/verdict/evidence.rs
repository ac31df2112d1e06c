//! What a verdict rests on: windows or bare samples, and what else is known of them.

use playbooks::Metric;

use super::{
    arm::{Segment, span_ns},
    counter::{self, Counted},
    estimate::Estimate,
    level, quantile,
    reading::Readings,
    share,
    sides::{self, Sides},
    storm::Storms,
};
use crate::measure::{Sample, Window};

/// Everything that was measured for one decision.
pub struct Evidence<'a> {
    baseline: Vec<Segment<'a>>,
    candidate: Vec<Segment<'a>>,
    windows: [&'a [&'a Window]; 2],
    /// An untouched NIC, measured at the same times: what moved there too was not the change.
    pub control: Option<Control<'a>>,
    /// The distance between storms in nanoseconds, where a diagnosis or an earlier window found it.
    pub storm_period_ns: Option<u64>,
    /// Why these packets do not stand for the host's traffic, if so: a kernel-bypass process that
    /// holds the NIC, a reflector known to be dead. Then nothing is concluded.
    pub blind: Option<String>,
}

/// The control NIC's windows.
#[derive(Clone, Copy)]
pub struct Control<'a> {
    pub baseline: &'a [&'a Window],
    pub candidate: &'a [&'a Window],
}

/// Segments that a bare file is split into at most; a file with more gaps is one segment.
const SEGMENTS_MAX: usize = 1000;

impl<'a> Evidence<'a> {
    /// Windows of the baseline and of the candidate; several of each where they were interleaved.
    pub fn windows(baseline: &'a [&'a Window], candidate: &'a [&'a Window]) -> Evidence<'a> {
        Evidence {
            baseline: of_windows(baseline),
            candidate: of_windows(candidate),
            windows: [baseline, candidate],
            control: None,
            storm_period_ns: None,
            blind: None,
        }
    }

    /// Bare samples, in order of their send time.
    pub fn samples(baseline: &'a [Sample], candidate: &'a [Sample]) -> Evidence<'a> {
        let (mut before, mut after) = (split(baseline), split(candidate));
        if !sides::alternate(&before, &after) {
            before = vec![whole(baseline)];
            after = vec![whole(candidate)];
        }
        Evidence {
            baseline: before,
            candidate: after,
            windows: [&[], &[]],
            control: None,
            storm_period_ns: None,
            blind: None,
        }
    }

    pub(super) fn scene(&self, seed: u64) -> Scene<'a> {
        let sides = Sides::new(self.baseline.clone(), self.candidate.clone(), seed);
        let control = self.control.as_ref().map(|control| {
            Sides::new(of_windows(control.baseline), of_windows(control.candidate), seed)
        });
        let storms = Storms::find(&sides);
        let [baseline, candidate] = self.windows;
        let mut scene = Scene {
            unfit: self.blind.clone().or_else(|| unfit(&sides)),
            cut_short: baseline.iter().chain(candidate).find_map(|w| w.cut_short.clone()),
            notes: Vec::new(),
            counted: Counted { baseline, candidate },
            readings: Readings { windows: [baseline, candidate], seed },
            storm_period_ns: self.storm_period_ns,
            control: None,
            sides,
            storms,
        };
        scene.notes.extend(load_shift(baseline, candidate));
        if scene.sides.interleaved() {
            scene.notes.push(
                "baseline and candidate were interleaved: a drift common to both is taken out"
                    .to_owned(),
            );
        }
        match control.map(|sides| (unfit(&sides), sides)) {
            None => {}
            Some((Some(why), _)) => scene.notes.push(format!("control left out: {why}")),
            Some((None, sides)) => {
                scene.notes.push("latency is judged against the control's own change".to_owned());
                scene.control = Some(sides);
            }
        }
        scene
    }
}

/// The evidence, arranged for estimating.
pub(super) struct Scene<'a> {
    sides: Sides<'a>,
    control: Option<Sides<'a>>,
    storms: Option<Storms>,
    counted: Counted<'a>,
    readings: Readings<'a>,
    storm_period_ns: Option<u64>,
    /// Why nothing can be concluded on any metric.
    pub(super) unfit: Option<String>,
    pub(super) cut_short: Option<String>,
    pub(super) notes: Vec<String>,
}

impl Scene<'_> {
    pub(super) fn estimate(&self, metric: &Metric, z: f64) -> Estimate {
        if let Some(unfit) = &self.unfit {
            return Estimate::missing(&self.sides, unfit.clone());
        }
        let (sides, control) = (&self.sides, self.control.as_ref());
        match metric {
            Metric::LatencyQuantile(at) => quantile::estimate(sides, control, *at, z),
            Metric::LatencyMax => counter::slowest(sides),
            Metric::SlowRatio => share::slow(sides, control, z),
            Metric::LossRatio => share::loss(sides, control, z),
            Metric::StormRate => match &self.storms {
                Some(storms) => storms.estimate(z),
                None => Estimate::missing(
                    sides,
                    "no median to be slow against, or no time between samples".to_owned(),
                ),
            },
            Metric::TcpRetransmitRatio
            | Metric::Drops
            | Metric::NicCounter(_)
            | Metric::SoftnetSqueezed => self
                .counted
                .estimate(metric, sides, z)
                .unwrap_or_else(|| Estimate::missing(sides, "not a counter".to_owned())),
            Metric::TcpRtt | Metric::TcpSessionRetransmits | Metric::External(_) => {
                self.readings.estimate(metric, sides, z)
            }
        }
    }

    /// Why a verdict on storms does not stand yet.
    pub(super) fn too_rare(&self) -> Option<String> {
        self.storms.as_ref()?.too_rare(self.storm_period_ns)
    }
}

fn of_windows<'a>(windows: &[&'a Window]) -> Vec<Segment<'a>> {
    windows.iter().map(|window| Segment::of_window(window)).collect()
}

/// Splits a recorded series where it pauses for more than a hundred of its own distances.
fn split(samples: &[Sample]) -> Vec<Segment<'_>> {
    let distance = |one: &Sample, next: &Sample| next.due_ns.saturating_sub(one.due_ns);
    let mut distances: Vec<u64> = samples.windows(2).map(|w| distance(&w[0], &w[1])).collect();
    if distances.is_empty() {
        return vec![whole(samples)];
    }
    let middle = distances.len() / 2;
    let pause = distances.select_nth_unstable(middle).1.saturating_mul(100).max(1);
    let pauses = samples.windows(2).filter(|w| distance(&w[0], &w[1]) > pause).count();
    match pauses < SEGMENTS_MAX {
        true => samples.chunk_by(|one, next| distance(one, next) <= pause).map(whole).collect(),
        false => vec![whole(samples)],
    }
}

fn whole(samples: &[Sample]) -> Segment<'_> {
    let begins_ns = samples.first().map_or(0, |s| i128::from(s.due_ns));
    Segment { begins_ns, length_ns: span_ns(samples), samples, weight: 1 }
}

/// Why two sides cannot be compared at all, and what would be needed.
fn unfit(sides: &Sides) -> Option<String> {
    [(&sides.baseline, "baseline"), (&sides.candidate, "candidate")].into_iter().find_map(
        |(arm, name)| match (arm.count, arm.lost) {
            (0, _) => Some(format!("no samples in the {name}: a window with replies is needed")),
            (count, lost) if count == lost => Some(format!(
                "no reply in the whole {name}: the reflector may be dead; \
                 its own path must be shown to work"
            )),
            (count, _) if count < level::SAMPLES_MIN => Some(format!(
                "{count} samples in the {name}: at least {} needed",
                level::SAMPLES_MIN
            )),
            (_, _) => None,
        },
    )
}

/// Says so where the NIC carried a different load in the two windows.
fn load_shift(baseline: &[&Window], candidate: &[&Window]) -> Option<String> {
    let mean = |windows: &[&Window]| -> f64 {
        windows.iter().map(|w| w.load_pps).sum::<f64>() / windows.len() as f64
    };
    if baseline.is_empty() || candidate.is_empty() {
        return None;
    }
    let (before, after) = (mean(baseline), mean(candidate));
    if !before.is_finite() || !after.is_finite() {
        return Some("the load of a window is not known".to_owned());
    }
    let shifted = (after - before).abs() > 0.25 * before.max(after) && before.max(after) > 100.0;
    shifted.then(|| {
        format!(
            "under a load shift: {before:.0} packets/s besides the probe in the baseline, \
             {after:.0} in the candidate"
        )
    })
}
