//! Whether a user may be on a server at all: what can be told without the user's doing, and is looked at again whenever
//! something changes.

use culvert_model::Id;
use culvert_model::record::{Server, User};

use super::Denial;
use crate::directory::Directory;

/// The server and the user, if the user may be there.
///
/// # Errors
///
/// Why the user may not.
pub fn standing(directory: &Directory, server: Id, user: Id) -> Result<(&Server, &User), Denial> {
    let server = directory.servers.get(&server).filter(|server| server.online).ok_or(Denial::NoServer)?;
    let user = directory.user(user).ok_or(Denial::UnknownCertificate)?;
    if user.disabled {
        return Err(Denial::Disabled);
    }
    if !server.organizations.contains(&user.organization) {
        return Err(Denial::NotAttached);
    }
    if !server.groups.is_empty() && !server.groups.iter().any(|group| user.groups.contains(group)) {
        return Err(Denial::NotInGroup);
    }
    Ok((server, user))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn directory(change: impl FnOnce(&mut Server, &mut User)) -> Directory {
        let (mut server, mut user) = (sample::server(), sample::user(1));
        change(&mut server, &mut user);
        let mut directory = Directory::default();
        directory.servers.insert(server.id, server);
        directory.put_user(user);
        directory
    }

    fn verdict(change: impl FnOnce(&mut Server, &mut User)) -> Option<Denial> {
        standing(&directory(change), sample::id(200), sample::id(1)).err()
    }

    #[test]
    fn each_condition_counts() {
        assert_eq!(verdict(|_, _| {}), None);
        assert_eq!(verdict(|_, user| user.disabled = true), Some(Denial::Disabled));
        assert_eq!(verdict(|server, _| server.organizations.clear()), Some(Denial::NotAttached));
        assert_eq!(verdict(|server, _| server.groups = vec!["staff".into()]), Some(Denial::NotInGroup));
        let both = |server: &mut Server, user: &mut User| {
            server.groups = vec!["staff".into(), "guests".into()];
            user.groups = vec!["guests".into()];
        };
        assert_eq!(verdict(both), None);
        assert_eq!(verdict(|server, _| server.online = false), Some(Denial::NoServer));
        let empty = Directory::default();
        assert_eq!(standing(&empty, sample::id(200), sample::id(1)).err(), Some(Denial::NoServer));
    }
}
