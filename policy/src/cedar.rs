//! A [`Request`] in Cedar's own values. What is built here holds against the shipped schema (a test does so
//! for requests of every shape), so that nothing is validated again at each decision.

use std::collections::{HashMap, HashSet};

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression as Value,
};
use playbooks::vocabulary::Disruption;

use crate::{
    Phase,
    request::{Facts, Principal, Reach, Request},
};

/// The schema's entity types, each name parsed once.
#[derive(Debug, Clone)]
pub(crate) struct Vocabulary {
    action: EntityTypeName,
    agent: EntityTypeName,
    catalog: EntityTypeName,
    disruption: EntityTypeName,
    fleet: EntityTypeName,
    host: EntityTypeName,
    nic: EntityTypeName,
    operator: EntityTypeName,
    phase: EntityTypeName,
    role: EntityTypeName,
    standby: EntityTypeName,
    stranger: EntityTypeName,
}

/// A request as Cedar takes it.
pub(crate) struct Asked {
    pub(crate) request: cedar_policy::Request,
    pub(crate) entities: Entities,
}

/// The word for a disruption in policies and messages: the playbooks' own.
pub(crate) fn felt(disruption: Disruption) -> &'static str {
    match disruption {
        Disruption::None => "none",
        Disruption::QueueReset => "queue-reset",
        Disruption::LinkFlap => "link-flap",
        Disruption::NicReset => "nic-reset",
    }
}

impl Vocabulary {
    /// # Errors
    /// None that is known: the names are the schema's.
    pub(crate) fn new() -> Result<Vocabulary, String> {
        let kind = |name: &str| name.parse::<EntityTypeName>().map_err(words);
        Ok(Vocabulary {
            action: kind("Action")?,
            agent: kind("Agent")?,
            catalog: kind("Catalog")?,
            disruption: kind("Disruption")?,
            fleet: kind("Fleet")?,
            host: kind("Host")?,
            nic: kind("Nic")?,
            operator: kind("Operator")?,
            phase: kind("Phase")?,
            role: kind("Role")?,
            standby: kind("Standby")?,
            stranger: kind("Stranger")?,
        })
    }

    /// Puts a request into Cedar's terms.
    ///
    /// # Errors
    /// None that is known: Cedar's constructors are fallible for values that are not made here.
    pub(crate) fn asked(&self, request: &Request) -> Result<Asked, String> {
        let principal = self.principal(&request.principal)?;
        let resource = self.resource(request)?;
        let (who, what) = (principal.uid(), resource.uid());
        let action = uid(&self.action, request.action.word());
        let context = Context::from_pairs(self.context(request)).map_err(words)?;
        let entities = Entities::from_entities([principal, resource], None).map_err(words)?;
        let request =
            cedar_policy::Request::new(who, action, what, context, None).map_err(words)?;
        Ok(Asked { request, entities })
    }

    fn principal(&self, principal: &Principal) -> Result<Entity, String> {
        let bare = |kind, name| Ok(Entity::new_no_attrs(uid(kind, name), HashSet::new()));
        match principal {
            Principal::Agent => bare(&self.agent, "agent"),
            Principal::Fleet { name } => bare(&self.fleet, name),
            Principal::Stranger => bare(&self.stranger, "stranger"),
            Principal::Operator { name, uid: number, roles } => {
                let mut attributes =
                    HashMap::from([("roles".to_owned(), self.roles(roles.iter()))]);
                if let Some(number) = number {
                    let number = Value::new_long(i64::from(*number));
                    attributes.insert("uid".to_owned(), number);
                }
                Entity::new(uid(&self.operator, name), attributes, HashSet::new()).map_err(words)
            }
        }
    }

    fn resource(&self, request: &Request) -> Result<Entity, String> {
        let subject = &request.subject;
        match request.action.reach() {
            Reach::Host => Ok(Entity::new_no_attrs(uid(&self.host, &subject.host), HashSet::new())),
            Reach::Nic => {
                let text = |text: &String| Value::new_string(text.clone());
                let attributes = HashMap::from([
                    ("name".to_owned(), text(&subject.name)),
                    ("driver".to_owned(), text(&subject.driver)),
                ]);
                Entity::new(uid(&self.nic, &subject.nic), attributes, HashSet::new()).map_err(words)
            }
        }
    }

    fn context(&self, request: &Request) -> Vec<(String, Value)> {
        let facts = &request.facts;
        let phases = facts.venues.values().map(|phase| self.phase(*phase));
        let consents: Vec<_> = request.consents().collect();
        let roles = consents.iter().flat_map(|(_, consent)| &consent.roles);
        let mut pairs = vec![
            ("phase", self.phase(facts.phase())),
            ("phases", Value::new_set(phases)),
            ("venues", self.venues(facts)),
            ("disruption", value(&self.disruption, felt(facts.disruption))),
            ("holders", texts(&facts.holders)),
            ("standby", value(&self.standby, facts.standby.word())),
            ("catalog", value(&self.catalog, facts.catalog.word())),
            ("hazards", texts(&facts.hazards)),
            ("overridden", texts(&facts.overridden)),
            ("approvals", long(consents.len() as u64)),
            ("approver_roles", self.roles(roles)),
            ("clock", clock(facts)),
            ("run_s", long(facts.run_s)),
            ("frozen", Value::new_bool(facts.frozen.is_some())),
            ("break_glass", Value::new_bool(facts.break_glass.is_some())),
        ];
        let requester = facts.requester.as_ref().map(|name| value(&self.operator, name));
        pairs.extend(requester.map(|name| ("requester", name)));
        pairs.extend(facts.hosts_today.map(|n| ("hosts_today", long(u64::from(n)))));
        pairs.extend(facts.runs_today.map(|n| ("runs_today", long(u64::from(n)))));
        pairs.extend(facts.boundary_s.map(|seconds| ("boundary_s", long(seconds))));
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn venues(&self, facts: &Facts) -> Value {
        let record = |(name, phase): (&String, &Phase)| {
            let pairs = [
                ("name".to_owned(), Value::new_string(name.clone())),
                ("phase".to_owned(), self.phase(*phase)),
            ];
            // Two different keys: this cannot fail.
            Value::new_record(pairs).ok()
        };
        Value::new_set(facts.venues.iter().filter_map(record))
    }

    fn phase(&self, phase: Phase) -> Value {
        value(&self.phase, phase.word())
    }

    fn roles<'r>(&self, roles: impl Iterator<Item = &'r String>) -> Value {
        Value::new_set(roles.map(|role| value(&self.role, role)))
    }
}

fn clock(facts: &Facts) -> Value {
    let pairs = [
        ("synchronised".to_owned(), Value::new_bool(facts.clock.synchronised)),
        ("error_us".to_owned(), long(facts.clock.error_us)),
    ];
    // Two different keys: the other arm is not reached, and would be no record, which refuses.
    Value::new_record(pairs).unwrap_or_else(|_| Value::new_bool(false))
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn value(kind: &EntityTypeName, id: &str) -> Value {
    Value::new_entity_uid(uid(kind, id))
}

/// Cedar's numbers are signed: what is larger than the largest is as good as it.
fn long(number: u64) -> Value {
    Value::new_long(i64::try_from(number).unwrap_or(i64::MAX))
}

fn texts<'t>(texts: impl IntoIterator<Item = &'t String>) -> Value {
    Value::new_set(texts.into_iter().map(|text| Value::new_string(text.clone())))
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
