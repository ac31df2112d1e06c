//! The catalog as it is asked: what ships, and sites' files over it.

mod hazards;
mod resolve;
mod schemes;
mod shipped;
mod site;

use firmware_catalog::{
    Catalog, Subject,
    catalog::{Part, SiteFile},
};

/// A ConnectX-6 Dx on Debian's kernel.
fn connectx6() -> Subject {
    Subject {
        name: "eth1".to_owned(),
        driver: "mlx5_core".to_owned(),
        in_tree: Some(true),
        pci: Some((0x15b3, 0x101d)),
        board: Some("MT_0000000359".to_owned()),
        running: Some("22.43.3608 (MT_0000000359)".to_owned()),
        release: Some("6.1.0-56-amd64".to_owned()),
        kernel_base: Some("6.1.192".to_owned()),
        ..Subject::default()
    }
}

/// A NIC of this driver on this kernel, `unknown` where its base is.
fn nic(driver: &str, base: &str) -> Subject {
    Subject {
        name: "eth1".to_owned(),
        driver: driver.to_owned(),
        in_tree: Some(true),
        kernel_base: Some(base.to_owned()).filter(|base| base != "unknown"),
        ..Subject::default()
    }
}

fn file(part: Part, path: &str, text: &str) -> SiteFile {
    SiteFile { path: path.to_owned(), part, text: text.as_bytes().to_vec() }
}

/// The shipped catalog with these firmware versions of ConnectX-6 Dx over it.
fn with_firmware(entries: &str) -> Catalog {
    let text = format!("version-scheme: mlx5\n{entries}");
    Catalog::with_site(&[file(Part::Firmware, "site.yaml", &text)])
        .unwrap_or_else(|bad| panic!("{bad:?}"))
}

const SHA: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
