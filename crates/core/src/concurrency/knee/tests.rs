use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proptest::prelude::*;

use super::*;

/// A far service that answers so many requests a second, in order.
#[derive(Clone, Copy, Debug)]
struct Link {
    /// Round trip in microseconds.
    trip: u64,
    /// Answers per second.
    rate: u64,
    /// Largest deviation of a round trip, in percent of it.
    noise: u64,
    /// Objects that are there to be moved at once.
    supply: u32,
}

impl Link {
    /// Returns the number of objects at once that fills the link.
    fn knee(&self) -> u32 {
        u32::try_from(self.trip * self.rate / 1_000_000).unwrap()
    }
}

const FAR: Link = Link { trip: 100_000, rate: 1_000, noise: 0, supply: u32::MAX };

/// Moves objects over a link, each by a GET at a near source and a PUT.
struct Simulation {
    knee: Knee,
    now: u64,
    /// When the service is free again.
    free: u64,
    /// Ends, beginnings and durations of PUTs in flight.
    flying: BinaryHeap<Reverse<(u64, u64, u64)>>,
    /// Connections that were opened. The first request on each takes three round trips.
    connections: u32,
    random: u64,
    may_grow: bool,
}

impl Simulation {
    fn new(files: FilesPerWorker) -> Self {
        let (knee, flying, random) = (Knee::new(files), BinaryHeap::new(), 0x9E37_79B9_7F4A_7C15);
        Self { knee, now: 0, free: 0, flying, connections: 0, random, may_grow: true }
    }

    /// Returns a number from 0 to 2 · `most`.
    fn noise(&mut self, most: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % (2 * most + 1)
    }

    fn in_flight(&self) -> u32 {
        u32::try_from(self.flying.len()).unwrap()
    }

    fn begin(&mut self, link: &Link) {
        let trips = if self.in_flight() < self.connections { 1 } else { 3 };
        self.connections = self.connections.max(self.in_flight() + 1);
        let trip = trips * link.trip * (100 - link.noise + self.noise(link.noise)) / 100;
        self.free = self.free.max(self.now) + 1_000_000 / link.rate;
        let end = self.free.max(self.now + trip);
        self.flying.push(Reverse((end, self.now, end - self.now)));
    }

    /// Moves objects for some seconds. Returns the limits after each, and the number of objects a second.
    fn run(&mut self, link: Link, seconds: u64) -> (Vec<u32>, u64) {
        let (until, mut limits) = (self.now + seconds * 1_000_000, Vec::new());
        while self.now < until {
            while self.in_flight() < self.knee.limit().min(link.supply) {
                self.begin(&link);
            }
            let in_flight = self.in_flight();
            let Some(Reverse((end, began, taken))) = self.flying.pop() else { break };
            self.now = end;
            let (micros, now) = (Duration::from_micros, Duration::from_micros(end));
            self.knee.answered(RequestKind::SourceGet, micros(began), micros(500 + u64::from(in_flight) * 5));
            self.knee.answered(RequestKind::DestinationPut16K, micros(began), micros(taken));
            let object = FinishedObject { began: micros(began), in_flight, may_grow: self.may_grow };
            limits.push(self.knee.finished(object, now));
        }
        let moved = limits.len() as u64 / seconds;
        (limits, moved)
    }
}

fn bounds(limits: &[u32]) -> (u32, u32) {
    (limits.iter().copied().min().unwrap(), limits.iter().copied().max().unwrap())
}

#[test]
fn the_limit_changes_as_the_table_says() {
    for (limit, queueing, grows, expected) in [
        (16, 0.0, Some(true), 32),
        (16, 0.2, Some(true), 32),
        (16, 0.21, Some(true), 16),
        (64, 0.0, Some(false), 70),
        (64, 0.0, None, 64),
        (64, 0.33, Some(false), 64),
        (90, 0.4, Some(true), 54),
        (90, 0.4, None, 54),
        (90, 0.9, Some(true), 45),
        (1, 0.0, Some(false), 2),
    ] {
        assert_eq!(next_limit(limit, queueing, grows), expected, "{limit} {queueing} {grows:?}");
    }
}

#[test]
fn bodies_have_three_sizes() {
    for (bytes, expected) in [
        (0, Some(RequestKind::DestinationPut16K)),
        (16 << 10, Some(RequestKind::DestinationPut16K)),
        ((16 << 10) + 1, Some(RequestKind::DestinationPut128K)),
        (128 << 10, Some(RequestKind::DestinationPut128K)),
        (1 << 20, Some(RequestKind::DestinationPut1M)),
        ((1 << 20) + 1, None),
    ] {
        assert_eq!(RequestKind::of_put(bytes), expected, "{bytes}");
    }
}

