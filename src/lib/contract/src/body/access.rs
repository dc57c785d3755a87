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

object! {
    /// What the cluster's own settings are to be. Nothing, or 0, leaves a setting as it is.
    ClusterChange {
        /// Client certificates kept ready per organisation, 1 to 1000.
        client_pool: i64,
        /// Server certificates kept ready per organisation, 1 to 100.
        server_pool: i64,
        /// CAs kept ready for organisations that are still to be made, 1 to 100.
        ca_pool: i64,
        /// Diffie-Hellman parameters kept ready of each size, 1 to 20.
        dh_pool: i64,
        /// What servers have for clients that know no elliptic curves: `none`, `group` or `own`. It takes an RSA `server_key`
        /// as well, because TLS 1.2 has that exchange with no other.
        dh: String,
        /// The keys of users: `rsa-2048`, `rsa-3072`, `rsa-4096`, `p-256`, `p-384` or `ed25519`.
        user_key: String,
        /// The keys of servers, likewise.
        server_key: String,
        /// The keys of organisations' CAs, likewise.
        ca_key: String,
        /// Days that certificates of users and servers are valid, 1 to 7300.
        leaf_days: i64,
        /// Days that an organisation's CA is valid, 1 to 36500.
        ca_days: i64,
        /// Administrators are warned so many days before a certificate expires, 1 to 365.
        expiry_days: i64,
        /// Seconds after which servers that are started from now on renew their session keys, 20 to 31536000.
        renegotiate: i64,
    }
}
