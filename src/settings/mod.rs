//! Settings: flags, environment variables and the settings file, validated once at the start.

mod active;
mod alertmanager;
mod arguments;
mod duration;
mod file;
mod incidents;
mod limits;
mod naming;
mod rollouts;
mod workloads;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use port_client::{BaseUrl, BaseUrlError, CredentialSource, CredentialValue};
use secrecy::SecretString;

pub use active::ActiveSettings;
pub use alertmanager::{AlertFields, AlertSource, AlertSourceError, AlertmanagerSettings};
pub use arguments::{ApiArguments, Arguments, Command, LogFormat, PortArguments, ReplicaArguments, RunArguments};
pub use duration::{Duration, DurationError};
pub use file::{Blueprints, Defaults, FileError, FileSettings, Statuses};
pub use incidents::{IncidentSettings, IncidentTriggers};
pub use limits::RequestLimits;
pub use naming::{DEPLOYMENT, INCIDENT, Naming, NamingSettings, Vocabulary};
pub use rollouts::{PublishSettings, PublishedChanges, RetentionSettings, RolloutSettings};
pub use workloads::WorkloadSettings;

/// All settings, validated.
#[derive(Debug)]
pub struct Settings {
    /// The connection to Port.
    pub port: PortSettings,
    /// The requests to the API server.
    pub api: ApiSettings,
    /// This replica.
    pub replica: ReplicaSettings,
    /// Name of the cluster in entity identifiers. Default: the first characters of the UID of the namespace `kube-system`.
    pub cluster_name: Option<String>,
    /// Whether nothing is sent to Port.
    pub dry_run: bool,
    /// File with the bearer token that Alertmanager sends. Without this file, the controller receives no alerts.
    pub alertmanager_token_file: Option<PathBuf>,
    /// Address on which `/livez`, `/readyz`, `/metrics` and `/alertmanager` are served.
    pub listen_address: SocketAddr,
    /// The settings file.
    pub file: FileSettings,
}

/// The connection to Port.
#[derive(Debug)]
pub struct PortSettings {
    /// Address of Port's API.
    pub base_url: BaseUrl,
    /// Where the credentials come from.
    pub credentials: CredentialSource,
    /// File with additional certificate authorities (PEM).
    pub ca_file: Option<PathBuf>,
    /// Whether missing blueprints are created.
    pub create_blueprints: bool,
    /// Whether missing related entities are created. Otherwise, Port refuses the entity.
    pub create_missing_related_entities: bool,
}

/// The requests to the API server.
#[derive(Clone, Copy, Debug)]
pub struct ApiSettings {
    /// Longest time of a request that is not a watch.
    pub timeout: std::time::Duration,
    /// Seconds after which the API server ends a watch, and the next one starts.
    pub watch_seconds: u16,
}

/// This replica of the controller.
#[derive(Debug)]
pub struct ReplicaSettings {
    /// Name of this replica, unique in the cluster. Default: host name and process ID.
    pub identity: Option<String>,
    /// Namespace of the lease. Default: that of the service account or of the kubeconfig.
    pub namespace: Option<String>,
    /// Time after which another replica takes over from a leader that stopped renewing its lease.
    pub lease_duration: std::time::Duration,
}

/// Why the settings are invalid, and what to change.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The settings file can't be read.
    #[error(
        "the settings file {path} (CONFIG_FILE) can't be read: {source}; set CONFIG_FILE to an existing file, or unset it"
    )]
    Unreadable {
        /// Its path.
        path: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The settings file is invalid.
    #[error("the settings file {path} (CONFIG_FILE) is invalid: {source}")]
    File {
        /// Its path.
        path: String,
        /// What is wrong.
        source: FileError,
    },
    /// The base URL is invalid.
    #[error("PORT_BASE_URL: {0}")]
    BaseUrl(#[from] BaseUrlError),
    /// The name of the cluster can't be a part of an identifier.
    #[error(
        "invalid CLUSTER_NAME {name:?}: expected up to 100 letters, digits and characters of @ _ . + = -, such as prod-eu-1"
    )]
    ClusterName {
        /// The name.
        name: String,
    },
    /// A credential is set twice.
    #[error("both {variable} and {variable}_FILE are set: unset one of them")]
    SetTwice {
        /// The environment variable.
        variable: &'static str,
    },
}

