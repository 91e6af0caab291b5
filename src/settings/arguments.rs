//! The command line and the environment.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use port_client::DEFAULT_BASE_URL;

/// Reports Deployment rollouts and incidents of a Kubernetes cluster to Port, as DORA metrics.
#[derive(Debug, Parser)]
#[command(version, about, long_about = None)]
pub struct Arguments {
    /// What to do; `run` if nothing is named.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings of `run`.
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
        /// Write one file for each to this folder instead.
        #[arg(long, value_name = "FOLDER")]
        directory: Option<PathBuf>,
    },
}

/// Settings of `run`; each flag can also be given as an environment variable.
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Args, Clone, Debug)]
pub struct RunArguments {
    /// Address of Port's API; <https://api.us.port.io> for an organisation in the US.
    #[arg(long, env = "PORT_BASE_URL", default_value = DEFAULT_BASE_URL, global = true, value_name = "URL")]
    pub port_base_url: String,
    /// Client ID of the Port credentials. Without credentials everything is recorded and nothing is delivered yet.
    #[arg(long, env = "PORT_CLIENT_ID", global = true, value_name = "ID", hide_env_values = true)]
    pub port_client_id: Option<String>,
    /// File with the client ID; read again when it changes.
    #[arg(long, env = "PORT_CLIENT_ID_FILE", global = true, value_name = "FILE")]
    pub port_client_id_file: Option<PathBuf>,
    /// Client secret, from the environment only: a flag would show in the list of processes.
    #[arg(skip = std::env::var("PORT_CLIENT_SECRET").ok())]
    pub port_client_secret: Option<String>,
    /// File with the client secret; read again when it changes.
    #[arg(long, env = "PORT_CLIENT_SECRET_FILE", global = true, value_name = "FILE")]
    pub port_client_secret_file: Option<PathBuf>,
    /// File with further certificate authorities (PEM) that are trusted on the way to Port, such as that of a proxy.
    #[arg(long, env = "PORT_CA_FILE", global = true, value_name = "FILE")]
    pub port_ca_file: Option<PathBuf>,
    /// Accept a base URL with http:// for other hosts than this one: the client secret is sent in clear text then.
    #[arg(long, env = "PORT_ALLOW_HTTP", value_parser = BoolishValueParser::new(), global = true)]
    pub port_allow_http: bool,
    /// Create the blueprints of deployments, incidents and groups in Port if there are none. Existing ones stay as they are.
    #[arg(long, env = "PORT_CREATE_BLUEPRINTS", value_parser = BoolishValueParser::new(), global = true)]
    pub port_create_blueprints: bool,
    /// Create related entities, such as groups, that don't exist in Port, instead of being refused.
    #[arg(long, env = "PORT_CREATE_MISSING_RELATED_ENTITIES", value_parser = BoolishValueParser::new(), global = true)]
    pub port_create_missing_related_entities: bool,
    /// Record everything, send nothing, and log what would be sent.
    #[arg(long, env = "DRY_RUN", value_parser = BoolishValueParser::new(), global = true)]
    pub dry_run: bool,
    /// Name of the cluster in the identifiers of entities. Default: first 8 characters of the UID of kube-system.
    #[arg(long, env = "CLUSTER_NAME", global = true, value_name = "NAME")]
    pub cluster_name: Option<String>,
    /// Settings file (YAML).
    #[arg(long, env = "CONFIG_FILE", global = true, value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// File with the bearer token that Alertmanager has to show at POST /alertmanager; read again when it changes. Without it,
    /// no alerts are received.
    #[arg(long, env = "ALERTMANAGER_TOKEN_FILE", global = true, value_name = "FILE")]
    pub alertmanager_token_file: Option<PathBuf>,
    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, env = "LISTEN_ADDRESS", default_value = "0.0.0.0:8080", global = true, value_name = "ADDRESS")]
    pub listen_address: SocketAddr,
    /// How the log is written. What is logged: RUST_LOG, such as info or port_dora_controller=debug.
    #[arg(long, env = "LOG_FORMAT", default_value = "text", global = true, value_enum)]
    pub log_format: LogFormat,
    /// How many seconds another replica waits for a leader that has stopped renewing its lease before it takes over. A leader that
    /// can't renew stops writing after two thirds of them.
    #[arg(long, env = "LEASE_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u16).range(6..=600),
        global = true, value_name = "SECONDS")]
    pub lease_seconds: u16,
    /// Name of this replica, unique in the cluster. Default: host name and process id.
    #[arg(long, env = "POD_NAME", global = true, value_name = "NAME")]
    pub pod_name: Option<String>,
    /// Namespace of the lease. Default: that of the service account or the kubeconfig.
    #[arg(long, env = "POD_NAMESPACE", global = true, value_name = "NAME")]
    pub pod_namespace: Option<String>,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object for each line.
    Json,
}
