//! `approve`: a person's signature over a plan's digest and an expiry.
//!
//! ssh-keygen makes the signature, with a key file or through ssh-agent: it asks for passphrases and touches
//! as people know it, and no private key ever comes into this process.

mod terms;

use std::{
    io::{IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use jiff::Timestamp;
use policy::{
    approval::{Approval, Filed, LIFE, LIFE_MAX, NAMESPACE, Statement, Terms, Way},
    sshsig::PublicKey,
};

use self::terms::Here;
use super::{Common, Done, accepted::Accepted, deeds, law, out, plan, registry};
use crate::{
    approvals::{self, Registry},
    law::Law,
    log::{Fact, glass, office::Request},
    plan::Plan,
    runs::{Declined, Exit},
    store::disk::Disk,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The digest that `nicmend plan` printed.
    #[arg(value_name = "PLAN-DIGEST")]
    pub digest: String,
    /// A private key, or the public key (.pub) of one that ssh-agent holds.
    #[arg(long, value_name = "KEY", required_unless_present_any = ["statement", "list"])]
    pub key: Option<PathBuf>,
    /// Who signs, by the name in allowed_signers; found by the key unless given.
    #[arg(long = "as", value_name = "NAME", requires = "key")]
    pub name: Option<String>,
    /// How long the approval holds, at most 7d; 12h unless given.
    #[arg(long, value_name = "DURATION", value_parser = super::apply::duration, requires = "key")]
    pub expires: Option<Duration>,
    // What whoever runs the plan takes upon himself: consent covers what it names.
    #[command(flatten)]
    pub accepted: Accepted,
    /// Firmware may be flashed without a way back.
    #[arg(long)]
    pub no_way_back: bool,
    /// The run may begin even though the baseline meets the objective already.
    #[arg(long)]
    pub force: bool,
    /// For putting back a committed run of the plan, not for a run of it.
    #[arg(long)]
    pub revert: bool,
    /// Sign, after the fact, for what somebody did alone: a run's id, or RUN#ENTRY as `nicmend runs RUN` prints it.
    #[arg(long, value_name = "RUN", requires = "key")]
    #[arg(conflicts_with_all = ["revert", "no_way_back", "force"])]
    pub countersign: Option<String>,
    /// The plan in a file (`nicmend plan --json`), where it is not stored here.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Write text and signature to this directory instead, to be filed on the plan's host.
    #[arg(long, value_name = "DIR", requires = "key")]
    pub to: Option<PathBuf>,
    /// File an approval that was signed elsewhere: its text, with the signature beside it (.sig).
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    pub statement: Option<PathBuf>,
    /// Who has approved so far, and which approvals do not count.
    #[arg(long, conflicts_with_all = ["key", "statement"])]
    pub list: bool,
}

pub(super) fn run(common: &Common, args: &Args) -> Done {
    let (digest, plan) = match &args.plan {
        None => plan::stored(common, &args.digest)?,
        Some(file) => given(file, &args.digest)?,
    };
    let registry = registry::load(common)?;
    let here = Here::look(common, args)?;
    let planned = (digest.as_str(), &plan);
    let filed = match (&args.key, &args.statement) {
        (None, None) => return list(common, &registry, planned, &here),
        (None, Some(file)) => signed_elsewhere(file)?,
        (Some(key), _) => {
            let terms = terms::asked(args, &digest, &here)?;
            sign(common, args, (key, terms), &registry, planned, here.at)?
        }
    };
    let checked = terms::check(&filed, &registry, planned, &here);
    if let Some(dir) = &args.to {
        if let Err(why) = &checked {
            out::remark(&format!("note      this host would not count it: {why}"));
        }
        let (approval, terms) = of(&filed)?;
        let kept = write(dir, &filed)?;
        tell(common, &digest, (&approval, &terms, None), &kept);
        return Ok(Exit::Done);
    }
    let who = Statement::parse(&filed.text)
        .map_or_else(|_| "somebody".to_owned(), |statement| statement.approver);
    let refused = |why: String| {
        let words = format!("{who}'s approval of plan {digest} is not filed: {why}");
        Declined::new(Exit::Refused, "approval", words)
    };
    let (approval, terms) = checked.map_err(|why| refused(why.to_string()))?;
    let law = law::read(common);
    law.loaded().flaws.iter().for_each(|flaw| out::remark(&format!("note      policy {flaw}")));
    let signed = (approval.approver.as_str(), &terms);
    let (decision, why) = terms::permitted(&law, planned, signed, &here)?;
    let counts = why.filter(|_| terms::knows_people(law.loaded()) || terms.countersigns.is_some());
    let facts = said(&digest, (&approval, &terms), counts.as_deref(), decision);
    deeds::hand(common, &law, None, facts)?;
    if let Some(why) = counts {
        deeds::enter(common, &law)?;
        return Err(refused(why));
    }
    let kept = keep(common, &digest, (&approval, &terms), &filed)?;
    deeds::enter(common, &law)?;
    tell(common, &digest, (&approval, &terms, Some(&law)), &kept);
    Ok(Exit::Done)
}

/// A plan that somebody brought; it has to be the one that is named.
fn given(file: &Path, wanted: &str) -> Result<(String, Plan), Declined> {
    let wrong = |why: String| {
        Declined::new(Exit::Wrong, "plan", format!("read plan {}: {why}", file.display()))
    };
    const PLAN_BYTES_MAX: u64 = 8 << 20;
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).map_err(|e| wrong(e.to_string()))?;
    opened.take(PLAN_BYTES_MAX).read_to_end(&mut bytes).map_err(|e| wrong(e.to_string()))?;
    let mut json: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
    // `plan --json` prints it with what would refuse it; STATE/plans has it bare.
    if let Some(inner) = json.get_mut("plan").filter(|inner| inner.is_object()) {
        json = inner.take();
    }
    let plan: Plan = serde_json::from_value(json).map_err(|e| wrong(e.to_string()))?;
    let digest = plan.digest();
    if digest.trim_start_matches("sha256:") != wanted.trim_start_matches("sha256:") {
        return Err(wrong(format!("its digest is {digest}")));
    }
    Ok((digest, plan))
}

/// Shows what is to be signed, and has it signed.
fn sign(
    common: &Common,
    args: &Args,
    (key, terms): (&Path, Terms),
    registry: &Registry,
    (digest, plan): (&str, &Plan),
    at: Timestamp,
) -> Result<Filed, Declined> {
    let wrong = |why: String| Declined::new(Exit::Wrong, "approval", why);
    let life = args.expires.unwrap_or(LIFE);
    if life.is_zero() || life > LIFE_MAX {
        let days = LIFE_MAX.as_secs() / 86_400;
        return Err(wrong(format!("--expires: above 0s, at most {days}d")));
    }
    let approver = match &args.name {
        Some(name) => name.clone(),
        None => name_of(common, key, registry).map_err(wrong)?,
    };
    let expires = at.as_second().saturating_add(i64::try_from(life.as_secs()).unwrap_or(0));
    let expires = Timestamp::from_second(expires).map_err(|error| wrong(error.to_string()))?;
    let scope = approvals::scope(&plan.host);
    let statement = Statement { plan: digest.to_owned(), scope, terms, approver, expires };
    let text = statement.text();
    if Statement::parse(text.as_bytes()).as_ref() != Ok(&statement) {
        let what = "it cannot be written: a person's name with spaces, or more overrides than 64";
        return Err(wrong(format!("{}: {what}", statement.approver)));
    }
    if !common.json {
        plan::in_words(plan);
    }
    out::remark(&format!("\nto be signed by {}, with {}:\n", statement.approver, key.display()));
    text.lines().for_each(|line| out::remark(&format!("  {line}")));
    let overrides = terms::explained(common, &statement.terms);
    overrides.iter().for_each(|line| out::remark(&format!("it {line}")));
    out::remark("");
    if std::io::stdin().is_terminal() && !common.json && !confirmed() {
        return Err(Declined::new(Exit::Failed, "approval", "not signed"));
    }
    let signature = ssh_keygen(key, text.as_bytes())?;
    Ok(Filed { text: text.into_bytes(), signature })
}

fn confirmed() -> bool {
    let _ = write!(std::io::stderr(), "Sign this? [y/N] ");
    let mut answer = String::new();
    // A line at a terminal is bounded by the terminal itself.
    let read = std::io::stdin().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Whose key this is, by its public half.
fn name_of(common: &Common, key: &Path, registry: &Registry) -> Result<String, String> {
    const PUBLIC_BYTES_MAX: u64 = 16 * 1024;
    let public = match key.extension().is_some_and(|ending| ending == "pub") {
        true => key.to_owned(),
        false => PathBuf::from(format!("{}.pub", key.display())),
    };
    let named = "name yourself with --as NAME";
    let mut text = String::new();
    std::fs::File::open(&public)
        .and_then(|file| file.take(PUBLIC_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| format!("read {}: {error}; {named}", public.display()))?;
    let mut words = text.split_whitespace();
    let (kind, base64) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let key = PublicKey::from_words(kind, base64)
        .map_err(|error| format!("read {}: {error}", public.display()))?;
    match registry.people.by_key(&key) {
        Some(signer) => Ok(signer.who.clone()),
        None => {
            let signers = registry::signers(common);
            Err(format!("{} is nobody's in {}; {named}", key.fingerprint(), signers.display()))
        }
    }
}

/// Passphrases, PINs and touches are between ssh-keygen and the person.
fn ssh_keygen(key: &Path, text: &[u8]) -> Result<Vec<u8>, Declined> {
    let failed = |why: String| {
        Declined::new(Exit::Failed, "approval", format!("sign with {}: {why}", key.display()))
    };
    let mut child = Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", NAMESPACE, "-f"])
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("run ssh-keygen: {error}")))?;
    // A few hundred bytes: they fit the pipe whatever the child does.
    let fed = child.stdin.take().map(|mut pipe| pipe.write_all(text));
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(format!("ssh-keygen: {}", output.status)));
    }
    if let Some(Err(error)) = fed {
        return Err(failed(error.to_string()));
    }
    Ok(output.stdout)
}

