//! Requests of every shape from a seed.

use std::collections::{BTreeMap, BTreeSet};

use playbooks::vocabulary::Disruption;
use policy::{
    Phase,
    request::{Action, Catalog, Clock, Consent, Facts, Principal, Request, Standby, Subject},
};

/// xorshift64*: the same seed, the same requests.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).expect("an index")].clone()
    }

    fn chance(&mut self) -> bool {
        self.below(3) == 0
    }

    pub(crate) fn request(&mut self) -> Request {
        let subject = Subject {
            host: "trade1".to_owned(),
            nic: "pci 0000:81:00.0".to_owned(),
            name: "eth1".to_owned(),
            driver: "ice".to_owned(),
        };
        Request {
            principal: self.principal(),
            action: self.one(&Action::ALL),
            subject,
            facts: self.facts(),
        }
    }

    fn principal(&mut self) -> Principal {
        match self.below(6) {
            0 => Principal::Agent,
            1 => Principal::Fleet { name: "fleet1".to_owned() },
            2 => Principal::Stranger,
            _ => {
                let uid = self.chance().then_some(1000);
                Principal::Operator { name: "asker".to_owned(), uid, roles: self.roles() }
            }
        }
    }

    fn roles(&mut self) -> BTreeSet<String> {
        let roles = ["operator", "approver", "supervisor"].map(str::to_owned);
        let mut some = BTreeSet::new();
        for role in roles {
            if self.below(2) == 0 {
                some.insert(role);
            }
        }
        some
    }

    fn facts(&mut self) -> Facts {
        let mut venues = BTreeMap::new();
        for venue in ["SSE", "HKEX", "CME"] {
            if self.chance() {
                venues.insert(venue.to_owned(), self.one(&Phase::ALL));
            }
        }
        let mut approvals = BTreeMap::new();
        for name in ["asker", "second", "third"] {
            if self.below(2) == 0 {
                approvals.insert(name.to_owned(), Consent { roles: self.roles() });
            }
        }
        let texts = |some: bool, text: &str| -> BTreeSet<String> {
            some.then(|| text.to_owned()).into_iter().collect()
        };
        let numbers = [0, 1, 59, 60, 61, 1_000_000, u64::MAX];
        let standbys = [Standby::Free, Standby::Busy, Standby::None, Standby::Unknown];
        let catalogs =
            [Catalog::Golden, Catalog::Good, Catalog::Drifted, Catalog::Blocked, Catalog::Unknown];
        let felt =
            [Disruption::None, Disruption::QueueReset, Disruption::LinkFlap, Disruption::NicReset];
        Facts {
            venues,
            disruption: self.one(&felt),
            holders: texts(self.chance(), "held:af-xdp:feed"),
            standby: self.one(&standbys),
            catalog: self.one(&catalogs),
            hazards: texts(self.chance(), "ice-61"),
            overridden: texts(self.chance(), "mlx5-7"),
            approvals,
            requester: self.chance().then(|| "asker".to_owned()),
            hosts_today: self.chance().then_some(12),
            runs_today: self.chance().then_some(3),
            clock: Clock { synchronised: !self.chance(), error_us: self.one(&numbers) },
            boundary_s: (!self.chance()).then(|| self.one(&numbers)),
            run_s: self.one(&numbers),
            frozen: self.chance().then(|| "a test".to_owned()),
            break_glass: self.chance().then(|| "a test".to_owned()),
        }
    }
}
