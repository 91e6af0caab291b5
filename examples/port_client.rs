//! Reports one deployment to Port by hand, with the client that the controller uses:
//!
//! ```text
//! PORT_CLIENT_ID=… PORT_CLIENT_SECRET=… cargo run --example port_client -- checkout 42 production
//! ```
//!
//! `PORT_BASE_URL` names another region than the EU, or a stand-in.

use std::error::Error as StdError;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use port_dora_controller::port::{
    Client, ClientOptions, Credentials, DEFAULT_BASE_URL, Entity, Error, UpsertOptions, Upserted,
};
use serde_json::{Value, json};

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
    let model = client.get_blueprint(blueprint).await?;
    let mut entity = Entity::new(format!("{service}-{version}")).with_title(format!("{service} {version}"));
    let now = jiff::Timestamp::now();
    for (name, value) in [
        // Port's times have milliseconds.
        ("deployment_time", json!(format!("{now:.3}"))),
        ("environment", json!(environment)),
        ("status", json!("success")),
    ] {
        // Port refuses a property that the blueprint lacks, and a value that it does not allow.
        let fitting: Option<Value> = model.schema.properties.get(name).and_then(|property| property.fitting(&value));
        if let Some(value) = fitting {
            entity = entity.with_property(name, value);
        }
    }
    // The same entity may be written any number of times: what was not answered is simply written again.
    let write = || client.upsert(blueprint, &entity, UpsertOptions::default());
    let patience = ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(30))
        .with_max_times(12);
    write.retry(patience).sleep(tokio::time::sleep).when(Error::is_temporary).await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(service), Some(version), Some(environment)) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("write: port_client SERVICE VERSION ENVIRONMENT".into());
    };
    let base_url = std::env::var("PORT_BASE_URL").unwrap_or_else(|_| DEFAULT_BASE_URL.to_owned());
    let credentials = Credentials::new(std::env::var("PORT_CLIENT_ID")?, std::env::var("PORT_CLIENT_SECRET")?);
    let client = Client::new(ClientOptions::new(base_url.parse()?, credentials, "deployment-reporter/1.0"))?;

    let deployment = Deployment { service, version, environment };
    match report(&client, "dora_deployment", &deployment).await {
        Ok(stored) => tell(&format!("stored as {}", stored.identifier)),
        Err(error) => {
            let advice = error.advice().unwrap_or_else(|| "Try again later.".to_owned());
            Err(format!("{error}. {advice}").into())
        }
    }
}

fn tell(text: &str) -> Result<(), Box<dyn StdError>> {
    use std::io::Write;
    Ok(writeln!(std::io::stdout(), "{text}")?)
}
