//! What cases make and break things with.

pub mod seeded;
pub mod toxics;
