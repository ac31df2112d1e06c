//! Upstream kernel versions, and the ranges that a defect spans.

use crate::Answer;

/// An upstream version: `6.1.192`, `6.19`, `6.11-rc3`. A vendor's suffix is not part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
    /// A release candidate's number; a release is above all its candidates.
    candidate: u32,
}

impl Version {
    /// `None` for anything that is not an upstream version: an unknown base is no version.
    pub fn parse(text: &str) -> Option<Version> {
        let (numbers, candidate) = match text.split_once("-rc") {
            Some((numbers, rc)) => (numbers, number(rc)?),
            None => (text, u32::MAX),
        };
        let mut parts = numbers.split('.');
        let major = number(parts.next()?)?;
        let minor = number(parts.next()?)?;
        let patch = parts.next().map_or(Some(0), number)?;
        parts.next().is_none().then_some(Version { major, minor, patch, candidate })
    }

    /// `6.1` of `6.1.192`.
    pub(crate) fn branch(self) -> (u32, u32) {
        (self.major, self.minor)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.patch > 0 {
            write!(f, ".{}", self.patch)?;
        }
        match self.candidate {
            u32::MAX => Ok(()),
            candidate => write!(f, "-rc{candidate}"),
        }
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.introduced {
            Some(from) => write!(f, "{from}")?,
            None => f.write_str("?")?,
        }
        match self.fixed {
            Fixed::Stable(to) | Fixed::Mainline(to) => write!(f, " to before {to}"),
            Fixed::Never => f.write_str(" to the end of that branch"),
            Fixed::NotYet => f.write_str(" on, not fixed"),
            Fixed::Unknown => f.write_str(" on, in which releases is not established"),
        }
    }
}

/// Digits only: `u32::from_str` would take a sign too.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// From where to where a defect goes in one branch, as the kernel's vulns repository gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first release that has the defect; `None`: not known, so from the beginning.
    pub introduced: Option<Version>,
    pub fixed: Fixed,
}

/// Where a defect ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fixed {
    /// The first stable release of its branch without the defect: `6.1.110`.
    Stable(Version),
    /// The first mainline release without it: `6.11`.
    Mainline(Version),
    /// Its branch, the one it was introduced in, ended without the fix.
    Never,
    /// No release is known to have a fix: how the driver or the hardware is.
    NotYet,
    /// Nobody has said which releases have it; before `introduced` none can.
    Unknown,
}

impl Range {
    /// Reads both ends as the files give them: a version or `unknown`, and a version, `never`,
    /// `not-yet` or `unknown`.
    pub fn parse(introduced: &str, fixed: &str) -> Result<Range, String> {
        let version = |text: &str| {
            let wrong = || format!("`{text}` is not an upstream version, such as 6.1.110 or 6.11");
            Version::parse(text).ok_or_else(wrong)
        };
        let introduced = match introduced {
            "unknown" => None,
            text => Some(version(text)?),
        };
        let fixed = match fixed {
            "never" if introduced.is_none() => {
                return Err("a branch that never got the fix is named by `introduced`".to_owned());
            }
            "never" => Fixed::Never,
            "not-yet" => Fixed::NotYet,
            "unknown" if introduced.is_none() => {
                return Err("a range with neither end known is `kernels: unknown`".to_owned());
            }
            "unknown" => Fixed::Unknown,
            text if text.split('.').count() == 2 => Fixed::Mainline(version(text)?),
            text => Fixed::Stable(version(text)?),
        };
        if let (Some(from), Fixed::Stable(to) | Fixed::Mainline(to)) = (introduced, fixed)
            && from > to
        {
            return Err("`introduced` is above `fixed`".to_owned());
        }
        Ok(Range { introduced, fixed })
    }

    /// Whether this range is about the branch of `base` and no other.
    fn is_of(&self, base: Version) -> bool {
        match (self.fixed, self.introduced) {
            (Fixed::Stable(to), _) => to.branch() == base.branch(),
            (Fixed::Never, Some(from)) => from.branch() == base.branch(),
            (Fixed::Never, None) | (Fixed::Mainline(_) | Fixed::NotYet | Fixed::Unknown, _) => {
                false
            }
        }
    }

    /// Both ends lean to caution: the candidates of the introducing release have the defect
    /// already, those of the fixing release may have it still.
    fn holds(&self, base: Version) -> bool {
        let begun = self.introduced.is_none_or(|from| base >= Version { candidate: 0, ..from });
        match self.fixed {
            Fixed::Stable(to) | Fixed::Mainline(to) => begun && base < to,
            Fixed::Never | Fixed::NotYet | Fixed::Unknown => begun,
        }
    }
}

