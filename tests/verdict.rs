//! The verdict on traces whose truth is known. The error rates over thousands of pairs are
//! `tests/bench/verdict`'s; here stand single pairs that must never go wrong.
