//! Which upstream kernel this is: driver facts and hazards are known by upstream version.

use std::path::Path;

use super::Host;

/// Words in a release that mean a distribution's own tree: its fixes are not upstream's of that number.
const VENDOR_WORDS: [&str; 16] = [
    "generic",
    "lowlatency",
    "aws",
    "azure",
    "gcp",
    "gke",
    "oracle",
    "kvm",
    "raspi",
    "pve",
    "default",
    "amzn",
    "uek",
    "cloud",
    "tegra",
    "bluefield",
];

/// The upstream version under the running kernel (`6.1.192`), where it is known.
pub fn base(host: &dyn Host) -> Option<String> {
    let release = host.read(Path::new("/proc/sys/kernel/osrelease")).ok()?;
    // Only Ubuntu's kernels have a signature.
    let version = host
        .read(Path::new("/proc/version_signature"))
        .or_else(|_| host.read(Path::new("/proc/version")))
        .ok()?;
    kernel_base(&release, &version)
}

/// The upstream version behind `release` (uname -r), `version` being /proc/version, or Ubuntu's
/// /proc/version_signature where there is one.
///
/// Debian's `6.1.0-56-amd64` says `… Debian 6.1.192-1 …` in /proc/version; Ubuntu's signature says
/// `Ubuntu 5.15.0-91.101-generic 5.15.131`. A release of its own number with at most a local name
/// (`6.18.44`, `6.12.3-local`) is upstream's. Any other is `None`: a vendor's `5.14.0-503.el9` has
/// fixes and faults that no upstream number tells.
pub fn kernel_base(release: &str, version: &str) -> Option<String> {
    let release = release.trim();
    let (number, local) = split_number(release)?;
    let series = number.rsplit_once('.')?.0;
    let stated = stated_by_vendor(version);
    if let Some((stated, _)) = stated.and_then(split_number) {
        let same_series = stated.rsplit_once('.').is_some_and(|(s, _)| s == series);
        return same_series.then(|| stated.to_owned());
    }
    is_local_name(number, local).then(|| number.to_owned())
}

/// The version that the vendor itself names as its base.
fn stated_by_vendor(version: &str) -> Option<&str> {
    if let Some(signature) = version.trim().strip_prefix("Ubuntu ") {
        return signature.split_whitespace().nth(1);
    }
    // Behind the build number: before it stands the compiler, which is a Debian package too.
    let (_, build) = version.split_once(" #")?;
    let (_, debian) = build.split_once(" Debian ")?;
    debian.split_whitespace().next()
}

/// `6.12.3-local` as `6.12.3` and `-local`; nothing where it does not begin with three numbers.
fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let mut parts = number.split('.');
    let numeric = |part: Option<&str>| part.is_some_and(|p| (1..=5).contains(&p.len()));
    let three = numeric(parts.next()) && numeric(parts.next()) && numeric(parts.next());
    (three && parts.next().is_none()).then_some((number, rest))
}

/// Whether what follows the number is only a name that somebody gave an upstream build.
fn is_local_name(number: &str, local: &str) -> bool {
    if local.is_empty() {
        return true;
    }
    // Vendors freeze at x.y.0 or count their builds; release candidates are no release.
    let named = local.strip_prefix('-').is_some_and(|n| n.starts_with(|c: char| c.is_alphabetic()));
    let words = local.split(['-', '.', '+', '_']);
    named
        && !number.ends_with(".0")
        && words.into_iter().all(|word| !VENDOR_WORDS.contains(&word) && !is_vendor_tag(word))
}

/// `el9`, `fc40`, `deb13`, `amzn2023`: a distribution and its number.
fn is_vendor_tag(word: &str) -> bool {
    ["el", "fc", "deb", "amzn", "uek", "oe", "an", "tl"].iter().any(|tag| {
        let number = word.strip_prefix(tag);
        number.is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::kernel_base;

    #[test]
    fn the_base_is_known_or_unknown_never_guessed() {
        let debian = "Linux version 6.1.0-56-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian \
                      12.2.0-14) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40) #1 SMP \
                      PREEMPT_DYNAMIC Debian 6.1.192-1 (2026-01-02)";
        let mainline = "Linux version X (me@box) (gcc 12) #1 SMP PREEMPT_DYNAMIC Mon";
        let trixie = "Linux version 6.12.43+deb13-amd64 (d@d) (x86_64-linux-gnu-gcc-14 (Debian \
                      14.2.0-19) 14.2.0) #1 SMP PREEMPT_DYNAMIC Debian 6.12.43-1 (2025-08-27)";
        let ubuntu = "Ubuntu 5.15.0-91.101-generic 5.15.131";
        for (release, version, base) in [
            ("6.1.0-56-amd64\n", debian, Some("6.1.192")),
            ("6.12.43+deb13-amd64", trixie, Some("6.12.43")),
            ("6.12.9+bpo-amd64", "L #1 SMP Debian 6.12.9-1~bpo12+1 (2025)", Some("6.12.9")),
            ("5.15.0-91-generic", ubuntu, Some("5.15.131")),
            ("5.15.0-91-generic", mainline, None),
            ("6.18.44", mainline, Some("6.18.44")),
            ("6.12.3-local", mainline, Some("6.12.3")),
            ("6.18.44-fc-v657", mainline, Some("6.18.44")),
            ("5.14.0-503.el9.x86_64", mainline, None),
            ("6.8.5-301.fc40.x86_64", mainline, None),
            ("6.1.115-126.197.amzn2023.x86_64", mainline, None),
            ("5.14.21-150500.55.7-default", mainline, None),
            ("6.8.12-pve", mainline, None),
            ("6.19.0-rc3", mainline, None),
            ("6.19.0", mainline, Some("6.19.0")),
            // Debian's number must be of the running series.
            ("6.12.3-local", debian, None),
            ("6.1", mainline, None),
            ("6.1.2.3", mainline, None),
            ("", "", None),
            ("-1.-2.-3", mainline, None),
        ] {
            assert_eq!(kernel_base(release, version).as_deref(), base, "{release}");
        }
    }
}
