//! Whether a user, and a certificate, may be on a server at all: what can be told without the user's doing, and is looked at again whenever
//! something changes.

use culvert_model::Id;
use culvert_model::record::{Server, User};

use super::Denial;
use crate::directory::Directory;

/// The server, if a certificate of this serial number is good there. The users' own records are not needed for that: a
/// revoked certificate is refused though nothing else of it be left.
///
/// # Errors
///
/// Why it is not.
pub fn trusted<'a>(directory: &'a Directory, server: Id, serial: Option<&str>) -> Result<&'a Server, Denial> {
    let server = directory.servers.get(&server).filter(|server| server.online).ok_or(Denial::NoServer)?;
    let revoked = |serial| server.organizations.iter().any(|signer| directory.revoked(*signer, serial));
    if serial.is_some_and(revoked) { Err(Denial::Revoked) } else { Ok(server) }
}

/// The server and the user, if the user may be there: with the certificate of this serial number, as far as it is known.
///
/// # Errors
///
/// Why the user may not.
pub fn standing<'a>(
    directory: &'a Directory,
    server: Id,
    user: Id,
    serial: Option<&str>,
) -> Result<(&'a Server, &'a User), Denial> {
    let server = trusted(directory, server, serial)?;
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
        standing(&directory(change), sample::id(200), sample::id(1), None).err()
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
        assert_eq!(standing(&empty, sample::id(200), sample::id(1), None).err(), Some(Denial::NoServer));
    }
    #[test]
    fn a_revoked_certificate_is_refused_while_the_users_other_one_is_good() {
        let mut directory = directory(|_, _| {});
        let signer = sample::user(1).organization;
        let verdict = |directory: &Directory, serial| standing(directory, sample::id(200), sample::id(1), serial).err();
        directory.put_revocation(signer, "0a0b".into());
        directory.put_revocation(sample::id(99), "0c".into());
        assert_eq!(verdict(&directory, Some("0a0b")), Some(Denial::Revoked));
        assert_eq!(trusted(&directory, sample::id(200), Some("0a0b")).err(), Some(Denial::Revoked));
        for good in [Some("0a"), Some("0c"), None] {
            assert_eq!(verdict(&directory, good), None, "{good:?}");
        }
        directory.drop_revocation(signer, "0a0b");
        assert_eq!(verdict(&directory, Some("0a0b")), None);
    }
}
