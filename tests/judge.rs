//! `nicmend judge` on files as people make them: exits, JSON, and every malformed line named.

// Files for the command line are this test's to write, and the command is its to start.
#![allow(clippy::disallowed_methods)]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use agent::measure::evidence;
use tests::traces::{Noise, Planted, pair};

const N: usize = 60_000;

/// A folder with sample files in it, and the binary to judge them.
struct Desk {
    nicmend: PathBuf,
    folder: PathBuf,
}

/// Exit, standard output, standard error.
type Said = (Option<i32>, Vec<u8>, String);

impl Desk {
    /// `None` where the binary beside this test was not built; the skip is seen.
    fn new(name: &str) -> Option<Desk> {
        let here = std::env::current_exe().expect("this test's own path");
        let nicmend = here.ancestors().nth(2).expect("the target folder").join("nicmend");
        if !nicmend.exists() {
            tests::skip("judge", "nicmend is not built: cargo build --release");
            return None;
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).expect("a folder for the files");
        Some(Desk { nicmend, folder })
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.folder.join(name), bytes).expect("write samples");
    }

    fn judge(&self, arguments: &[&str], input: &[u8]) -> Said {
        let mut child = Command::new(&self.nicmend)
            .arg("judge")
            .args(arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start nicmend");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(input).expect("the pipe is read to its end");
        drop(stdin);
        let output = child.wait_with_output().expect("nicmend ends");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), output.stdout, stderr)
    }

    fn against(&self, candidate: &str) -> Said {
        self.judge(&["--baseline", "before", "--candidate", candidate, "--json"], b"")
    }
}

#[test]
fn two_files_are_judged_and_the_exit_is_the_verdict() {
    let Some(desk) = Desk::new("judge-two-files") else { return };
    let [before, after] = pair(Noise::Autoregressive, Planted::Nothing, N, 17);
    let [_, worse] = pair(Noise::Autoregressive, Planted::Hundredfold(0.3), N, 17);
    desk.file("before", evidence::write(&before));
    desk.file("after", evidence::write(&after));
    desk.file("worse", evidence::write(&worse));
    desk.file("few", evidence::write(&after[..300]));
    for (candidate, exit, call) in
        [("after", 0, "keep"), ("worse", 3, "revert"), ("few", 3, "inconclusive")]
    {
        let (code, stdout, stderr) = desk.against(candidate);
        assert_eq!(code, Some(exit), "{candidate}: {stderr}");
        let json: serde_json::Value = serde_json::from_slice(&stdout).expect("one document");
        assert_eq!(json["verdict"], call);
        let p99 = &json["metrics"]["latency.p99"];
        let ends = [&p99["ci"][0], &p99["ci"][1], &p99["effect"], &p99["smallest-visible"]];
        assert!(ends.iter().all(|number| number.is_number()), "{p99}");
        assert_eq!(p99["n"][0], N);
        assert_eq!(desk.against(candidate).1, stdout, "the same again");
    }
    assert_eq!(desk.against("missing").0, Some(1));
    assert_eq!(desk.judge(&["--baseline", "before"], b"").0, Some(2));
    let wrong = ["--baseline", "before", "--candidate", "after", "--playbook", "./none.yaml"];
    assert_eq!(desk.judge(&wrong, b"").0, Some(2));
}

#[test]
fn files_as_people_make_them_are_read_or_refused_by_line() {
    let Some(desk) = Desk::new("judge-odd-files") else { return };
    let [before, after] = pair(Noise::Independent, Planted::Nothing, N, 18);
    desk.file("before", evidence::write(&before));
    let text = String::from_utf8(evidence::write(&after)).expect("digits");
    let lines: Vec<&str> = text.lines().collect();

    let (_, plain, _) = {
        desk.file("after", &text);
        desk.against("after")
    };
    let mut backwards = lines.clone();
    backwards.reverse();
    let alike = [
        ("carriage returns", text.replace('\n', "\r\n")),
        ("tabs", text.replace(' ', "\t")),
        ("no last line end", text.trim_end().to_owned()),
        ("in another order", backwards.join("\n")),
    ];
    for (what, written) in alike {
        desk.file("alike", written);
        let (code, stdout, stderr) = desk.against("alike");
        assert_eq!((code, &stdout), (Some(0), &plain), "{what}: {stderr}");
    }
    let piped = ["--baseline", "before", "--candidate", "/dev/stdin", "--json"];
    assert_eq!(desk.judge(&piped, text.as_bytes()).1, plain, "through a pipe");

    let second = |line: &str| format!("{}\n{line}\n{}\n", lines[0], lines[1]);
    let refused = [
        ("a comment", second("# noon"), "odd:2: send time `#`"),
        ("a blank line", second(""), "odd:2: `` is not"),
        ("a trailing space", second("1 2 "), "odd:2: `1 2 ` is not"),
        ("one field", second("20000"), "odd:2: `20000` is not"),
        ("an exponent", second("1 2e4"), "odd:2: latency `2e4`"),
        ("a fraction", second("1 20.5"), "odd:2: latency `20.5`"),
        ("a negative", second("1 -4"), "odd:2: latency `-4`"),
        ("not a number", second("1 NaN"), "odd:2: latency `NaN`"),
        ("a huge number", second("1 99999999999999999999"), "odd:2: latency `9999"),
        ("a huge time", second("99999999999999999999 1"), "odd:2: send time `9999"),
        ("an endless line", "1".repeat(50_000_000), "odd:1: line too long"),
        ("zeros", "\0".repeat(100), "odd:1: line too long"),
    ];
    for (what, written, says) in refused {
        desk.file("odd", written);
        let (code, stdout, stderr) = desk.against("odd");
        assert_eq!(code, Some(1), "{what}: {stderr}");
        assert!(stderr.contains(says), "{what}: {stderr}");
        assert!(stdout.len() + stderr.len() < 600, "{what}: {stderr}");
    }
    let (code, _, stderr) = desk.against(".");
    assert!(code == Some(1) && stderr.contains("directory"), "{stderr}");

    let nothing = [("", "no samples"), ("\n", "no samples")];
    for (written, says) in nothing {
        desk.file("empty", written);
        let (code, stdout, _) = desk.against("empty");
        let json: serde_json::Value = serde_json::from_slice(&stdout).expect("one document");
        assert_eq!((code, &json["verdict"]), (Some(3), &"inconclusive".into()));
        assert!(json["why"].as_str().is_some_and(|why| why.contains(says)), "{json}");
    }
}
