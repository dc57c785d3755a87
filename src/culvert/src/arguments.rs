//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::settings::Settings;

/// A VPN appliance: OpenVPN servers, a web console and an API.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done; 1 it failed; 2 wrong usage or configuration; 3 Culvert is not running."
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// How to print what is asked for.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs: one JSON value.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring the appliance up and keep it up until Ctrl-C. Needs root.
    Run(Given),
    /// Check the configuration without starting anything.
    Check(Given),
    /// Say how the appliance is. Needs root.
    Status(Place),
    /// Print the administrator's name and one-time password, until they are changed. Needs root.
    DefaultPassword(Place),
    /// Give the first administrator a new one-time password and end all logins. Needs root.
    ResetPassword(Place),
    /// The cluster's hosts, and which of them this machine is.
    #[command(subcommand)]
    Host(HostCommand),
    /// Make this appliance a member of a cluster, with its records if the database is empty. Needs root.
    Join(Joining),
    /// Make this host a single appliance again, with the records if it is the cluster's only host. Needs root.
    Leave(Leaving),
    /// Write all records into an encrypted file, while the appliance goes on serving. Needs root.
    Backup(BackingUp),
    /// Put the records of a backup in place, also before the first start. Needs root, and Culvert must not run.
    Restore(Restoring),
    /// Look at a database.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Print the console's address and the next steps once the supervisor says on standard input that all is up.
    #[command(hide = true)]
    Announce {
        /// The state folder.
        #[arg(long)]
        state: PathBuf,
        /// Where the console listens.
        #[arg(long)]
        listen: String,
        /// Whether there is no console.
        #[arg(long)]
        headless: bool,
    },
}

/// What to do with hosts.
#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// List the cluster's hosts. Needs root.
    List(Place),
    /// Print the id of the host that this machine is. Needs root.
    Id(Place),
    /// Make this machine the host whose own machine was lost or rebuilt: its servers run here from then on. Needs root.
    Adopt(Wanted),
}

/// A host, and the machine that is to be it.
#[derive(Debug, Args)]
pub struct Wanted {
    /// The host's name or id. It must be offline.
    pub host: String,
    /// Which appliance is meant.
    #[command(flatten)]
    pub place: Place,
}

/// What to do with a database.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Say step by step whether a MongoDB can be used, and what to do if not. Needs root.
    Check(Database),
    /// Bring the records to the format of this version now, instead of within a minute. Needs root.
    Migrate(Migrating),
    /// Name the records that somebody or a disk has damaged. Needs root.
    Damaged(Kept),
    /// Put a good record, read from standard input, in the place of a damaged one. Needs root.
    Repair(Repairing),
}

/// Where records are kept.
#[derive(Debug, Args)]
pub struct Kept {
    /// Where the records are [default: where the appliance keeps them]
    #[arg(long, value_name = "embedded|mongodb://...|@FILE")]
    pub store: Option<String>,
    /// Which appliance is meant.
    #[command(flatten)]
    pub place: Place,
}

/// What `culvert store migrate` is told.
#[derive(Debug, Args)]
pub struct Migrating {
    /// Only say what would be changed, and which hosts keep the format back.
    #[arg(long)]
    pub dry_run: bool,
    /// Where the records are.
    #[command(flatten)]
    pub kept: Kept,
}

/// What `culvert store repair` is told.
#[derive(Debug, Args)]
pub struct Repairing {
    /// The record's kind, as `culvert store damaged` names it.
    pub kind: String,
    /// The record's id.
    pub id: String,
    /// Remove it, instead of reading another from standard input.
    #[arg(long)]
    pub delete: bool,
    /// Where the records are.
    #[command(flatten)]
    pub kept: Kept,
}

/// A database, and the appliance that is to use it.
#[derive(Debug, Args)]
pub struct Database {
    /// Its URI, @FILE with the URI in that file, or - for standard input.
    #[arg(value_name = "mongodb://...|@FILE|-")]
    pub uri: String,
    /// Which appliance is meant.
    #[command(flatten)]
    pub place: Place,
}

/// A backup.
#[derive(Debug, Args)]
pub struct Archive {
    /// The file.
    pub file: PathBuf,
    /// A file whose first line is the passphrase; it is asked for otherwise.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Where the records are or are to be [default: where the appliance keeps them]
    #[arg(long, value_name = "embedded|mongodb://...|@FILE")]
    pub store: Option<String>,
    /// Which appliance is meant.
    #[command(flatten)]
    pub place: Place,
}

/// What `culvert backup` is told.
#[derive(Debug, Args)]
pub struct BackingUp {
    /// The backup.
    #[command(flatten)]
    pub archive: Archive,
    /// Replace a file that is there.
    #[arg(long)]
    pub force: bool,
}

/// What `culvert restore` is told.
#[derive(Debug, Args)]
pub struct Restoring {
    /// The backup.
    #[command(flatten)]
    pub archive: Archive,
    /// Make this machine a host of its own, instead of the one that made the backup.
    #[arg(long)]
    pub new_host: bool,
}

/// What `culvert join` is told.
#[derive(Debug, Args)]
pub struct Joining {
    /// Which database.
    #[command(flatten)]
    pub database: Database,
    /// Leave this appliance's own records behind: the database holds a cluster already.
    #[arg(long)]
    pub without_records: bool,
}

/// What `culvert leave` is told.
#[derive(Debug, Args)]
pub struct Leaving {
    /// Which appliance is meant.
    #[command(flatten)]
    pub place: Place,
    /// Leave empty: the cluster's other hosts keep the records.
    #[arg(long)]
    pub yes: bool,
    /// Leave empty, because the database is gone for good.
    #[arg(long)]
    pub without_database: bool,
}

/// Which appliance is meant.
#[derive(Debug, Args)]
pub struct Place {
    /// The folder that the appliance keeps its state in.
    #[arg(long, value_name = "DIR", default_value = Settings::STATE)]
    pub state: PathBuf,
}

impl Place {
    /// The state folder from the root.
    #[must_use]
    pub fn absolute(&self) -> PathBuf {
        std::path::absolute(&self.state).unwrap_or_else(|_| self.state.clone())
    }
}

/// The configuration: a file, and what replaces it on the command line.
#[derive(Debug, Default, Args)]
pub struct Given {
    /// The configuration file [default: /etc/culvert/culvert.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The folder to keep state in [default: /var/lib/culvert]
    #[arg(long, value_name = "DIR")]
    pub state: Option<String>,

    /// Where the console and the API listen [default: 0.0.0.0:443]
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<String>,

    /// Where plain HTTP is sent on to HTTPS, or "off" [default: 0.0.0.0:80]
    #[arg(long, value_name = "ADDR:PORT|off")]
    pub redirect: Option<String>,

    /// Where records are kept: "embedded", a MongoDB URI, or @FILE with the URI in that file [default: embedded]
    #[arg(long, value_name = "embedded|mongodb://...|@FILE")]
    pub store: Option<String>,

    /// No console and no API: a member of a cluster that others manage
    #[arg(long)]
    pub headless: bool,

    /// What to log: error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,
}
