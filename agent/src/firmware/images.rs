//! Images under `STATE/firmware/<sha256>`: named by what they are, so that a name cannot lie.

use sha2::{Digest, Sha256};

use crate::{
    fault::{Fault, Kind, Result},
    plan::firmware::Image,
    store::Store,
};

/// The largest image taken, and the largest blob that the store reads back. NICs' images are of 1 to
/// 100 MiB.
pub const IMAGE_BYTES_MAX: u64 = 256 << 20;
/// The folder of images in the store.
pub const FOLDER: &str = "firmware";

/// What names these bytes.
pub fn image_of(bytes: &[u8]) -> Image {
    let sha256 = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Image { sha256, bytes: bytes.len() as u64 }
}

/// Where an image lies in the store.
pub fn blob(sha256: &str) -> String {
    format!("{FOLDER}/{sha256}")
}

/// Whether this is the name of an image, and nothing that could climb out of a folder.
pub fn is_name(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Stores an image. The one that is there already is fine.
///
/// # Errors
/// `Invalid` where it is empty or larger than [`IMAGE_BYTES_MAX`].
pub fn import(store: &dyn Store, bytes: &[u8]) -> Result<Image> {
    check_size(bytes.len() as u64)?;
    let image = image_of(bytes);
    store.put(&blob(&image.sha256), bytes)?;
    Ok(image)
}

/// Refuses what can be no image by its size.
pub fn check_size(bytes: u64) -> Result<()> {
    let act = "import a firmware image";
    match bytes {
        0 => Err(Fault::new(Kind::Invalid, act, "it is empty")),
        1..=IMAGE_BYTES_MAX => Ok(()),
        more => {
            let cause = format!("it has {more} bytes, at most {IMAGE_BYTES_MAX} are taken");
            Err(Fault::new(Kind::Invalid, act, cause))
        }
    }
}

/// The bytes of a stored image, if they are still the ones that its name says.
pub fn load(store: &dyn Store, image: &Image) -> Result<Vec<u8>> {
    let act = format!("read image {} of the store", image.sha256);
    if !is_name(&image.sha256) {
        return Err(Fault::new(Kind::Invalid, act, "that is no sha256 in hexadecimal"));
    }
    let Some(bytes) = store.get(&blob(&image.sha256))? else {
        return Err(Fault::new(Kind::Gone, act, "it is not there: `nicmend firmware import` it"));
    };
    let found = image_of(&bytes);
    if found.sha256 != image.sha256 {
        let cause = format!("its bytes digest to {} ({} of them)", found.sha256, found.bytes);
        return Err(Fault::new(Kind::Malformed, act, cause));
    }
    Ok(bytes)
}
