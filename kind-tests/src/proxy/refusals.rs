//! Requests that are refused in place of the service, as a service does that is overloaded or fails.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::classify::Request;
use super::quirks::Canned;

/// The answer to a request that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// 503: the service asks for fewer requests.
    SlowDown,
    /// 500: the service failed.
    InternalError,
}

impl Answer {
    fn canned(self) -> Canned {
        let (status, body) = match self {
            Self::SlowDown => {
                (503, "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>")
            }
            Self::InternalError => {
                (500, "<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>")
            }
        };
        Canned { status, content_type: "application/xml", body }
    }
}

/// Some of the requests of an operation on a bucket that are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Bucket of the requests.
    pub bucket: String,
    /// Operation of the requests.
    pub operation: String,
    /// The answer to them.
    pub answer: Answer,
    /// How many of each ten requests are refused: the first ones.
    pub of_ten: u64,
}

/// The refusals of all proxies of one process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<Mutex<Vec<(Refusal, u64)>>>);

impl Refusals {
    fn with<T>(&self, f: impl FnOnce(&mut Vec<(Refusal, u64)>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets what is refused; none ends all refusals.
    pub fn set(&self, refusals: Vec<Refusal>) {
        self.with(|set| *set = refusals.into_iter().map(|refusal| (refusal, 0)).collect());
    }

    /// Counts a request; returns the answer if it is refused.
    pub fn draw(&self, request: &Request) -> Option<Canned> {
        self.with(|set| {
            let is_its =
                |refusal: &Refusal| (&refusal.bucket, &refusal.operation) == (&request.bucket, &request.operation);
            let (refusal, met) = set.iter_mut().find(|(refusal, _)| is_its(refusal))?;
            *met += 1;
            ((*met - 1) % 10 < refusal.of_ten).then(|| refusal.answer.canned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_of_each_ten_requests_are_refused() {
        let refusals = Refusals::default();
        let request =
            |bucket: &str| Request { operation: "PutObject".into(), bucket: bucket.into(), ..Request::default() };
        assert_eq!(refusals.draw(&request("a")), None);
        refusals.set(vec![Refusal {
            bucket: "a".into(),
            operation: "PutObject".into(),
            answer: Answer::SlowDown,
            of_ten: 3,
        }]);
        let refused =
            (0..20).filter(|_| refusals.draw(&request("a")).is_some_and(|canned| canned.status == 503)).count();
        assert_eq!((refused, refusals.draw(&request("b"))), (6, None));
        refusals.set(Vec::new());
        assert_eq!(refusals.draw(&request("a")), None);
    }
}
