//! `playbook list | show | lint | test`.

use std::path::PathBuf;

use playbooks::{Playbook, parse::Problem};

use super::{Common, Done, law, out, place};
use crate::runs::{self, Declined, Exit};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// The shipped and site playbooks
    List,
    /// One playbook as it is written
    Show {
        /// Name or file.
        name: String,
    },
    /// Check files: every error with its line, and what would mend it
    Lint {
        /// Playbook files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Run one on a simulated host that it applies to: in full, then killed at every step. Touches nothing
    Test {
        /// Name or file.
        #[arg(value_name = "NAME")]
        file: String,
    },
}

pub(super) fn run(common: &Common, command: &Command) -> Done {
    match command {
        Command::List => list(common),
        Command::Show { name } => show(common, name),
        Command::Lint { files } => lint(common, files),
        Command::Test { file } => super::try_out::run(common, file),
    }
}

fn list(common: &Common) -> Done {
    let mut rows = Vec::new();
    for shipped in playbooks::library::LIBRARY {
        rows.push(row(shipped.name, shipped.source.as_bytes(), "shipped"));
    }
    for (name, source) in site(common) {
        rows.push(row(&name, &source, "site"));
    }
    if common.json {
        out::json(&rows);
        return Ok(Exit::Done);
    }
    for row in &rows {
        let text = |key: &str| row[key].as_str().unwrap_or("").to_owned();
        out::line(&format!(
            "{:<24} {:<8} {:<8} {}",
            text("name"),
            text("version"),
            text("origin"),
            text("summary")
        ));
    }
    Ok(Exit::Done)
}

fn row(name: &str, source: &[u8], origin: &str) -> serde_json::Value {
    match playbooks::parse::parse(source) {
        Ok(playbook) => serde_json::json!({
            "name": name,
            "version": playbook.version.to_string(),
            "origin": origin,
            "summary": playbook.summary,
            "digest": playbook.digest(),
        }),
        Err(problems) => serde_json::json!({
            "name": name,
            "version": "",
            "origin": origin,
            "summary": format!("does not lint: {} errors", problems.len()),
        }),
    }
}

/// At most this many files of the site's directory are looked at.
const SITE_FILES_MAX: usize = 1024;

fn site(common: &Common) -> Vec<(String, Vec<u8>)> {
    let folder = common.config_dir.join("playbooks");
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .take(SITE_FILES_MAX)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".yaml").map(str::to_owned))
        .collect();
    names.sort();
    let load = |name: String| Some((name.clone(), place::source(common, &name).ok()?.1));
    names.into_iter().filter_map(load).collect()
}

fn show(common: &Common, name: &str) -> Done {
    let (_, source) = place::source(common, name)?;
    if common.json {
        out::json(&place::playbook(common, name)?);
    } else {
        out::line(String::from_utf8_lossy(&source).trim_end());
    }
    Ok(Exit::Done)
}

/// A playbook that parses, and of which this site lets every sysctl be set.
fn sound(source: &[u8], sysctls: &[String]) -> Result<Playbook, Vec<Problem>> {
    let playbook = playbooks::parse::parse(source)?;
    let refused = runs::refused_sysctls(&playbook, sysctls).map(|(name, refusal)| {
        let (line, column) = place_of(source, name.as_str());
        let width = name.as_str().chars().count();
        Problem { line, column, width, message: refusal.why, help: Some(refusal.satisfy) }
    });
    let refused: Vec<Problem> = refused.collect();
    if refused.is_empty() { Ok(playbook) } else { Err(refused) }
}

/// Line and column of a name's first use as a key.
fn place_of(source: &[u8], name: &str) -> (usize, usize) {
    let text = String::from_utf8_lossy(source);
    let key = |line: &str| {
        line.match_indices(name).map(|(at, _)| at).find(|at| {
            let rest = &line[at + name.len()..];
            rest.trim_start_matches(['"', '\'']).trim_start().starts_with(':')
        })
    };
    let found = text.lines().enumerate().find_map(|(row, line)| Some((row, line, key(line)?)));
    found.map_or((1, 1), |(row, line, at)| (row + 1, line[..at].chars().count() + 1))
}

fn lint(common: &Common, files: &[PathBuf]) -> Done {
    let mut broken = 0;
    let mut rows = Vec::new();
    let law = law::read(common);
    for file in files {
        // A path without a slash is still a path here.
        let path = if file.components().count() == 1 {
            PathBuf::from(".").join(file)
        } else {
            file.clone()
        };
        let name = file.display().to_string();
        let source = match place::source(common, &path.display().to_string()) {
            Ok((_, source)) => source,
            // The others are looked at all the same.
            Err(declined) => {
                broken += 1;
                rows.push(unread(&name, &declined));
                if !common.json {
                    out::remark(&format!("error: {}\n", declined.why));
                }
                continue;
            }
        };
        match sound(&source, &law.loaded().config.sysctls) {
            Ok(playbook) => {
                rows.push(
                    serde_json::json!({"file": name, "digest": playbook.digest(), "problems": []}),
                );
                if !common.json {
                    out::line(&format!("{name}: {} {} is sound", playbook.name, playbook.version));
                }
            }
            Err(problems) => {
                broken += 1;
                let list: Vec<_> = problems
                    .iter()
                    .map(|p| {
                        serde_json::json!({
                            "line": p.line, "column": p.column, "message": p.message, "help": p.help,
                        })
                    })
                    .collect();
                rows.push(serde_json::json!({"file": name, "problems": list}));
                if !common.json {
                    problems.iter().for_each(|p| out::remark(&p.render(&name, &source)));
                }
            }
        }
    }
    if common.json {
        out::json(&rows);
        return Ok(if broken == 0 { Exit::Done } else { Exit::Wrong });
    }
    match broken {
        0 => Ok(Exit::Done),
        n => {
            let verb = if n == 1 { "does" } else { "do" };
            let why = format!(
                "{n} of {} {verb} not lint",
                out::count(files.len() as u64, "file", "files")
            );
            Err(Declined::new(Exit::Wrong, "playbook", why))
        }
    }
}

fn unread(file: &str, declined: &Declined) -> serde_json::Value {
    serde_json::json!({"file": file, "problems": [{"message": declined.why}]})
}
