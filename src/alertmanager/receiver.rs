//! `POST /alertmanager`: Alertmanager's webhook.
//!
//! Alertmanager sends again what is answered with 5xx, and drops what is answered with 4xx. So 4xx is only for what
//! can't get better, and 2xx only for what the API server has.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tracing::{error, warn};

use super::notification::Notification;
use super::store::Store;
use super::token::{Admission, TokenFile};
use crate::runtime::Metrics;

/// Largest notification, in bytes. `max_alerts` in Alertmanager's configuration makes them smaller.
const LARGEST_BODY: usize = 1024 * 1024;

/// How long the API server may take. Alertmanager sends again then.
const LONGEST_WRITE: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Receiver {
    token: TokenFile,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
}

/// The route `POST /alertmanager`, open to who shows the token.
pub fn router(token: TokenFile, store: Store, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/alertmanager", post(receive))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(Receiver { token, store: Arc::new(store), metrics })
}

async fn receive(State(receiver): State<Receiver>, request: Request) -> Response {
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match receiver.token.admits(authorization).await {
        Admission::Granted => {}
        Admission::Denied => {
            let text = "the bearer token is missing or isn't the one in ALERTMANAGER_TOKEN_FILE: set http_config.authorization of the \
                        webhook in Alertmanager's configuration\n";
            return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], text).into_response();
        }
        Admission::Undecided(problem) => {
            warn!(problem, "alerts are refused, since there is no token to compare with");
            return (StatusCode::SERVICE_UNAVAILABLE, format!("nobody is let in: {problem}\n")).into_response();
        }
    }
    let body = match Bytes::from_request(request, &()).await {
        Ok(body) => body,
        Err(rejection) => {
            warn!(problem = rejection.body_text(), "a notification of Alertmanager can't be read");
            return rejection.into_response();
        }
    };
    match serde_json::from_slice::<Notification>(&body) {
        Ok(notification) => receiver.take(&notification).await,
        Err(problem) => {
            warn!(%problem, "what was sent to /alertmanager is no notification of Alertmanager, and is dropped");
            let text = format!("this is no notification of Alertmanager (webhook version 4): {problem}\n");
            (StatusCode::BAD_REQUEST, text).into_response()
        }
    }
}

impl Receiver {
    async fn take(&self, notification: &Notification) -> Response {
        let taken = tokio::time::timeout(LONGEST_WRITE, self.store.take(notification)).await;
        let group_key = &notification.group_key;
        let (result, answer) = match taken {
            Ok(Ok(true)) => ("stored", (StatusCode::OK, "stored\n".to_owned())),
            Ok(Ok(false)) => ("unchanged", (StatusCode::OK, "nothing to change\n".to_owned())),
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 400 | 403 | 422) => {
                error!(
                    group_key,
                    problem = status.message,
                    "the API server refuses the incident of an alert; check the ClusterRole, admission policies and the setting \
                     alertmanager.fields"
                );
                let text = format!("the API server refuses the incident: {}\n", status.message);
                ("refused", (StatusCode::INTERNAL_SERVER_ERROR, text))
            }
            Ok(Err(error)) => {
                warn!(
                    group_key,
                    error = &error as &dyn std::error::Error,
                    "an alert isn't stored: Alertmanager sends it again"
                );
                ("failed", (StatusCode::SERVICE_UNAVAILABLE, format!("not stored, send it again: {error}\n")))
            }
            Err(_) => {
                warn!(group_key, "an alert isn't stored, the API server took too long: Alertmanager sends it again");
                let text = "not stored, send it again: the API server took too long\n".to_owned();
                ("failed", (StatusCode::SERVICE_UNAVAILABLE, text))
            }
        };
        self.metrics.alert_received(notification.status.as_str(), result);
        answer.into_response()
    }
}

#[cfg(test)]
mod tests;
