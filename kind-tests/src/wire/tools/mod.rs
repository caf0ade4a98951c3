//! Tools that create test data and break connections.

pub mod seeded;
pub mod toxics;
