//! The command line and the environment.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use port_client::DEFAULT_BASE_URL;

/// Reports rollouts and incidents of a Kubernetes cluster to Port as DORA metrics.
#[derive(Debug, Parser)]
#[command(version, about, long_about = None)]
pub struct Arguments {
    /// What to do. Default: run.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags of `run`.
    #[command(flatten)]
    pub run: RunArguments,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the controller (the default).
    Run,
    /// Print the definitions of the custom resources as YAML, for kubectl apply --server-side -f -.
    Crds {
        /// Write one file for each definition to this folder instead of printing them.
        #[arg(long, value_name = "FOLDER")]
        directory: Option<PathBuf>,
    },
}

/// Flags of `run`. Each flag can also be set as an environment variable.
#[derive(Args, Clone, Debug)]
pub struct RunArguments {
    /// Flags for the connection to Port.
    #[command(flatten)]
    pub port: PortArguments,
    /// Record rollouts and incidents, log the entities that would be sent, and send nothing to Port.
    #[arg(long, env = "DRY_RUN", value_parser = BoolishValueParser::new(), global = true)]
    pub dry_run: bool,
    /// Name of the cluster in entity identifiers. Default: the first 8 characters of the UID of the namespace kube-system.
    #[arg(long, env = "CLUSTER_NAME", global = true, value_name = "NAME")]
    pub cluster_name: Option<String>,
    /// Settings file (YAML).
    #[arg(long, env = "CONFIG_FILE", global = true, value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// File with the bearer token that Alertmanager sends to POST /alertmanager; read for each request. Without this file, the
    /// controller receives no alerts.
    #[arg(long, env = "ALERTMANAGER_TOKEN_FILE", global = true, value_name = "FILE")]
    pub alertmanager_token_file: Option<PathBuf>,
    /// Address on which /livez, /readyz, /metrics and /alertmanager are served. The default accepts IPv6 and IPv4, as far as the host has them.
    #[arg(long, env = "LISTEN_ADDRESS", default_value = "[::]:8080", global = true, value_name = "ADDRESS")]
    pub listen_address: SocketAddr,
    /// Format of the log. RUST_LOG sets the level, such as info or port_dora_controller=debug.
    #[arg(long, env = "LOG_FORMAT", default_value = "text", global = true, value_enum)]
    pub log_format: LogFormat,
    /// Flags for the requests to the API server.
    #[command(flatten)]
    pub api: ApiArguments,
    /// Flags of this replica.
    #[command(flatten)]
    pub replica: ReplicaArguments,
}

/// Flags for the connection to Port.
#[derive(Args, Clone, Debug)]
pub struct PortArguments {
    /// Address of Port's API. For an organisation in the US: <https://api.us.port.io>.
    #[arg(long = "port-base-url", env = "PORT_BASE_URL", default_value = DEFAULT_BASE_URL, global = true, value_name = "URL")]
    pub base_url: String,
    /// Client ID of the Port credentials. Without credentials, the controller records everything and sends nothing.
    #[arg(long = "port-client-id", env = "PORT_CLIENT_ID", global = true, value_name = "ID", hide_env_values = true)]
    pub client_id: Option<String>,
    /// File with the client ID; read again when it changes.
    #[arg(long = "port-client-id-file", env = "PORT_CLIENT_ID_FILE", global = true, value_name = "FILE")]
    pub client_id_file: Option<PathBuf>,
    /// Client secret. It is not a flag, because flags show in the list of processes.
    #[arg(skip = std::env::var("PORT_CLIENT_SECRET").ok())]
    pub client_secret: Option<String>,
    /// File with the client secret; read again when it changes.
    #[arg(long = "port-client-secret-file", env = "PORT_CLIENT_SECRET_FILE", global = true, value_name = "FILE")]
    pub client_secret_file: Option<PathBuf>,
    /// File with additional certificate authorities (PEM) for connections to Port, such as that of a proxy.
    #[arg(long = "port-ca-file", env = "PORT_CA_FILE", global = true, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Accept a base URL with http:// for hosts other than this machine. The client secret is then sent in clear text.
    #[arg(long = "port-allow-http", env = "PORT_ALLOW_HTTP", value_parser = BoolishValueParser::new(), global = true)]
    pub allow_http: bool,
    /// Create the blueprints of deployments, incidents and groups in Port if they are missing. Existing blueprints stay unchanged.
    #[arg(long = "port-create-blueprints", env = "PORT_CREATE_BLUEPRINTS", value_parser = BoolishValueParser::new(), global = true)]
    pub create_blueprints: bool,
    /// Create related entities, such as groups, that are missing in Port. Without this flag, Port refuses the entity.
    #[arg(
        long = "port-create-missing-related-entities", env = "PORT_CREATE_MISSING_RELATED_ENTITIES",
        value_parser = BoolishValueParser::new(), global = true
    )]
    pub create_missing_related_entities: bool,
}

/// Flags for the requests to the API server.
#[derive(Args, Clone, Debug)]
pub struct ApiArguments {
    /// Seconds after which a request to the API server fails, and is sent again later.
    #[arg(long = "api-timeout-seconds", env = "API_TIMEOUT_SECONDS", default_value_t = 30,
        value_parser = clap::value_parser!(u16).range(1..=120), global = true, value_name = "SECONDS")]
    pub timeout_seconds: u16,
    /// Seconds after which each watch starts again. Choose less than the time after which something between the controller and the API
    /// server drops connections without traffic.
    #[arg(long, env = "WATCH_SECONDS", default_value_t = 290, value_parser = clap::value_parser!(u16).range(5..=290),
        global = true, value_name = "SECONDS")]
    pub watch_seconds: u16,
}

/// Flags of this replica.
#[derive(Args, Clone, Debug)]
pub struct ReplicaArguments {
    /// Seconds after which another replica takes over from a leader that stopped renewing its lease. A leader that can't renew its lease
    /// stops writing after two thirds of this time.
    #[arg(long, env = "LEASE_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u16).range(6..=600),
        global = true, value_name = "SECONDS")]
    pub lease_seconds: u16,
    /// Name of this replica, unique in the cluster. Default: host name and process ID.
    #[arg(long, env = "POD_NAME", global = true, value_name = "NAME")]
    pub pod_name: Option<String>,
    /// Namespace of the lease. Default: that of the service account or of the kubeconfig.
    #[arg(long, env = "POD_NAMESPACE", global = true, value_name = "NAME")]
    pub pod_namespace: Option<String>,
}

/// Format of the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_address_is_that_of_ipv6_and_ipv4() {
        let Arguments { run, .. } = Arguments::parse_from(["port-dora-controller"]);
        assert_eq!(run.listen_address.to_string(), "[::]:8080");
    }
}
