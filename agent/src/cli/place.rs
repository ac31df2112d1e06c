//! Where things are on this host: state, playbooks, the machine itself.

use std::{path::PathBuf, time::Duration};

use playbooks::Playbook;

use super::{Common, deeds, out};
use crate::{
    engine::Telling,
    fault::Fault,
    host::linux::Linux,
    log::{Fact, base64},
    runs::{Declined, Desk, Exit},
    store::{
        Store,
        disk::{Access, Adopted, Disk, file},
    },
};

/// What to look at where nobody answers.
pub(super) const REFLECTOR: &str =
    "is `nicmend reflect` running there, and is its port open to UDP and TCP?";

/// The real machine, in this process's network namespace.
pub(super) fn machine() -> Result<Linux, Declined> {
    Linux::new().map_err(Declined::from)
}

/// The state directory, for writing: takes the writer's lock, waits for it at most `wait`.
pub(super) fn writer(common: &Common, wait: Duration) -> Result<Disk, Declined> {
    locked(wait, &|| common.open_to_write())
}

/// The same for who only puts back what a run left: a file system that has become read-only, or a disk that
/// fails, is no reason to leave a machine half changed.
pub(super) fn rescuer(common: &Common, wait: Duration) -> Result<Disk, Declined> {
    locked(wait, &|| match common.open_to_write() {
        Err(fault) if file::is_read_only(&fault) || fault.kind == crate::fault::Kind::Io => {
            let disk = Disk::open(&common.state_dir, Access::Rescue)?;
            let words = "what is put back now is not in the log; `nicmend recover` again once it can be written";
            out::remark(&format!("WARNING   {fault}: {words}"));
            Ok(disk)
        }
        opened => opened,
    })
}

fn locked(wait: Duration, open: &dyn Fn() -> Result<Disk, Fault>) -> Result<Disk, Declined> {
    let mut left = wait;
    let pause = Duration::from_millis(200);
    loop {
        match open() {
            Ok(disk) => return Ok(disk),
            Err(fault) if fault.kind == crate::fault::Kind::Busy && !left.is_zero() => {
                std::thread::sleep(pause.min(left));
                left = left.saturating_sub(pause);
            }
            Err(fault) if fault.kind == crate::fault::Kind::Busy => {
                let remedy = "`--wait 5m` waits for it; `nicmend abort last` puts a run back, Ctrl-C ends a \
                              campaign";
                return Err(Declined::new(
                    Exit::Refused,
                    "one-writer",
                    format!("{fault}; {remedy}"),
                ));
            }
            Err(fault) => return Err(fault.into()),
        }
    }
}

/// Says what opening for writing found or did: the first entries of whoever writes.
pub(super) fn opened(desk: &Desk, disk: &Disk) -> Result<(), Declined> {
    if disk.is_mute() {
        return Ok(());
    }
    let mut facts = Vec::new();
    let (bytes, files) = (disk.torn().map_or(0, |torn| torn.bytes), disk.mended());
    if bytes > 0 || !files.is_empty() {
        facts.push(Fact::Mended { bytes, files });
    }
    if let Some(Adopted { from, to, root }) = disk.adopted() {
        out::remark(&format!(
            "note      entries {from} to {to} of the log were signed by nobody; they are from here on, and \
             an entry says so"
        ));
        facts.push(Fact::Adopted { from, to, root: base64::encode(&root) });
    }
    let created = disk.created();
    facts.extend(created.clone().map(Fact::KeyCreated));
    if let Some(why) = disk.unsigned() {
        out::remark(&format!("WARNING   {why}; nothing is signed until this is cleared up"));
    }
    if !facts.is_empty() {
        desk.say(None, facts)?;
        disk.adoption_is_said();
    }
    if created.is_some() {
        disk.sync()?;
        disk.announced()?;
    }
    deeds::take_up(desk, disk);
    Ok(())
}

/// The state directory, for reading only.
pub(super) fn reader(common: &Common) -> Result<Disk, Declined> {
    Ok(Disk::open(&common.state_dir, Access::Read)?)
}

/// The file by which another nicmend asks the process with this pid to stop its run.
pub(super) fn abort_file(common: &Common, pid: u32) -> PathBuf {
    common.run_dir.join(format!("abort-{pid}"))
}

