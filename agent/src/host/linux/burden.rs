//! Burdens on the running kernel: child processes of this very program, and a control group for those
//! that eat memory.
//!
//! A child lives as long as the pipe to its standard input and the thread that started it
//! (PR_SET_PDEATHSIG), whichever ends first: whatever kills the campaign ends its burdens.

// This is the door: what loads the machine is started here and nowhere else.
#![allow(clippy::disallowed_methods)]

pub(crate) mod child;
mod group;

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
};

use self::group::Group;
use crate::{
    fault::{Fault, Kind, Result},
    host::{Burden, Laid},
};

/// More busy processes than this prove nothing.
const PROCESSES_MAX: usize = 256;

pub(super) fn leaves(burden: &Burden) -> Result<Vec<String>> {
    match burden {
        Burden::Memory { group, bytes: _ } => Ok(vec![Group::plan(group)?.name()]),
        Burden::Cpu { .. } => Ok(Vec::new()),
    }
}

pub(super) fn lay(burden: &Burden) -> Result<Box<dyn Laid>> {
    match burden {
        Burden::Memory { group, bytes } => {
            let group = Group::plan(group)?;
            group.make(*bytes)?;
            // From here on dropping it removes the group.
            let mut laid = Load { children: Vec::new(), group: Some(group) };
            laid.start(&["memory", &bytes.to_string()])?;
            Ok(Box::new(laid))
        }
        Burden::Cpu { processes } => {
            let mut laid = Load { children: Vec::new(), group: None };
            for _ in 0..(*processes).min(PROCESSES_MAX) {
                laid.start(&["cpu"])?;
            }
            Ok(Box::new(laid))
        }
    }
}

pub(super) fn unburden(left: &str) -> Result<()> {
    Group::named(left)?.remove()
}

/// Processes, and the group they are in.
struct Load {
    children: Vec<Child>,
    group: Option<Group>,
}

impl Load {
    /// Starts a child, puts it where it belongs, and only then lets it begin.
    fn start(&mut self, what: &[&str]) -> Result<()> {
        let act = || format!("start a burden ({})", what.join(" "));
        let fault = |e: std::io::Error| Fault::new(Kind::Io, act(), e.to_string());
        let program = std::env::current_exe().map_err(fault)?;
        let mut child = Command::new(program)
            .arg("burden")
            .args(["--parent", &std::process::id().to_string()])
            .args(what)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(fault)?;
        let (to, from) = (child.stdin.take(), child.stdout.take());
        let pid = child.id();
        self.children.push(child);
        let (Some(mut to), Some(from)) = (to, from) else {
            return Err(Fault::new(Kind::Io, act(), "the child has no pipes"));
        };
        let mut line = String::new();
        BufReader::new(from).read_line(&mut line).map_err(fault)?;
        if line.trim() != child::READY {
            return Err(Fault::new(Kind::Io, act(), "the child did not get ready"));
        }
        if let Some(group) = &self.group {
            group.take_in(pid)?;
        }
        to.write_all(b"go\n").map_err(fault)?;
        // The pipe goes with the child: closing it is one of the two ways in which it ends.
        if let Some(child) = self.children.last_mut() {
            child.stdin = Some(to);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.children.clear();
        match self.group.take() {
            Some(group) => group.remove(),
            None => Ok(()),
        }
    }
}

impl Laid for Load {
    fn felt(&self) -> String {
        let processes = self.children.iter().filter(|child| alive(child.id())).count();
        let started = self.children.len();
        let group = self.group.as_ref().map(Group::felt).unwrap_or_default();
        format!("{processes} of {started} processes at work{group}")
    }

    fn lift(mut self: Box<Self>) -> Result<()> {
        self.end()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// A process that was killed and not waited for is a zombie, and at work no more.
fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
    state.is_some_and(|state| state != "Z" && state != "X")
}
