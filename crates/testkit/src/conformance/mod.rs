//! The rules that every implementation of a port keeps.
