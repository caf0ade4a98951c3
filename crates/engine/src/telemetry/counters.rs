//! Counters by the values of an enum.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use migration_core::error::Service;
use migration_core::finding::Action;
use migration_core::outcome::FailureClass;

/// A value that a counter is kept for. There are few of them, whatever the buckets hold.
pub trait Label: Copy + 'static {
    /// Number of values.
    const NUMBER: usize;

    /// Returns the place of the value, below [`Label::NUMBER`].
    fn place(self) -> usize;

    /// Returns all values, in the order of their places.
    fn all() -> impl Iterator<Item = Self>;
}

impl Label for () {
    const NUMBER: usize = 1;

    fn place(self) -> usize {
        0
    }

    fn all() -> impl Iterator<Item = Self> {
        std::iter::once(())
    }
}

impl<A: Label, B: Label> Label for (A, B) {
    const NUMBER: usize = A::NUMBER * B::NUMBER;

    fn place(self) -> usize {
        self.0.place() * B::NUMBER + self.1.place()
    }

    fn all() -> impl Iterator<Item = Self> {
        A::all().flat_map(|one| B::all().map(move |other| (one, other)))
    }
}

/// Implements [`Label`] for enums with a list of their values in the order in which they are declared.
macro_rules! label {
    ($($name:ty),*) => {$(
        impl $crate::telemetry::Label for $name {
            const NUMBER: usize = Self::ALL.len();

            fn place(self) -> usize {
                self as usize
            }

            fn all() -> impl Iterator<Item = Self> {
                Self::ALL.into_iter()
            }
        }
    )*};
}
pub(super) use label;

label!(Service, FailureClass, Action);

/// A number for each value of a label.
pub struct Counters<L> {
    numbers: Box<[AtomicU64]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label> Default for Counters<L> {
    fn default() -> Self {
        Self { numbers: (0..L::NUMBER).map(|_| AtomicU64::new(0)).collect(), label: PhantomData }
    }
}

impl<L: Label> Counters<L> {
    /// Adds to the number of a value.
    pub fn add(&self, label: L, amount: u64) {
        if let Some(number) = self.numbers.get(label.place()) {
            number.fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// Returns all values with their numbers.
    pub fn read(&self) -> impl Iterator<Item = (L, u64)> {
        L::all().zip(self.numbers.iter().map(|number| number.load(Ordering::Relaxed)))
    }

    /// Returns the number of a value.
    pub fn get(&self, label: L) -> u64 {
        self.numbers.get(label.place()).map(|number| number.load(Ordering::Relaxed)).unwrap_or_default()
    }
}

impl<L> fmt::Debug for Counters<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.numbers.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{ObjectResult, RequestStatus, RetryReason};

    fn each_has_its_place<L: Label>() {
        let places: Vec<_> = L::all().map(Label::place).collect();
        assert_eq!(places, (0..L::NUMBER).collect::<Vec<_>>(), "{}", std::any::type_name::<L>());
    }

    #[test]
    fn each_value_has_a_place_of_its_own() {
        each_has_its_place::<Service>();
        each_has_its_place::<FailureClass>();
        each_has_its_place::<Action>();
        each_has_its_place::<ObjectResult>();
        each_has_its_place::<RetryReason>();
        each_has_its_place::<(Service, RequestStatus)>();
    }

    #[test]
    fn numbers_are_read_with_their_values() {
        let counters = Counters::<(Service, Action)>::default();
        counters.add((Service::Queue, Action::Skip), 2);
        counters.add((Service::Queue, Action::Skip), 3);
        let found: Vec<_> = counters.read().filter(|(_, number)| *number > 0).collect();
        assert_eq!(found, [((Service::Queue, Action::Skip), 5)]);
        assert_eq!(counters.get((Service::Queue, Action::Skip)), 5);
    }
}