#[test]
fn a_long_link_is_filled_within_three_seconds() {
    let mut simulation = Simulation::new(FilesPerWorker::Auto);
    let (limits, _) = simulation.run(FAR, 3);
    assert!(limits.iter().any(|limit| *limit >= FAR.knee()), "{:?}", bounds(&limits));
    assert!(limits.len() >= 1_500, "{} objects in three seconds", limits.len());
    let (_, rate) = simulation.run(FAR, 60);
    assert!(rate >= 950, "{rate} of 1000 a second");
    // What a thousand a second take is not all that the bound allows.
    let wide = Link { rate: 100_000, ..FAR };
    let mut simulation = Simulation::new(FilesPerWorker::Auto);
    let (limits, _) = simulation.run(wide, 3);
    assert_eq!(simulation.knee.limit(), 256);
    assert!(limits.len() >= 3_000, "{} objects in three seconds", limits.len());
}

#[test]
fn what_is_bound_by_a_processor_stays_at_the_start() {
    // Each answer costs a millisecond of processor: sixteen at once already wait for each other.
    let near = Link { trip: 500, ..FAR };
    let mut simulation = Simulation::new(FilesPerWorker::Auto);
    simulation.run(near, 2);
    let (limits, rate) = simulation.run(near, 120);
    let mean = limits.iter().map(|limit| u64::from(*limit)).sum::<u64>() / limits.len() as u64;
    assert!(mean <= 24 && bounds(&limits).1 <= 32, "{mean} on average, {:?}", bounds(&limits));
    assert!(rate >= 990, "{rate}");
}

#[test]
fn a_round_trip_that_changes_is_followed() {
    let mut simulation = Simulation::new(FilesPerWorker::Auto);
    simulation.run(FAR, 40);
    for trip in [200_000, 100_000, 50_000, 200_000] {
        let link = Link { trip, ..FAR };
        simulation.run(link, 40);
        let (limits, rate) = simulation.run(link, 60);
        assert!(rate >= 900, "{rate} a second at {trip} µs");
        assert!(bounds(&limits).1 <= link.knee() * 2, "{:?} at {trip} µs", bounds(&limits));
    }
}

#[test]
fn noise_does_not_collapse_it() {
    for noise in [10, 30] {
        let link = Link { noise, ..FAR };
        let mut simulation = Simulation::new(FilesPerWorker::Auto);
        simulation.run(link, 3);
        let (limits, rate) = simulation.run(link, 100);
        assert!(rate >= 930, "{rate} a second with noise of {noise} %, {:?}", bounds(&limits));
    }
}

#[test]
fn it_does_not_creep_up_in_its_own_queue() {
    let mut simulation = Simulation::new(FilesPerWorker::Auto);
    simulation.run(FAR, 5);
    let (limits, _) = simulation.run(FAR, 600);
    assert!(bounds(&limits).1 <= FAR.knee() * 3 / 2 + 8, "{:?}", bounds(&limits));
}

#[test]
fn what_is_not_used_does_not_grow() {
    let mut simulation = Simulation::new(FilesPerWorker::Auto);
    let (limits, _) = simulation.run(Link { supply: 20, ..FAR }, 100);
    assert!(bounds(&limits).1 <= 64, "{:?}", bounds(&limits));
    // Neither does it while memory is short, or a service throttles.
    let mut simulation = Simulation::new(FilesPerWorker::Auto);
    simulation.may_grow = false;
    let (limits, _) = simulation.run(FAR, 100);
    assert_eq!(bounds(&limits), (16, 16));
    simulation.may_grow = true;
    simulation.run(FAR, 60);
    assert!(simulation.knee.limit() >= FAR.knee(), "{}", simulation.knee.limit());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_bounds_hold_and_the_link_is_filled(
        most in 1_u32..400, trip in 200_u64..400_000, rate in 50_u64..2_000, noise in 0_u64..30, supply in 1_u32..600,
    ) {
        let (files, link) = (FilesPerWorker::AtMost(most), Link { trip, rate, noise, supply });
        let mut simulation = Simulation::new(files);
        let (limits, _) = simulation.run(link, 40);
        let (least, highest) = bounds(&limits);
        prop_assert!(least >= files.least() && highest <= most, "{least} to {highest}");
        let (limits, moved) = simulation.run(link, 40);
        // What the bound, the supply and the service allow.
        let possible = rate.min(u64::from(most.min(supply)) * 1_000_000 / trip.max(1));
        prop_assert!(moved * 10 >= possible * 8, "{moved} of {possible} a second");
        // With fewer objects than fill the link, it grows as long as half of it is in use.
        let filled = link.knee() * 2 + 16;
        let enough = if supply < filled { supply * 4 } else { filled };
        let enough = enough.max(files.least() * 2);
        prop_assert!(bounds(&limits).1 <= enough, "{:?}", bounds(&limits));
    }
}
