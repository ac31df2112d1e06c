//! The house rules that no compiler checks. Each failure names every offender at once.

// Looking at the sources is this test's whole purpose.
#![allow(clippy::disallowed_methods)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use playbooks::vocabulary::SETTINGS;

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const CRATES: [&str; 5] = ["playbooks", "firmware-catalog", "policy", "agent", "tests"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()))
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("list {}: {e}", dir.display()));
    entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

/// Every file with this ending under `dir`, sorted; build output left out.
fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in names(dir) {
        let path = dir.join(&name);
        if path.is_dir() && name != "target" && !path.is_symlink() {
            found.extend(files(&path, ending));
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// Every Rust file of the workspace, with its path from the root.
fn sources() -> Vec<(String, String)> {
    let root = root();
    let all = CRATES.iter().flat_map(|name| files(&root.join(name), ".rs"));
    all.map(|path| (shown(&path, &root), read(&path))).collect()
}

fn shown(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

#[track_caller]
fn none(rule: &str, offenders: &[String]) {
    assert!(offenders.is_empty(), "{rule}:\n  {}", offenders.join("\n  "));
}

#[test]
fn the_top_level_is_the_agreed_one() {
    let expected: BTreeSet<String> = [
        ".cargo",
        ".ci",
        ".clippy.toml",
        ".deny.toml",
        ".gitignore",
        ".rustfmt.toml",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "agent",
        "docs",
        "firmware-catalog",
        "playbooks",
        "policy",
        "tests",
    ]
    .map(str::to_owned)
    .into();
    let build = [".git", "target"].map(str::to_owned);
    let strangers: Vec<String> = names(&root())
        .into_iter()
        .filter(|name| !expected.contains(name) && !build.contains(name))
        .collect();
    none("not part of the agreed top level", &strangers);
    for name in expected.iter().filter(|name| *name != ".cargo") {
        assert!(root().join(name).exists(), "{name} is missing from the top level");
    }
}

#[test]
fn files_fit_in_one_sitting() {
    let long = |(path, text): (String, String)| {
        let lines = text.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{path}: {lines} lines"))
    };
    let offenders: Vec<String> = sources().into_iter().filter_map(long).collect();
    none(&format!("longer than {FILE_LINES_MAX} lines"), &offenders);
}

#[test]
fn functions_fit_a_screen() {
    let mut offenders = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| path.contains("/src/")) {
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (line, name, length) in functions(product) {
            if length > FUNCTION_LINES_MAX {
                offenders.push(format!("{path}:{line}: {name} has {length} lines"));
            }
        }
    }
    none(&format!("functions longer than {FUNCTION_LINES_MAX} lines"), &offenders);
}

/// First line, name and length of each function. Formatted code ends a function with a brace as deep as
/// its first line, which is all the parsing this takes.
fn functions(text: &str) -> Vec<(usize, String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let mut words = code.split_whitespace().skip_while(|word| {
            word.starts_with("pub")
                || ["async", "const", "unsafe", "extern", "\"C\""].contains(word)
        });
        if words.next() != Some("fn") || code.ends_with(';') || code.ends_with('}') {
            continue;
        }
        let name = words.next().unwrap_or_default();
        let name = name.split(['(', '<']).next().unwrap_or_default().to_owned();
        let closing = format!("{}}}", " ".repeat(indent));
        let ends = |l: &str| {
            l == closing || (l.len() - l.trim_start().len() <= indent && l.ends_with(';'))
        };
        if let Some(length) = lines[at + 1..].iter().position(|l| ends(l)) {
            found.push((at + 1, name, length + 2));
        }
    }
    found
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not name what it forbids.
    let words =
        [["to", "do!("], ["unimple", "mented!("], ["db", "g!("], ["FIX", "ME"], ["XX", "X:"]];
    let words = words.map(|halves| halves.concat());
    let mut offenders = Vec::new();
    for (path, text) in sources() {
        for (at, line) in text.lines().enumerate() {
            if let Some(word) = words.iter().find(|word| line.contains(word.as_str())) {
                offenders.push(format!("{path}:{}: {word}", at + 1));
            }
        }
    }
    none("left for later", &offenders);
}

#[test]
fn the_wall_is_passed_only_with_a_reason() {
    let mut offenders = Vec::new();
    for (path, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let lint =
                ["disallowed_methods", "unsafe_code"].iter().find(|lint| line.contains(**lint));
            let allow =
                ["#![allow(", "#[allow("].iter().any(|open| line.trim_start().starts_with(open));
            let Some(lint) = lint.filter(|_| allow) else { continue };
            let before = at.checked_sub(1).map_or("", |at| lines[at].trim_start());
            let reasoned =
                before.starts_with("//") || line.contains("reason") || line.contains("//");
            if !reasoned {
                offenders.push(format!("{path}:{}: {lint} allowed without a reason", at + 1));
            }
        }
    }
    none("allowed without saying why", &offenders);
}

fn families() -> BTreeSet<&'static str> {
    SETTINGS.iter().filter_map(|row| row.name.split_once('.')).map(|(family, _)| family).collect()
}

#[test]
fn every_setting_family_has_a_case() {
    let cases: Vec<String> =
        files(&root().join("tests/cases"), "playbook.yaml").iter().map(|path| read(path)).collect();
    let uncovered = |family: &&str| {
        let name = format!("{family}.");
        let names_it = |case: &String| {
            case.split(|c: char| c.is_whitespace() || "{,[\"'".contains(c))
                .any(|word| word.starts_with(&name))
        };
        !cases.iter().any(names_it)
    };
    let offenders: Vec<String> =
        families().into_iter().filter(uncovered).map(str::to_owned).collect();
    none("families that no tests/cases/*/playbook.yaml sets", &offenders);
}

