//! From the first instruction to the loop, and what is done behind it.

use std::error::Error;
use std::os::fd::OwnedFd;

use culvert_link::{environment, inherited};
use culvert_model::Role;
use culvert_sandbox::Scope;
use nix::unistd::User;

use crate::arguments::Arguments;
use crate::heart::Heart;
use crate::instances::Instances;
use crate::network::Claim;
use crate::place::Places;
use crate::record::Folder;
use crate::serve::{Ending, Server, Signals};

/// Serves until a signal ends it.
///
/// # Errors
///
/// What keeps it from serving, or from removing what it made; for people.
pub fn run() -> Result<(), Box<dyn Error>> {
    let listener = listener(inherited::take()?)?;
    let arguments = Arguments::read(std::env::args_os())?;
    let heart = Heart::from_environment()?;
    environment::clear(&[])?;
    confine()?;
    let signals = Signals::block()?;
    let vpn = vpn()?;
    let claim = Claim::take()?;
    let places = Places::new(&arguments.run, vpn.gid.as_raw())?;
    let folder = Folder::open(arguments.run.join("helper"))?;
    let instances = Instances::adopt(folder, places, arguments.guard, heart);
    instances.ready();
    let mut server = Server::new(listener, vpn.uid.as_raw(), instances);
    match server.run(&signals)? {
        Ending::Restart => Ok(()),
        Ending::Removal => {
            server.into_instances().destroy()?;
            claim.remove();
            Ok(())
        }
    }
}

/// Gives up what the helper does not need, for itself and all that it starts.
fn confine() -> Result<(), culvert_sandbox::Error> {
    let posture = culvert_sandbox::of("helper").expect("the table has the helper's posture");
    let warnings = culvert_sandbox::enter(posture, &Scope::default())?;
    warnings.iter().for_each(|warning| eprintln!("{warning}"));
    Ok(())
}

/// The listener among the descriptors that were handed over.
fn listener(descriptors: Vec<(String, OwnedFd)>) -> Result<OwnedFd, String> {
    let named = |(name, descriptor): (String, OwnedFd)| (name == "helper").then_some(descriptor);
    descriptors.into_iter().find_map(named).ok_or_else(|| {
        "the socket `helper` is missing: the supervisor, or systemd's unit, starts this program and hands it over"
            .into()
    })
}

/// The user that is answered.
fn vpn() -> Result<User, Box<dyn Error>> {
    let name = Role::Vpn.user();
    let user = User::from_name(name)?;
    Ok(user.ok_or_else(|| format!("there is no user {name}: `culvert run` and the packages make it"))?)
}
