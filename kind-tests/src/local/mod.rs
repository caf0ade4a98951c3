//! `s3migrate` by itself on real services, run by `make local`.

pub mod api_server;
pub mod case;
pub mod cases;
pub mod job;
pub mod listing;
pub mod network;
pub mod objects;
pub mod permissions;
