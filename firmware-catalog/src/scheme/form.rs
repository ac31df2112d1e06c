//! What versions of each scheme look like: text to numbers, strictly.

use super::{Scheme, Version};

/// The version that this whole text is.
pub(super) fn read(scheme: Scheme, text: &str) -> Option<Version> {
    let text = text.trim();
    let parts = match scheme {
        Scheme::Mlx5 => mlx5(text),
        Scheme::IntelNvm => nvm(text),
        Scheme::IntelEetrack => eetrack(text),
        Scheme::Igb => igb(text),
        Scheme::E1000e => counted(text),
        Scheme::Bnxt => bnxt(text),
        Scheme::Sfc => sfc(text),
        Scheme::Cxgb4 => cxgb4(text),
        Scheme::Qede => qede(text),
        Scheme::Dotted => dotted(text, 1, 6).map(Parts::of),
    }?;
    let Parts { numbers, second, build, rom, board } = parts;
    Some(Version { scheme, numbers, second, build, rom, board, text: text.to_owned() })
}

/// The numbers of a text that is only the beginning of a version, or all of its ordered part.
pub(super) fn prefix(scheme: Scheme, text: &str) -> Option<Vec<u32>> {
    let text = text.trim();
    match scheme {
        Scheme::Mlx5 => dotted(text, 1, 3),
        // `%x.%02x`: read as the driver prints it, so that 4.40 is above 4.9.
        Scheme::IntelNvm => hexadecimal(text),
        Scheme::IntelEetrack => None,
        Scheme::Igb | Scheme::E1000e => dotted(text, 1, 2),
        Scheme::Bnxt | Scheme::Sfc | Scheme::Cxgb4 => dotted(text, 1, 4),
        Scheme::Qede => dotted(text, 1, 3),
        Scheme::Dotted => dotted(text, 1, 6),
    }
}

#[derive(Default)]
struct Parts {
    numbers: Vec<u32>,
    second: Vec<u32>,
    build: Option<String>,
    rom: Option<String>,
    board: Option<String>,
}

impl Parts {
    fn of(numbers: Vec<u32>) -> Parts {
        Parts { numbers, ..Parts::default() }
    }
}

/// `22.43.3608`, `22.43.3608 (MT_0000000359)`.
fn mlx5(text: &str) -> Option<Parts> {
    let (numbers, board) = match text.split_once(" (") {
        Some((numbers, rest)) => (numbers, Some(psid(rest.strip_suffix(')')?)?)),
        None => (text, None),
    };
    Some(Parts { board, ..Parts::of(dotted(numbers, 3, 3)?) })
}

/// At most 16 characters, as the device stores it.
fn psid(text: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    ((1..=16).contains(&text.len()) && text.bytes().all(plain)).then(|| text.to_owned())
}

/// `4.40 0x8001c967 1.3534.0`, or the EETRACK id alone, as devlink's `fw.bundle_id` has it.
fn nvm(text: &str) -> Option<Parts> {
    let words: Vec<&str> = text.split(' ').collect();
    match words.as_slice() {
        [build] => Some(Parts { build: Some(id(build)?), ..Parts::default() }),
        [nvm, build, rom @ ..] if rom.len() <= 1 => {
            let rom = rom.first().map_or(Some(None), |rom| option_rom(rom).map(Some))?;
            let numbers = hexadecimal(nvm).filter(|numbers| numbers.len() == 2)?;
            Some(Parts { build: Some(id(build)?), rom, ..Parts::of(numbers) })
        }
        _ => None,
    }
}

/// `0x00012b2c`, `0x00012b2c, 1.3429.0`.
fn eetrack(text: &str) -> Option<Parts> {
    let (build, rom) = text.split_once(", ").map_or((text, None), |(id, rom)| (id, Some(rom)));
    let rom = rom.map_or(Some(None), |rom| option_rom(rom).map(Some))?;
    Some(Parts { build: Some(id(build)?), rom, ..Parts::default() })
}

/// `1.63, 0x800009fa`, with an option ROM or without; an iNVM's `3.25-0`.
fn igb(text: &str) -> Option<Parts> {
    let Some((numbers, rest)) = text.split_once(", ") else { return counted(text) };
    let (build, rom) = rest.split_once(", ").map_or((rest, None), |(id, rom)| (id, Some(rom)));
    let rom = rom.map_or(Some(None), |rom| option_rom(rom).map(Some))?;
    Some(Parts { build: Some(id(build)?), rom, ..Parts::of(dotted(numbers, 2, 2)?) })
}

