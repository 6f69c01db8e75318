//! The HTTP API. Errors are problem details (RFC 9457).

mod context;
mod problem;

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{
        Path, State,
        rejection::{JsonRejection, PathRejection},
    },
    http::{StatusCode, header::LOCATION},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use chrono::{DateTime, Utc};
use relaybox::{CancellationToken, OutboxStore};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, time::sleep};
use uuid::Uuid;

use self::problem::Problem;
use crate::session::{ReadModel, Session, SessionRepository, SessionView, Sessions};

/// How long requests may take to end once the server is to stop.
const GRACE: Duration = Duration::from_secs(5);

/// What the handlers of the API need.
struct Api<D: SessionRepository> {
    sessions: Sessions<D>,
    database: D,
}

/// Serves until `shutdown`, then finishes what it has begun, unless a client takes too long over its
/// request.
pub(crate) async fn serve<D: SessionRepository + ReadModel>(
    listener: TcpListener,
    sessions: Sessions<D>,
    database: D,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    eprintln!("serving http://{}/sessions until Ctrl-C", listener.local_addr()?);
    let server = axum::serve(listener, router(sessions, database))
        .with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let out_of_time = async {
        shutdown.cancelled().await;
        sleep(GRACE).await;
    };
    tokio::select! {
        served = server.into_future() => served,
        () = out_of_time => Ok(()),
    }
}

fn router<D: SessionRepository + ReadModel>(sessions: Sessions<D>, database: D) -> Router {
    Router::new()
        .route("/health", get(health::<D>))
        .route("/sessions", post(create::<D>))
        .route("/sessions/{id}", get(show::<D>).delete(revoke::<D>))
        .route("/sessions/{id}/refresh", post(refresh::<D>))
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "there is nothing here") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "the method is not one of those allowed")
        })
        .layer(middleware::from_fn(context::scope))
        .with_state(Api { sessions, database })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewSession {
    user_id: Uuid,
    device: String,
}

/// A session as the write side has it.
#[derive(Serialize)]
struct SessionBody {
    id: Uuid,
    user_id: Uuid,
    expires_at: DateTime<Utc>,
    version: i64,
}

impl From<Session> for SessionBody {
    fn from(session: Session) -> Self {
        let Session { id, user_id, expires_at, version, .. } = session;
        Self { id, user_id, expires_at, version }
    }
}

async fn create<D: SessionRepository>(
    State(api): State<Api<D>>,
    body: Result<Json<NewSession>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(NewSession { user_id, device }) = body?;
    let change = api.sessions.create(user_id, device).await?;
    let location = format!("/sessions/{}", change.session.id);
    let body = Json(SessionBody::from(change.session));
    Ok((StatusCode::CREATED, [(LOCATION, location)], body).into_response())
}

async fn refresh<D: SessionRepository>(
    State(api): State<Api<D>>,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<SessionBody>, Problem> {
    let Path(id) = id?;
    let change = api.sessions.refresh(id).await?;
    Ok(Json(change.session.into()))
}

async fn revoke<D: SessionRepository>(
    State(api): State<Api<D>>,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let Path(id) = id?;
    api.sessions.revoke(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The read model: a moment behind the writes.
async fn show<D: SessionRepository + ReadModel>(
    State(api): State<Api<D>>,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<SessionView>, Problem> {
    let Path(id) = id?;
    let view = api.database.view(id).await?;
    view.map(Json).ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "there is no such session, or it is not visible yet")
    })
}

/// What is waiting, and whether the database answers.
#[derive(Serialize)]
struct Health {
    status: &'static str,
    backlog: u64,
    dead_letters: u64,
}

async fn health<D: SessionRepository>(State(api): State<Api<D>>) -> Result<Json<Health>, Problem> {
    let unavailable =
        || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the database does not answer");
    api.database.ping().await.map_err(|_| unavailable())?;
    let stats = api.database.outbox().stats().await.map_err(|_| unavailable())?;
    Ok(Json(Health { status: "ok", backlog: stats.backlog, dead_letters: stats.dead_letters }))
}

impl<D: SessionRepository> Clone for Api<D> {
    fn clone(&self) -> Self {
        Self { sessions: self.sessions.clone(), database: self.database.clone() }
    }
}
