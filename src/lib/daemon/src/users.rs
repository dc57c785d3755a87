//! The system users of all roles.

use std::collections::BTreeMap;

use culvert_model::Role;
use nix::unistd::{User, getegid, getuid};

use crate::Error;

/// The user of every role. No two roles share one, since a process tells the others apart by their users.
#[derive(Debug, Clone)]
pub struct Users {
    by_role: BTreeMap<Role, u32>,
}

impl Users {
    /// Asks the system for the users of all roles.
    ///
    /// # Errors
    ///
    /// When one is missing, is root, or is the user of two roles.
    pub fn resolve() -> Result<Self, Error> {
        let found: Result<Vec<(Role, u32)>, Error> = Role::ALL.into_iter().map(|role| Ok((role, uid(role)?))).collect();
        Self::checked(found?)
    }

    fn checked(found: Vec<(Role, u32)>) -> Result<Self, Error> {
        let mut by_uid: BTreeMap<u32, Role> = BTreeMap::new();
        for (role, uid) in &found {
            if *uid == 0 {
                return Err(Error::Configuration(format!(
                    "the user {} is root; give it a user id of its own",
                    role.user()
                )));
            }
            if let Some(other) = by_uid.insert(*uid, *role) {
                let (a, b) = (other.user(), role.user());
                let text = format!("the users {a} and {b} have the same user id {uid}; give each its own");
                return Err(Error::Configuration(text));
            }
        }
        Ok(Self { by_role: found.into_iter().collect() })
    }

    /// The user id of a role.
    #[must_use]
    pub fn uid(&self, role: Role) -> u32 {
        *self.by_role.get(&role).expect("resolve() put every role in")
    }

    /// The role that a user id belongs to.
    #[must_use]
    pub fn role(&self, uid: u32) -> Option<Role> {
        self.by_role.iter().find(|(_, known)| **known == uid).map(|(role, _)| *role)
    }

    /// Refuses to go on as anybody but the role's own user and group.
    pub(crate) fn check_own(&self, role: Role) -> Result<(), Error> {
        let own = getuid().as_raw();
        if own == self.uid(role) && getegid().as_raw() != 0 {
            return Ok(());
        }
        let who = if own == 0 { "root".to_owned() } else { format!("the user id {own}") };
        let text = format!("{role} must run as {}, not as {who}; `culvert run` and systemd start it so", role.user());
        Err(Error::Configuration(text))
    }
}

fn uid(role: Role) -> Result<u32, Error> {
    let name = role.user();
    let user = User::from_name(name).map_err(|error| Error::system(format!("looking up the user {name}"), error))?;
    let missing = || Error::Configuration(format!("the system user {name} does not exist; `culvert run` makes it"));
    Ok(user.ok_or_else(missing)?.uid.as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(first: u32) -> Vec<(Role, u32)> {
        Role::ALL.into_iter().zip(first..).collect()
    }

    #[test]
    fn users_are_told_apart() {
        let users = Users::checked(numbered(900)).expect("all differ");
        for role in Role::ALL {
            assert_eq!(users.role(users.uid(role)), Some(role));
        }
        assert_eq!(users.role(1), None);
    }

    #[test]
    fn two_roles_with_one_user_are_refused() {
        let mut found = numbered(900);
        found[6].1 = 900;
        let error = Users::checked(found).expect_err("two have 900");
        assert!(error.to_string().contains("culvert-proxy and culvert-vpn have the same user id 900"), "{error}");
    }

    #[test]
    fn root_is_refused() {
        assert!(Users::checked(numbered(0)).is_err());
    }
}
