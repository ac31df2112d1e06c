//! `CONFIG/policy/config.yaml`: which venues this host trades at, who its people are, and what they may.
//!
//! ```yaml
//! venues: [SSE, HKEX]
//! roles: [desk-lead]                    # the site's own, beside operator, approver, supervisor
//! people:
//!   desk-1:   { uid: 1001, roles: [operator] }
//!   risk-1:   { roles: [approver, supervisor] }   # signs only: the name in allowed_signers
//! break-glass: { countersign-within: 24h }
//! sysctls: ["net.ipv4.conf.*.arp_ignore"]      # what playbooks may set besides the one list's keys
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use playbooks::parse::{
    Problem,
    yaml::{self, Bounds, Entry, Findings, Node, shown},
};
use serde::Serialize;

use crate::{request::Principal, set::ROLES, sysctl::KEY_BYTES_MAX};

const BOUNDS: Bounds =
    Bounds { noun: "policy configuration", bytes_max: 256 * 1024, nodes_max: 20_000 };
const VENUES_MAX: usize = 32;
const PEOPLE_MAX: usize = 1000;
const ROLES_MAX: usize = 32;
const NAME_MAX: usize = 128;
const SYSCTLS_MAX: usize = 64;
/// The largest user id: -1 means "no user" to the kernel.
const UID_MAX: u32 = u32::MAX - 1;
const HOUR: Duration = Duration::from_secs(3600);

/// What a site says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    /// Empty: the phase is `closed` at any time.
    pub venues: Vec<String>,
    /// The site's own roles.
    pub roles: BTreeSet<String>,
    pub people: BTreeMap<String, Person>,
    /// Kernel parameters that playbooks may set here besides those of [`crate::sysctl::ALLOWED`]: patterns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sysctls: Vec<String>,
    /// How long a break-glass run may wait for its countersignature.
    #[serde(skip)]
    pub countersign_within: Duration,
}

/// Somebody who acts on this host, or signs for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Person {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    pub roles: BTreeSet<String>,
}

impl Config {
    /// Where nothing is configured: no venue, and root may do everything.
    pub fn shipped() -> Config {
        let roles = ROLES.iter().map(|role| (*role).to_owned()).collect();
        let root = Person { uid: Some(0), roles };
        Config {
            venues: Vec::new(),
            roles: BTreeSet::new(),
            people: BTreeMap::from([("root".to_owned(), root)]),
            sysctls: Vec::new(),
            countersign_within: 24 * HOUR,
        }
    }

    /// Reads a configuration. What is left out is as shipped; where `people` is given, nobody else is known.
    ///
    /// # Errors
    /// Every problem of the file, with its place.
    pub fn parse(source: &[u8]) -> Result<Config, Vec<Problem>> {
        let mut findings = Findings::default();
        let config = yaml::read(source, BOUNDS, &mut findings)
            .and_then(|document| config(&document, &mut findings));
        match (config, findings.is_empty()) {
            (Some(config), true) => Ok(config),
            (Some(_) | None, _) => Err(findings.told(BOUNDS.noun)),
        }
    }

    /// Who acts under this uid. `login` is the uid that logged in, where the kernel knows one
    /// (/proc/PID/loginuid): whoever became root by sudo is asked for by his own name.
    pub fn principal(&self, uid: u32, login: Option<u32>) -> Principal {
        let of = |uid: u32| self.people.iter().find(|(_, person)| person.uid == Some(uid));
        let by_login = login.filter(|login| uid == 0 && *login != 0).and_then(of);
        match by_login.or_else(|| of(uid)) {
            Some((name, person)) => Principal::Operator {
                name: name.clone(),
                uid: person.uid,
                roles: person.roles.clone(),
            },
            None => Principal::Stranger,
        }
    }

    /// Whoever signs by this name, with his roles, by the name that is written here.
    pub fn signer(&self, name: &str) -> Option<Principal> {
        let (name, person) = self.people.iter().find(|(known, _)| same_person(known, name))?;
        let (name, roles) = (name.clone(), person.roles.clone());
        Some(Principal::Operator { name, uid: person.uid, roles })
    }

