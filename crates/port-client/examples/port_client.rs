//! Reports one deployment to Port:
//!
//! ```text
//! PORT_CLIENT_ID=… PORT_CLIENT_SECRET=… cargo run --example port_client -- checkout 42 production
//! ```
//!
//! Set `PORT_BASE_URL` for an organisation in the US (`https://api.us.port.io`), or for a stand-in such as `tests/port-sim`.

use std::error::Error as StdError;
use std::process::ExitCode;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use port_client::{
    Client, ClientOptions, Credentials, DEFAULT_BASE_URL, Entity, Error, ExpectedFields, Property, Sent, UpsertOptions,
    Upserted,
};
use serde_json::json;

/// A deployment to report.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// The service that was deployed.
    pub service: String,
    /// The version of the service.
    pub version: String,
    /// The environment that it was deployed to.
    pub environment: String,
}

/// Writes a deployment as an entity of `blueprint`, with those properties that the blueprint defines.
///
/// # Errors
/// The last error of the client, as soon as a retry can't help.
pub async fn report(client: &Client, blueprint: &str, deployment: &Deployment) -> Result<Upserted, Error> {
    let Deployment { service, version, environment } = deployment;
    let backoff = ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(30))
        .with_max_times(12);
    let read = || client.get_blueprint(blueprint);
    let found = read.retry(backoff).sleep(tokio::time::sleep).when(Error::is_temporary).notify(log_retry).await?;
    let expected = ExpectedFields::default()
        .with_property("deployment_time", Property::date_time(), Sent::Always)
        .with_property("environment", Property::string(), Sent::Always)
        .with_property("status", Property::string(), Sent::Always);
    for difference in found.differences(&expected) {
        tracing::warn!(blueprint, "{difference}");
    }

    let mut entity = Entity::new(format!("{service}-{version}")).with_title(format!("{service} {version}"));
    // Port writes times with milliseconds.
    let now = format!("{:.3}", jiff::Timestamp::now());
    for (name, value) in
        [("deployment_time", json!(now)), ("environment", json!(environment)), ("status", json!("success"))]
    {
        // Port refuses an entity with a property that the blueprint does not define, or a value that it does not allow.
        let property = found.schema.properties.get(name);
        if let Some(Ok(value)) = property.map(|property| property.conform(&value)) {
            entity = entity.with_property(name, value);
        }
    }
    // It is harmless to write the same entity again, so a write without a response can be retried.
    let write = || client.upsert(blueprint, &entity, UpsertOptions::default());
    write.retry(backoff).sleep(tokio::time::sleep).when(Error::is_temporary).notify(log_retry).await
}

fn log_retry(error: &Error, wait: Duration) {
    tracing::warn!(%error, ?wait, "retrying");
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().init();
    match run().await {
        Ok(upserted) => {
            tracing::info!(trace_id = upserted.trace_id, "stored as {}", upserted.identifier);
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<Upserted, Box<dyn StdError>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(service), Some(version), Some(environment)) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: port_client SERVICE VERSION ENVIRONMENT".into());
    };
    let setting = |name: &str| std::env::var(name).map_err(|error| format!("{name}: {error}"));
    let credentials = Credentials::new(setting("PORT_CLIENT_ID")?, setting("PORT_CLIENT_SECRET")?);
    let base_url = setting("PORT_BASE_URL").unwrap_or_else(|_| DEFAULT_BASE_URL.to_owned());
    let client = Client::new(ClientOptions::new(base_url.parse()?, credentials, "deployment-reporter/1.0"))?;

    let deployment = Deployment { service, version, environment };
    report(&client, "dora_deployment", &deployment).await.map_err(|error| {
        let advice = error.advice().unwrap_or_else(|| "Try again later.".to_owned());
        format!("{error}. {advice}").into()
    })
}
