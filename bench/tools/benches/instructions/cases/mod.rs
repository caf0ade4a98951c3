//! The work that is counted.

mod requests;
mod values;

use self::requests::{Counted, Plain};

/// A kind of work.
pub struct Case {
    /// What is done.
    pub name: &'static str,
    /// What it is done for.
    pub unit: &'static str,
    /// Units of one round.
    pub units: u32,
    /// Rounds that are counted, after the first: enough for the instructions of all to be millions.
    pub rounds: u32,
    /// Does rounds of the work; services are at the port.
    pub work: fn(u32, u16),
}

const fn case(name: &'static str, unit: &'static str, (units, rounds): (u32, u32), work: fn(u32, u16)) -> Case {
    Case { name, unit, units, rounds, work }
}

/// All cases, in the order of the page.
pub const CASES: &[Case] = &[
    case("map a key", "key", (values::KEYS, 20), |rounds, _| values::map_keys(rounds)),
    case("compare the objects of a key", "key", (values::KEYS, 20), |rounds, _| values::compare_objects(rounds)),
    case("match a key with 100 ignore patterns", "key", (values::KEYS, 10), |rounds, _| values::ignore(100, rounds)),
    case("match a key with 10,000 ignore patterns", "key", (values::KEYS, 10), |rounds, _| {
        values::ignore(10_000, rounds);
    }),
    case("group entries into batches", "entry", (values::KEYS, 10), |rounds, _| values::group(rounds)),
    case("write a batch of 250", "entry", (values::BATCH, 20), |rounds, _| values::write_batch(rounds)),
    case("read a batch of 250", "entry", (values::BATCH, 20), |rounds, _| values::read_batch(rounds)),
    case("read an ETag, with its MD5", "ETag", (values::KEYS, 20), |rounds, _| values::read_etags(rounds)),
    case("compute the ETag of 1,000 parts", "part", (values::KEYS, 10), |rounds, _| values::etag_of_parts(rounds)),
    case("compute MD5 and CRC-64 of one body, without lanes", "MiB", (1, 8), |rounds, _| values::digest(rounds)),
    case("compute a CRC-64", "MiB", (1, 32), |rounds, _| values::crc64(rounds)),
    case("list a page of 1,000 keys", "key", (1_000, 4), requests::list::<Plain>),
    case("sign and send a HEAD", "request", (1, 100), requests::head::<Plain>),
    case("sign and send a GET, and read 10 KiB", "request", (1, 100), requests::get::<Plain>),
    case("sign and send a PUT of 10 KiB", "request", (1, 100), requests::put::<Plain>),
    case("the same list, with metrics", "key", (1_000, 4), requests::list::<Counted>),
    case("the same HEAD, with metrics", "request", (1, 100), requests::head::<Counted>),
    case("the same GET, with metrics", "request", (1, 100), requests::get::<Counted>),
    case("the same PUT, with metrics", "request", (1, 100), requests::put::<Counted>),
];
