//! Settings: flags, environment and the settings file, validated once into one typed value.

mod active;
mod alertmanager;
mod arguments;
mod file;
mod incidents;
mod limits;
mod naming;
mod rollouts;
mod workloads;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use active::ActiveSettings;
pub use alertmanager::{AlertFields, AlertSource, Alertmanager};
pub use arguments::{Arguments, Command, LogFormat, RunArguments};
pub use file::{Blueprints, Defaults, FileSettings, Statuses};
pub use incidents::{Incidents, Opening};
pub use limits::RequestLimits;
pub use naming::{DEPLOYMENT, INCIDENT, Names, Naming, Vocabulary};
pub use rollouts::{Changes, Duration, Publish, Retention, Rollouts};
use secrecy::SecretString;
pub use workloads::{WorkloadGroup, Workloads};

use port_client::{BaseUrl, BaseUrlError, CredentialSource, CredentialValue};

/// Everything that can be set, validated.
#[derive(Debug)]
pub struct Settings {
    /// Address of Port's API.
    pub port_base_url: BaseUrl,
    /// Where the credentials come from.
    pub port_credentials: CredentialSource,
    /// File with further certificate authorities.
    pub port_ca_file: Option<PathBuf>,
    /// Whether blueprints that don't exist are created.
    pub create_blueprints: bool,
    /// Whether related entities that don't exist are created instead of refused.
    pub create_missing_related_entities: bool,
    /// Whether nothing is sent.
    pub dry_run: bool,
    /// Name of the cluster in identifiers; by default made from the UID of `kube-system`.
    pub cluster_name: Option<String>,
    /// File with the token that Alertmanager has to show. Without it, no alerts are received.
    pub alertmanager_token_file: Option<PathBuf>,
    /// Where `/livez`, `/readyz` and `/metrics` are served.
    pub listen_address: SocketAddr,
    /// How long another replica waits for a leader that has stopped renewing its lease.
    pub lease_duration: std::time::Duration,
    /// Name of this replica, unique in the cluster.
    pub identity: Option<String>,
    /// Namespace of the lease; by default that of the service account or the kubeconfig.
    pub namespace: Option<String>,
    /// What the settings file says.
    pub file: FileSettings,
}

/// Why the settings can't be used, and what to change.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The settings file can't be read.
    #[error(
        "the settings file {path} (CONFIG_FILE) can't be read: {source}; name an existing file, or unset CONFIG_FILE"
    )]
    Unreadable {
        /// Its path.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The settings file says something that is no setting.
    #[error("the settings file {path} (CONFIG_FILE) can't be used: {problem}")]
    File {
        /// Its path.
        path: String,
        /// What is wrong, and where.
        problem: String,
    },
    /// The base URL can't be used.
    #[error("PORT_BASE_URL: {0}")]
    BaseUrl(#[from] BaseUrlError),
    /// The cluster's name can't be part of an identifier.
    #[error(
        "CLUSTER_NAME {name:?} can't be part of a Port identifier: use up to 100 letters, digits and @ _ . + = -, such as prod-eu-1"
    )]
    ClusterName {
        /// The name.
        name: String,
    },
    /// A credential is set twice.
    #[error("both {name} and {name}_FILE are set: set only one of them")]
    Twice {
        /// The environment variable.
        name: &'static str,
    },
}

impl Settings {
    /// Reads the settings file and validates all settings.
    ///
    /// # Errors
    /// A sentence that names the setting and says what to change.
    pub fn load(arguments: RunArguments) -> Result<Self, SettingsError> {
        let RunArguments {
            port_base_url,
            port_client_id,
            port_client_id_file,
            port_client_secret,
            port_client_secret_file,
            port_ca_file,
            port_allow_http,
            port_create_blueprints,
            port_create_missing_related_entities,
            dry_run,
            cluster_name,
            config_file,
            alertmanager_token_file,
            listen_address,
            log_format: _,
            lease_seconds,
            pod_name,
            pod_namespace,
        } = arguments;
        let given = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let cluster_name = given(cluster_name);
        if let Some(name) = cluster_name.as_deref().filter(|name| !is_identifier_part(name)) {
            return Err(SettingsError::ClusterName { name: name.to_owned() });
        }
        Ok(Self {
            port_base_url: if port_allow_http {
                BaseUrl::parse_allowing_http(&port_base_url)?
            } else {
                port_base_url.parse()?
            },
            port_credentials: CredentialSource {
                client_id: credential(
                    "PORT_CLIENT_ID",
                    given(port_client_id).map(SecretString::from),
                    port_client_id_file,
                )?,
                client_secret: credential(
                    "PORT_CLIENT_SECRET",
                    given(port_client_secret).map(SecretString::from),
                    port_client_secret_file,
                )?,
            },
            port_ca_file: port_ca_file.filter(|path| !path.as_os_str().is_empty()),
            create_blueprints: port_create_blueprints,
            create_missing_related_entities: port_create_missing_related_entities,
            dry_run,
            cluster_name,
            alertmanager_token_file: alertmanager_token_file.filter(|path| !path.as_os_str().is_empty()),
            listen_address,
            lease_duration: std::time::Duration::from_secs(lease_seconds.into()),
            identity: given(pod_name),
            namespace: given(pod_namespace),
            file: match config_file.filter(|path| !path.as_os_str().is_empty()) {
                Some(path) => read_file(&path)?,
                None => FileSettings::default(),
            },
        })
    }
}

fn credential(
    name: &'static str,
    value: Option<SecretString>,
    file: Option<PathBuf>,
) -> Result<CredentialValue, SettingsError> {
    match (value, file.filter(|path| !path.as_os_str().is_empty())) {
        (Some(_), Some(_)) => Err(SettingsError::Twice { name }),
        (Some(value), None) => Ok(CredentialValue::Inline(value)),
        (None, Some(path)) => Ok(CredentialValue::File(path)),
        (None, None) => Ok(CredentialValue::Unset),
    }
}

/// Port's pattern for identifiers, without the characters that separate the parts of ours.
fn is_identifier_part(name: &str) -> bool {
    name.chars().count() <= 100 && name.chars().all(|char| char.is_alphanumeric() || "@_.+=-".contains(char))
}

fn read_file(path: &Path) -> Result<FileSettings, SettingsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| SettingsError::Unreadable { path: path.display().to_string(), source })?;
    FileSettings::parse(&text).map_err(|problem| SettingsError::File { path: path.display().to_string(), problem })
}
