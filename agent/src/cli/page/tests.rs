use playbooks::{
    Name, Value,
    vocabulary::{Disruption, Scope, TakesEffect},
};

use super::*;
use crate::{
    host::{NicId, Now},
    log::{Entry, History, Kept, ReadBack},
    measure::Sample,
    plan::{FORMAT, HostId, PlannedStage, Step},
    setting::Change,
    store::sim::SimStore,
    verdict,
};

const ID: &str = "20261122T101503Z-1f3a";
const SECOND: u64 = 1_000_000_000;
const PLAYBOOK: &str = "
apiVersion: nicmend/v1
kind: Playbook
metadata: { name: mend, version: 1.0.0, summary: Give TCP its buffer back, references: [https://docs.kernel.org/] }
stages:
  - name: kernel
    settings: { sysctl.net.core.rmem_max: 4194304, ring.rx: 4096 }
objective:  { latency.p50: { at-most: 5ms } }
guardrails: { latency.p50: { no-worse-than: 5% } }
verify:     { transport: tcp, settle: 5s, window: 6s, rate: 200, payload: 65536 }
";

fn key() -> Name {
    Name::try_from("sysctl.net.core.rmem_max").expect("a setting")
}

fn step() -> Step {
    let change = Change { name: key(), from: Value::Number(4096), to: Value::Number(4_194_304) };
    Step {
        family: "sysctl".to_owned(),
        batch: vec![change],
        disruption: Disruption::None,
        scope: Scope::Netns,
        takes_effect: TakesEffect::NewSockets,
        lease_ms: 1000,
    }
}

fn nic() -> NicId {
    NicId::Virtual { netns: 4026, name: "trade0".to_owned(), mac: "02:00:00:00:00:01".to_owned() }
}

fn a_plan() -> Plan {
    let playbook = playbooks::parse::parse(PLAYBOOK.as_bytes()).expect("a playbook");
    let ring = Name::try_from("ring.rx").expect("a setting");
    let (name, targets) = ("kernel".to_owned(), vec![(key(), Value::Number(4_194_304))]);
    let stage =
        PlannedStage { name, targets, steps: vec![step()], disturbs: [].into(), firmware: None };
    Plan {
        format: FORMAT,
        host: HostId {
            name: "colo-7".to_owned(),
            machine: "m".to_owned(),
            kernel: "6.1.0".to_owned(),
            netns: 4026,
        },
        nic: nic(),
        nic_name: "trade0".to_owned(),
        driver: "veth".to_owned(),
        firmware: None,
        peer: Some("192.0.2.2".to_owned()),
        control_peer: None,
        playbook,
        stages: vec![stage],
        revert: Vec::new(),
        snapshot: vec![Kept { name: key(), original: Value::Number(4096) }],
        already: [].into(),
        skipped: [(ring, "veth has no rings".to_owned())].into(),
        cannot_affect: vec!["open sockets keep the old value".to_owned()],
        disruption: Disruption::None,
    }
}

/// A window that began `at` seconds into the run and is as slow as `latency_ns`.
fn a_window(at: u64, latency_ns: u64) -> Window {
    let sample =
        |i: u64| Sample { due_ns: i * 5_000_000, latency_ns: latency_ns + i * 100, flow: 0 };
    let began_utc_ns = ((1_000 + at) * SECOND) as i64;
    let samples = (0..1_200).map(sample).collect();
    Window { began_utc_ns, length_ns: 6 * SECOND, sent: 1_200, samples, ..Window::default() }
}

fn keep(store: &SimStore, point: &str, window: &Window) -> String {
    let samples = evidence::write(&window.samples);
    store.put(&format!("runs/{ID}/{point}.samples"), &samples).expect("put");
    let json = serde_json::to_vec(window).expect("JSON");
    store.put(&format!("runs/{ID}/{point}.json"), &json).expect("put");
    digest(&samples)
}

/// The log of one run; each fact with the seconds at which it was recorded.
fn record(plan: &Plan, facts: Vec<(u64, Fact)>) -> RunRecord {
    let begun = Fact::Begun {
        plan: plan.digest(),
        playbook: "mend 1.0.0".to_owned(),
        nic: nic(),
        nic_name: "trade0".to_owned(),
        netns: 4026,
        netns_cookie: None,
        ifindex: None,
        peer: plan.peer.clone(),
        uid: 0,
    };
    let all = std::iter::once((0, begun)).chain(facts);
    let entries = all.enumerate().map(|(seq, (at, fact))| {
        let (utc_ns, mono_ns) = (((1_000 + at) * SECOND) as i64, (50 + at) * SECOND);
        let at = Now { utc_ns, mono_ns, boot_id: "boot".to_owned() };
        let clock = crate::host::Clock::unknown();
        let (who, host) = (crate::log::Who::uid(0), "trade1".to_owned());
        let stamp = crate::log::Stamp { at, epoch: 1, who, host, clock };
        Entry::new(seq as u64, &stamp, Some(ID), fact).encode().expect("an entry")
    });
    let history = History::fold(&entries.collect::<Vec<_>>()).expect("a history");
    history.find(ID).expect("the run").clone()
}

/// Baseline, one stage, its verdict: the facts up to the decision.
fn up_to_verdict(store: &SimStore) -> Vec<(u64, Fact)> {
    let (before, after) = (a_window(1, 40_000_000), a_window(8, 300_000));
    let (first, second) = (keep(store, "baseline", &before), keep(store, "stage-1", &after));
    let plan = a_plan();
    store
        .put(
            &format!("plans/{}.json", plan.digest().trim_start_matches("sha256:")),
            &serde_json::to_vec_pretty(&plan).expect("JSON"),
        )
        .expect("put");
    store.put(&format!("runs/{ID}/undo.sh"), b"sysctl -w net.core.rmem_max=4096\n").expect("put");
    let by = Criterions {
        objective: plan.playbook.objective.clone(),
        guardrails: plan.playbook.guardrails.clone(),
    };
    let verdict = Box::new(verdict::judge(&before, &after, &by, 7));
    let (name, asked) = (key(), Value::Number(4_194_304));
    let wrote = ReadBack { name, asked: asked.clone(), got: Some(asked), fault: None };
    vec![
        (7, Fact::Baseline { evidence: first }),
        (7, Fact::Intent { stage: 0, steps: vec![step()], disturbed: Vec::new() }),
        (7, Fact::Wrote { stage: 0, results: vec![wrote], nanoseconds: 41_200 }),
        (14, Fact::Judged { stage: 0, evidence: second, verdict }),
    ]
}

fn committed(store: &SimStore) -> RunRecord {
    let mut facts = up_to_verdict(store);
    facts.push((
        14,
        Fact::Committed {
            stages: vec![0],
            why: "every guardrail held".to_owned(),
            provisional: None,
        },
    ));
    record(&a_plan(), facts)
}

#[test]
fn a_committed_run_with_all_its_evidence() {
    let store = SimStore::new(1);
    let run = committed(&store);
    let page = of(&run, &store).expect("a page");
    for says in [
        "Committed: the change stays.",
        "Give TCP its buffer back",
        "✓ in force",
        "veth has no rings",
        "sysctl -w net.core.rmem_max=4096",
        "1 setting in 1 request; 41.2 µs in the kernel",
        "colo-7",
        "open sockets keep the old value",
        "TCP request and response, 65536 bytes, 200 a second for 6s, calm",
    ] {
        assert!(page.contains(says), "{says}");
    }
    assert_eq!(page.matches("✓ as judged").count(), 2);
    assert_eq!(page, of(&run, &store).expect("a page"), "the same evidence, the same page");
}

fn a_firmware_action() -> crate::plan::firmware::FirmwareAction {
    let image = serde_json::json!({ "sha256": "ad", "bytes": 7 });
    let port = serde_json::json!({ "id": nic(), "name": "trade0" });
    let action = serde_json::json!({
        "device": { "handle": "pci/0000:3b:00.0" },
        "from": "14.32.1010", "to": "14.31.1014", "image": image,
        "flash": "devlink", "activate": "nic-reset", "ports": [port],
        "leases": { "drain-ms": 0, "flash-ms": 1, "activate-ms": 1, "back-ms": 1 },
    });
    serde_json::from_value(action).expect("an action")
}

#[test]
fn a_stage_of_firmware_alone_has_its_window_and_its_outage() {
    use crate::log::firmware::{FirmwareStep, Outage};
    let store = SimStore::new(1);
    let mut facts = up_to_verdict(&store);
    let (action, kept) = (Box::new(a_firmware_action()), "ports.json".to_owned());
    facts[1] =
        (7, Fact::Firmware { stage: 0, step: FirmwareStep::Intent { action, kept, found: None } });
    let step = FirmwareStep::Activated {
        running: "14.31.1014".to_owned(),
        performed: Vec::new(),
        outage: Some(Outage { ms: 1_035, over: true, how: "pings".to_owned() }),
        unmeasured: None,
        mended_ms: Some(1_882),
        lost: Vec::new(),
        ports: Vec::new(),
    };
    facts[2] = (8, Fact::Firmware { stage: 0, step });
    let run = record(&a_plan(), facts);
    let filled = fill(&run, &store);
    assert_eq!(filled.windows.len(), 2, "the baseline and the stage");
    assert!(filled.windows[1].window.is_ok());
    let page = of(&run, &store).expect("a page");
    for says in ["14.32.1010 -&gt; 14.31.1014", "1035 ms (pings)", "trade0 as before 1882 ms"] {
        assert!(page.contains(says), "{says}");
    }
}

#[test]
fn the_timeline_follows_log_and_windows() {
    use report::Act;
    let store = SimStore::new(1);
    let filled = fill(&committed(&store), &store);
    let bars: Vec<(Act, u64, u64)> = filled
        .timeline
        .iter()
        .map(|bar| (bar.act, bar.from_ns / SECOND, bar.to_ns / SECOND))
        .collect();
    assert_eq!(
        bars,
        [
            (Act::Mark, 0, 0),
            (Act::Settle, 0, 1),
            (Act::Measure, 1, 7),
            (Act::Write, 7, 7),
            (Act::Settle, 7, 8),
            (Act::Measure, 8, 14),
            (Act::Judge, 14, 14),
            (Act::Mark, 14, 14),
        ]
    );
}

#[test]
fn evidence_that_is_gone_or_changed_is_named() {
    let store = SimStore::new(1);
    let run = committed(&store);
    keep(&store, "stage-1", &a_window(8, 200_000));
    store.put(&format!("runs/{ID}/baseline.samples"), b"1 2\n3 nonsense\n").expect("put");
    store.put(&format!("runs/{ID}/stage-1.json"), b"{").expect("put");
    let page = of(&run, &store).expect("a page");
    assert_eq!(page.matches("✗ not the file that was judged").count(), 2);
    assert!(page.contains("baseline is not drawn: read runs/") && page.contains("`nonsense`"));
    assert!(page.contains("the counters of this window are not known"));

    let empty = SimStore::new(2);
    let page = of(&run, &empty).expect("a page without any evidence");
    for says in
        ["the plan is not shown: plans/", "baseline.samples is missing", "undo.sh is missing"]
    {
        assert!(page.contains(says), "{says}");
    }
    assert_eq!(page.matches("✗ missing").count(), 2);
}

#[test]
fn a_reverted_run_shows_what_was_read_back() {
    let store = SimStore::new(1);
    let mut facts = up_to_verdict(&store);
    let back = |got: u64| ReadBack {
        name: key(),
        asked: Value::Number(4096),
        got: Some(Value::Number(got)),
        fault: None,
    };
    let why = "latency.p50 broke its guardrail".to_owned();
    facts.push((14, Fact::Reverting { why: why.clone() }));
    facts.push((
        15,
        Fact::Reverted { why: why.clone(), proof: vec![back(4096)], foreign: Vec::new() },
    ));
    let filled = fill(&record(&a_plan(), facts.clone()), &store);
    assert_eq!(filled.settings[0].fate, report::Fate::PutBack);
    assert_eq!(filled.settings[0].left.as_deref(), Some("4096"));
    assert!(filled.timeline.iter().any(|bar| bar.act == report::Act::PutBack));
    assert!(matches!(filled.undo, Undo::Nothing(_)));

    facts.pop();
    let by_hand = vec!["sysctl -w net.core.rmem_max=4096".to_owned()];
    facts.push((15, Fact::Stuck { why, left: vec![back(7)], by_hand }));
    let filled = fill(&record(&a_plan(), facts), &store);
    assert_eq!(filled.settings[0].fate, report::Fate::NotPutBack);
    assert!(matches!(filled.undo, Undo::ByHand { ref script, .. } if script.contains("sysctl -w")));
}

#[test]
fn a_refused_run_shows_the_baseline_that_refused_it() {
    let store = SimStore::new(1);
    let refusal =
        || Fact::Refused { rule: "nothing-to-mend".to_owned(), why: "met already".to_owned() };
    let filled = fill(&record(&a_plan(), vec![(8, refusal())]), &store);
    assert!(filled.windows.is_empty() && filled.evidence.is_empty(), "nothing was measured");
    keep(&store, "baseline", &a_window(1, 300_000));
    let filled = fill(&record(&a_plan(), vec![(8, refusal())]), &store);
    assert_eq!(filled.windows.len(), 1);
    assert_eq!(filled.evidence[0].seal, Seal::NotInLog);
    assert!(filled.timeline.iter().any(|bar| bar.act == report::Act::Measure));
}
