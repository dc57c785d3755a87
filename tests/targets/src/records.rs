//! Records as they stand in a store.

use culvert_bus::cluster::judge;
use culvert_bus::damaged::fault_under;
use culvert_bus::format::Release;
use culvert_bus::store::index;
use culvert_model::record::{Cluster, Usage, Visitor};
use culvert_model::{Kind, Record};

/// A stored record: the first byte says of which kind, the rest is its body. All that the bus does with it, and a process
/// before it looks into it.
pub fn record(bytes: &[u8]) {
    let Some((number, body)) = bytes.split_first() else { return };
    let Some(kind) = Kind::ALL.get(usize::from(*number)).copied() else { return };
    kind.visit(Reads(body));
    if let Ok(object) = index::parse(kind, body) {
        let _ = index::scope(kind, &object);
        for index in kind.indexes() {
            let keys = index::keys(index, &object).expect("what was parsed has keys");
            assert_eq!(keys.len(), index.fields.len());
            let _ = index::left_out(index, &keys);
        }
    }
    let release = Release::THIS;
    let _ = (release.raise(kind, body), release.renew(kind, body), release.lower(kind, body, release.format));
    if let (Kind::Usage, Ok(usage)) = (kind, serde_json::from_slice::<Usage>(body)) {
        for now in [0, 1, 1_764_000_000_000, u64::MAX] {
            let mut usage = usage.clone();
            usage.measured(now, 1000, 1000);
            assert!(usage.buckets.iter().all(|bucket| bucket.means().0.is_finite()));
        }
    }
    if let (Kind::Cluster, Ok(cluster)) = (kind, serde_json::from_slice::<Cluster>(body)) {
        let _ = judge(&cluster, release.format, u64::MAX).map_err(|unusable| unusable.to_string());
    }
}

/// What is a record is the same record again, once it was written; what is none is named.
struct Reads<'b>(&'b [u8]);

impl Visitor for Reads<'_> {
    type Output = ();

    fn visit<T: Record>(self) {
        let Ok(record) = serde_json::from_slice::<T>(self.0) else {
            assert!(fault_under(T::KIND, "", self.0).is_some());
            return;
        };
        let (id, written) = (record.id(), serde_json::to_vec(&record).expect("a record has a form in JSON"));
        let again: T = serde_json::from_slice(&written).expect("what was written can be read");
        assert_eq!(serde_json::to_vec(&again).expect("it has a form"), written);
        assert_eq!(fault_under(T::KIND, &id, &written), None);
    }
}
