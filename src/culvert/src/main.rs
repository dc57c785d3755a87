//! `culvert`: the command that brings the appliance up and asks it questions.
//!
//! # Security
//!
//! It runs with the rights of whoever calls it and keeps none: `run` prepares users and folders as root and then
//! becomes the supervisor; everything else speaks to the api over a socket that only root may open.

mod announce;
mod appliance;
mod arguments;
mod ask;
mod backup;
mod cluster;
mod configuration;
mod errand;
mod host;
mod machine;
mod passphrase;
mod print;
mod progress;
mod run;
mod settings;
mod store;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Command, HostCommand, StoreCommand};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Run(given) => run::run(given),
        Command::Announce { state, listen, headless } => announce::announce(&state, &listen, headless),
        Command::Check(given) => configuration::check(&given, arguments.output),
        Command::Status(given) => appliance::status(&given, arguments.output),
        Command::DefaultPassword(given) => appliance::default_password(&given, arguments.output),
        Command::Join(given) => cluster::join(&given, arguments.output),
        Command::Leave(given) => cluster::leave(&given, arguments.output),
        Command::Backup(given) => backup::backup(&given, arguments.output),
        Command::Restore(given) => backup::restore(&given, arguments.output),
        Command::Store(StoreCommand::Check(given)) => store::check(&given, arguments.output),
        Command::Store(StoreCommand::Migrate(given)) => store::migrate(&given, arguments.output),
        Command::Store(StoreCommand::Damaged(given)) => store::damaged(&given, arguments.output),
        Command::Store(StoreCommand::Repair(given)) => store::repair(&given, arguments.output),
        Command::Host(HostCommand::List(given)) => host::list(&given, arguments.output),
        Command::Host(HostCommand::Id(given)) => host::id(&given, arguments.output),
        Command::Host(HostCommand::Adopt(given)) => host::adopt(&given, arguments.output),
        Command::ResetPassword(given) => appliance::reset_password(&given, arguments.output),
    };
    done.unwrap_or_else(|trouble| {
        print::say(&trouble.to_string());
        trouble.code()
    })
}