fn signed_elsewhere(file: &Path) -> Result<Filed, Declined> {
    const FILE_BYTES_MAX: u64 = 64 * 1024;
    let read = |path: &Path| {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path)?;
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let wrong = |path: &Path, error: std::io::Error| {
        Declined::new(Exit::Wrong, "approval", format!("read {}: {error}", path.display()))
    };
    let text = read(file).map_err(|error| wrong(file, error))?;
    // As ssh-keygen names it, or as it lies beside the text in STATE/approvals.
    let beside = file.with_extension("sig");
    let signature = read(&PathBuf::from(format!("{}.sig", file.display())));
    let signature = signature.or_else(|_| read(&beside)).map_err(|error| wrong(&beside, error))?;
    Ok(Filed { text, signature })
}

/// What the statement says of itself, where nobody here can vouch for it.
fn of(filed: &Filed) -> Result<(Approval, Terms), Declined> {
    let statement = Statement::parse(&filed.text)
        .map_err(|void| Declined::new(Exit::Wrong, "approval", void.to_string()))?;
    let id = statement.id();
    let Statement { approver, expires, terms, .. } = statement;
    Ok((Approval { approver, id, key: String::new(), expires, filed: filed.clone() }, terms))
}

/// That somebody approves is a fact of its own, with what the policies say to it; when a run uses it up, the log has
/// its text and signature, of a countersignature at once. What is refused countersigns nothing.
fn said(
    digest: &str,
    (approval, terms): (&Approval, &Terms),
    refused: Option<&str>,
    decision: Option<Fact>,
) -> Vec<Fact> {
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut details = vec![
        ("form", glass::FORM.to_owned()),
        ("approver", approval.approver.clone()),
        ("id", approval.id.clone()),
        ("key", approval.key.clone()),
        ("expires", approval.expires.to_string()),
        ("for", terms.way.word().to_owned()),
    ];
    details.extend(terms.standby.iter().map(|nic| ("standby", nic.clone())));
    if let Some(act) = &terms.countersigns {
        let word = if refused.is_none() { "countersigns" } else { "would-countersign" };
        details.push((word, act.to_string()));
        details.push(("text", words(&approval.filed.text)));
        details.push(("signature", words(&approval.filed.signature)));
    }
    details.extend(refused.map(|why| ("refused", why.to_owned())));
    let details = details.into_iter().map(|(name, value)| (name.to_owned(), value.into()));
    let request = Request {
        action: "approve".to_owned(),
        on: digest.to_owned(),
        overrides: terms.overrides.iter().cloned().collect(),
        details: details.collect(),
    };
    std::iter::once(Fact::Requested(request)).chain(decision).collect()
}

