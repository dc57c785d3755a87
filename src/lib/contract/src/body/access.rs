//! Logging in, administrators and organisations.

use super::object;
use crate::Secret;

object! {
    /// Who logs in, and by what.
    Login {
        /// The administrator's name.
        username: String,
        /// The password.
        password: Secret,
        /// A one-time password of a YubiKey.
        yubico_key: Secret,
        /// A one-time code.
        otp_code: Secret,
    }
}

object! {
    /// What an administrator is to be.
    AdminChange {
        /// The name.
        username: String,
        /// A new password; empty for the old one.
        password: Secret,
        /// The first 12 characters of the YubiKey; empty for none.
        yubikey_id: String,
        /// Whether this one may manage administrators.
        super_user: bool,
        /// Whether signed requests are let in.
        auth_api: bool,
        /// Anything here means a new token.
        token: Secret,
        /// Anything here means a new secret.
        secret: Secret,
        /// Whether this one may not log in.
        disabled: bool,
        /// Whether logging in takes a one-time code.
        otp_auth: bool,
        /// Whether to make a new secret for one-time codes.
        otp_secret: bool,
    }
}

object! {
    /// A new organisation.
    OrganizationNew {
        /// The name.
        name: String,
        /// Whether it has a token and a secret.
        auth_api: bool,
    }
}

object! {
    /// What an organisation is to be.
    OrganizationChange {
        /// The name.
        name: String,
        /// Whether it has a token and a secret.
        auth_api: bool,
        /// Whether to make a new token.
        auth_token: bool,
        /// Whether to make a new secret.
        auth_secret: bool,
    }
}
