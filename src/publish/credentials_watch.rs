//! Notices that credentials were set or replaced, so that what waits for them goes out at once.

use std::time::Duration;

use secrecy::ExposeSecret;
use tracing::{info, warn};

use crate::resources::digest;
use port_client::{CredentialError, CredentialSource};

/// How often the credential files are read. (The kubelet renews mounted Secrets about once a minute.)
const PERIOD: Duration = Duration::from_secs(5);

/// Calls `retry_all_now` each time that the credentials change, for ever; says in the log whether there are any.
pub async fn retry_when_credentials_change(source: &CredentialSource, retry_all_now: impl Fn()) {
    let mut known = None;
    loop {
        let state = state(source);
        if known.as_ref() != Some(&state) {
            match &state {
                Ok(Some(_)) if known.is_some() => {
                    info!("the Port credentials have changed: what waits is delivered now");
                }
                Ok(Some(_)) => {}
                Ok(None) => warn!(
                    "no Port credentials are set: rollouts and incidents are recorded and nothing is delivered. Set \
                     PORT_CLIENT_ID and PORT_CLIENT_SECRET (in the chart: port.clientId and port.clientSecret, or \
                     secret.name); everything recorded is delivered then"
                ),
                Err(error) => warn!(%error, "the Port credentials can't be used: nothing is delivered until they can"),
            }
            if known.is_some() {
                retry_all_now();
            }
            known = Some(state);
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// A digest of the credentials, not the credentials: they are not kept a second time.
fn state(source: &CredentialSource) -> Result<Option<String>, CredentialError> {
    let credentials = source.current()?;
    Ok(credentials
        .map(|credentials| digest(&(credentials.client_id.as_str(), credentials.client_secret.expose_secret()))))
}
