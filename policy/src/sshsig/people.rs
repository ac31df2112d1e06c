//! `allowed_signers` and `revoked_keys`: whose key is whose, until when, for what.

use std::collections::HashMap;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use super::{PublicKey, Refused, shown};

/// The largest `allowed_signers` or `revoked_keys` file, in bytes.
pub const FILE_BYTES_MAX: usize = 256 * 1024;

/// At most this many problems are told of one file.
const PROBLEMS_MAX: usize = 50;

/// Who may sign, by key. A key is one person's; a person may have several keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct People {
    signers: Vec<Signer>,
}

/// One line of `allowed_signers`: a person's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// The person: the line's principal.
    pub who: String,
    pub key: PublicKey,
    /// `None`: any.
    namespaces: Option<Vec<String>>,
    valid_after: Option<Timestamp>,
    valid_before: Option<Timestamp>,
}

/// Keys that nobody may sign with any more, whatever `allowed_signers` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revoked {
    keys: Vec<PublicKey>,
}

/// One thing wrong with a file. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub line: usize,
    pub column: usize,
    pub message: String,
}

impl std::fmt::Display for Problem {
    /// `LINE:COLUMN: message`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl People {
    /// Reads an `allowed_signers` file (ssh-keygen(1)): one line a key, `NAME [OPTIONS] KIND KEY [COMMENT]`.
    ///
    /// # Errors
    ///
    /// Every problem of the file; with any, nobody is known.
    pub fn parse(file: &[u8]) -> Result<People, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut people = People::default();
        let mut names: HashMap<String, String> = HashMap::new();
        let mut keys: HashMap<PublicKey, usize> = HashMap::new();
        for (number, line) in lines(file, &mut problems) {
            let mut told = |column: usize, message: String| {
                problems.push(Problem { line: number, column, message });
            };
            let signer = match signer(&words(line)) {
                Ok(signer) => signer,
                Err((column, message)) => {
                    told(column, message);
                    continue;
                }
            };
            if let Some(first) = keys.insert(signer.key.clone(), number) {
                told(1, format!("the key of line {first} again: one key is one person's"));
            }
            let known = names.entry(signer.who.to_lowercase()).or_insert(signer.who.clone());
            if *known != signer.who {
                told(1, format!("`{}` and `{known}` differ in case only", signer.who));
            }
            people.signers.push(signer);
        }
        if problems.is_empty() { Ok(people) } else { Err(cut(problems)) }
    }

    pub fn by_key(&self, key: &PublicKey) -> Option<&Signer> {
        self.signers.iter().find(|signer| signer.key == *key)
    }

    /// Every line, in the file's order.
    pub fn signers(&self) -> &[Signer] {
        &self.signers
    }
}

impl Signer {
    /// Whether its line names this namespace, rather than leaving open for what the key may sign.
    pub fn is_named_for(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().is_some_and(|names| names.iter().any(|name| name == namespace))
    }

    /// Whether this key may sign in this namespace at this time.
    ///
    /// # Errors
    ///
    /// Which of its options says no.
    pub fn allows(&self, namespace: &str, at: Timestamp) -> Result<(), Refused> {
        let (who, key) = (self.who.clone(), self.key.fingerprint());
        if let Some(allowed) = &self.namespaces
            && !allowed.iter().any(|name| name == namespace)
        {
            let (namespace, allowed) = (namespace.to_owned(), allowed.join(","));
            return Err(Refused::NotFor { who, key, namespace, allowed });
        }
        if let Some(from) = self.valid_after.filter(|from| at < *from) {
            return Err(Refused::NotYet { who, key, from });
        }
        // Both ends belong to the key's time, as ssh-keygen has it.
        match self.valid_before.filter(|end| at > *end) {
            Some(at) => Err(Refused::Expired { who, key, at }),
            None => Ok(()),
        }
    }
}

impl Revoked {
    /// Reads a list of revoked keys: one public key a line, as in a `.pub` file, as `ssh-keygen -r` takes it.
    ///
    /// # Errors
    ///
    /// Every problem of the file; whoever reads it must then take nobody's signature.
    pub fn parse(file: &[u8]) -> Result<Revoked, Vec<Problem>> {
        if file.starts_with(b"SSHKRL\n\0") {
            let message =
                "a binary revocation list (KRL) is not read; list the public keys, one a line";
            return Err(vec![Problem { line: 1, column: 1, message: message.to_owned() }]);
        }
        let mut problems = Vec::new();
        let mut revoked = Revoked::default();
        for (line, text) in lines(file, &mut problems) {
            match key(&words(text)) {
                Ok(key) => revoked.keys.push(key),
                Err((column, message)) => problems.push(Problem { line, column, message }),
            }
        }
        if problems.is_empty() { Ok(revoked) } else { Err(cut(problems)) }
    }

    pub fn holds(&self, key: &PublicKey) -> bool {
        self.keys.contains(key)
    }
}

/// The lines that say something, numbered; comments and blank ones are left out.
fn lines<'f>(file: &'f [u8], problems: &mut Vec<Problem>) -> Vec<(usize, &'f str)> {
    let mut whole = |message: String| problems.push(Problem { line: 1, column: 1, message });
    if file.len() > FILE_BYTES_MAX {
        whole(format!("{} bytes, at most {FILE_BYTES_MAX} are read", file.len()));
        return Vec::new();
    }
    let Ok(text) = std::str::from_utf8(file) else {
        whole("not UTF-8".to_owned());
        return Vec::new();
    };
    let numbered = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    numbered
        .filter(|(_, line)| !line.trim_start().starts_with('#') && !line.trim().is_empty())
        .collect()
}