/// The two files' paths.
type Kept = (PathBuf, PathBuf);

fn keep(
    common: &Common,
    digest: &str,
    (approval, terms): (&Approval, &Terms),
    filed: &Filed,
) -> Result<Kept, Declined> {
    let (text, signature) = approvals::names(digest, terms, &approval.approver)?;
    Disk::mark(&common.state_dir, &text, Some(&filed.text))?;
    Disk::mark(&common.state_dir, &signature, Some(&filed.signature))?;
    Ok((common.state_dir.join(text), common.state_dir.join(signature)))
}

fn write(dir: &Path, filed: &Filed) -> Result<Kept, Declined> {
    let approver = of(filed)?.0.approver;
    let (text, signature) =
        (dir.join(format!("{approver}.txt")), dir.join(format!("{approver}.txt.sig")));
    let failed = |error: std::io::Error| {
        let why = format!("write the approval to {}: {error}", dir.display());
        Declined::new(Exit::Failed, "approval", why)
    };
    std::fs::write(&text, &filed.text).map_err(failed)?;
    std::fs::write(&signature, &filed.signature).map_err(failed)?;
    Ok((text, signature))
}

/// The terms, for programs.
fn document(approval: &Approval, terms: &Terms) -> serde_json::Value {
    serde_json::json!({
        "approver": approval.approver,
        "id": approval.id,
        "key": approval.key,
        "expires": approval.expires.to_string(),
        "for": terms.way.word(),
        "overrides": terms.overrides,
        "standby": terms.standby,
        "countersigns": terms.countersigns.as_ref().map(ToString::to_string),
    })
}

