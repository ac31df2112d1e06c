//! The policies in force: the shipped floor and defaults, and what a site adds to or puts in place of them.
//!
//! A set loads whole or not at all: every policy parses, has an id of its own, and holds against the schema
//! by Cedar's strict validation. Whoever keeps a set keeps it when another does not load.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use cedar_policy::{
    Effect, Policy, PolicyId, PolicySet as Cedar, Schema, ValidationMode, Validator,
};
use miette::Diagnostic;
use playbooks::parse::Problem;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::cedar::Vocabulary;

/// What policies are written about; sites' own roles are added to it when they are loaded.
pub const SCHEMA: &str = include_str!("../cedar/schema.cedarschema");
const FLOOR: &str = include_str!("../cedar/floor.cedar");
const DEFAULTS: &str = include_str!("../cedar/defaults.cedar");

/// The roles that the shipped policies know.
pub const ROLES: [&str; 3] = ["operator", "approver", "supervisor"];
/// The line of the schema that names them.
const ROLES_LINE: &str = r#"entity Role enum ["operator", "approver", "supervisor"];"#;

/// The largest file of policies, in bytes.
pub const SOURCE_MAX: usize = 256 * 1024;
/// The most policies in a set.
pub const POLICIES_MAX: usize = 500;

/// A file of policies of the site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name in messages.
    pub file: String,
    pub text: String,
}

/// Whether the very same sources were held against the schema before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    Before,
    Not,
}

/// Where a policy comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Shipped, and binding whatever a site writes.
    Floor,
    /// Shipped, and a site may replace it.
    Shipped,
    Site,
    /// The site's, in place of the shipped one of the same id.
    Replaced,
}

/// One policy, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    pub id: String,
    pub origin: Origin,
    /// Whether it permits or forbids.
    pub effect: &'static str,
    /// Its reason, as it gives one in `@why`.
    pub why: String,
    pub file: String,
    pub line: usize,
}

/// Something wrong with a file of policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    pub file: String,
    pub problem: Problem,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { line, column, message, help, .. } = &self.problem;
        write!(f, "{}:{line}:{column}: {message}", self.file)?;
        help.as_ref().map_or(Ok(()), |help| write!(f, " ({help})"))
    }
}

/// Policies that decide.
#[derive(Debug, Clone)]
pub struct PolicySet {
    pub(crate) all: Cedar,
    /// The floor alone: what decides where nothing of the site's may.
    pub(crate) floor: Cedar,
    pub(crate) vocabulary: Vocabulary,
    listed: BTreeMap<String, Listed>,
    /// What the validator remarked on and did not refuse.
    remarks: Vec<Flaw>,
    roles: BTreeSet<String>,
    digest: String,
}

impl PolicySet {
    /// The shipped policies. They hold against the schema: a test says so.
    ///
    /// # Errors
    /// None that is known.
    pub fn shipped() -> Result<PolicySet, Vec<Flaw>> {
        PolicySet::load(&[], &BTreeSet::new(), Checked::Before)
    }

    /// The shipped policies with these of the site, and the site's own roles.
    ///
    /// # Errors
    /// Everything that is wrong, with its place. Nothing is loaded then.
    pub fn load(
        site: &[Source],
        roles: &BTreeSet<String>,
        checked: Checked,
    ) -> Result<PolicySet, Vec<Flaw>> {
        let shipped =
            [(Origin::Floor, "floor.cedar", FLOOR), (Origin::Shipped, "defaults.cedar", DEFAULTS)];
        let site_files = site.iter().map(|s| (Origin::Site, s.file.as_str(), s.text.as_str()));
        let mut loading = Loading::default();
        for (origin, file, text) in shipped.into_iter().chain(site_files) {
            loading.take(origin, file, text);
        }
        let remarks = match checked {
            Checked::Before => Vec::new(),
            Checked::Not => loading.validate(roles),
        };
        let vocabulary = Vocabulary::new().map_err(|error| vec![nowhere(error)])?;
        let (all, floor) = loading.sets();
        let Loading { held, mut flaws, .. } = loading;
        if !flaws.is_empty() {
            flaws.sort_by(|a, b| order(a).cmp(&order(b)));
            return Err(flaws);
        }
        let listed = held.into_iter().map(|(id, held)| (id, held.listed)).collect();
        let roles = ROLES.iter().map(|role| (*role).to_owned()).chain(roles.iter().cloned());
        let roles: BTreeSet<String> = roles.collect();
        let digest = digest(site, &roles);
        Ok(PolicySet { all, floor, vocabulary, listed, remarks, roles, digest })
    }

