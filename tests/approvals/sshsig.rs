//! `policy::sshsig` against ssh-keygen: what one signs the other takes, and what one refuses, so does
//! the other.

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use policy::sshsig::{People, Refused, Revoked, verify};
use ring::signature::{Ed25519KeyPair, KeyPair};
use sha2::{Digest, Sha256, Sha512};

use crate::keys::{Scratch, public};

const KINDS: &[&[&str]] = &[
    &["ed25519"],
    &["ecdsa", "-b", "256"],
    &["ecdsa", "-b", "384"],
    &["rsa", "-b", "2048"],
    &["rsa", "-b", "4096"],
];
const NS: &str = "nicmend-plan";

fn at() -> Timestamp {
    "2026-11-28T12:00:00Z".parse().expect("a time")
}

fn people(text: &str) -> People {
    People::parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn who(signers: &str, message: &[u8], signature: &[u8]) -> Result<String, Refused> {
    let people = people(signers);
    verify(&people, &Revoked::default(), NS, message, signature, at()).map(|who| who.who.clone())
}

#[test]
fn what_ssh_keygen_signs_is_verified_for_every_kind_and_hash() {
    let scratch = Scratch::new("sshsig-kinds");
    for (index, kind) in KINDS.iter().enumerate() {
        let key = scratch.key(&format!("key{index}"), kind, "");
        let signers = format!("alice {}\n", public(&key));
        for hash in ["sha512", "sha256"] {
            let option = format!("hashalg={hash}");
            let signature = scratch.sign(&key, NS, b"a plan", &["-O", &option]);
            assert_eq!(who(&signers, b"a plan", &signature), Ok("alice".to_owned()), "{kind:?}");
            let forged = who(&signers, b"a plan?", &signature);
            assert!(matches!(forged, Err(Refused::Forged { .. })), "{kind:?}: {forged:?}");
        }
    }
}

#[test]
fn no_changed_byte_of_a_signature_is_taken() {
    let scratch = Scratch::new("sshsig-bytes");
    let key = scratch.key("key", &["ed25519"], "");
    let signers = format!("alice {}\n", public(&key));
    let armoured = scratch.sign(&key, NS, b"a plan", &[]);
    let bytes = unarmoured(&armoured);
    for at in 0..bytes.len() {
        for bit in [0x01, 0x80] {
            let mut changed = bytes.clone();
            changed[at] ^= bit;
            let taken = who(&signers, b"a plan", &armour(&changed));
            assert!(taken.is_err(), "byte {at} changed by {bit:#x} was taken: {taken:?}");
        }
    }
    for length in 0..bytes.len() {
        assert!(who(&signers, b"a plan", &armour(&bytes[..length])).is_err(), "cut at {length}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(who(&signers, b"a plan", &armour(&longer)).is_err(), "a byte more");
    assert!(who(&signers, b"a plan", &bytes).is_err(), "without its armour");
    let huge = vec![b'A'; 1 << 20];
    let told = who(&signers, b"a plan", &huge).expect_err("a megabyte").to_string();
    assert!(told.contains("at most 8192"), "{told}");
}

#[test]
fn namespace_hash_and_algorithm_are_held_to() {
    let scratch = Scratch::new("sshsig-names");
    let key = scratch.key("key", &["rsa", "-b", "2048"], "");
    let signers = format!("alice {}\n", public(&key));
    let other = scratch.sign(&key, "git", b"a plan", &[]);
    let told = who(&signers, b"a plan", &other).expect_err("another namespace").to_string();
    assert!(told.contains("`git`, not for `nicmend-plan`"), "{told}");

    let good = unarmoured(&scratch.sign(&key, NS, b"a plan", &[]));
    let md5 = replaced(&good, b"\0\0\0\x06sha512", b"\0\0\0\x03md5");
    let told = who(&signers, b"a plan", &armour(&md5)).expect_err("md5").to_string();
    assert!(told.contains("hash `md5` is not taken"), "{told}");

    // The outer length of the signature blob shrinks with its name.
    let at = find(&good, b"rsa-sha2-512") - 8;
    let mut sha1 = replaced(&good, b"\0\0\0\x0crsa-sha2-512", b"\0\0\0\x07ssh-rsa");
    let length = u32::from_be_bytes(good[at..at + 4].try_into().expect("four bytes")) - 5;
    sha1[at..at + 4].copy_from_slice(&length.to_be_bytes());
    let told = who(&signers, b"a plan", &armour(&sha1)).expect_err("SHA-1").to_string();
    assert!(told.contains("`ssh-rsa`") && told.contains("not taken"), "{told}");
}

#[test]
fn a_key_signs_for_whom_what_and_when_the_registry_says() {
    let scratch = Scratch::new("sshsig-registry");
    let key = scratch.key("key", &["ed25519"], "");
    let line = public(&key);
    let signature = scratch.sign(&key, NS, b"a plan", &[]);
    let told = |signers: &str| match who(signers, b"a plan", &signature) {
        Ok(who) => format!("taken from {who}"),
        Err(refused) => refused.to_string(),
    };
    let cases = [
        (format!("alice {line}\n"), "taken from alice"),
        (format!("alice namespaces=\"file,nicmend-plan\" {line} a@b\n"), "taken from alice"),
        (
            format!("alice namespaces=\"nicmend-firmware\" {line}\n"),
            "may not sign for `nicmend-plan`",
        ),
        (format!("alice valid-before=\"20261128Z\" {line}\n"), "expired at 2026-11-28T00:00:00Z"),
        (format!("alice valid-before=\"20261129Z\" {line}\n"), "taken from alice"),
        (format!("alice valid-after=\"202611281201Z\" {line}\n"), "not yet"),
        (format!("alice valid-after=\"20261128115959Z\" {line}\n"), "taken from alice"),
        (format!("bob {}\n", public(&scratch.key("bob", &["ed25519"], ""))), "nobody's"),
        ("# nobody\n".to_owned(), "nobody's"),
    ];
    for (signers, expected) in &cases {
        let told = told(signers);
        assert!(told.contains(expected), "{signers}: {told}");
    }
    // The time apart, which ssh-keygen takes from the clock, it says the same.
    for (signers, expected) in cases.iter().filter(|(signers, _)| !signers.contains("valid")) {
        let taken = scratch.verified(signers, "alice", NS, b"a plan", &signature);
        assert_eq!(taken, expected.starts_with("taken"), "ssh-keygen: {signers}");
    }
    let revoked = Revoked::parse(format!("{line} stolen\n").as_bytes()).expect("a list");
    let signers = people(&format!("alice {line}\n"));
    let refused = verify(&signers, &revoked, NS, b"a plan", &signature, at());
    assert!(matches!(refused, Err(Refused::Revoked { .. })), "{refused:?}");
}

#[test]
fn a_registry_with_a_doubt_knows_nobody_and_says_every_one() {
    let scratch = Scratch::new("sshsig-doubt");
    let line = public(&scratch.key("key", &["ed25519"], ""));
    let other = public(&scratch.key("other", &["ed25519"], ""));
    let weak = public(&scratch.key("weak", &["rsa", "-b", "1024"], ""));
    let large = public(&scratch.key("large", &["ecdsa", "-b", "521"], ""));
    let file = format!(
        "alice {line}\nbob {line}\n*@example.com {other}\nalice,carol {other}\nAlice {other}\n\
         ca cert-authority {other}\ndave valid-before=\"20270101\" {other}\ndave {weak}\n\
         erin {large}\nfrank namespaces=\"nicmend-*\" {other}\ngina sometimes {other}\nhugo\n"
    );
    let problems = People::parse(file.as_bytes()).expect_err("doubts");
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let expected = [
        (2, "the key of line 1 again"),
        (3, "`*@example.com` is a pattern"),
        (4, "`alice,carol` is a pattern"),
        (5, "differ in case only"),
        (6, "certificate authorities are not taken"),
        (7, "not a time in UTC"),
        (8, "RSA with 1024 bits"),
        (9, "ecdsa-sha2-nistp521"),
        (10, "`nicmend-*` is not a plain name"),
        (11, "unknown option `sometimes`"),
        (12, "no key"),
    ];
    for (line, words) in expected {
        let found = problems.iter().any(|p| p.line == line && p.message.contains(words));
        assert!(found, "line {line}: {words}\n{}", told.join("\n"));
    }
    let krl = Revoked::parse(b"SSHKRL\n\0....").expect_err("a KRL");
    assert!(krl[0].message.contains("KRL"), "{krl:?}");
    assert!(People::parse(&vec![b'#'; 300 * 1024]).is_err(), "a huge file");
}

/// No security key is at hand in a test, so its signature is made here as OpenSSH's `PROTOCOL.u2f` says,
/// and ssh-keygen is asked first whether it is one.
#[test]
fn a_security_key_signs_when_it_was_touched() {
    let scratch = Scratch::new("sshsig-sk");
    let seed = [7u8; 32];
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a key pair");
    let name: &[u8] = b"sk-ssh-ed25519@openssh.com";
    let mut key = Vec::new();
    [name, pair.public_key().as_ref(), b"ssh:"].iter().for_each(|part| string(&mut key, part));
    let signers = format!("alice sk-ssh-ed25519@openssh.com {}\n", STANDARD.encode(&key));
    let signature = |flags: u8| {
        let mut signed = b"SSHSIG".to_vec();
        let digest = Sha512::digest(b"a plan");
        [NS.as_bytes(), b"", b"sha512", &digest].iter().for_each(|p| string(&mut signed, p));
        let mut asked = Sha256::digest(b"ssh:").to_vec();
        asked.push(flags);
        asked.extend_from_slice(&9u32.to_be_bytes());
        asked.extend_from_slice(&Sha256::digest(&signed));
        let mut blob = Vec::new();
        string(&mut blob, name);
        string(&mut blob, pair.sign(&asked).as_ref());
        blob.push(flags);
        blob.extend_from_slice(&9u32.to_be_bytes());
        let mut whole = b"SSHSIG\0\0\0\x01".to_vec();
        [&key[..], NS.as_bytes(), b"", b"sha512", &blob].iter().for_each(|p| string(&mut whole, p));
        armour(&whole)
    };
    let touched = signature(1);
    assert!(scratch.verified(&signers, "alice", NS, b"a plan", &touched), "ssh-keygen");
    assert_eq!(who(&signers, b"a plan", &touched), Ok("alice".to_owned()));
    let told = who(&signers, b"a plan", &signature(0)).expect_err("untouched").to_string();
    assert!(told.contains("not touched"), "{told}");
}

fn string(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend_from_slice(&u32::try_from(bytes.len()).expect("short").to_be_bytes());
    to.extend_from_slice(bytes);
}

fn unarmoured(text: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(text).expect("text");
    let base64: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(base64).expect("base64")
}

fn armour(bytes: &[u8]) -> Vec<u8> {
    let base64 = STANDARD.encode(bytes);
    format!("-----BEGIN SSH SIGNATURE-----\n{base64}\n-----END SSH SIGNATURE-----\n").into_bytes()
}

fn find(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).position(|window| window == part).expect("the part")
}

fn replaced(bytes: &[u8], part: &[u8], by: &[u8]) -> Vec<u8> {
    let at = find(bytes, part);
    [&bytes[..at], by, &bytes[at + part.len()..]].concat()
}