/// Whether this upstream version has the defect that `ranges` describe.
///
/// A stable branch with a range of its own is judged by that alone (6.1.110 has the fix although
/// 6.11 is where mainline got it); every other branch by mainline's, so that a branch which died
/// before the fix counts as affected for good. Where no mainline fix is given, only what lies
/// between two given ends, or before the first, is known.
pub fn affected(ranges: &[Range], base: Version) -> Answer {
    let mut own = ranges.iter().filter(|range| range.is_of(base)).peekable();
    if own.peek().is_some() {
        return Answer::of(own.any(|range| range.holds(base)));
    }
    let is_mainline = |range: &&Range| matches!(range.fixed, Fixed::Mainline(_) | Fixed::NotYet);
    let mut mainline = ranges.iter().filter(is_mainline).peekable();
    if mainline.peek().is_some() {
        return Answer::of(mainline.any(|range| range.holds(base)));
    }
    let stable = |range: &&Range| matches!(range.fixed, Fixed::Stable(_));
    if ranges.iter().filter(stable).any(|r| r.introduced.is_some() && r.holds(base)) {
        return Answer::Yes;
    }
    let before = |range: &Range| {
        range.introduced.is_some_and(|from| base < Version { candidate: 0, ..from })
    };
    if !ranges.is_empty() && ranges.iter().all(before) { Answer::No } else { Answer::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(pairs: &[(&str, &str)]) -> Vec<Range> {
        let range = |&(introduced, fixed): &(&str, &str)| Range::parse(introduced, fixed).unwrap();
        pairs.iter().map(range).collect()
    }

    fn answer(ranges: &[Range], base: &str) -> Answer {
        affected(ranges, Version::parse(base).unwrap())
    }

    fn check(ranges: &[Range], base: &str) -> bool {
        answer(ranges, base) == Answer::Yes
    }

    #[test]
    fn versions_are_ordered_and_strict() {
        let v = |text| Version::parse(text).unwrap();
        assert!(v("6.1.9") < v("6.1.10"));
        assert!(v("6.11-rc3") < v("6.11"));
        assert!(v("6.10.14") < v("6.11-rc1"));
        assert_eq!(v("6.11"), v("6.11.0"));
        for bad in ["", "6", "6.1.192-2", "6.1.", "6..1", "+6.1", "unknown", "6.1.2.3", "6.1-rc"] {
            assert_eq!(Version::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn each_stable_branch_is_judged_by_its_own_fix() {
        let all = ranges(&[("4.17", "5.15.209"), ("4.17", "6.1.110"), ("4.17", "6.11")]);
        for bad in ["4.17", "5.15.208", "6.1.109", "6.1", "6.11-rc7"] {
            assert!(check(&all, bad), "{bad}");
        }
        for good in ["4.16.18", "5.15.209", "6.1.110", "6.1.192", "6.11", "6.12.1", "7.2"] {
            assert!(!check(&all, good), "{good}");
        }
        // Branches that died before the fix never got it.
        for dead in ["5.4.300", "6.7.12", "6.10.14"] {
            assert!(check(&all, dead), "{dead}");
        }
    }

    #[test]
    fn candidates_lean_to_caution() {
        let all = ranges(&[("6.17", "6.18.9"), ("6.17", "6.19")]);
        assert!(!check(&all, "6.16.12"));
        assert!(check(&all, "6.17-rc1"));
        assert!(check(&all, "6.17.13"));
        assert!(check(&all, "6.18.8"));
        assert!(!check(&all, "6.18.9"));
        assert!(check(&all, "6.19-rc8"));
        assert!(!check(&all, "6.19"));
    }

    #[test]
    fn a_branch_that_never_got_the_fix_is_affected_to_its_end() {
        let all = ranges(&[("6.18.14", "6.18.34"), ("7.0", "7.1"), ("6.19.4", "never")]);
        for (base, bad) in [
            ("6.18.13", false),
            ("6.18.14", true),
            ("6.18.34", false),
            ("6.19.3", false),
            ("6.19.4", true),
            ("6.19.99", true),
            ("7.0.3", true),
            ("7.1", false),
            ("6.17", false),
        ] {
            assert_eq!(check(&all, base), bad, "{base}");
        }
        // Introduced and fixed in one release: nobody ever had it.
        let nobody = ranges(&[("6.12.61", "6.12.61"), ("6.16", "6.18")]);
        assert!(!check(&nobody, "6.12.60") && !check(&nobody, "6.12.61"));
        assert!(check(&ranges(&[("6.9", "6.9")]), "6.9-rc4"));
    }

    #[test]
    fn without_a_mainline_fix_other_branches_are_unknown() {
        let lts = ranges(&[("unknown", "6.1.160"), ("unknown", "6.12.64")]);
        assert_eq!(answer(&lts, "6.1.159"), Answer::Yes);
        assert_eq!(answer(&lts, "6.12.64"), Answer::No);
        assert_eq!(answer(&lts, "6.6.1"), Answer::Unknown);
        let between = ranges(&[("6.8", "6.10.11")]);
        assert_eq!(answer(&between, "6.7.3"), Answer::No);
        assert_eq!(answer(&between, "6.9.2"), Answer::Yes);
        assert_eq!(answer(&between, "6.11"), Answer::Unknown);
        assert_eq!(answer(&[], "6.11"), Answer::Unknown);
        // What it is a defect of is not older than this; who has it, nobody has said.
        let since = ranges(&[("6.14", "unknown")]);
        assert_eq!(answer(&since, "6.13.12"), Answer::No);
        assert_eq!(answer(&since, "6.14"), Answer::Unknown);
        assert_eq!(answer(&since, "7.0"), Answer::Unknown);
    }

    #[test]
    fn ranges_that_make_no_sense_are_refused() {
        for (introduced, fixed) in [
            ("6.12", "6.11"),
            ("unknown", "never"),
            ("unknown", "unknown"),
            ("6", "7.0"),
            ("5.15", "5.15.x"),
            ("", ""),
        ] {
            assert!(Range::parse(introduced, fixed).is_err(), "{introduced} to {fixed}");
        }
    }
}