    /// `sha256:<hex>` over every text that the set was made of.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Every policy, by id.
    pub fn listed(&self) -> impl Iterator<Item = &Listed> {
        self.listed.values()
    }

    /// The policy with this id.
    pub fn find(&self, id: &str) -> Option<&Listed> {
        self.listed.get(id)
    }

    /// What is odd and was not refused: a policy that no request can meet.
    pub fn remarks(&self) -> &[Flaw] {
        &self.remarks
    }

    /// The roles that people may have.
    pub fn roles(&self) -> &BTreeSet<String> {
        &self.roles
    }
}

/// The digest that a set of these sources would have.
pub fn digest(site: &[Source], roles: &BTreeSet<String>) -> String {
    let mut hash = Sha256::new();
    // Each text with its length before it: no two lists of texts are alike.
    let mut add = |text: &str| {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    };
    [SCHEMA, FLOOR, DEFAULTS].into_iter().for_each(&mut add);
    ROLES.iter().for_each(|role| add(role));
    roles.iter().filter(|role| !ROLES.contains(&role.as_str())).for_each(|role| add(role));
    site.iter().for_each(|source| add(&source.text));
    let hex: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

/// The schema with a site's own roles beside the shipped ones.
pub fn schema(roles: &BTreeSet<String>) -> String {
    let own = roles.iter().map(String::as_str).filter(|role| !ROLES.contains(role));
    let words: Vec<String> =
        ROLES.into_iter().chain(own).map(|role| format!("\"{role}\"")).collect();
    SCHEMA.replace(ROLES_LINE, &format!("entity Role enum [{}];", words.join(", ")))
}

/// A policy with what is said of it.
struct Held {
    policy: Policy,
    listed: Listed,
    /// Its file among `Loading::files`.
    file: usize,
}

/// A set on its way: policies by id, and all that is wrong so far.
#[derive(Default)]
struct Loading {
    files: Vec<(String, String)>,
    held: BTreeMap<String, Held>,
    flaws: Vec<Flaw>,
}

impl Loading {
    fn take(&mut self, origin: Origin, file: &str, text: &str) {
        self.files.push((file.to_owned(), text.to_owned()));
        if text.len() > SOURCE_MAX {
            let size = text.len();
            return self.flaw(
                file,
                text,
                0,
                format!("{size} bytes of policies, at most {SOURCE_MAX}"),
            );
        }
        let parsed: Cedar = match text.parse() {
            Ok(parsed) => parsed,
            Err(errors) => {
                let errors: cedar_policy::ParseErrors = errors;
                for error in errors.iter() {
                    self.flaw(file, text, offset(error), said(error));
                }
                return;
            }
        };
        if let Some(template) = parsed.templates().next() {
            let at = template.to_cedar();
            let at = text.find(&at).unwrap_or(0);
            self.flaw(
                file,
                text,
                at,
                "a template (`?principal`, `?resource`): write a policy".into(),
            );
        }
        let mut policies: Vec<&Policy> = parsed.policies().collect();
        policies.sort_by_key(|policy| number(policy.id()));
        let mut from = 0;
        for policy in policies {
            let whole = policy.to_cedar().unwrap_or_default();
            let at =
                text.get(from..).and_then(|rest| rest.find(&whole)).map_or(from, |at| from + at);
            from = at + whole.len().min(text.len() - at);
            self.hold(origin, (file, text, at), policy);
        }
    }

    fn hold(&mut self, origin: Origin, (file, text, at): (&str, &str, usize), policy: &Policy) {
        let Some(id) = policy.annotation("id").map(str::to_owned) else {
            let why = "a policy without a name: write @id(\"…\") before it".to_owned();
            return self.flaw(file, text, at, why);
        };
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if id.is_empty() || id.len() > 64 || !id.bytes().all(plain) {
            let why = "@id: lower-case letters, digits and dashes, at most 64".to_owned();
            return self.flaw(file, text, at, why);
        }
        let before = self.held.get(&id).map(|held| held.listed.clone());
        let origin = match before {
            None => origin,
            Some(Listed { origin: Origin::Shipped, .. }) if origin == Origin::Site => {
                Origin::Replaced
            }
            Some(Listed { origin: Origin::Floor, .. }) => {
                let why = format!("`{id}` is of the floor: a site can neither replace nor lift it");
                return self.flaw(file, text, at, why);
            }
            Some(other) => {
                let why = format!("`{id}` is there already: {}:{}", other.file, other.line);
                return self.flaw(file, text, at, why);
            }
        };
        if self.held.len() == POLICIES_MAX {
            return self.flaw(file, text, at, format!("more than {POLICIES_MAX} policies"));
        }
        let (line, _) = place(text, at);
        let effect = match policy.effect() {
            Effect::Permit => "permit",
            Effect::Forbid => "forbid",
        };
        let why = policy.annotation("why").unwrap_or_default().to_owned();
        let listed = Listed { id: id.clone(), origin, effect, why, file: file.to_owned(), line };
        let policy = policy.new_id(PolicyId::new(&id));
        self.held.insert(id, Held { policy, listed, file: self.files.len() - 1 });
    }

    /// Holds every policy against the schema. What is wrong becomes a flaw, what is odd is returned.
    fn validate(&mut self, roles: &BTreeSet<String>) -> Vec<Flaw> {
        let schema = match Schema::from_cedarschema_str(&schema(roles)) {
            Ok((schema, _)) => schema,
            Err(error) => {
                self.flaws.push(nowhere(format!("the schema: {error}")));
                return Vec::new();
            }
        };
        let (all, _) = self.sets();
        let result = Validator::new(schema).validate(&all, ValidationMode::Strict);
        let mut flaws = Vec::new();
        for error in result.validation_errors() {
            flaws.push(self.told(error.policy_id(), error));
        }
        self.flaws.extend(flaws);
        result.validation_warnings().map(|odd| self.told(odd.policy_id(), odd)).collect()
    }

    fn told(&self, id: &PolicyId, error: &(impl Diagnostic + fmt::Display)) -> Flaw {
        let id: &str = id.as_ref();
        let held = self.held.get(id).and_then(|held| self.files.get(held.file));
        let (file, text) = held.map_or(("", ""), |(file, text)| (file.as_str(), text.as_str()));
        flaw(file, text, offset(error), said(error))
    }

    /// All policies, and those of the floor alone.
    fn sets(&mut self) -> (Cedar, Cedar) {
        let (mut all, mut floor) = (Cedar::new(), Cedar::new());
        let mut doubled = Vec::new();
        for held in self.held.values() {
            // Ids are keys of a map: none is there twice.
            if let Err(error) = all.add(held.policy.clone()) {
                doubled.push(nowhere(error.to_string()));
            }
            if held.listed.origin == Origin::Floor
                && let Err(error) = floor.add(held.policy.clone())
            {
                doubled.push(nowhere(error.to_string()));
            }
        }
        self.flaws.extend(doubled);
        (all, floor)
    }

    fn flaw(&mut self, file: &str, text: &str, at: usize, message: String) {
        self.flaws.push(flaw(file, text, at, message));
    }
}

fn order(flaw: &Flaw) -> (&str, usize, usize) {
    (&flaw.file, flaw.problem.line, flaw.problem.column)
}

fn flaw(file: &str, text: &str, at: usize, message: String) -> Flaw {
    let (line, column) = place(text, at);
    Flaw { file: file.to_owned(), problem: Problem { line, column, width: 1, message, help: None } }
}

fn nowhere(message: String) -> Flaw {
    flaw("shipped", "", 0, message)
}

/// Line and column of a byte, both from 1; columns in characters.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// Where Cedar says that something is wrong, in bytes.
fn offset(error: &dyn Diagnostic) -> usize {
    error.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset())
}

/// What Cedar says of it, in one line.
fn said(error: &(impl Diagnostic + fmt::Display)) -> String {
    let mut words = error.to_string();
    if let Some(label) = error.labels().and_then(|mut labels| labels.next())
        && let Some(label) = label.label()
        && !words.contains(label)
    {
        words.push_str(": ");
        words.push_str(label);
    }
    if let Some(help) = error.help() {
        words.push_str("; ");
        words.push_str(&help.to_string());
    }
    let safe = words.chars().map(|c| if c.is_control() { ' ' } else { c });
    safe.take(400).collect()
}

/// Cedar numbers the policies of a text in its order: `policy0`, `policy1`, …
fn number(id: &PolicyId) -> usize {
    let id: &str = id.as_ref();
    id.trim_start_matches("policy").parse().unwrap_or(usize::MAX)
}
