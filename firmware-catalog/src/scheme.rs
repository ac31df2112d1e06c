//! Firmware versions as drivers print them, each scheme a type of its own.
//!
//! `22.43.3608 (MT_0000000359)` and `4.40 0x8001c967 1.3534.0` are both "the firmware version", and
//! nothing is gained from comparing them as text. A version belongs to a [`Scheme`]; comparing
//! across schemes, across an mlx5 model's branches, or two builds that carry no order is an error
//! that says so.

mod form;

use std::{cmp::Ordering, fmt};

use playbooks::applies::Range;
use serde::{Deserialize, Serialize};

use crate::Answer;

/// How a driver numbers firmware. The forms are `ethtool -i`'s, from the drivers' sources of Linux
/// 7.2; what devlink prints of the same firmware is read too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// mlx5_core: `22.43.3608 (MT_0000000359)`: model branch, minor, sub-minor, and the board's PSID.
    Mlx5,
    /// ice, i40e, ixgbe on E610: `4.40 0x8001c967 1.3534.0`: NVM version in hexadecimal digits
    /// (`%x.%02x`), EETRACK id of the build, option ROM.
    IntelNvm,
    /// ixgbe before E610: `0x00012b2c, 1.3429.0`: an EETRACK id, which has no order, and option ROM.
    IntelEetrack,
    /// igb: `1.63, 0x800009fa`, `1.63, 0x800009fa, 1.949.0`, or ` 3.25-0` of an iNVM.
    Igb,
    /// e1000e: `2.1-2`.
    E1000e,
    /// bnxt_en: `233.0.151.0/pkg 233.1.135.7`: firmware, and the package it came in.
    Bnxt,
    /// sfc: `8.0.0.1015 rx1 tx1`: MC firmware and its datapath variants.
    Sfc,
    /// cxgb4: `1.27.5.0, TP 0.1.4.9`.
    Cxgb4,
    /// qede: `mbi 15.10.6 [mfw 8.42.9.0]`.
    Qede,
    /// Plain numbers with dots between, one to six: what a site may name for a model of its own.
    Dotted,
}

/// One firmware version under its scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    scheme: Scheme,
    /// What the version is ordered by; empty where it is a build's id only.
    numbers: Vec<u32>,
    /// Ordered second, where both versions have it: bnxt's package, cxgb4's TP, qede's mfw.
    second: Vec<u32>,
    /// What tells builds apart and has no order: the EETRACK id, sfc's variants.
    build: Option<String>,
    /// The option ROM that Intel's versions name last.
    rom: Option<String>,
    /// The board that the version names itself (mlx5's PSID).
    board: Option<String>,
    text: String,
}

/// Why two versions do not compare, or a text is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemeError {
    #[error("`{text}` is not a firmware version of the {scheme} scheme ({})", .scheme.form())]
    NotAVersion { text: String, scheme: Scheme },
    #[error(
        "`{left}` ({}) and `{right}` ({}) are numbered by different schemes: there is no order \
         between them", .schemes.0, .schemes.1
    )]
    Schemes { left: String, right: String, schemes: (Scheme, Scheme) },
    #[error("{left} is of firmware branch {}, {right} of branch {}: different models", .branches.0, .branches.1)]
    Branches { left: String, right: String, branches: (u32, u32) },
    #[error("`{left}` and `{right}` are different builds, and their ids say nothing about order")]
    Builds { left: String, right: String },
}

impl Scheme {
    pub const ALL: [Scheme; 10] = [
        Scheme::Mlx5,
        Scheme::IntelNvm,
        Scheme::IntelEetrack,
        Scheme::Igb,
        Scheme::E1000e,
        Scheme::Bnxt,
        Scheme::Sfc,
        Scheme::Cxgb4,
        Scheme::Qede,
        Scheme::Dotted,
    ];

