//! A digest names what a playbook means, not how it is written.

use playbooks::{library::LIBRARY, parse::parse};

const ONE: &str = "\
apiVersion: nicmend/v1
kind: Playbook
metadata: { name: a, version: 1.0.0, summary: s }
stages:
  - name: s
    settings: { ring.rx: 512, coalesce.adaptive-rx: false, irq.affinity: '1,2,3' }
guardrails: { latency.p99: { no-worse-than: 5%, at-most: 2ms }, latency.loss-ratio: { at-most: 1% } }
verify: { window: 60s, settle: 5s }
drain: 10s
probation: { for: 2d }
";

/// The same in other words: order, comments, styles, units, spelling, defaults written out.
const SAME: &str = "\
# A comment.
probation:
    rate: 10
    for: 48h
drain: 10000ms
verify:
    { rate: 1000, window: 1m, settle: 5000ms, payload: 64, patterns: [\"calm\"], transport: udp, interleave: false }
guardrails:
  \"latency.loss-ratio\": { at-most: 0.01 }
  latency.p99.0:
    at-most: 2000us      # two milliseconds
    no-worse-than: 5.0%
stages: [{ settings: { irq.affinity: 1-3, coalesce.adaptive-rx: off, ring.rx: 512 }, name: s }]
metadata:
  version: \"1.0.0\"
  summary: >-
    s
  name: 'a'
kind: Playbook
apiVersion: nicmend/v1
";

fn digest(source: &str) -> String {
    parse(source.as_bytes()).unwrap_or_else(|problems| panic!("{problems:?}")).digest()
}

#[test]
fn spelling_does_not_change_the_digest() {
    assert_eq!(digest(ONE), digest(SAME));
    assert!(digest(ONE).starts_with("sha256:") && digest(ONE).len() == 7 + 64);
}

#[test]
fn meaning_changes_the_digest() {
    let changes = [
        ("name: a", "name: b"),
        ("1.0.0", "1.0.1"),
        ("512", "513"),
        ("false", "true"),
        ("'1,2,3'", "'1,2'"),
        ("at-most: 2ms", "at-most: 3ms"),
        ("5%", "6%"),
        ("guardrails", "objective"),
        ("60s", "61s"),
        ("settle: 5s", "settle: 6s"),
        ("drain: 10s", "drain: 11s"),
        ("for: 2d", "for: 3d"),
        ("name: s\n", "name: t\n"),
        ("stages:", "applies-to: { driver: [ice] }\nstages:"),
        ("ring.rx", "ring.tx"),
    ];
    let mut digests: Vec<String> =
        changes.iter().map(|(from, to)| digest(&ONE.replacen(from, to, 1))).collect();
    digests.push(digest(ONE));
    digests.extend(LIBRARY.iter().map(|shipped| digest(shipped.source)));
    let count = digests.len();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), count, "two meanings share a digest");
}

/// Digests are in journals and approvals: they never change by accident.
#[test]
fn the_digest_is_pinned() {
    assert_eq!(
        digest(ONE),
        "sha256:7b7aacf9ff46c2e1c4978e04a93f9d466bb4f47eb0d24dba55c33638e6e5a916"
    );
}