/// A playbook by file, by shipped name or by name in the site's directory; its errors are printed.
pub(super) fn playbook(common: &Common, wanted: &str) -> Result<Playbook, Declined> {
    let (name, source) = source(common, wanted)?;
    playbooks::parse::parse(&source).map_err(|problems| {
        for problem in &problems {
            out::remark(&problem.render(&name, &source));
        }
        let count = problems.len();
        let plural = if count == 1 { "error" } else { "errors" };
        Declined::new(Exit::Wrong, "playbook", format!("{name}: {count} {plural}"))
    })
}

/// The text of a playbook and the name to call it by in messages.
pub(super) fn source(common: &Common, wanted: &str) -> Result<(String, Vec<u8>), Declined> {
    let looks_like_file = wanted.contains('/') || wanted.ends_with(".yaml");
    let site = common.config_dir.join("playbooks").join(format!("{wanted}.yaml"));
    let file = if looks_like_file { PathBuf::from(wanted) } else { site };
    match read_bounded(&file) {
        Ok(source) => Ok((file.display().to_string(), source)),
        Err(error) if looks_like_file => {
            let why = format!("read playbook {}: {error}", file.display());
            Err(Declined::new(Exit::Wrong, "playbook", why))
        }
        Err(_) => match playbooks::library::find(wanted) {
            Some(shipped) => Ok((wanted.to_owned(), shipped.source.as_bytes().to_vec())),
            None => {
                let why = format!("no playbook `{wanted}`: `nicmend playbook list` names them");
                Err(Declined::new(Exit::Wrong, "playbook", why))
            }
        },
    }
}

/// A playbook is a page or two; more than this is something else.
const PLAYBOOK_BYTES_MAX: u64 = 1 << 20;

fn read_bounded(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(PLAYBOOK_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > PLAYBOOK_BYTES_MAX {
        return Err(std::io::Error::other("larger than 1 MiB: not a playbook"));
    }
    Ok(bytes)
}

/// The local address of the operator's own session, the third word of SSH_CONNECTION.
///
/// sudo drops the variable, so the processes above this one are asked as well.
pub(super) fn session() -> Option<String> {
    let third = |words: &str| words.split_whitespace().nth(2).map(str::to_owned);
    if let Ok(words) = std::env::var("SSH_CONNECTION") {
        return third(&words);
    }
    let mut pid = nix::unistd::getppid().as_raw();
    for _ in 0..ANCESTORS_MAX {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let named = environment.split(|b| *b == 0).find_map(|v| v.strip_prefix(b"SSH_CONNECTION="));
        if let Some(words) = named {
            return third(&String::from_utf8_lossy(words));
        }
        // The parent's pid is the second word after the command's closing parenthesis (proc(5)).
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        pid = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        if pid <= 1 {
            return None;
        }
    }
    None
}

/// sudo, a shell, tmux, sshd and a few more.
const ANCESTORS_MAX: usize = 32;

/// Progress for people, one line an event, on stderr.
pub(super) fn tell(telling: &Telling) {
    let text = match telling {
        Telling::Begun { run } => format!("run       {run}"),
        Telling::Settling { limit_ms } => {
            format!("settle    carrier and replies, at most {:.0} s", *limit_ms as f64 / 1e3)
        }
        Telling::Measuring { point, length_ms } => {
            let what = match point {
                crate::run::Point::Baseline => "baseline".to_owned(),
                crate::run::Point::Stage(stage) => format!("stage {}", stage + 1),
                crate::run::Point::Turn(turn) => {
                    let side = match turn.side() {
                        crate::run::Side::Baseline => "off",
                        crate::run::Side::Candidate => "on",
                    };
                    let (nth, of) = (turn.nth + 1, 2 * turn.pairs + 1);
                    format!("stage {} {side} (turn {nth} of {of})", turn.stage + 1)
                }
            };
            format!("measure   {what}, {:.1} s", *length_ms as f64 / 1e3)
        }
        Telling::Writing { what } => format!("write     {what}"),
        Telling::Flashing { what } => format!("firmware  {what}"),
        Telling::Watching { what } => format!("watch     {what}"),
        Telling::Judged { stage, verdict } => {
            format!("judge     stage {}: {}", stage + 1, verdict.why)
        }
        Telling::Returning { why } => format!("revert    {why}"),
        Telling::Note(note) => format!("note      {note}"),
    };
    out::remark(&text);
}