    /// The word for it in catalog files.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Mlx5 => "mlx5",
            Scheme::IntelNvm => "intel-nvm",
            Scheme::IntelEetrack => "intel-eetrack",
            Scheme::Igb => "igb",
            Scheme::E1000e => "e1000e",
            Scheme::Bnxt => "bnxt",
            Scheme::Sfc => "sfc",
            Scheme::Cxgb4 => "cxgb4",
            Scheme::Qede => "qede",
            Scheme::Dotted => "dotted",
        }
    }

    /// What its versions look like.
    pub fn form(self) -> &'static str {
        match self {
            Scheme::Mlx5 => "such as 22.43.3608 (MT_0000000359)",
            Scheme::IntelNvm => "such as 4.40 0x8001c967 1.3534.0",
            Scheme::IntelEetrack => "such as 0x00012b2c, 1.3429.0",
            Scheme::Igb => "such as 1.63, 0x800009fa",
            Scheme::E1000e => "such as 2.1-2",
            Scheme::Bnxt => "such as 233.0.151.0/pkg 233.1.135.7",
            Scheme::Sfc => "such as 8.0.0.1015 rx1 tx1",
            Scheme::Cxgb4 => "such as 1.27.5.0, TP 0.1.4.9",
            Scheme::Qede => "such as mbi 15.10.6 [mfw 8.42.9.0]",
            Scheme::Dotted => "such as 14.32.1010",
        }
    }

    /// The scheme of this driver where all its hardware has one, whatever the model.
    pub fn of_driver(driver: &str) -> Option<Scheme> {
        match driver {
            "mlx5_core" => Some(Scheme::Mlx5),
            "ice" | "i40e" => Some(Scheme::IntelNvm),
            "igb" => Some(Scheme::Igb),
            "e1000e" => Some(Scheme::E1000e),
            "bnxt_en" => Some(Scheme::Bnxt),
            "sfc" => Some(Scheme::Sfc),
            "cxgb4" => Some(Scheme::Cxgb4),
            "qede" => Some(Scheme::Qede),
            // ixgbe has two, by model; the others tell no version, or no form of one is known.
            _ => None,
        }
    }

    /// Reads a version strictly: what is left over, or missing, makes it none.
    pub fn parse(self, text: &str) -> Result<Version, SchemeError> {
        form::read(self, text).ok_or_else(|| SchemeError::NotAVersion {
            text: text.chars().take(64).collect(),
            scheme: self,
        })
    }

    /// Whether `version` is within `range`. A comparator that gives only the first numbers is held
    /// against those alone, as with kernels: `<20.33` holds for all of 20.32, `=4.40` for every
    /// build of NVM 4.40.
    pub fn within(self, range: &Range, version: &Version) -> Result<bool, SchemeError> {
        for comparator in &range.0 {
            let ordering = match form::prefix(self, &comparator.version) {
                Some(prefix) => version.against(&prefix, &comparator.version)?,
                None => version.compare(&self.parse(&comparator.version)?)?,
            };
            if !comparator.op.holds(ordering) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether every comparator of `range` is a version of this scheme, or the beginning of one.
    pub fn check_range(self, range: &Range) -> Result<(), SchemeError> {
        range.0.iter().try_for_each(|comparator| match form::prefix(self, &comparator.version) {
            Some(_) => Ok(()),
            None => self.parse(&comparator.version).map(drop),
        })
    }
}

impl Version {
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The board that it names itself: mlx5's PSID.
    pub fn board(&self) -> Option<&str> {
        self.board.as_deref()
    }

    /// mlx5's model branch: the first number, of which each model has its own.
    pub fn branch(&self) -> Option<u32> {
        match self.scheme {
            Scheme::Mlx5 => self.numbers.first().copied(),
            Scheme::IntelNvm
            | Scheme::IntelEetrack
            | Scheme::Igb
            | Scheme::E1000e
            | Scheme::Bnxt
            | Scheme::Sfc
            | Scheme::Cxgb4
            | Scheme::Qede
            | Scheme::Dotted => None,
        }
    }

    /// Older, the same, or newer; an error where there is no order between the two.
    pub fn compare(&self, other: &Version) -> Result<Ordering, SchemeError> {
        if self.scheme != other.scheme {
            let schemes = (self.scheme, other.scheme);
            let (left, right) = (self.text.clone(), other.text.clone());
            return Err(SchemeError::Schemes { left, right, schemes });
        }
        self.same_branch(other.branch(), &other.text)?;
        let builds = self.build.as_ref().zip(other.build.as_ref());
        if self.numbers.is_empty() || other.numbers.is_empty() {
            return match builds {
                Some((mine, theirs)) if mine == theirs => Ok(Ordering::Equal),
                Some(_) | None => Err(self.unordered(other)),
            };
        }
        match padded(&self.numbers, &other.numbers) {
            Ordering::Equal => {}
            unequal => return Ok(unequal),
        }
        if builds.is_some_and(|(mine, theirs)| mine != theirs) {
            return Err(self.unordered(other));
        }
        match self.second.is_empty() || other.second.is_empty() {
            true => Ok(Ordering::Equal),
            false => Ok(self.second.cmp(&other.second)),
        }
    }

    /// Whether both are the same firmware, as far as both say: a build that one of them leaves out counts
    /// for nothing here, see [`Version::identity`]. Builds without an order, and branches, differ;
    /// different schemes are an error.
    pub fn same(&self, other: &Version) -> Result<bool, SchemeError> {
        match self.compare(other) {
            Ok(ordering) => Ok(ordering == Ordering::Equal),
            Err(SchemeError::Branches { .. } | SchemeError::Builds { .. }) => Ok(false),
            Err(error @ (SchemeError::Schemes { .. } | SchemeError::NotAVersion { .. })) => {
                Err(error)
            }
        }
    }

    /// Whether both are one and the same build for one board, as far as they say: where one of them
    /// names a build or a package and the other does not, nobody knows.
    pub fn identity(&self, other: &Version) -> Result<Answer, SchemeError> {
        let differ = |mine: &Option<String>, theirs: &Option<String>| {
            mine.as_ref().zip(theirs.as_ref()).is_some_and(|(mine, theirs)| mine != theirs)
        };
        if !self.same(other)? || differ(&self.board, &other.board) || differ(&self.rom, &other.rom)
        {
            return Ok(Answer::No);
        }
        Ok(if self.is_as_whole_as(other) { Answer::Yes } else { Answer::Unknown })
    }

    /// Whether both name a build, or neither does, and likewise a package.
    pub fn is_as_whole_as(&self, other: &Version) -> bool {
        self.build.is_some() == other.build.is_some()
            && self.second.is_empty() == other.second.is_empty()
    }

    /// How the first numbers of this version compare with `prefix`.
    fn against(&self, prefix: &[u32], text: &str) -> Result<Ordering, SchemeError> {
        let branch = self.branch().and(prefix.first().copied());
        self.same_branch(branch, text)?;
        if self.numbers.is_empty() {
            let (left, right) = (self.text.clone(), text.to_owned());
            return Err(SchemeError::Builds { left, right });
        }
        let have = (0..prefix.len()).map(|at| self.numbers.get(at).copied().unwrap_or(0));
        Ok(have.cmp(prefix.iter().copied()))
    }

    fn same_branch(&self, other: Option<u32>, text: &str) -> Result<(), SchemeError> {
        match self.branch().zip(other) {
            Some(branches) if branches.0 != branches.1 => Err(SchemeError::Branches {
                left: self.text.clone(),
                right: text.to_owned(),
                branches,
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn unordered(&self, other: &Version) -> SchemeError {
        SchemeError::Builds { left: self.text.clone(), right: other.text.clone() }
    }
}

/// `1.2` is `1.2.0`.
fn padded(left: &[u32], right: &[u32]) -> Ordering {
    let length = left.len().max(right.len());
    let number = |list: &[u32], at: usize| list.get(at).copied().unwrap_or(0);
    (0..length).map(|at| number(left, at)).cmp((0..length).map(|at| number(right, at)))
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}
