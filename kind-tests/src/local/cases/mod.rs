//! Cases of `make local`.

pub mod examples;
pub mod figures;
pub mod imported;
pub mod killed;
pub mod policies;
pub mod prefixes;
pub mod processes;
pub mod reach;
pub mod roles;
pub mod services;
