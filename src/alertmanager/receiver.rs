//! The webhook `POST /alertmanager`.
//!
//! Alertmanager sends a notification again after a 5xx response, and drops it after a 4xx response. So the receiver responds with 4xx
//! only if a retry can't succeed, and with 2xx only after the API server has stored the incident.

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
use super::store::{IncidentStore, StoreError, StoreResult};
use super::token::{Authorization, TokenFile};
use crate::runtime::Metrics;

/// Largest notification, in bytes. `max_alerts` in the configuration of Alertmanager limits the alerts of a notification.
const MAX_BODY_SIZE: usize = 1024 * 1024;

/// How long the API server may take for one notification.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Receiver {
    token: TokenFile,
    store: Arc<IncidentStore>,
    metrics: Arc<Metrics>,
}

/// The route `POST /alertmanager`. Requests need the bearer token in `token`.
pub fn router(token: TokenFile, store: IncidentStore, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/alertmanager", post(receive))
        .layer(DefaultBodyLimit::max(MAX_BODY_SIZE))
        .with_state(Receiver { token, store: Arc::new(store), metrics })
}

async fn receive(State(receiver): State<Receiver>, request: Request) -> Response {
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match receiver.token.authorize(authorization).await {
        Ok(Authorization::Granted) => {}
        Ok(Authorization::Denied) => {
            let text = "the bearer token is missing, or isn't the one in ALERTMANAGER_TOKEN_FILE: set http_config.authorization of \
                        the webhook in the configuration of Alertmanager\n";
            return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], text).into_response();
        }
        Err(error) => {
            warn!(
                error = &error as &dyn std::error::Error,
                "failed to read the bearer token; rejecting the notification"
            );
            return (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response();
        }
    }
    let body = match Bytes::from_request(request, &()).await {
        Ok(body) => body,
        Err(rejection) => {
            warn!(error = rejection.body_text(), "failed to read a notification of Alertmanager");
            return rejection.into_response();
        }
    };
    match serde_json::from_slice::<Notification>(&body) {
        Ok(notification) => receiver.store(&notification).await,
        Err(error) => {
            warn!(%error, "rejecting a request to /alertmanager that is not a notification of Alertmanager");
            let text = format!("the request is not a notification of Alertmanager (webhook version 4): {error}\n");
            (StatusCode::BAD_REQUEST, text).into_response()
        }
    }
}

impl Receiver {
    async fn store(&self, notification: &Notification) -> Response {
        let stored = tokio::time::timeout(STORE_TIMEOUT, self.store.store(notification)).await;
        let group_key = &notification.group_key;
        let (result, response) = match stored {
            Ok(Ok(StoreResult::Stored)) => ("stored", (StatusCode::OK, "stored\n".to_owned())),
            Ok(Ok(StoreResult::Unchanged)) => ("unchanged", (StatusCode::OK, "nothing to change\n".to_owned())),
            Ok(Err(StoreError::Api(kube::Error::Api(status)))) if matches!(status.code, 400 | 403 | 422) => {
                error!(
                    group_key,
                    error = status.message,
                    "the API server rejects the incident of an alert; check the ClusterRole, admission policies and the setting \
                     alertmanager.fields"
                );
                let text = format!("the API server rejects the incident: {}\n", status.message);
                ("refused", (StatusCode::INTERNAL_SERVER_ERROR, text))
            }
            Ok(Err(error)) => {
                warn!(
                    group_key,
                    error = &error as &dyn std::error::Error,
                    "failed to store the incident of an alert; Alertmanager sends the notification again"
                );
                ("failed", not_stored(&error.to_string()))
            }
            Err(_) => {
                warn!(
                    group_key,
                    timeout = ?STORE_TIMEOUT,
                    "the API server took too long to store the incident of an alert; Alertmanager sends the notification again"
                );
                ("failed", not_stored("the API server took too long"))
            }
        };
        self.metrics.records.alert_received(notification.status.as_str(), result);
        response.into_response()
    }
}

fn not_stored(reason: &str) -> (StatusCode, String) {
    let text = format!("the incident is not stored, send the notification again: {reason}\n");
    (StatusCode::SERVICE_UNAVAILABLE, text)
}

#[cfg(test)]
mod tests;
