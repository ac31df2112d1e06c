//! A machine that behaves: seeded faults, virtual time. Always compiled; `nicmend playbook test` runs on it.
