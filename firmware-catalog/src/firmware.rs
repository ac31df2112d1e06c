//! Firmware versions: which are golden, good or blocked for which boards, and what their images are.

use serde::Serialize;

use crate::{Origin, scheme::Version};

/// One version of one model's firmware.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    /// The model's name: `ConnectX-6 Dx`.
    pub model: String,
    /// Board ids or PSIDs that it is for; empty: the source does not say, or the version does.
    pub boards: Vec<String>,
    pub version: Version,
    pub state: State,
    pub image: Option<Image>,
    /// Why it is blocked, or what else is to know.
    pub note: Option<String>,
    /// The issue that blocks it, by id.
    pub issue: Option<String>,
    pub source: String,
    pub origin: Origin,
}

/// What a site or vendor thinks of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// What every such NIC should run.
    Golden,
    /// Released and not known to be bad.
    Good,
    /// Never to run.
    Blocked,
}

impl State {
    pub const WORDS: [(&'static str, State); 3] =
        [("golden", State::Golden), ("good", State::Good), ("blocked", State::Blocked)];
}

/// The file that is flashed. It lies in the site's `CONFIG/firmware` or in `STATE/firmware/<sha256>`;
/// the catalog only says what it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Image {
    /// One plain file name, without any path.
    pub file: String,
    /// 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// The file's exact size, where the catalog says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// No image of this model is larger.
    pub bytes_max: u64,
    /// An armored SSHSIG over [`Release::signed_message`], namespace [`SIGNATURE_NAMESPACE`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// A version with its image and what vouches for it: what a flash is held to, forwards and back alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry {
    pub version: Version,
    pub image: Image,
    /// What the image's signature, where it has one, is over.
    pub signed_message: Vec<u8>,
    pub source: String,
    pub origin: Origin,
}

/// The SSHSIG namespace of catalog signatures (`ssh-keygen -Y sign -n nicmend-firmware`).
pub const SIGNATURE_NAMESPACE: &str = "nicmend-firmware";

/// Where a catalog gives no bound of its own. The largest image that the research names is a combined
/// PLDM of tens of megabytes.
pub const IMAGE_BYTES_MAX: u64 = 256 << 20;

/// The least version that a board may ever be given.
#[derive(Debug, Clone, PartialEq)]
pub struct Minimum {
    pub model: String,
    pub boards: Vec<String>,
    pub version: Version,
    pub source: String,
    pub origin: Origin,
}

/// Why an image's bytes are not the catalog's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTheImage {
    #[error("{file} is {bytes} bytes long, and no image of this model is longer than {most}")]
    TooLong { file: String, bytes: u64, most: u64 },
    #[error(
        "{file} is {bytes} bytes long, the catalog's image {expected}: it is cut off or another file"
    )]
    Length { file: String, bytes: u64, expected: u64 },
    #[error("{file} has sha256 {found}, the catalog's image {expected}")]
    Hash { file: String, found: String, expected: String },
}

impl Image {
    /// Whether a file of this many bytes may be read at all; asked before it is.
    pub fn check_length(&self, bytes: u64) -> Result<(), NotTheImage> {
        let file = self.file.clone();
        if bytes > self.bytes_max {
            return Err(NotTheImage::TooLong { file, bytes, most: self.bytes_max });
        }
        match self.bytes {
            Some(expected) if expected != bytes => {
                Err(NotTheImage::Length { file, bytes, expected })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the file's digest, in lower-case hexadecimal digits, is the catalog's.
    pub fn check_hash(&self, found: &str) -> Result<(), NotTheImage> {
        match found == self.sha256 {
            true => Ok(()),
            false => Err(NotTheImage::Hash {
                file: self.file.clone(),
                found: found.to_owned(),
                expected: self.sha256.clone(),
            }),
        }
    }
}

impl Release {
    /// The bytes that a site signs: what the entry says, so that a signature for one board or
    /// version cannot be moved to another. `None` without an image.
    pub fn signed_message(&self) -> Option<Vec<u8>> {
        let image = self.image.as_ref()?;
        let mut boards = self.boards.clone();
        boards.sort();
        let lines = [
            "nicmend-firmware/v1".to_owned(),
            format!("model {}", self.model),
            format!("boards {}", boards.join(",")),
            format!("version {}", self.version),
            format!("sha256 {}", image.sha256),
        ];
        Some(format!("{}\n", lines.join("\n")).into_bytes())
    }

    /// What there is to flash of it; `None` without an image.
    pub fn entry(&self) -> Option<Entry> {
        Some(Entry {
            version: self.version.clone(),
            image: self.image.clone()?,
            signed_message: self.signed_message()?,
            source: self.source.clone(),
            origin: self.origin.clone(),
        })
    }

    /// The boards that it is for: those that are listed, and the one that its version names itself must be
    /// among them. `None`: every board, as far as the source says.
    pub fn for_boards(&self) -> Option<Vec<&str>> {
        for_boards(&self.boards, &self.version)
    }

    /// Whether it is meant for this board; `None`: nobody knows.
    pub fn is_for(&self, board: Option<&str>) -> Option<bool> {
        is_for(self.for_boards(), board)
    }
}

impl Minimum {
    pub fn is_for(&self, board: Option<&str>) -> Option<bool> {
        is_for(for_boards(&self.boards, &self.version), board)
    }
}

fn for_boards<'e>(boards: &'e [String], version: &'e Version) -> Option<Vec<&'e str>> {
    let listed = boards.iter().map(String::as_str);
    match (version.board(), boards.is_empty()) {
        (None, true) => None,
        (None, false) => Some(listed.collect()),
        (Some(named), true) => Some(vec![named]),
        // Another board's version under this list is for none: lint says so.
        (Some(named), false) => Some(listed.filter(|board| *board == named).collect()),
    }
}

fn is_for(boards: Option<Vec<&str>>, board: Option<&str>) -> Option<bool> {
    match (boards, board) {
        (None, _) => Some(true),
        (Some(boards), Some(board)) => Some(boards.contains(&board)),
        (Some(_), None) => None,
    }
}

/// Whether a text is one plain file name: no path, nothing hidden, nothing that a shell or a
/// terminal would take for something else.
pub fn is_plain_file_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'+');
    (1..=128).contains(&text.len())
        && text.bytes().all(plain)
        && !text.starts_with(['.', '-'])
        && !text.contains("..")
}
