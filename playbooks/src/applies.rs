//! Whether a playbook applies: model globs and version ranges. Pure: the caller brings what it knows.

use std::cmp::Ordering;

/// An answer that knows when it does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    Yes,
    /// It does not, and why.
    No(String),
    /// What would decide it is not known, and what that is.
    Unknown(String),
}

/// Comparators that must all hold: `>=5.15, <6.2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range(pub Vec<Comparator>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparator {
    pub op: Op,
    /// As it is written: what a version means is up to the driver's scheme.
    pub version: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

impl Op {
    /// Whether a version that compares like this with the comparator's version is within.
    pub fn holds(self, ordering: Ordering) -> bool {
        match self {
            Op::Less => ordering.is_lt(),
            Op::LessOrEqual => ordering.is_le(),
            Op::Equal => ordering.is_eq(),
            Op::GreaterOrEqual => ordering.is_ge(),
            Op::Greater => ordering.is_gt(),
        }
    }
}

const COMPARATORS_MAX: usize = 8;

/// A firmware range: comparators on versions of whatever scheme.
///
/// # Errors
///
/// What a range looks like, where this is none.
pub fn firmware_range(text: &str) -> Result<Range, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._- ()/".contains(&b);
    range(text, |version| {
        version.bytes().all(plain)
            && version.bytes().any(|b| b.is_ascii_digit())
            && !version.contains("..")
    })
}

/// A kernel range: comparators on one to three dotted numbers.
///
/// # Errors
///
/// What a range looks like, where this is none.
pub fn kernel_range(text: &str) -> Result<Range, String> {
    range(text, |version| numbers(version).is_some())
}

fn range(text: &str, is_version: impl Fn(&str) -> bool) -> Result<Range, String> {
    // Two characters before one: `>=` is not `>`.
    const OPS: &[(&str, Op)] = &[
        (">=", Op::GreaterOrEqual),
        ("<=", Op::LessOrEqual),
        (">", Op::Greater),
        ("<", Op::Less),
        ("=", Op::Equal),
    ];
    let mut comparators = Vec::new();
    for part in text.split(',').map(str::trim) {
        let found = OPS.iter().find_map(|(sign, op)| part.strip_prefix(sign).map(|v| (*op, v)));
        let Some((op, version)) = found else {
            return Err("start each part with one of >=, <=, >, <, =, such as \">=5.15\"".into());
        };
        let version = version.trim();
        if version.is_empty() || !is_version(version) {
            return Err("a version after each sign, such as \">=5.15, <6.2\"".to_owned());
        }
        comparators.push(Comparator { op, version: version.to_owned() });
    }
    match comparators.len() {
        0..=COMPARATORS_MAX => Ok(Range(comparators)),
        _ => Err(format!("at most {COMPARATORS_MAX} parts")),
    }
}

/// One to three numbers with dots between.
fn numbers(version: &str) -> Option<Vec<u32>> {
    let parts: Vec<&str> = version.split('.').collect();
    let digits = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if parts.len() > 3 || !parts.iter().all(digits) {
        return None;
    }
    parts.iter().map(|part| part.parse().ok()).collect()
}

/// Whether the kernel's upstream base (`6.1.192`; `None`: not known) is within this range.
///
/// Only the numbers that the range gives are compared: `<=6.1` and `=6.1` hold for all of 6.1, `>6.1`
/// starts at 6.2.
pub fn kernel_matches(range: &str, base: Option<&str>) -> Match {
    let Ok(Range(comparators)) = kernel_range(range) else {
        return Match::Unknown(format!("`{range}` is not a kernel range"));
    };
    let Some(base) = base else {
        return Match::Unknown(format!("the kernel's upstream base is not known ({range})"));
    };
    let Some(have) = numbers(base) else {
        return Match::Unknown(format!(
            "the kernel's base `{base}` is not dotted numbers ({range})"
        ));
    };
    let holds = |comparator: &Comparator| {
        let want = numbers(&comparator.version).unwrap_or_default();
        let have = (0..want.len()).map(|at| have.get(at).copied().unwrap_or(0));
        comparator.op.holds(have.cmp(want.iter().copied()))
    };
    match comparators.iter().all(holds) {
        true => Match::Yes,
        false => Match::No(format!("kernel {base} is not within {range}")),
    }
}

