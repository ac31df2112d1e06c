//! The lab's hand on what stands around NICs: keeps it in a file, and puts it back from there.
//!
//! usage: lab-surroundings take FILE NIC… | restore FILE
//! exit: 0 done; 1 it failed or something is left; 4 something of it could not be put back

// A program for the lab: it reads its own file and prints.
#![allow(clippy::disallowed_methods)]

use std::{fs, process::ExitCode};

use agent::{
    fault::Fault,
    host::{Nic, linux::Linux, nic},
    surroundings::{self, Surroundings},
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["take", file, names @ ..] if !names.is_empty() => take(file, names),
        ["restore", file] => restore(file),
        _ => Err("usage: lab-surroundings take FILE NIC… | restore FILE".to_owned()),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(why) => {
            eprintln!("lab-surroundings: {why}");
            ExitCode::FAILURE
        }
    }
}

fn words(fault: Fault) -> String {
    fault.to_string()
}

fn take(file: &str, names: &[&str]) -> Result<u8, String> {
    let host = Linux::new().map_err(words)?;
    let find = |name: &&str| nic::find(&host, name).map_err(words);
    let ports = names.iter().map(find).collect::<Result<Vec<Nic>, String>>()?;
    let kept = surroundings::take(&host, &ports).map_err(words)?;
    let text = serde_json::to_string_pretty(&kept).map_err(|error| error.to_string())?;
    fs::write(file, text).map_err(|error| format!("write {file}: {error}"))?;
    kept.cannot_restore().iter().for_each(|why| println!("cannot restore: {why}"));
    Ok(if kept.cannot_restore().is_empty() { 0 } else { 4 })
}

fn restore(file: &str) -> Result<u8, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("read {file}: {error}"))?;
    let kept: Surroundings = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let host = Linux::new().map_err(words)?;
    let mut ports = nic::all(&host).map_err(words)?;
    ports.retain(|nic| kept.ports.iter().any(|port| port.id == nic.id));
    let faults = kept.restore(&host, &ports);
    faults.iter().for_each(|fault| println!("{fault}"));
    let now = surroundings::take(&host, &ports).map_err(words)?;
    kept.differences(&now).iter().for_each(|difference| println!("differs: {difference}"));
    kept.lost_joins(&now).iter().for_each(|join| println!("lost join: {join}"));
    Ok(u8::from(!faults.is_empty()))
}
