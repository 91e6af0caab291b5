//! Reports one deployment to Port by hand, with the client that the controller uses:
//!
//! ```text
//! PORT_CLIENT_ID=… PORT_CLIENT_SECRET=… cargo run --example port_client -- checkout 42 production
//! ```
//!
//! `PORT_BASE_URL` names another region than the EU, or the stand-in of `tests/port-sim`.

use std::error::Error as StdError;
use std::process::ExitCode;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use port_client::{
    Client, ClientOptions, Credentials, DEFAULT_BASE_URL, Entity, Error, NewBlueprint, Property, UpsertOptions,
    Upserted,
};
use serde_json::json;

/// What there is to say of a deployment.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// What was deployed.
    pub service: String,
    /// Which version of it.
    pub version: String,
    /// Where.
    pub environment: String,
}

/// Writes a deployment as an entity of `blueprint`, with those properties that the blueprint has.
///
/// # Errors
/// What Port said, once it is of no use to try again.
pub async fn report(client: &Client, blueprint: &str, deployment: &Deployment) -> Result<Upserted, Error> {
    let Deployment { service, version, environment } = deployment;
    let patience = ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(30))
        .with_max_times(12);
    let read = || client.get_blueprint(blueprint);
    let model = read.retry(patience).sleep(tokio::time::sleep).when(Error::is_temporary).await?;
    let now = jiff::Timestamp::now();
    let expected = NewBlueprint::new(blueprint, "Deployments")
        .with_property("deployment_time", Property::date_time())
        .with_property("environment", Property::string())
        .with_property("status", Property::string());
    for difference in model.differences(&expected) {
        tracing::warn!("the blueprint {blueprint} is not as expected: {difference}");
    }

    let mut entity = Entity::new(format!("{service}-{version}")).with_title(format!("{service} {version}"));
    for (name, value) in [
        // Port's times have milliseconds.
        ("deployment_time", json!(format!("{now:.3}"))),
        ("environment", json!(environment)),
        ("status", json!("success")),
    ] {
        // Port refuses a property that the blueprint lacks, and a value that it does not allow.
        let property = model.schema.properties.get(name);
        if let Some(fitting) = property.and_then(|property| property.fitting(&value)) {
            entity = entity.with_property(name, fitting);
        }
    }
    // The same entity may be written any number of times: what was not answered is simply written again.
    let write = || client.upsert(blueprint, &entity, UpsertOptions::default());
    write.retry(patience).sleep(tokio::time::sleep).when(Error::is_temporary).await
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().init();
    match run().await {
        Ok(stored) => {
            tracing::info!(trace_id = stored.trace_id, "stored as {}", stored.identifier);
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
        return Err("write: port_client SERVICE VERSION ENVIRONMENT".into());
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