/// `2.1-2`. igb pads its numbers with blanks (`%2d.%2d-%d`).
fn counted(text: &str) -> Option<Parts> {
    let (numbers, count) = text.split_once('-')?;
    let (major, minor) = numbers.split_once('.')?;
    let parts = [major.trim_start_matches(' '), minor.trim_start_matches(' '), count];
    Some(Parts::of(parts.into_iter().map(number).collect::<Option<Vec<u32>>>()?))
}

/// `233.0.151.0`, `233.0.151.0/pkg 233.1.135.7`.
fn bnxt(text: &str) -> Option<Parts> {
    let (firmware, package) =
        text.split_once("/pkg ").map_or((text, None), |(f, package)| (f, Some(package)));
    let second = package.map_or(Some(Vec::new()), |package| dotted(package, 2, 5))?;
    Some(Parts { second, ..Parts::of(dotted(firmware, 4, 4)?) })
}

/// `8.0.0.1015 rx1 tx1`.
fn sfc(text: &str) -> Option<Parts> {
    let (numbers, variants) = text.split_once(' ').map_or((text, None), |(n, v)| (n, Some(v)));
    let build = match variants {
        None => None,
        Some(variants) => {
            let (rx, tx) = variants.split_once(' ')?;
            let hex = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit()) && !text.is_empty();
            let known =
                rx.strip_prefix("rx").is_some_and(hex) && tx.strip_prefix("tx").is_some_and(hex);
            Some(known.then(|| variants.to_owned())?)
        }
    };
    Some(Parts { build, ..Parts::of(dotted(numbers, 4, 4)?) })
}

/// `1.27.5.0, TP 0.1.4.9`.
fn cxgb4(text: &str) -> Option<Parts> {
    let (firmware, tp) = text.split_once(", TP ").map_or((text, None), |(f, tp)| (f, Some(tp)));
    let second = tp.map_or(Some(Vec::new()), |tp| dotted(tp, 4, 4))?;
    Some(Parts { second, ..Parts::of(dotted(firmware, 4, 4)?) })
}

/// `mbi 15.10.6 [mfw 8.42.9.0]`, `mbi 15.10.6`.
fn qede(text: &str) -> Option<Parts> {
    let image = text.strip_prefix("mbi ")?;
    let (image, mfw) = match image.split_once(" [mfw ") {
        Some((image, mfw)) => (image, Some(mfw.strip_suffix(']')?)),
        None => (image, None),
    };
    let second = mfw.map_or(Some(Vec::new()), |mfw| dotted(mfw, 4, 4))?;
    Some(Parts { second, ..Parts::of(dotted(image, 3, 3)?) })
}

/// `least` to `most` numbers with dots between.
fn dotted(text: &str, least: usize, most: usize) -> Option<Vec<u32>> {
    // No version is longer; a hostile one need not be split to the end.
    if text.len() > 96 {
        return None;
    }
    let numbers = text.split('.').map(number).collect::<Option<Vec<u32>>>()?;
    (least..=most).contains(&numbers.len()).then_some(numbers)
}

fn option_rom(text: &str) -> Option<String> {
    dotted(text, 3, 3).map(|_| text.to_owned())
}

/// Digits only: `u32::from_str` would take a sign too.
fn number(text: &str) -> Option<u32> {
    let digits = (1..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// `4.40`, `4`: one or two hexadecimal numbers, the second of two digits.
fn hexadecimal(text: &str) -> Option<Vec<u32>> {
    let hex = |text: &str, length: std::ops::RangeInclusive<usize>| {
        let plain = length.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
        plain.then(|| u32::from_str_radix(text, 16).ok()).flatten()
    };
    match text.split_once('.') {
        Some((major, minor)) => Some(vec![hex(major, 1..=2)?, hex(minor, 2..=2)?]),
        None => Some(vec![hex(text, 1..=2)?]),
    }
}

/// `0x8001c967` as eight digits, however many were printed.
fn id(text: &str) -> Option<String> {
    let digits = text.strip_prefix("0x")?;
    let plain = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let id = plain.then(|| u32::from_str_radix(digits, 16).ok()).flatten()?;
    Some(format!("0x{id:08x}"))
}
