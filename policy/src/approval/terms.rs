//! What is consented to beside the plan itself: which way it is walked, what is overridden, where traffic goes
//! meanwhile, and which act after the fact.

use std::{collections::BTreeSet, fmt};

/// Which way a plan is walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A run of the plan.
    Apply,
    /// Putting a committed run of it back.
    Revert,
}

impl Way {
    pub fn word(self) -> &'static str {
        match self {
            Way::Apply => "apply",
            Way::Revert => "revert",
        }
    }

    /// The one of that word.
    pub fn of(word: &str) -> Option<Way> {
        [Way::Apply, Way::Revert].into_iter().find(|way| way.word() == word)
    }
}

/// An act by somebody alone: the run, and the entry of the log in which he asked for it. Nobody can sign for it
/// before it has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alone {
    pub run: String,
    pub entry: u64,
}

impl fmt::Display for Alone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.run, self.entry)
    }
}

impl Alone {
    /// Reads `RUN#ENTRY`.
    pub fn parse(text: &str) -> Option<Alone> {
        let (run, entry) = text.split_once('#')?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let named = Alone { run: run.to_owned(), entry: entry.parse().ok()? };
        (!run.is_empty() && run.bytes().all(plain) && named.to_string() == text).then_some(named)
    }
}

/// What somebody consents to, or a request asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    pub way: Way,
    /// What is overridden: hazards and holders by their ids, everything else by its flag's word
    /// (`allow-management`, `no-way-back`, `force`).
    pub overrides: BTreeSet<String>,
    /// The NIC that carries the traffic meanwhile.
    pub standby: Option<String>,
    /// The act that is countersigned, where it is one.
    pub countersigns: Option<Alone>,
}

/// Where there is nothing to name.
const NONE: &str = "none";
/// A host with more to override is refused all the same.
const OVERRIDES_MAX: usize = 64;

impl Terms {
    /// Nothing is overridden, and traffic has nowhere else to go.
    pub fn plain(way: Way) -> Terms {
        Terms { way, overrides: BTreeSet::new(), standby: None, countersigns: None }
    }

    /// The lines of a statement.
    pub(super) fn lines(&self) -> [String; 4] {
        let Terms { way, overrides, standby, countersigns } = self;
        let each: Vec<String> = overrides.iter().map(|word| written(word)).collect();
        let overrides = if each.is_empty() { NONE.to_owned() } else { each.join(",") };
        let standby = standby.as_deref().map_or(NONE.to_owned(), written);
        let countersigns = countersigns.as_ref().map_or(NONE.to_owned(), Alone::to_string);
        [
            format!("for {}", way.word()),
            format!("overrides {overrides}"),
            format!("standby {standby}"),
            format!("countersigns {countersigns}"),
        ]
    }

    /// Of the words after `for`, `overrides`, `standby` and `countersigns`.
    pub(super) fn read(words: [&str; 4]) -> Result<Terms, &'static str> {
        let [way, overrides, standby, countersigns] = words;
        let each = || overrides.split(',').map(read).collect::<Option<BTreeSet<String>>>();
        let overrides = if overrides == NONE { Some(BTreeSet::new()) } else { each() };
        let overrides = overrides.filter(|each| each.len() <= OVERRIDES_MAX);
        let standby = match standby {
            NONE => None,
            word => Some(read(word).ok_or("`standby` is not written as nicmend writes it")?),
        };
        let countersigns = match countersigns {
            NONE => None,
            text => Some(Alone::parse(text).ok_or("`countersigns` is no RUN#ENTRY")?),
        };
        Ok(Terms {
            way: Way::of(way).ok_or("`for` is neither apply nor revert")?,
            overrides: overrides.ok_or("`overrides` is not written as nicmend writes it")?,
            standby,
            countersigns,
        })
    }

    /// Whether who consents to these consents to what is asked; in words where not.
    pub(super) fn cover(&self, asked: &Terms) -> Result<(), String> {
        if self.way != asked.way {
            return Err(format!("it is for `{}`, not for `{}`", self.way.word(), asked.way.word()));
        }
        if self.countersigns != asked.countersigns {
            let words =
                |act: &Option<Alone>| act.as_ref().map_or(NONE.to_owned(), Alone::to_string);
            let (signed, asked) = (words(&self.countersigns), words(&asked.countersigns));
            return Err(format!("it countersigns {signed}, not {asked}"));
        }
        if self.standby != asked.standby {
            let words = |nic: &Option<String>| nic.clone().unwrap_or_else(|| NONE.to_owned());
            let (signed, asked) = (words(&self.standby), words(&asked.standby));
            return Err(format!("it is given for standby {signed}, not for {asked}"));
        }
        let more: Vec<&str> =
            asked.overrides.difference(&self.overrides).map(String::as_str).collect();
        match more.is_empty() {
            true => Ok(()),
            false => Err(format!("it says nothing of overriding {}", more.join(", "))),
        }
    }
}