    /// The roles of whoever signs by this name.
    pub fn roles_of(&self, name: &str) -> BTreeSet<String> {
        let known = self.people.iter().find(|(known, _)| same_person(known, name));
        known.map(|(_, person)| person.roles.clone()).unwrap_or_default()
    }
}

/// Whether two names are one person's: wherever names of people meet, letters' case tells nobody apart.
pub fn same_person(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

fn config(document: &Node, findings: &mut Findings) -> Option<Config> {
    let known = ["venues", "roles", "people", "break-glass", "sysctls"];
    let fields = findings.fields(document, "the configuration", &known)?;
    let mut config = Config::shipped();
    if let Some(node) = fields.get("venues") {
        config.venues = venues(node, findings);
    }
    if let Some(node) = fields.get("roles") {
        config.roles = own_roles(node, findings);
    }
    if let Some(node) = fields.get("people") {
        config.people = people(node, &config.roles, findings);
    }
    if let Some(node) = fields.get("sysctls") {
        config.sysctls = sysctls(node, findings);
    }
    if let Some(node) = fields.get("break-glass") {
        let fields = findings.fields(node, "break-glass", &["countersign-within"])?;
        let within = fields.need("countersign-within", findings)?;
        let range = HOUR / 60..=31 * 24 * HOUR;
        config.countersign_within = findings.duration(within, "countersign-within", range)?;
    }
    Some(config)
}

fn venues(node: &Node, findings: &mut Findings) -> Vec<String> {
    let mut venues: Vec<String> = Vec::new();
    for item in findings.list(node, "venues", VENUES_MAX).into_iter().flatten() {
        let Some(name) = findings.text(item, "a venue", 32) else { continue };
        let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-';
        if !name.bytes().all(plain) {
            let message = format!("`{}` is not a venue's name", shown(name));
            findings.mend(item.mark, message, "upper-case letters, digits and dashes: SSE");
        } else if venues.iter().any(|known| known == name) {
            findings.wrong(item.mark, format!("{name} is there already"));
        } else {
            venues.push(name.to_owned());
        }
    }
    venues
}

fn sysctls(node: &Node, findings: &mut Findings) -> Vec<String> {
    let mut patterns = Vec::new();
    for item in findings.list(node, "sysctls", SYSCTLS_MAX).into_iter().flatten() {
        let Some(pattern) = findings.text(item, "a kernel parameter", KEY_BYTES_MAX) else {
            continue;
        };
        match crate::sysctl::pattern(pattern) {
            Ok(()) => patterns.push(pattern.to_owned()),
            Err(why) => findings.mend(item.mark, why, "as in net.ipv4.conf.*.arp_ignore"),
        }
    }
    patterns
}

fn own_roles(node: &Node, findings: &mut Findings) -> BTreeSet<String> {
    let mut roles = BTreeSet::new();
    for item in findings.list(node, "roles", ROLES_MAX).into_iter().flatten() {
        let Some(name) = findings.name(item, "a role") else { continue };
        if ROLES.contains(&name) || !roles.insert(name.to_owned()) {
            findings.wrong(item.mark, format!("the role {name} is there already"));
        }
    }
    roles
}

fn people(
    node: &Node,
    own: &BTreeSet<String>,
    findings: &mut Findings,
) -> BTreeMap<String, Person> {
    let mut people: BTreeMap<String, Person> = BTreeMap::new();
    for entry in findings.entries(node, "people").into_iter().flatten() {
        if people.len() == PEOPLE_MAX {
            findings.wrong(entry.mark, format!("more than {PEOPLE_MAX} people"));
            break;
        }
        let name = entry.key;
        if name.is_empty() || name.len() > NAME_MAX || name.contains(char::is_whitespace) {
            let message = format!("`{}` cannot be somebody's name", shown(name));
            findings.mend(entry.mark, message, "1 to 128 characters without spaces");
            continue;
        }
        let Some(person) = person(&entry, own, findings) else { continue };
        let twin = people.iter().find(|(_, other)| person.uid.is_some() && other.uid == person.uid);
        if let Some((other, _)) = twin {
            let message = format!("{name} has the uid of {other}: one uid is one person's");
            findings.wrong(entry.mark, message);
        }
        if let Some(other) = people.keys().find(|other| same_person(other, name)) {
            let message =
                format!("{name} and {other} would be one person: letters' case tells nobody apart");
            findings.wrong(entry.mark, message);
        }
        people.insert(name.to_owned(), person);
    }
    people
}

fn person(entry: &Entry<'_>, own: &BTreeSet<String>, findings: &mut Findings) -> Option<Person> {
    let fields = findings.fields(entry.value, "a person", &["uid", "roles"])?;
    let uid = match fields.get("uid") {
        Some(node) => Some(findings.whole(node, "uid", 0..=UID_MAX)?),
        None => None,
    };
    let mut roles = BTreeSet::new();
    let list = fields.need("roles", findings)?;
    let known: Vec<&str> = ROLES.into_iter().chain(own.iter().map(String::as_str)).collect();
    for item in findings.list(list, "roles", ROLES_MAX).into_iter().flatten() {
        let Some(role) = findings.text(item, "a role", 64) else { continue };
        if !known.contains(&role) {
            findings.unknown(item.mark, "role", role, &known);
        } else if !roles.insert(role.to_owned()) {
            findings.wrong(item.mark, format!("the role {role} is there already"));
        }
    }
    Some(Person { uid, roles })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(source: &str) -> Vec<String> {
        let told = Config::parse(source.as_bytes()).expect_err("it parses");
        told.iter().map(|p| format!("{}:{} {}", p.line, p.column, p.message)).collect()
    }

    #[test]
    fn nothing_configured_leaves_everything_to_root() {
        let config = Config::shipped();
        let Principal::Operator { roles, .. } = config.principal(0, None) else { panic!("root") };
        assert_eq!(roles.len(), 3);
        assert_eq!(config.principal(1000, None), Principal::Stranger);
    }

    #[test]
    fn people_are_known_by_uid_and_whoever_became_root_by_his_login() {
        let config = Config::parse(
            b"venues: [SSE]\nroles: [desk-lead]\npeople:\n  desk-1: { uid: 1001, roles: [operator, desk-lead] }\n  \
              risk-1: { roles: [approver] }\nbreak-glass: { countersign-within: 2h }\n",
        );
        let config = config.unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(config.venues, ["SSE"]);
        assert_eq!(config.countersign_within, Duration::from_secs(7200));
        let name = |uid, login| config.principal(uid, login).name().to_owned();
        assert_eq!(name(1001, None), "desk-1");
        assert_eq!(name(0, Some(1001)), "desk-1");
        assert_eq!(config.principal(0, None), Principal::Stranger, "root is not among them");
        assert_eq!(name(1002, Some(1001)), "stranger", "only root acts for another");
        assert_eq!(config.roles_of("risk-1"), BTreeSet::from(["approver".to_owned()]));
        assert_eq!(config.roles_of("Risk-1"), config.roles_of("risk-1"));
        assert!(config.roles_of("desk-2").is_empty());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let found = problems(
            "venues: [SSE, sse, SSE]\nroles: [operator]\npeople:\n  a b: { roles: [approver] }\n  \
             x: { uid: 5, roles: [operater] }\n  y: { uid: 5, roles: [operator] }\n  z: { uid: -1 }\n  Y: { roles: [operator] }\nextra: 1\n",
        );
        for place in ["1:15", "1:20", "2:9", "4:3", "5:24", "6:3", "7:", "8:3", "9:1"] {
            assert!(found.iter().any(|told| told.starts_with(place)), "{place}: {found:#?}");
        }
        assert!(problems("break-glass: { countersign-within: 1s }")[0].contains("not within"));
        for bad in [
            "\"*.*\"",
            "net",
            "\"net.ipv4.co nf\"",
            "net..core.busy_poll",
            "/etc/passwd",
            "\"net.**\"",
        ] {
            assert_eq!(problems(&format!("sysctls: [{bad}]")).len(), 1, "{bad}");
        }
        assert!(problems("- 1")[0].starts_with("1:"));
        assert!(problems("").len() == 1);
    }
}
