//! The program `s3migrate`.

fn main() {}
