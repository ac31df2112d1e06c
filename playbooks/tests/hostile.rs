//! Files made to hurt: refused in under a second and 100 MB, with a problem that can be shown.
#![allow(clippy::disallowed_methods, reason = "the test is about time and memory")]

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use playbooks::{library::LIBRARY, parse::parse};

/// A named file.
type Case = (&'static str, Vec<u8>);

fn cases() -> Vec<Case> {
    let good = LIBRARY[0].source;
    let mut cases: Vec<Case> = vec![
        ("empty", Vec::new()),
        ("ten megabytes", vec![b'a'; 10 << 20]),
        ("ten megabytes of brackets", vec![b'['; 10 << 20]),
        ("not UTF-8", [good.as_bytes(), b"\xff\xfe"].concat()),
        ("UTF-16", good.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("a NUL", good.replace("tcp", "t\0cp").into_bytes()),
        ("an escape character", good.replace("# tuned", "# \x1b[2J").into_bytes()),
        ("a right-to-left override", good.replace("# tuned", "# \u{202E}").into_bytes()),
        ("a byte order mark inside", good.replace("kind", "\u{FEFF}kind").into_bytes()),
        ("an escaped bell", good.replace("mlx5", "x").replace("\"\"", "\"\\u0007\"").into_bytes()),
        ("20,000 deep, flow lists", "[".repeat(20_000).into_bytes()),
        ("20,000 deep, flow maps", "{a:".repeat(20_000).into_bytes()),
        ("20,000 deep and closed", ["[".repeat(20_000), "]".repeat(20_000)].concat().into_bytes()),
        ("20,000 dashes", "- ".repeat(20_000).into_bytes()),
        ("20,000 question marks", "? ".repeat(20_000).into_bytes()),
        ("a long key", format!("{}: 1", "k".repeat(60_000)).into_bytes()),
        ("many keys", (0..5_000).map(|n| format!("k{n}: 1\n")).collect::<String>().into_bytes()),
        ("one key many times", "kind: Playbook\n".repeat(4_000).into_bytes()),
        ("many documents", "---\na: 1\n".repeat(7_000).into_bytes()),
        (
            "many anchors",
            (0..6_000).map(|n| format!("- &a{n} x\n")).collect::<String>().into_bytes(),
        ),
        ("an alias to itself", b"a: &a [*a]".to_vec()),
        ("only a tag", b"!!python/object:os.system rm".to_vec()),
        ("combining marks", format!("k{}: 1", "\u{301}".repeat(30_000)).into_bytes()),
        ("wide characters", format!("{}: 1", "\u{4E00}".repeat(20_000)).into_bytes()),
        ("one quote", [good.as_bytes(), b"\nx: \""].concat()),
        ("spaces", " ".repeat(65_000).into_bytes()),
        ("tabs", "\t".repeat(65_000).into_bytes()),
        ("hashes", "#".repeat(65_000).into_bytes()),
    ];
    cases.push(("block nesting", {
        (0..340).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>().into_bytes()
    }));
    cases.push(("an alias bomb", alias_bomb().into_bytes()));
    cases.push(("a merge bomb", {
        let merges: String =
            (1..20).map(|n| format!("k{n}: &m{n} {{<<: [*m{0}, *m{0}]}}\n", n - 1)).collect();
        format!("k0: &m0 {{a: 1}}\n{merges}").into_bytes()
    }));
    cases
}

/// Nine levels of nine: 430 bytes that stand for a billion nodes.
fn alias_bomb() -> String {
    let mut text = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (this, last) in ('b'..='i').zip('a'..='h') {
        let nine = vec![format!("*{last}"); 9].join(",");
        let _ = writeln!(text, "{this}: &{this} [{nine}]");
    }
    text
}

/// The most memory this process ever had, in kB.
fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn hostile_files_are_refused_within_bounds() {
    for (name, source) in cases() {
        let start = Instant::now();
        let problems = parse(&source).expect_err(name);
        let told: String = problems.iter().map(|p| p.render("x.yaml", &source)).collect();
        let took = start.elapsed();
        assert!(took < Duration::from_secs(1), "{name} took {took:?}");
        assert!(!problems.is_empty() && problems.len() <= 100, "{name}");
        assert!(told.len() < 100_000, "{name}: {} bytes of report", told.len());
        let steers =
            |c: char| (c.is_control() && c != '\n') || ('\u{202A}'..='\u{202E}').contains(&c);
        assert!(!told.contains(steers), "{name}: {told:?}");
        eprintln!("{name}: {took:?}, {}", problems[0]);
    }
    let peak = peak_kb();
    eprintln!("peak {peak} kB");
    assert!(peak < 100_000, "{peak} kB");
}

#[test]
fn a_byte_order_mark_and_dos_lines_are_taken() {
    let good = LIBRARY[0].source;
    let plain = parse(good.as_bytes()).unwrap();
    let dos = format!("\u{FEFF}{}", good.replace('\n', "\r\n"));
    assert_eq!(parse(dos.as_bytes()).unwrap().digest(), plain.digest());
}

/// A mutation of a shipped playbook never makes the parser panic, dawdle, or say nothing.
#[test]
fn mutated_playbooks_are_read_or_refused() {
    let seed = match std::env::var("NICMEND_SEED") {
        Ok(text) => text.parse().expect("NICMEND_SEED is a number"),
        Err(_) => std::time::UNIX_EPOCH.elapsed().map_or(1, |d| d.as_nanos() as u64),
    };
    eprintln!("NICMEND_SEED={seed}");
    let mut dice = Dice(seed | 1);
    let start = Instant::now();
    let (mut good, mut bad) = (0, 0);
    while good + bad < 6_000 && start.elapsed() < Duration::from_secs(10) {
        let mut source = LIBRARY[dice.below(LIBRARY.len())].source.as_bytes().to_vec();
        for _ in 0..=dice.below(4) {
            mutate(&mut source, &mut dice);
        }
        let begun = Instant::now();
        match parse(&source) {
            Ok(playbook) => {
                let json = serde_json::to_vec(&playbook).unwrap();
                let back: playbooks::Playbook = serde_json::from_slice(&json).unwrap();
                assert_eq!(back, playbook, "seed {seed}");
                good += 1;
            }
            Err(problems) => {
                assert!(!problems.is_empty(), "seed {seed}");
                for problem in &problems {
                    assert!(problem.render("x.yaml", &source).len() < 4_000, "seed {seed}");
                }
                bad += 1;
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(1), "seed {seed}");
    }
    eprintln!("{good} read, {bad} refused in {:?}", start.elapsed());
    assert!(good > 0 && bad > 0, "seed {seed}");
}

fn mutate(source: &mut Vec<u8>, dice: &mut Dice) {
    const PIECES: &[&str] = &[
        "&a ",
        "*a",
        "<<: ",
        "!!int ",
        "---\n",
        "...\n",
        "[",
        "]",
        "{",
        "}",
        ": ",
        "- ",
        "? ",
        "|\n",
        ">-\n",
        "\"",
        "'",
        "#",
        "%",
        "\0",
        "\u{202E}",
        "\u{FEFF}",
        "\r\n",
        "\t",
        "4294967296",
        "-1",
        "1e9",
        ".nan",
        "~",
        "null",
        "yes",
        "99999999999999999999d",
        "0x10",
        "max",
        "at-most",
        "latency.p99.999",
        "/../",
        "sysctl.net.//.x: 1\n",
        "ring.rx: 1\n",
        "é",
        "\u{4E00}",
        "\u{301}",
    ];
    let at = dice.below(source.len().max(1)).min(source.len());
    let to = (at + dice.below(40)).min(source.len());
    match dice.below(6) {
        0 => drop(source.drain(at..to)),
        1 => drop(source.splice(at..at, PIECES[dice.below(PIECES.len())].bytes())),
        2 => drop(source.splice(at..to, PIECES[dice.below(PIECES.len())].bytes())),
        3 if at < source.len() => source[at] ^= 1 << dice.below(8),
        4 => {
            let copy = source[at..to].to_vec();
            let there = dice.below(source.len() + 1);
            drop(source.splice(there..there, copy));
        }
        _ => {
            let other = LIBRARY[dice.below(LIBRARY.len())].source.as_bytes();
            let from = dice.below(other.len());
            let piece = &other[from..(from + dice.below(200)).min(other.len())];
            drop(source.splice(at..at, piece.iter().copied()));
        }
    }
}

/// xorshift64*: enough chance for tests, the same on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit.max(1)
    }
}
