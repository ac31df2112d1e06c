//! Keys, signatures and checks by OpenSSH's own ssh-keygen.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// A directory of its own, gone with the value.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("nicmend-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("make a scratch directory");
        Scratch(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("write a file");
        path
    }

    /// A key pair of this kind, with this passphrase; answers the private key's path.
    pub(crate) fn key(&self, name: &str, kind: &[&str], passphrase: &str) -> PathBuf {
        let path = self.0.join(name);
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-N", passphrase, "-C", name, "-f"]).arg(&path).arg("-t").args(kind);
        run(&mut keygen);
        path
    }

    /// `ssh-keygen -Y sign`, armoured.
    pub(crate) fn sign(
        &self,
        key: &Path,
        namespace: &str,
        message: &[u8],
        more: &[&str],
    ) -> Vec<u8> {
        let file = self.file("message", message);
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-Y", "sign", "-q", "-n", namespace, "-f"]).arg(key).args(more).arg(&file);
        run(&mut keygen);
        let signature = self.0.join("message.sig");
        let bytes = fs::read(&signature).expect("read the signature");
        fs::remove_file(signature).expect("remove the signature");
        bytes
    }

    /// `ssh-keygen -Y verify`, with these allowed signers.
    pub(crate) fn verified(
        &self,
        signers: &str,
        who: &str,
        namespace: &str,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let signers = self.file("signers", signers);
        let (message, signature) = (self.file("signed", message), self.file("sig", signature));
        let input = fs::File::open(message).expect("open the message");
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-Y", "verify", "-f"]).arg(signers).args(["-I", who, "-n", namespace, "-s"]);
        let output = keygen.arg(signature).stdin(input).output().expect("run ssh-keygen");
        output.status.success()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The key's line of a `.pub` file, without its comment.
pub(crate) fn public(key: &Path) -> String {
    let mut path = key.as_os_str().to_owned();
    path.push(".pub");
    let text = fs::read_to_string(path).expect("read the public key");
    text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().expect("run a program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
    output
}
