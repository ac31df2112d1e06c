//! Upstream kernel versions, and the ranges that a defect spans.

use serde::Deserialize;

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

    fn branch(self) -> (u32, u32) {
        (self.major, self.minor)
    }
}

/// Digits only: `u32::from_str` would take a sign too.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// From where to where a defect goes in one branch, as the kernel's vulns repository gives it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The first release that has the defect.
    pub introduced: String,
    /// The first release of this branch without it. Two parts (`6.11`): the fix in mainline.
    pub fixed: String,
}

impl Range {
    fn is_mainline(&self) -> bool {
        self.fixed.split('.').count() == 2
    }

    /// Both ends lean to caution: the candidates of the introducing release have the defect
    /// already, those of the fixing release may have it still.
    fn holds(&self, base: Version) -> bool {
        let (Some(from), Some(to)) =
            (Version::parse(&self.introduced), Version::parse(&self.fixed))
        else {
            return true;
        };
        base >= Version { candidate: 0, ..from } && base < to
    }
}

/// Whether this upstream version has the defect that `ranges` describe.
///
/// A stable branch with a range of its own is judged by that alone (6.1.110 has the fix although
/// 6.11 is where mainline got it); every other branch by mainline's, so that a branch which died
/// before the fix counts as affected for good.
pub fn affected(ranges: &[Range], base: Version) -> bool {
    let own = |range: &&Range| {
        let fixed = Version::parse(&range.fixed);
        !range.is_mainline() && fixed.is_some_and(|f| f.branch() == base.branch())
    };
    if let Some(range) = ranges.iter().find(own) {
        return range.holds(base);
    }
    ranges.iter().filter(|range| range.is_mainline()).any(|range| range.holds(base))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(pairs: &[(&str, &str)]) -> Vec<Range> {
        let range = |&(introduced, fixed): &(&str, &str)| Range {
            introduced: introduced.to_owned(),
            fixed: fixed.to_owned(),
        };
        pairs.iter().map(range).collect()
    }

    fn check(ranges: &[Range], base: &str) -> bool {
        affected(ranges, Version::parse(base).unwrap())
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
}
