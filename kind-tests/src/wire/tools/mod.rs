//! Tools that create test data and break connections.

pub mod toxics;
