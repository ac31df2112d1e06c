//! `policy withdraw`: a law that this host was told to go by, and that is gone, is in force no more.

use std::{collections::BTreeMap, time::Duration};

use policy::request::Principal;
use serde_json::json;

use super::{
    Common, Done,
    apply::{at_desk, reason},
    out, place,
};
use crate::{
    log::{
        Fact,
        office::{Decision, Request},
    },
    runs::{Declined, Desk, Exit},
};

/// The rule by which it is refused, and what it is called in the log.
const RULE: &str = "supervisors-withdraw";
const ACTION: &str = "withdraw-law";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Why what was configured is to bind no more; stands in the log.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub why: String,
}

pub(super) fn run(common: &Common, args: &Args) -> Done {
    let host = place::machine()?;
    let disk = place::writer(common, Duration::ZERO)?;
    let now = at_desk(common, &host, &disk, |desk| withdrawn(desk, &args.why))?;
    if common.json {
        out::json(&json!({"withdrawn": true, "why": args.why, "in-force": now}));
    } else {
        out::line(&format!("withdrawn: {}", args.why));
        let now = now.as_deref().unwrap_or("as shipped: no venue, and uid 0 may do everything");
        out::line(&format!("in force  {now}"));
    }
    Ok(Exit::Done)
}

/// The file that is in force from now on, where there is one.
fn withdrawn(desk: &Desk, why: &str) -> Result<Option<String>, Declined> {
    let loaded = desk.law.loaded();
    if loaded.flaws.is_empty() && loaded.unread.is_empty() {
        let why = "what lies in CONFIG is in force: there is nothing to withdraw";
        return Err(Declined::new(Exit::Wrong, "law", why));
    }
    let there = desk.law.there()?;
    // Whoever may take a named risk upon himself, under the law that is to go.
    let allowed = match &loaded.asker {
        Principal::Operator { roles, .. } => roles.contains("supervisor"),
        Principal::Agent | Principal::Fleet { .. } | Principal::Stranger => false,
    };
    desk.say(None, facts(desk, why, allowed))?;
    // Before the act.
    desk.store.sync()?;
    if !allowed {
        let why = format!(
            "the law on record does not let {} withdraw it; a supervisor of it may, or put its files back",
            loaded.asker
        );
        return Err(Declined::new(Exit::Refused, RULE, why));
    }
    let now = there.config.as_ref().or(there.policies.first()).map(|text| text.file.clone());
    desk.law.withdraw(desk.store)?;
    Ok(now)
}

fn facts(desk: &Desk, why: &str, allowed: bool) -> Vec<Fact> {
    let law = desk.law.loaded();
    let record = match desk.law.on_record() {
        Ok(digest) => digest.unwrap_or_else(|| "none".to_owned()),
        Err(flaw) => flaw.to_string(),
    };
    let flaws: Vec<String> = law.flaws.iter().chain(&law.unread).map(ToString::to_string).collect();
    let (action, on) = (ACTION.to_owned(), desk.host.bearings().host);
    let details = BTreeMap::from([
        ("why".to_owned(), json!(why)),
        ("on-record".to_owned(), json!(record)),
        ("flaws".to_owned(), json!(flaws)),
    ]);
    let request =
        Request { action: action.clone(), on: on.clone(), overrides: Vec::new(), details };
    let decision = Decision {
        action,
        on,
        allowed,
        policies: vec![RULE.to_owned()],
        why: format!("{} asks for it", law.asker),
        satisfy: Vec::new(),
        context: json!({"principal": law.asker}),
    };
    vec![Fact::Requested(request), Fact::Decision(decision)]
}
