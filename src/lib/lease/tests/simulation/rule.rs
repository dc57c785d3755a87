//! By which rules a world is run: the right ones, or with one of them broken, which the judge must find.

/// Which rule is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// None.
    Right,
    /// The end of a lease is counted from the answer instead of from before the request.
    LateClock,
    /// A lease is taken to be held until the store refuses to renew it.
    NeverLapses,
    /// Another's claim is taken as soon as it has run out, however short the contact with the store.
    NoContact,
    /// Contact is dated by when an answer came, however long it was on its way.
    ArrivalContact,
    /// A renewal that is refused is followed by a claim, even if another had the lease since.
    ClaimsBlindly,
    /// A process goes on under an epoch that was given back, perhaps, without passing it to a word of its own.
    KeepsWord,
    /// A transaction that writes another record only reads the claim.
    ReadsClaim,
    /// The claim is looked at first, and then the record is written without a condition.
    Unguarded,
    /// A new holder reads the target of its writes without writing its epoch there first.
    NoFence,
    /// Stages are filed under the claim, without the epoch.
    StagesByClaim,
    /// What was staged is published on the condition of the revision alone.
    PublishUnguarded,
}

impl Rule {
    /// All that are wrong, with a part of what the judge says then.
    pub const WRONG: [(Self, &str); 11] = [
        (Self::LateClock, "no clock is wrong"),
        (Self::NeverLapses, "no clock is wrong"),
        (Self::KeepsWord, "no clock is wrong"),
        (Self::NoContact, "too soon after an outage"),
        (Self::ArrivalContact, "too soon after an outage"),
        (Self::ClaimsBlindly, "too soon after an outage"),
        (Self::ReadsClaim, "is the holder"),
        (Self::Unguarded, "is the holder"),
        (Self::NoFence, "had read it"),
        (Self::StagesByClaim, "published"),
        (Self::PublishUnguarded, "is the holder"),
    ];
}