/// Whether one of these globs matches the model's name (`None`: not known). No globs match any.
pub fn model_matches(globs: &[String], model: Option<&str>) -> Match {
    let wanted = globs.join(", ");
    match model {
        _ if globs.is_empty() => Match::Yes,
        None => Match::Unknown(format!("the NIC's model is not known ({wanted})")),
        Some(model) if globs.iter().any(|glob| glob_matches(glob, model)) => Match::Yes,
        Some(model) => Match::No(format!("the model is {model}, not {wanted}")),
    }
}

/// Whether this driver is one of those named; none named match any.
pub fn driver_matches(drivers: &[String], driver: &str) -> Match {
    match drivers.is_empty() || drivers.iter().any(|name| name == driver) {
        true => Match::Yes,
        false => Match::No(format!("the driver is {driver}, not {}", drivers.join(" or "))),
    }
}

/// `*` matches any run of characters, everything else itself. Time grows with pattern times text, never
/// worse.
pub fn glob_matches(glob: &str, text: &str) -> bool {
    let (glob, text): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
    let (mut g, mut t) = (0, 0);
    // Behind the last star, and how far its run reaches: where to resume after a mismatch.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match glob.get(g) {
            Some('*') => {
                g += 1;
                star = Some((g, t));
            }
            Some(c) if *c == text[t] => {
                g += 1;
                t += 1;
            }
            Some(_) | None => {
                let Some((behind, reach)) = star else { return false };
                star = Some((behind, reach + 1));
                (g, t) = (behind, reach + 1);
            }
        }
    }
    glob[g..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_compare_by_the_numbers_given() {
        let within = |range, base| kernel_matches(range, Some(base)) == Match::Yes;
        assert!(within(">=5.15", "5.15.0") && within(">=5.15", "6.1.192"));
        assert!(!within(">=5.15", "5.14.21") && !within(">=5.15", "5.4"));
        assert!(within(">=5.15, <6.2", "6.1.192") && !within(">=5.15, <6.2", "6.2.0"));
        assert!(within("=6.1", "6.1.192") && within("<=6.1", "6.1.192"));
        assert!(!within(">6.1", "6.1.192") && within(">6.1", "6.2"));
        assert!(within("<6.1.10", "6.1") && !within("<6.1.10", "6.1.10"));
        assert!(within(">=5.9", "5.10.0"), "numbers, not text");
    }

    #[test]
    fn what_is_not_known_is_unknown() {
        assert!(matches!(kernel_matches(">=5.15", None), Match::Unknown(_)));
        assert!(matches!(kernel_matches(">=5.15", Some("vendor-5")), Match::Unknown(_)));
        assert!(matches!(kernel_matches("5.15", Some("5.15")), Match::Unknown(_)));
        assert!(matches!(model_matches(&["X*".into()], None), Match::Unknown(_)));
        assert_eq!(model_matches(&[], None), Match::Yes);
    }

    #[test]
    fn ranges_are_comparators() {
        assert!(firmware_range(">=20.31, <20.33").is_ok());
        assert!(firmware_range("=4.40 0x8001c967 1.3534.0").is_ok());
        for bad in ["", "20.31", ">=", ">= ,", ">=5.15,", "=>5", "~1.2", ">=a", ">=1..2", ">=1;2"] {
            assert!(firmware_range(bad).is_err(), "{bad:?} was taken");
        }
        for bad in [">=5.15-rc1", ">=5.15.1.1", ">=5.", ">=99999999999"] {
            assert!(kernel_range(bad).is_err(), "{bad:?} was taken");
        }
        assert!(kernel_range(&[">=1"; 9].join(",")).is_err());
    }

    #[test]
    fn globs_match_whole_names() {
        assert!(glob_matches("ConnectX-6*", "ConnectX-6 Dx"));
        assert!(!glob_matches("ConnectX-6", "ConnectX-6 Dx"));
        assert!(glob_matches("*", "") && glob_matches("", "") && !glob_matches("", "a"));
        assert!(glob_matches("*a*b", "xaxxb") && !glob_matches("*a*b", "xaxxbc"));
        assert!(glob_matches("E810*", "E810-XXV"));
        let (glob, text) = ("*a".repeat(50) + "b", "a".repeat(10_000));
        assert!(!glob_matches(&glob, &text));
    }
}
