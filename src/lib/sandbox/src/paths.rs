//! From a posture to a landlock ruleset: what of the file system, and which TCP ports.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, make_bitflags,
};

use crate::Error;
use crate::posture::{Place, Posture, Rights, Scope, Tcp};

/// The oldest landlock that will do: it confines the moving of files between folders (Linux 5.19).
const OLDEST: ABI = ABI::V2;

/// What this code knows of, the newest first.
const KNOWN: [ABI; 5] = [ABI::V6, ABI::V5, ABI::V4, ABI::V3, OLDEST];

/// A ruleset, and what the kernel could not do for it.
pub(crate) type Made = (RulesetCreated, Vec<String>);

/// The ruleset of a posture; `None` when landlock does not confine it.
pub(crate) fn ruleset(posture: &Posture, scope: &Scope<'_>) -> Result<Option<Made>, Error> {
    let Some(files) = posture.files else { return Ok(None) };
    let abi = kernel()?;
    let mut warnings = Vec::new();
    let mut rules = handled(abi, posture.tcp).map_err(failed)?.create().map_err(failed)?;
    for (place, rights) in files {
        for path in paths(*place, scope)? {
            rules = beneath(rules, &path, access(*rights, abi), matches!(place, Place::At(_)))?;
        }
    }
    if abi >= ABI::V4 {
        rules = ports(rules, posture.tcp, scope)?;
    } else if posture.tcp != Tcp::All {
        let text = "this kernel cannot confine TCP by landlock (Linux 6.7 and later can): the guard in nftables is what is left";
        warnings.push(text.to_owned());
    }
    Ok(Some((rules, warnings)))
}

/// What landlock of this kernel can do, as far as this code knows of it.
fn kernel() -> Result<ABI, Error> {
    let found = KNOWN.into_iter().find(|abi| handled(*abi, Tcp::Nothing).is_ok());
    let missing = "this kernel has no landlock, or it is switched off: Linux 5.19 or later with landlock in its list of \
        security modules (lsm=) is needed";
    found.ok_or_else(|| Error::new("confining the file system", missing))
}

/// A ruleset that forbids all that this landlock knows of, to which exceptions are added.
fn handled(abi: ABI, tcp: Tcp) -> Result<Ruleset, landlock::RulesetError> {
    let mut rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    rules = rules.handle_access(AccessFs::from_all(abi))?;
    if abi >= ABI::V4 && tcp != Tcp::All {
        // Whoever may connect anywhere still may not listen.
        let all = AccessNet::from_all(abi);
        rules = rules.handle_access(if tcp == Tcp::ConnectAny { AccessNet::BindTcp.into() } else { all })?;
    }
    if abi >= ABI::V6 {
        rules = rules.scope(landlock::Scope::from_all(abi))?;
    }
    Ok(rules)
}

/// What a place of the table stands for.
fn paths(place: Place, scope: &Scope<'_>) -> Result<Vec<std::path::PathBuf>, Error> {
    let missing = |what| Error::new("confining the file system", format!("the {what} is not known"));
    Ok(match place {
        Place::At(path) => vec![path.into()],
        Place::State(path) => vec![scope.state.ok_or_else(|| missing("state folder"))?.join(path)],
        Place::Instance => vec![scope.instance.ok_or_else(|| missing("instance's folder"))?.to_owned()],
        Place::Named => scope.named.clone(),
    })
}

fn access(rights: Rights, abi: ABI) -> BitFlags<AccessFs> {
    let known = AccessFs::from_all(abi);
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    known
        & match rights {
            Rights::Read => read,
            Rights::Write => {
                read | make_bitflags!(AccessFs::{WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir})
            }
            Rights::Sockets => read | make_bitflags!(AccessFs::{WriteFile | MakeSock | RemoveFile}),
            Rights::Device => make_bitflags!(AccessFs::{ReadFile | WriteFile | IoctlDev}),
            Rights::Execute => make_bitflags!(AccessFs::{ReadFile | Execute}),
        }
}

/// Adds a path; one that is not there is passed over if it may be missing.
fn beneath(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
    optional: bool,
) -> Result<RulesetCreated, Error> {
    let descriptor = match PathFd::new(path) {
        Err(_) if optional && !path.exists() => return Ok(rules),
        found => found.map_err(|error| Error::new(&format!("confining to {}", path.display()), error))?,
    };
    // What only folders have is an error on a file.
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(ABI::V6) };
    rules.add_rule(PathBeneath::new(descriptor, access)).map_err(failed)
}

fn ports(rules: RulesetCreated, tcp: Tcp, scope: &Scope<'_>) -> Result<RulesetCreated, Error> {
    let known = || scope.port.ok_or_else(|| Error::new("confining TCP", "the port is not known"));
    let allowed = match (tcp, scope.port) {
        (Tcp::ConnectApi, _) => NetPort::new(known()?, AccessNet::ConnectTcp),
        (Tcp::BindApi, Some(port)) | (Tcp::BindOwn, Some(port)) => NetPort::new(port, AccessNet::BindTcp),
        (Tcp::Nothing | Tcp::All | Tcp::BindOwn | Tcp::BindApi | Tcp::ConnectAny, _) => return Ok(rules),
    };
    rules.add_rule(allowed).map_err(failed)
}

fn failed(error: landlock::RulesetError) -> Error {
    Error::new("confining the file system", error)
}