/// A word as it stands in a line: names of processes may have any byte.
fn written(word: &str) -> String {
    if word == NONE {
        return "%6Eone".to_owned();
    }
    let plain = |b: u8| b.is_ascii_graphic() && b != b'%' && b != b',';
    word.bytes()
        .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// The word that is written so. (Another way of writing it is found by writing it again.)
fn read(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.bytes().next() {
        let hex = rest.get(1..3).filter(|_| first == b'%');
        match (first, hex) {
            (b'%', None) => return None,
            (b'%', Some(hex)) => {
                bytes.push(u8::from_str_radix(hex, 16).ok()?);
                rest = &rest[3..];
            }
            (plain, _) => {
                bytes.push(plain);
                rest = rest.get(1..)?;
            }
        }
    }
    String::from_utf8(bytes).ok().filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(overrides: &[&str], standby: Option<&str>) -> Terms {
        let overrides = overrides.iter().map(|word| (*word).to_owned()).collect();
        Terms { overrides, standby: standby.map(str::to_owned), ..Terms::plain(Way::Apply) }
    }

    fn again(terms: &Terms) -> Result<Terms, &'static str> {
        let lines = terms.lines();
        let word = |nth: usize| lines[nth].split_once(' ').expect("two words").1;
        Terms::read([word(0), word(1), word(2), word(3)])
    }

    #[test]
    fn whatever_is_named_is_read_as_it_was_written() {
        for odd in ["none", "held:udp:a b", "100%", "a,b", "%6Eone", "übel", "\n", "KB-096"] {
            let terms = terms(&[odd, "force"], Some(odd));
            assert_eq!(again(&terms).as_ref(), Ok(&terms), "{odd:?}");
            assert!(
                terms
                    .lines()
                    .iter()
                    .all(|line| line.bytes().all(|b| b.is_ascii_graphic() || b == b' '))
            );
        }
        let act = Alone { run: "20261122T101503Z-1f3a".to_owned(), entry: 17 };
        let terms = Terms { countersigns: Some(act), ..Terms::plain(Way::Revert) };
        assert_eq!(again(&terms).as_ref(), Ok(&terms));
        for odd in ["x", "#1", "x#", "x#01", "../x#1", "x#1#2", "x#-1"] {
            assert_eq!(Alone::parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn consent_covers_what_it_names_and_no_more() {
        let wide = terms(&["KB-096", "allow-management"], Some("eth3"));
        assert_eq!(wide.cover(&terms(&["KB-096"], Some("eth3"))), Ok(()));
        let told = |asked: &Terms| wide.cover(asked).expect_err("it is not covered");
        assert!(told(&terms(&["KB-096", "force"], Some("eth3"))).contains("overriding force"));
        assert!(told(&terms(&["KB-096"], None)).contains("standby eth3, not for none"));
        let back = Terms { way: Way::Revert, ..wide.clone() };
        assert!(told(&back).contains("`apply`, not for `revert`"));
        let act = Some(Alone { run: "r".to_owned(), entry: 1 });
        assert!(told(&Terms { countersigns: act, ..wide.clone() }).contains("none, not r#1"));
    }
}
