//! Why a client is not let in.

/// A reason that the client is told and the log keeps. None of them tells a stranger whether a user exists: whoever
/// hears one has shown a certificate of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// OpenVPN's notice was damaged, or the certificate has no fingerprint.
    Damaged,
    /// Nobody has this certificate (any more).
    UnknownCertificate,
    /// The certificate was revoked.
    Revoked,
    /// The server is gone or is being stopped.
    NoServer,
    /// The user is disabled.
    Disabled,
    /// The user's organisation is not attached to the server.
    NotAttached,
    /// The user is in none of the server's groups.
    NotInGroup,
    /// The user may connect with other hardware addresses only.
    WrongDevice,
    /// The user must set a PIN first.
    PinMissing,
    /// The user must give the PIN.
    PinRequired,
    /// It is the wrong PIN.
    PinWrong,
    /// The PIN was wrong too often.
    TooManyAttempts,
    /// The server asks for a second factor that is not to be had yet.
    SecondFactor,
    /// The user has as many devices connected as allowed.
    TooManyDevices,
    /// All addresses of the server's network are given away.
    NoAddress,
}

impl Denial {
    /// For the client and the log: one sentence without quotation marks.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Damaged => "The connection could not be understood",
            Self::UnknownCertificate => "This profile is not known (any more): download it again",
            Self::Revoked => "This profile was revoked: download it again or ask your administrator",
            Self::NoServer => "This server is being stopped",
            Self::Disabled => "Your user is disabled: ask your administrator",
            Self::NotAttached => "Your organisation is not attached to this server: ask your administrator",
            Self::NotInGroup => "You are in none of the groups that may use this server: ask your administrator",
            Self::WrongDevice => "You may not connect with this device: ask your administrator",
            Self::PinMissing => "You must set a PIN before you can connect",
            Self::PinRequired => "Your PIN is needed as the password",
            Self::PinWrong => "The PIN is wrong",
            Self::TooManyAttempts => "The PIN was wrong too often: try again in ten minutes",
            Self::SecondFactor => "This server asks for a one-time code, which is not supported yet",
            Self::TooManyDevices => "You have as many devices connected as this server allows",
            Self::NoAddress => "All addresses of this server are in use: ask your administrator",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_leave_its_quotes() {
        for denial in [Denial::UnknownCertificate, Denial::PinRequired, Denial::TooManyAttempts, Denial::NoAddress] {
            assert!(denial.text().is_ascii() && !denial.text().contains(['"', '\\', '\n']));
        }
    }
}
