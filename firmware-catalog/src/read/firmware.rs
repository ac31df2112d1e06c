//! `firmware/*.yaml`: versions by model and board, and the least version a board may be given.

use playbooks::parse::{
    Problem,
    yaml::{Fields, Findings, Node, shown},
};

use super::{LIST_MAX, each, file, needed, optional, texts, word};
use crate::{
    Origin,
    firmware::{IMAGE_BYTES_MAX, Image, Minimum, Release, State, is_plain_file_name},
    scheme::{Scheme, Version},
};

/// What one file says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Firmware {
    pub(crate) releases: Vec<Release>,
    pub(crate) minimums: Vec<Minimum>,
}

pub(crate) fn firmware(source: &[u8], origin: &Origin) -> Result<Firmware, Vec<Problem>> {
    file(source, |document, findings| {
        const KEYS: &[&str] = &["version-scheme", "firmware", "minimum"];
        let fields = findings.fields(document, "a file of firmware", KEYS)?;
        let schemes = Scheme::ALL.map(|scheme| (scheme.name(), scheme));
        fields.need("version-scheme", findings)?;
        let scheme = word(&fields, "version-scheme", &schemes, findings)??;
        let releases = match fields.need("firmware", findings) {
            None => None,
            Some(node) => findings
                .list(node, "`firmware`", LIST_MAX)
                .and_then(|items| each(items, |item| release(item, scheme, origin, findings))),
        };
        let minimums = match fields.get("minimum") {
            None => Some(Vec::new()),
            Some(node) => findings
                .list(node, "`minimum`", LIST_MAX)
                .and_then(|items| each(items, |item| minimum(item, scheme, origin, findings))),
        };
        Some(Firmware { releases: releases?, minimums: minimums? })
    })
}

fn release(
    node: &Node,
    scheme: Scheme,
    origin: &Origin,
    findings: &mut Findings,
) -> Option<Release> {
    const KEYS: &[&str] =
        &["model", "boards", "version", "state", "image", "note", "issue", "source"];
    let fields = findings.fields(node, "a firmware version", KEYS)?;
    let model = needed(&fields, "model", findings);
    let boards = boards(&fields, findings);
    let version = version(&fields, scheme, findings);
    fields.need("state", findings)?;
    let state = word(&fields, "state", &State::WORDS, findings)?;
    let image = match fields.get("image") {
        None => Some(None),
        Some(node) => image(node, findings).map(Some),
    };
    let note = optional(&fields, "note", findings)?;
    let issue = optional(&fields, "issue", findings)?;
    let source = needed(&fields, "source", findings);
    let (model, boards, version, state) = (model?, boards?, version?, state?);
    let (image, source, origin) = (image?, source?, origin.clone());
    Some(Release { model, boards, version, state, image, note, issue, source, origin })
}

fn minimum(
    node: &Node,
    scheme: Scheme,
    origin: &Origin,
    findings: &mut Findings,
) -> Option<Minimum> {
    let fields =
        findings.fields(node, "a minimum version", &["model", "boards", "version", "source"])?;
    let model = needed(&fields, "model", findings);
    let boards = boards(&fields, findings);
    let version = version(&fields, scheme, findings);
    let source = needed(&fields, "source", findings);
    let origin = origin.clone();
    Some(Minimum { model: model?, boards: boards?, version: version?, source: source?, origin })
}

fn boards(fields: &Fields<'_>, findings: &mut Findings) -> Option<Vec<String>> {
    texts(fields, "boards", findings)
}

fn version(fields: &Fields<'_>, scheme: Scheme, findings: &mut Findings) -> Option<Version> {
    let node = fields.need("version", findings)?;
    let text = findings.line(node, "`version`", 96)?;
    scheme.parse(text).map_err(|error| findings.wrong(node.mark, error.to_string())).ok()
}

fn image(node: &Node, findings: &mut Findings) -> Option<Image> {
    const KEYS: &[&str] = &["file", "sha256", "bytes", "bytes-max", "signature"];
    let fields = findings.fields(node, "an image", KEYS)?;
    let file = fields.need("file", findings).and_then(|node| {
        let text = findings.line(node, "`file`", 400)?;
        if !is_plain_file_name(text) {
            let message = format!("`{}` is not a plain file name", shown(text));
            findings.mend(node.mark, message, "letters, digits, dots, dashes; no path");
            return None;
        }
        Some(text.to_owned())
    });
    let sha256 = fields.need("sha256", findings).and_then(|node| {
        let text = findings.line(node, "`sha256`", 400)?;
        let plain = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 64 || !text.bytes().all(plain) {
            findings.wrong(node.mark, "`sha256` is 64 lower-case hexadecimal digits");
            return None;
        }
        Some(text.to_owned())
    });
    let most = u32::try_from(IMAGE_BYTES_MAX).unwrap_or(u32::MAX);
    let mut size = |key: &'static str| match fields.get(key) {
        None => Some(None),
        Some(node) => {
            findings.whole(node, &format!("`{key}`"), 1..=most).map(|bytes| Some(u64::from(bytes)))
        }
    };
    let (bytes, bytes_max) = (size("bytes"), size("bytes-max"));
    let signature = match fields.get("signature") {
        None => None,
        Some(node) => Some(signature(node, findings)?),
    };
    let (bytes, bytes_max) = (bytes?, bytes_max?.unwrap_or(IMAGE_BYTES_MAX));
    if bytes.is_some_and(|bytes| bytes > bytes_max) {
        findings.wrong(fields.mark_of("bytes"), "`bytes` is above `bytes-max`");
        return None;
    }
    Some(Image { file: file?, sha256: sha256?, bytes, bytes_max, signature })
}

/// An armored SSHSIG: its shape only; whose it is, and whether it holds, is for who verifies it.
fn signature(node: &Node, findings: &mut Findings) -> Option<String> {
    let text = findings.scalar(node, "`signature`")?.text.trim();
    let (first, last) = ("-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----");
    if text.len() > 8192 || !text.starts_with(first) || !text.ends_with(last) {
        let help = "what `ssh-keygen -Y sign` prints, from its BEGIN line to its END line";
        findings.mend(node.mark, "`signature` is no SSH signature", help);
        return None;
    }
    Some(text.to_owned())
}
