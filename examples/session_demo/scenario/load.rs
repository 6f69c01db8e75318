//! Driving sessions through the service, from several tasks.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use fastrand::Rng;
use tokio::{sync::watch, task::JoinSet, time::timeout};
use uuid::Uuid;

use super::{PATIENCE, ledger::Committed};
use crate::{
    error::DemoError,
    session::{Change, SessionError, SessionRepository, Sessions, aggregate::MAX_LIVE_SESSIONS},
};

/// How many tasks drive.
const DRIVERS: usize = 8;
/// How many committed events may wait to be handled: an embedded broker keeps 5 MiB a partition, and
/// should they all fall into one, so many fit.
const MAX_OUTSTANDING: u64 = 4_000;

const DEVICES: [&str; 4] = ["firefox/142.0", "safari/26.1", "chrome/141.0", "curl/8.16"];

/// What one user does. Users share nothing, so it matters not which task drives which.
#[derive(Debug)]
pub(crate) struct User {
    id: Uuid,
    sessions: Vec<Planned>,
    /// Tries to have one session more than is allowed: that transaction is rolled back.
    one_too_many: bool,
}

/// What becomes of a session after it was created.
#[derive(Debug)]
struct Planned {
    device: &'static str,
    refreshes: usize,
    /// Is refreshed by two tasks at once, of which one may have to give way.
    contended: bool,
    revoked: bool,
}

/// Decides what happens to `sessions` sessions; the same for the same seed.
pub(crate) fn plan(sessions: usize, seed: u64) -> Vec<User> {
    let mut rng = Rng::with_seed(seed);
    let most = usize::try_from(MAX_LIVE_SESSIONS).expect("a small number");
    let mut users = Vec::new();
    let mut left = sessions;
    while left > 0 {
        let count = rng.usize(1..=most).min(left);
        left -= count;
        users.push(User {
            id: Uuid::from_u128(rng.u128(..)),
            sessions: (0..count).map(|_| Planned::choose(&mut rng)).collect(),
            one_too_many: count == most && rng.bool(),
        });
    }
    users
}

/// How many events a plan commits at most.
pub(crate) fn planned_events(users: &[User]) -> u64 {
    users.iter().flat_map(|user| &user.sessions).map(Planned::events).sum()
}

impl Planned {
    fn choose(rng: &mut Rng) -> Self {
        Self {
            device: DEVICES[rng.usize(..DEVICES.len())],
            refreshes: rng.usize(..3),
            contended: rng.u8(..10) == 0,
            revoked: rng.u8(..3) == 0,
        }
    }

    fn events(&self) -> u64 {
        1 + self.refreshes as u64 + 2 * u64::from(self.contended) + u64::from(self.revoked)
    }
}

/// Runs the plan; `handled` says how many effects there are, so that the load waits for them when
/// it is too far ahead.
pub(crate) async fn drive<D: SessionRepository>(
    sessions: Sessions<D>,
    users: Arc<Vec<User>>,
    ledger: Arc<Committed>,
    handled: watch::Receiver<u64>,
) -> Result<(), DemoError> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut drivers = JoinSet::new();
    for _ in 0..DRIVERS {
        let driver = Driver { sessions: sessions.clone(), ledger: Arc::clone(&ledger) };
        let (users, next, mut handled) = (Arc::clone(&users), Arc::clone(&next), handled.clone());
        drivers.spawn(async move {
            while let Some(user) = users.get(next.fetch_add(1, Ordering::Relaxed)) {
                let enough = |handled: &u64| driver.ledger.len() < handled + MAX_OUTSTANDING;
                let room = timeout(PATIENCE, handled.wait_for(enough));
                if !room.await.is_ok_and(|counted| counted.is_ok()) {
                    return Err(DemoError::Stalled);
                }
                driver.drive(user).await?;
            }
            Ok::<_, DemoError>(())
        });
    }
    while let Some(driver) = drivers.join_next().await {
        driver??;
    }
    Ok(())
}

struct Driver<D: SessionRepository> {
    sessions: Sessions<D>,
    ledger: Arc<Committed>,
}

impl<D: SessionRepository> Driver<D> {
    async fn drive(&self, user: &User) -> Result<(), DemoError> {
        let mut created = Vec::with_capacity(user.sessions.len());
        for planned in &user.sessions {
            let change = self.sessions.create(user.id, planned.device.to_owned()).await;
            created.extend(self.enter(change)?.map(|change| (change.session.id, planned)));
        }
        if user.one_too_many {
            self.enter(self.sessions.create(user.id, DEVICES[0].to_owned()).await)?;
        }
        for (id, planned) in created {
            for _ in 0..planned.refreshes {
                self.enter(self.sessions.refresh(id).await)?;
            }
            if planned.contended {
                let (one, other) =
                    tokio::join!(self.sessions.refresh(id), self.sessions.refresh(id));
                self.enter(one)?;
                self.enter(other)?;
            }
            if planned.revoked {
                self.enter(self.sessions.revoke(id).await)?;
            }
        }
        Ok(())
    }

    /// Enters a change into the ledger. Being refused by the service is part of the plan.
    fn enter(&self, change: Result<Change, SessionError>) -> Result<Option<Change>, DemoError> {
        match change {
            Ok(change) => {
                self.ledger.commit(&change);
                Ok(Some(change))
            }
            Err(SessionError::TooManySessions | SessionError::Conflict) => {
                self.ledger.roll_back();
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}