/// `law`: of this host, where it was filed here.
fn tell(
    common: &Common,
    digest: &str,
    (approval, terms, law): (&Approval, &Terms, Option<&Law>),
    (text, signature): &Kept,
) {
    let verify = format!(
        "ssh-keygen -Y verify -f {} -I {} -n {NAMESPACE} -s {} < {}",
        registry::signers(common).display(),
        approval.approver,
        signature.display(),
        text.display()
    );
    // Where nobody has said who its people are, nothing asks for approvals, and none counts.
    let counts = law.map(|law| terms::knows_people(law.loaded()));
    if common.json {
        let mut told = document(approval, terms);
        told["plan"] = digest.into();
        told["counts"] = counts.into();
        told["text"] = String::from_utf8_lossy(&approval.filed.text).into();
        told["files"] = serde_json::json!([text, signature]);
        told["verify"] = verify.into();
        out::json(&told);
        return;
    }
    let what = match (&terms.countersigns, terms.way) {
        (Some(_), _) => "countersigned",
        (None, Way::Apply | Way::Revert) => "approved ",
    };
    out::line(&format!("{what} {digest}"));
    out::line(&format!("by        {}, until {}", approval.approver, approval.expires));
    out::line(&format!("verify    {verify}"));
    if counts == Some(false) {
        let why =
            "no `people` are configured here: nobody is an approver, and no policy asks for one";
        out::line(&format!("note      it does not count yet: {why}"));
    }
}

fn list(common: &Common, registry: &Registry, (digest, plan): (&str, &Plan), here: &Here) -> Done {
    let Some(disk) = &here.disk else {
        let why = "nothing is filed here: the plan's host has the approvals";
        return Err(Declined::new(Exit::Wrong, "approval", why));
    };
    let law = law::read(common);
    let acts = here.alone(digest).map(|glass| Terms {
        countersigns: Some(glass.named()),
        ..Terms::plain(Way::of(&glass.action).unwrap_or(Way::Apply))
    });
    let kinds = [Terms::plain(Way::Apply), Terms::plain(Way::Revert)].into_iter().chain(acts);
    let (mut counted, mut void) = (Vec::new(), Vec::new());
    for kind in kinds {
        for (who, filed) in approvals::filed(disk, registry, (digest, &kind))? {
            let (approval, terms) = match terms::check(&filed, registry, (digest, plan), here) {
                Ok(checked) => checked,
                Err(why) => {
                    void.push((who, why.to_string()));
                    continue;
                }
            };
            let signed = (approval.approver.as_str(), &terms);
            let (_, refused) = terms::permitted(&law, (digest, plan), signed, here)?;
            match refused.filter(|_| terms::knows_people(law.loaded())) {
                Some(why) => void.push((who, why)),
                None => counted.push((approval, terms)),
            }
        }
    }
    if common.json {
        let counted = counted.iter().map(|(approval, terms)| document(approval, terms));
        let void = void.iter().map(|(who, why)| serde_json::json!({"approver": who, "why": why}));
        out::json(&serde_json::json!({
            "plan": digest,
            "approvals": counted.collect::<Vec<_>>(),
            "void": void.collect::<Vec<_>>(),
        }));
        return Ok(Exit::Done);
    }
    out::line(&format!("plan      {digest}"));
    for (approval, terms) in &counted {
        let Approval { approver, expires, .. } = approval;
        let overrides: Vec<&str> = terms.overrides.iter().map(String::as_str).collect();
        let more = match overrides.is_empty() {
            true => String::new(),
            false => format!(", overriding {}", overrides.join(", ")),
        };
        let standby =
            terms.standby.iter().map(|nic| format!(", standby {nic}")).collect::<String>();
        let way = terms.way.word();
        out::line(&format!("approved  by {approver} for `{way}`{more}{standby}, until {expires}"));
    }
    void.iter().for_each(|(who, why)| out::line(&format!("void      {who}'s: {why}")));
    if counted.is_empty() && void.is_empty() {
        out::line("nobody has approved it");
    }
    Ok(Exit::Done)
}
