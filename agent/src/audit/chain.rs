//! Which key may sign which checkpoint: the first key, and each hand-over to the next.

use crate::log::{
    Fact, base64,
    note::{Note, Signed, Verifier},
    office::{NewKey, Rotation},
};

/// What the entries say about keys, by their places in the log.
pub type KeyFacts = Vec<(u64, Fact)>;

/// A key, and the sizes of trees that it may sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reign {
    pub key: Verifier,
    pub from: u64,
    pub to: u64,
}

/// The keys of a log, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain(pub Vec<Reign>);

/// What is wrong with the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The entry that does not fit, where one does not.
    pub entry: Option<u64>,
    pub why: String,
}

impl Chain {
    /// Follows the hand-overs. `first` is the key to begin with where no entry names one.
    pub fn follow(facts: &KeyFacts, first: Option<&Verifier>) -> (Chain, Vec<Broken>) {
        let mut chain = Chain::default();
        let mut broken = Vec::new();
        if let Some(first) = first.filter(|_| !facts.iter().any(|(_, fact)| is_first(fact))) {
            chain.crown(first.clone(), 0);
        }
        for (at, fact) in facts {
            let mut step = Ok(());
            if let Fact::KeyCreated(key) = fact {
                step = chain.begin(key);
            }
            if let Fact::KeyRotated(rotation) = fact {
                step = chain.hand_over(rotation, *at);
            }
            broken.extend(step.err().map(|why| Broken { entry: Some(*at), why }));
        }
        (chain, broken)
    }

    fn begin(&mut self, created: &NewKey) -> Result<(), String> {
        let key = Verifier::parse(&created.vkey).map_err(|why| format!("its key: {why}"))?;
        if key.name != created.origin {
            return Err("its key has another name than its origin".to_owned());
        }
        if !self.0.is_empty() {
            return Err("the log has a first key already".to_owned());
        }
        self.crown(key, 0);
        Ok(())
    }

    fn hand_over(&mut self, rotation: &Rotation, at: u64) -> Result<(), String> {
        let Some(old) = self.0.last_mut() else {
            return Err("it hands over from a key that the log does not have".to_owned());
        };
        let new = Verifier::parse(&rotation.new).map_err(|why| format!("its new key: {why}"))?;
        let message = Rotation::message(&old.key.name, &rotation.new, at);
        let signature = base64::decode(&rotation.signature).unwrap_or_default();
        if rotation.old != old.key.to_string() || rotation.size != at || new.name != old.key.name {
            return Err("it does not hand over from the key that signed here".to_owned());
        }
        if !old.key.verify(&message, &signature) {
            return Err("the old key did not sign the hand-over".to_owned());
        }
        // The old key signs the tree that the hand-over is in, and the new one from that tree on.
        old.to = at + 1;
        self.crown(new, at + 1);
        Ok(())
    }

    fn crown(&mut self, key: Verifier, from: u64) {
        self.0.push(Reign { key, from, to: u64::MAX });
    }

    pub fn last(&self) -> Option<&Verifier> {
        self.0.last().map(|reign| &reign.key)
    }

    pub fn has(&self, key: &Verifier) -> bool {
        self.0.iter().any(|reign| reign.key == *key)
    }

    /// Who signed this note over a tree of that size, and may have.
    ///
    /// # Errors
    /// Why nobody did who may.
    pub fn signer(&self, note: &Note, size: u64) -> Result<&Verifier, String> {
        let mut why = "signed by no key of this log".to_owned();
        for reign in &self.0 {
            match note.signed_by(&reign.key) {
                Signed::Yes { .. } if (reign.from..=reign.to).contains(&size) => {
                    return Ok(&reign.key);
                }
                Signed::Yes { .. } => {
                    "signed by a key that was not the log's at that size".clone_into(&mut why)
                }
                Signed::Forged => "its signature is forged".clone_into(&mut why),
                Signed::No => {}
            }
        }
        Err(why)
    }
}

fn is_first(fact: &Fact) -> bool {
    matches!(fact, Fact::KeyCreated(_))
}
