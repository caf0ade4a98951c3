//! Elects the one operator that acts, by a Lease of Kubernetes.
//!
//! Locking, renewing and releasing the Lease is the library's. What it does not tell, how long ago the last renewal
//! was, is read from the Lease itself: it opens the [`Fence`], and a process that cannot renew in time ends.
//!
//! | time after the last renewal | what happens |
//! |---|---|
//! | 2 s | the leader renews |
//! | 7 s | the leader writes nothing any more, and exits |
//! | 11 s | a standby takes the Lease, within about a second |
//!
//! A leader that is asked to end releases the Lease, and a standby has it within 2 s.

use std::time::{Duration, SystemTime};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::fence::{Fence, Moment};

/// The times of an election.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// How long after the last renewal another process may take the Lease, in seconds.
    pub lease_seconds: u64,
    /// Interval between renewals, in seconds.
    pub renew_seconds: u64,
    /// How long after the last renewal the leader still writes. Much shorter than the Lease, so that what it sent last
    /// arrives before another process leads, and clocks of nodes may differ by the rest.
    pub deadline: Duration,
    /// Interval between looks at the Lease.
    pub look: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { lease_seconds: 11, renew_seconds: 2, deadline: Duration::from_secs(7), look: Duration::from_secs(2) }
    }
}

/// An election.
#[derive(Clone, Debug)]
pub struct Election {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub lease: String,
    /// Name of this process, which no other one has.
    pub identity: String,
    /// Its times.
    pub times: Times,
}

/// Why a leader must end.
#[derive(Debug, thiserror::Error)]
pub enum LeaderError {
    /// The Lease was not renewed in time.
    #[error("failed to renew Lease {lease} within {} s: exiting, as another may lead now", .deadline.as_secs_f64())]
    Deadline {
        /// Name of the Lease.
        lease: String,
        /// The time it had.
        deadline: Duration,
    },
    /// Another process holds the Lease, or nobody.
    #[error("failed to keep Lease {lease}: {holder} holds it now; exiting")]
    Taken {
        /// Name of the Lease.
        lease: String,
        /// Who holds it.
        holder: String,
    },
}

/// Why the Lease could not be taken.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error(transparent)]
    Lock(#[from] LeaseManagerError),
    #[error("failed to read Lease: {0}")]
    Read(#[from] kube::Error),
}

/// The time for which this process leads.
pub struct Term {
    election: Election,
    api: Api<Lease>,
    manager: LeaseManager,
    fence: Fence,
}

impl Election {
    /// Waits until this process leads. Returns none if `stop` is cancelled before.
    pub async fn win(self, client: &Client, stop: &CancellationToken) -> Option<Term> {
        info!(lease = self.lease, identity = self.identity, "waiting for the Lease");
        let api = Api::namespaced(client.clone(), &self.namespace);
        loop {
            let attempt = tokio::time::timeout(self.times.look, self.attempt(client, &api));
            let result = tokio::select! {
                () = stop.cancelled() => return None,
                result = attempt => result,
            };
            match result {
                Ok(Ok((manager, fence))) => {
                    info!(lease = self.lease, identity = self.identity, "leading");
                    return Some(Term { election: self, api, manager, fence });
                }
                Ok(Err(error)) => {
                    warn!(lease = self.lease, error = %error, "failed to take the Lease; trying again");
                    tokio::time::sleep(self.times.look).await;
                }
                // Somebody else leads. The library would sleep until the Lease ends, and miss that it is released.
                Err(_) => {}
            }
        }
    }

    /// Takes the Lease if it is free, else waits. It may be ended at any point: what it took is found by the next one.
    async fn attempt(&self, client: &Client, api: &Api<Lease>) -> Result<(LeaseManager, Fence), AttemptError> {
        let Times { lease_seconds, renew_seconds, deadline, look } = self.times;
        let manager = LeaseManagerBuilder::new(client.clone(), &self.lease)
            .with_namespace(&self.namespace)
            .with_identity(&self.identity)
            .with_duration(lease_seconds)
            .with_grace(lease_seconds - renew_seconds)
            .build()
            .await?;
        loop {
            if !manager.changed().await? {
                continue;
            }
            let sent = Moment::now();
            let lease = api.get(&self.lease).await?;
            if let Some(renewed) = renewed_by(&lease, &self.identity) {
                let fence = Fence::of_lease(Moment { wall: renewed, ..sent }, deadline);
                // A process that was restarted finds the Lease that it held before, perhaps of long ago: it is renewed first.
                if fence.left().is_some_and(|left| left > 2 * look) {
                    return Ok((manager, fence));
                }
            }
        }
    }
}

impl Term {
    /// Returns what closes when this process does not lead any more.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Keeps the Lease. Returns why it cannot be kept.
    pub async fn keep(&self) -> LeaderError {
        let error = tokio::select! {
            error = self.renew() => error,
            error = self.look() => error,
            () = self.expiry() => {
                LeaderError::Deadline { lease: self.election.lease.clone(), deadline: self.election.times.deadline }
            }
        };
        self.fence.close();
        error
    }

    /// Gives the Lease back, so that a standby need not wait for its end.
    pub async fn release(self) {
        self.fence.close();
        match tokio::time::timeout(self.election.times.look, self.manager.release()).await {
            Ok(Ok(())) => info!(lease = self.election.lease, "released the Lease"),
            Ok(Err(error)) => {
                warn!(lease = self.election.lease, %error, "failed to release the Lease; it ends by itself");
            }
            Err(_) => warn!(lease = self.election.lease, "failed to release the Lease in time; it ends by itself"),
        }
    }

    async fn renew(&self) -> LeaderError {
        loop {
            match self.manager.changed().await {
                Ok(true) => {}
                Ok(false) => return self.taken("another process"),
                Err(error) => {
                    warn!(lease = self.election.lease, %error, "failed to renew the Lease; trying again");
                    tokio::time::sleep(self.election.times.look / 2).await;
                }
            }
        }
    }

    /// Looks at the Lease again and again, and tells the fence when it was renewed.
    async fn look(&self) -> LeaderError {
        let Election { lease, identity, times, .. } = &self.election;
        loop {
            tokio::time::sleep(times.look).await;
            let sent = Moment::now();
            match tokio::time::timeout(times.look, self.api.get_opt(lease)).await {
                Ok(Ok(found)) => match found.as_ref().and_then(|found| renewed_by(found, identity)) {
                    Some(renewed) => self.fence.renew(Moment { wall: renewed, ..sent }),
                    None => return self.taken(found.as_ref().and_then(holder).unwrap_or("nobody")),
                },
                Ok(Err(error)) => warn!(lease, %error, "failed to read the Lease; trying again"),
                Err(_) => warn!(lease, "failed to read the Lease in time; trying again"),
            }
        }
    }

    async fn expiry(&self) {
        // In steps, since timers stand still while a machine is suspended.
        while let Some(left) = self.fence.left() {
            tokio::time::sleep(left.min(self.election.times.look / 4)).await;
        }
    }

    fn taken(&self, holder: &str) -> LeaderError {
        LeaderError::Taken { lease: self.election.lease.clone(), holder: holder.to_owned() }
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// Returns when a process renewed its Lease, by that process's own clock. None if it does not hold it.
fn renewed_by(lease: &Lease, identity: &str) -> Option<SystemTime> {
    holder(lease).filter(|holder| *holder == identity)?;
    Some(lease.spec.as_ref()?.renew_time.as_ref()?.0.into())
}

#[cfg(test)]
mod tests;
