//! The records that pools hold.

use culvert_model::Record;
use culvert_model::record::{Certificate, CertificateState, DhParams, Purpose};
use culvert_records::{Stored, Write, delete, update};

/// A record that pools hold.
pub trait Pooled: Record {
    /// The record when it is somebody's, and the write that makes it so if nobody else was faster.
    fn take(found: Stored<Self>) -> (Self, Write);
}

impl Pooled for Certificate {
    /// A CA's goes into its organisation; all others stay, with whom they are for.
    fn take(found: Stored<Self>) -> (Self, Write) {
        let guard = found.unchanged();
        let taken = Self { state: CertificateState::Taken, reserved: None, ..found.record };
        let write = match taken.purpose {
            Purpose::Authority => delete::<Self>(taken.id, guard),
            Purpose::Client | Purpose::Server => update(&taken, guard),
        };
        (taken, write)
    }
}

impl Pooled for DhParams {
    /// They go into their server.
    fn take(found: Stored<Self>) -> (Self, Write) {
        let write = delete::<Self>(found.record.id, found.unchanged());
        (found.record, write)
    }
}