/// A word and its column; white space inside double quotes does not end it.
fn words(line: &str) -> Vec<(usize, String)> {
    let mut words: Vec<(usize, String)> = Vec::new();
    let (mut quoted, mut inside) = (false, false);
    for (at, c) in line.chars().enumerate() {
        if c == '"' {
            quoted = !quoted;
        }
        let ends = c.is_ascii_whitespace() && !quoted;
        match (ends, inside, words.last_mut()) {
            (false, true, Some((_, word))) => word.push(c),
            (false, _, _) => words.push((at + 1, c.to_string())),
            (true, _, _) => {}
        }
        inside = !ends;
    }
    words
}

type Trouble = (usize, String);

fn signer(words: &[(usize, String)]) -> Result<Signer, Trouble> {
    let [(column, name), rest @ ..] = words else { return Err((1, "nothing".to_owned())) };
    let who = person(name).map_err(|why| (*column, why))?;
    let mut given = Options::default();
    let rest = match rest {
        // What begins like a key is one; anything else between name and key are its options.
        [(column, options), key @ ..] if !is_kind(options) => {
            given = self::options(options, *column)?;
            key
        }
        rest => rest,
    };
    let key = self::key(rest)?;
    let Options { namespaces, valid_after, valid_before } = given;
    Ok(Signer { who, key, namespaces, valid_after, valid_before })
}

/// Letters, digits and `._@+-`: what a person can compare by eye.
fn person(name: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._@+-".contains(c);
    if name.contains([',', '*', '?', '!']) {
        return Err(format!("`{}` is a pattern; a line names one person", shown(name.as_bytes())));
    }
    // No name begins so that it could be a hidden file, or an option.
    let fair = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if name.len() > 100 || !fair || !name.chars().all(plain) || is_kind(name) {
        return Err(format!("`{}` is not a person's name", shown(name.as_bytes())));
    }
    Ok(name.to_owned())
}

fn is_kind(word: &str) -> bool {
    ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|begin| word.starts_with(begin))
}

fn key(words: &[(usize, String)]) -> Result<PublicKey, Trouble> {
    match words {
        [(column, kind), (_, base64), ..] if is_kind(kind) => {
            PublicKey::from_words(kind, base64).map_err(|why| (*column, why.to_string()))
        }
        [(column, _), ..] => Err((*column, "expected a key: its kind and its base64".to_owned())),
        [] => Err((1, "no key on this line".to_owned())),
    }
}

#[derive(Default)]
struct Options {
    namespaces: Option<Vec<String>>,
    valid_after: Option<Timestamp>,
    valid_before: Option<Timestamp>,
}

fn options(text: &str, column: usize) -> Result<Options, Trouble> {
    let wrong = |why: String| (column, why);
    let mut given = Options::default();
    for option in split(text) {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name.to_ascii_lowercase(), Some(value.trim_matches('"'))),
            None => (option.to_ascii_lowercase(), None),
        };
        let again = || wrong(format!("`{name}` twice"));
        match (name.as_str(), value) {
            ("cert-authority", None) => {
                let why = "certificate authorities are not taken: a certificate names whom it likes; \
                           list each person's own key";
                return Err(wrong(why.to_owned()));
            }
            ("namespaces", Some(value)) => {
                let names = namespaces(value).map_err(wrong)?;
                given.namespaces.replace(names).map_or(Ok(()), |_| Err(again()))?;
            }
            ("valid-after", Some(value)) => {
                let time = time(value).map_err(wrong)?;
                given.valid_after.replace(time).map_or(Ok(()), |_| Err(again()))?;
            }
            ("valid-before", Some(value)) => {
                let time = time(value).map_err(wrong)?;
                given.valid_before.replace(time).map_or(Ok(()), |_| Err(again()))?;
            }
            _ => {
                let option = shown(option.as_bytes());
                let why = "known are namespaces=\"…\", valid-after=\"…\", valid-before=\"…\"";
                return Err(wrong(format!("unknown option `{option}`; {why}")));
            }
        }
    }
    Ok(given)
}

/// At commas outside quotes.
fn split(text: &str) -> Vec<&str> {
    let mut quoted = false;
    text.split(|c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
    .collect()
}

fn namespaces(value: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = value.split(',').map(str::to_owned).collect();
    let plain = |c: char| c.is_ascii_graphic() && !"*?!\"".contains(c);
    match names.iter().find(|name| name.is_empty() || !name.chars().all(plain)) {
        Some(bad) => Err(format!("namespaces: `{}` is not a plain name", shown(bad.as_bytes()))),
        None => Ok(names),
    }
}

/// `YYYYMMDD[HHMM[SS]]Z`. Without the Z ssh-keygen would take the host's own time zone: no two hosts
/// need agree on that, so it is not taken.
fn time(value: &str) -> Result<Timestamp, String> {
    let wrong = || {
        let value = shown(value.as_bytes());
        format!("`{value}` is not a time in UTC: YYYYMMDDZ, YYYYMMDDHHMMZ or YYYYMMDDHHMMSSZ")
    };
    let digits = value.strip_suffix('Z').ok_or_else(wrong)?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let padded = match digits.len() {
        8 => format!("{digits}000000"),
        12 => format!("{digits}00"),
        14 => digits.to_owned(),
        _ => return Err(wrong()),
    };
    let civil = DateTime::strptime("%Y%m%d%H%M%S", &padded).map_err(|_| wrong())?;
    TimeZone::UTC.to_timestamp(civil).map_err(|_| wrong())
}

fn cut(mut problems: Vec<Problem>) -> Vec<Problem> {
    let more = problems.len().saturating_sub(PROBLEMS_MAX);
    problems.truncate(PROBLEMS_MAX);
    if let (Some(last), 1..) = (problems.last_mut(), more) {
        last.message.push_str(&format!(" (and {more} more problems)"));
    }
    problems
}