impl Settings {
    /// Validates the flags and environment variables, and reads the settings file.
    ///
    /// # Errors
    /// If a setting is invalid. The text names the setting and says what to change.
    pub fn load(arguments: RunArguments) -> Result<Self, SettingsError> {
        let RunArguments {
            port,
            dry_run,
            cluster_name,
            config_file,
            alertmanager_token_file,
            listen_address,
            log_format: _,
            api,
            replica,
        } = arguments;
        let cluster_name = non_blank(cluster_name);
        if let Some(name) = cluster_name.as_deref().filter(|name| !is_identifier_part(name)) {
            return Err(SettingsError::ClusterName { name: name.to_owned() });
        }
        Ok(Self {
            port: PortSettings::load(port)?,
            api: ApiSettings::load(&api),
            replica: ReplicaSettings::load(replica),
            cluster_name,
            dry_run,
            alertmanager_token_file: non_empty(alertmanager_token_file),
            listen_address,
            file: match non_empty(config_file) {
                Some(path) => read_file(&path)?,
                None => FileSettings::default(),
            },
        })
    }
}

impl PortSettings {
    fn load(arguments: PortArguments) -> Result<Self, SettingsError> {
        let PortArguments {
            base_url,
            client_id,
            client_id_file,
            client_secret,
            client_secret_file,
            ca_file,
            allow_http,
            create_blueprints,
            create_missing_related_entities,
        } = arguments;
        let base_url = if allow_http { BaseUrl::parse_allowing_http(&base_url)? } else { base_url.parse()? };
        let credentials = CredentialSource {
            client_id: credential("PORT_CLIENT_ID", client_id, client_id_file)?,
            client_secret: credential("PORT_CLIENT_SECRET", client_secret, client_secret_file)?,
        };
        Ok(Self {
            base_url,
            credentials,
            ca_file: non_empty(ca_file),
            create_blueprints,
            create_missing_related_entities,
        })
    }
}

impl ApiSettings {
    fn load(arguments: &ApiArguments) -> Self {
        let ApiArguments { timeout_seconds, watch_seconds } = *arguments;
        Self { timeout: std::time::Duration::from_secs(timeout_seconds.into()), watch_seconds }
    }
}

impl ReplicaSettings {
    fn load(arguments: ReplicaArguments) -> Self {
        let ReplicaArguments { lease_seconds, pod_name, pod_namespace } = arguments;
        Self {
            identity: non_blank(pod_name),
            namespace: non_blank(pod_namespace),
            lease_duration: std::time::Duration::from_secs(lease_seconds.into()),
        }
    }
}

fn credential(
    variable: &'static str,
    value: Option<String>,
    file: Option<PathBuf>,
) -> Result<CredentialValue, SettingsError> {
    match (non_blank(value), non_empty(file)) {
        (Some(_), Some(_)) => Err(SettingsError::SetTwice { variable }),
        (Some(value), None) => Ok(CredentialValue::Inline(SecretString::from(value))),
        (None, Some(path)) => Ok(CredentialValue::File(path)),
        (None, None) => Ok(CredentialValue::Unset),
    }
}

/// Manifests often set a variable to an empty text: that is the same as not setting it.
fn non_blank(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

/// The same for the path of a file.
fn non_empty(path: Option<PathBuf>) -> Option<PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty())
}

/// Whether `name` matches Port's pattern of identifiers, without the characters that separate the parts of an entity identifier.
fn is_identifier_part(name: &str) -> bool {
    name.chars().count() <= 100 && name.chars().all(|char| char.is_alphanumeric() || "@_.+=-".contains(char))
}

fn read_file(path: &Path) -> Result<FileSettings, SettingsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| SettingsError::Unreadable { path: path.display().to_string(), source })?;
    FileSettings::parse(&text).map_err(|source| SettingsError::File { path: path.display().to_string(), source })
}
