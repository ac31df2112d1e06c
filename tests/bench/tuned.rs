//! TuneD's side of `tests/bench/apply`.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::mount::{MsFlags, mount};

use super::{ROWS, Side, Work, script};

/// A TuneD daemon of our own on a bus of our own, with two profiles; its files lie on our tmpfs.
pub(super) struct TuneD {
    bus: String,
    daemon: Child,
    dbus: Child,
}

impl TuneD {
    pub(super) fn start(work: &Work) -> Result<TuneD, String> {
        let found = |program: &str| Command::new(program).arg("--version").output().is_ok();
        if !found("tuned-adm") || !found("dbus-daemon") {
            return Err("tuned or dbus is not installed".to_owned());
        }
        // reapply_sysctl would write the host's own sysctl files again; nothing but our profile may act.
        work.put("tuned/tuned-main.conf", "daemon = 1\ndynamic_tuning = 0\nreapply_sysctl = 0\n");
        for side in [Side::On, Side::Off] {
            profile(work, side);
        }
        for (own, theirs) in
            [("tuned", "/etc/tuned"), ("log", "/var/log/tuned"), ("tuned-run", "/run/tuned")]
        {
            let own = work.dir.join(own);
            fs::create_dir_all(&own).map_err(|e| e.to_string())?;
            fs::create_dir_all(theirs).map_err(|e| e.to_string())?;
            let none: Option<&str> = None;
            mount(Some(&own), theirs, none, MsFlags::MS_BIND, none)
                .map_err(|e| format!("bind {theirs}: {e}"))?;
        }
        let bus = format!("unix:path={}", work.dir.join("bus").display());
        let config = work.put(
            "bus.conf",
            &format!(
                "<busconfig><type>system</type><listen>{bus}</listen><policy context=\"default\">\
                 <allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/>\
                 <allow own=\"*\"/></policy></busconfig>\n"
            ),
        );
        let quiet = |command: &mut Command| {
            command
                .env("DBUS_SYSTEM_BUS_ADDRESS", &bus)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
        };
        let file = format!("--config-file={}", config.display());
        let dbus = quiet(Command::new("dbus-daemon").args(["--nofork", "--nopidfile", &file]))
            .map_err(|e| format!("start dbus-daemon: {e}"))?;
        std::thread::sleep(Duration::from_millis(200));
        let daemon = quiet(Command::new("tuned").args(["--profile", "bench-off"]))
            .map_err(|e| format!("start tuned: {e}"))?;
        let tuned = TuneD { bus, daemon, dbus };
        // Bounded: it answers within seconds or not at all.
        for _ in 0..100 {
            if tuned.adm(&["profile", "bench-off"]) {
                return Ok(tuned);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Err("tuned did not answer within 20 s".to_owned())
    }

    /// A switch of profiles, timed from the command's start to its end.
    pub(super) fn switch(&self, side: Side) -> Duration {
        let name = match side {
            Side::On => "bench-on",
            Side::Off => "bench-off",
        };
        let start = Instant::now();
        assert!(self.adm(&["profile", name]), "tuned-adm profile {name}");
        start.elapsed()
    }

    fn adm(&self, arguments: &[&str]) -> bool {
        let mut command = Command::new("tuned-adm");
        command.args(arguments).env("DBUS_SYSTEM_BUS_ADDRESS", &self.bus);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    }
}

impl Drop for TuneD {
    fn drop(&mut self) {
        for child in [&mut self.daemon, &mut self.dbus] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// TuneD's net plugin leaves virtual NICs alone, so what is not a sysctl goes the way its manual gives for
/// such: a script of the profile's own.
fn profile(work: &Work, side: Side) {
    let name = match side {
        Side::On => "bench-on",
        Side::Off => "bench-off",
    };
    let sysctls: String = ROWS
        .iter()
        .filter_map(|row| Some(format!("{}={}\n", row.key("sysctl")?, row.value(side))))
        .collect();
    let text = format!(
        "[main]\nsummary={name}\n[sysctl]\n{sysctls}[script]\nscript=${{i:PROFILE_DIR}}/links.sh\n"
    );
    work.put(&format!("tuned/{name}/tuned.conf"), &text);
    let lines = script(side);
    let links: String =
        lines.lines().filter(|l| !l.starts_with("sysctl")).map(|l| format!("  {l}\n")).collect();
    let script = format!("#!/bin/sh\n[ \"$1\" != start ] || {{\n{links}}}\nexit 0\n");
    let path = work.put(&format!("tuned/{name}/links.sh"), &script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("make it executable");
}
