use crate::{log::RunRecord, store::Store, runs::Declined};
pub(super) fn of(_run: &RunRecord, _store: &dyn Store) -> Result<String, Declined> { Ok(String::new()) }
pub(super) fn of_all(_runs: &[&RunRecord], _store: &dyn Store) -> Result<String, Declined> { Ok(String::new()) }