#[test]
fn every_setting_is_documented() {
    let page = read(&root().join("docs/settings.md"));
    let named = |row: &str| page.contains(&format!("`{row}`"));
    let open = |row: &str| {
        row.strip_suffix(".*").is_some_and(|family| page.contains(&format!("`{family}.")))
    };
    let missing = SETTINGS.iter().map(|row| row.name).filter(|row| !named(row) && !open(row));
    none("not in docs/settings.md", &missing.map(str::to_owned).collect::<Vec<_>>());
}

#[test]
fn every_page_can_be_found() {
    let root = root();
    let links = ["README.md", "docs/SUMMARY.md"]
        .map(|file| fs::read_to_string(root.join(file)).unwrap_or_default());
    let mut offenders = Vec::new();
    for path in files(&root.join("docs"), ".md") {
        let name = shown(&path, &root.join("docs"));
        if name != "SUMMARY.md" && !links.iter().any(|text| text.contains(&format!("{name})"))) {
            offenders.push(name);
        }
    }
    none("pages that neither README.md nor docs/SUMMARY.md links to", &offenders);
}

#[test]
fn no_link_leads_nowhere() {
    let root = root();
    let mut offenders = Vec::new();
    for path in files(&root.join("docs"), ".md").into_iter().chain([root.join("README.md")]) {
        let text = read(&path);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for target in targets.filter(|target| !target.is_empty() && !target.contains("://")) {
            if !path.parent().unwrap_or(&root).join(target).exists() {
                offenders.push(format!("{}: {target}", shown(&path, &root)));
            }
        }
    }
    none("links to files that are not there", &offenders);
}

#[test]
fn every_dependency_says_what_it_is_for() {
    let root = root();
    let mut offenders = Vec::new();
    for manifest in
        CRATES.map(|name| format!("{name}/Cargo.toml")).into_iter().chain(["Cargo.toml".to_owned()])
    {
        let mut inside = false;
        for line in read(&root.join(&manifest)).lines() {
            if line.starts_with('[') {
                inside = line.ends_with("dependencies]");
            }
            // What the workspace declares is argued there; our own crates need no argument.
            let ours = line.contains("workspace = true") || line.contains("path = ");
            let entry = inside && line.contains('=') && !line.starts_with('#') && !ours;
            let argued =
                line.rsplit_once("# ").is_some_and(|(_, why)| why.split_whitespace().count() > 1);
            if entry && !argued {
                offenders.push(format!("{manifest}: {line}"));
            }
        }
    }
    none("dependencies without a comment on their line", &offenders);
}

#[test]
fn every_dependency_is_used() {
    let root = root();
    let mut offenders = Vec::new();
    for name in CRATES {
        let sources: String =
            files(&root.join(name), ".rs").iter().map(|path| read(path)).collect();
        let manifest = read(&root.join(name).join("Cargo.toml"));
        let section = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        for line in section.lines().take_while(|line| !line.starts_with('[')) {
            let Some((key, _)) = line.split_once(['=', '.']) else { continue };
            let path = format!("{}::", key.trim().replace('-', "_"));
            if !line.starts_with('#') && !sources.contains(&path) {
                offenders.push(format!("{name}: {key}"));
            }
        }
    }
    none("dependencies that no source names", &offenders);
}

#[test]
fn the_shipped_playbooks_are_sound() {
    let mut offenders = Vec::new();
    for path in files(&root().join("playbooks/library"), ".yaml") {
        let bytes = fs::read(&path).expect("read a playbook");
        if let Err(problems) = playbooks::parse::parse(&bytes) {
            let name = shown(&path, &root());
            offenders.extend(
                problems.iter().map(|p| format!("{name}:{}:{}: {}", p.line, p.column, p.message)),
            );
        }
    }
    none("shipped playbooks that do not lint", &offenders);
}

#[test]
fn the_lab_playbooks_are_sound() {
    for path in files(&root().join("tests/lab/playbooks"), ".yaml") {
        let bytes = fs::read(&path).expect("read a playbook");
        if let Err(problems) = playbooks::parse::parse(&bytes) {
            panic!("{}: {problems:?}", path.display());
        }
    }
}

#[test]
fn scripts_can_be_run() {
    use std::os::unix::fs::PermissionsExt;
    let root = root();
    let scripts =
        [".ci/run", "tests/all", "tests/try", "tests/install", "tests/lab/all", "tests/lab/vm"];
    let bench = names(&root.join("tests/bench")).into_iter().filter(|name| !name.contains('.'));
    let all = scripts
        .map(str::to_owned)
        .into_iter()
        .chain(bench.map(|name| format!("tests/bench/{name}")));
    let offenders: Vec<String> = all
        .filter(|script| {
            let meta = fs::metadata(root.join(script));
            !meta.is_ok_and(|meta| meta.is_dir() || meta.permissions().mode() & 0o111 == 0o111)
        })
        .collect();
    none("not executable", &offenders);
}

/// The function finder is a heuristic: it is shown what it must find.
#[test]
fn the_function_finder_finds_functions() {
    let text = "pub(super) fn one(\n    a: u8,\n) -> u8 {\n    a\n}\n\nimpl T {\n    fn two() {\n        if x {\n        }\n    }\n    \
                fn declared(&self) -> u8;\n    fn short() -> u8 { 1 }\n}\n";
    let found: Vec<(String, usize)> =
        functions(text).into_iter().map(|(_, name, n)| (name, n)).collect();
    assert_eq!(found, [("one".to_owned(), 5), ("two".to_owned(), 4)]);
}
