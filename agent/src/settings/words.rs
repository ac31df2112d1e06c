//! Words for people: what a write was about, and shell lines that do the same by hand.

use crate::{host::Nic, setting::Change};

/// `set ring.rx on eth1 to 4096`, or all of a batch.
pub(super) fn act(nic: &Nic, batch: &[Change]) -> String {
    let each: Vec<String> =
        batch.iter().map(|c| format!("{} on {} to {}", c.name, nic.name, c.to)).collect();
    format!("set {}", each.join(", "))
}

/// `ethtool -G eth1 rx 4096 tx 4096`: one line for a batch, `words` giving each change's arguments.
pub(super) fn ethtool(
    option: &str,
    nic: &Nic,
    batch: &[Change],
    words: impl Fn(&Change) -> Option<String>,
) -> Vec<String> {
    let arguments: Vec<String> = batch
        .iter()
        .filter_map(|change| Some(format!("{} {}", quote(&words(change)?), change.to)))
        .collect();
    if arguments.is_empty() {
        return Vec::new();
    }
    vec![format!("ethtool {option} {} {}", quote(&nic.name), arguments.join(" "))]
}

/// One shell word, quoted where the shell would read more into it.
pub(crate) fn quote(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.,:/@+=".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn the_shell_reads_one_word() {
        for (word, quoted) in [
            ("eth1", "eth1"),
            ("enp3s0f0np0.100", "enp3s0f0np0.100"),
            ("SmartAN capable", "'SmartAN capable'"),
            ("a;reboot", "'a;reboot'"),
            ("it's", r"'it'\''s'"),
            ("$(x)", "'$(x)'"),
            ("", "''"),
        ] {
            assert_eq!(quote(word), quoted);
        }
    }
}
