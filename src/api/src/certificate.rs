//! The writes that remove certificates.

use culvert_model::Id;
use culvert_model::record::{Certificate, CertificateKey};
use culvert_records::{Guard, Write, delete};

/// The writes that remove a certificate and its key.
pub fn removal(id: Id) -> Vec<Write> {
    vec![delete::<Certificate>(id, Guard::default()), delete::<CertificateKey>(id, Guard::default())]
}
