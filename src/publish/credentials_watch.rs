//! Watches the credentials, so that a change retries all deliveries at once.

use std::time::Duration;

use port_client::{Client, CredentialError};
use secrecy::ExposeSecret;
use tracing::{info, warn};

use crate::resources::digest;

/// How often the credential files are read. The kubelet updates mounted Secrets about once a minute.
const PERIOD: Duration = Duration::from_secs(5);

/// Calls `retry_all_now` whenever the credentials of `port` change, and logs whether there are any. Never returns.
pub async fn retry_when_credentials_change(port: &Client, retry_all_now: impl Fn()) {
    let mut known = None;
    loop {
        let state = state(port).await;
        if known.as_ref() != Some(&state) {
            match &state {
                Ok(Some(_)) if known.is_some() => {
                    info!("the Port credentials have changed; retrying all deliveries now");
                }
                Ok(Some(_)) => {}
                Ok(None) => warn!(
                    "no Port credentials are set; rollouts and incidents are recorded and not delivered: set PORT_CLIENT_ID and \
                     PORT_CLIENT_SECRET (chart values port.clientId and port.clientSecret, or secret.name) to deliver them"
                ),
                Err(error) => {
                    warn!(%error, "failed to read the Port credentials; retrying, and delivering nothing until then");
                }
            }
            if known.is_some() {
                retry_all_now();
            }
            known = Some(state);
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// A digest of the credentials, so that the secret is not in memory twice.
async fn state(port: &Client) -> Result<Option<String>, CredentialError> {
    let credentials = port.credentials().await?;
    Ok(credentials
        .map(|credentials| digest(&(credentials.client_id.as_str(), credentials.client_secret.expose_secret()))))
}
