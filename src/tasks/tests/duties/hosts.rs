//! Hosts that no longer report.

use culvert_model::HostId;
use culvert_model::record::{Host, HostStatus, Log};

use crate::kit::{Broken, made, touch};

/// A host of which the record says that it is there.
pub fn host(id: HostId) -> Host {
    made(|host: &mut Host| (host.id, host.status) = (id, HostStatus::Online))
}

#[tokio::test]
async fn who_does_not_report_is_offline() {
    let broken = Broken::new();
    let [lost, back, reports, off] = std::array::from_fn(|_| HostId::new());
    for id in [broken.here, lost, back, reports] {
        broken.put(&host(id)).await;
    }
    broken.put(&Host { status: HostStatus::Offline, ..host(off) }).await;
    // Whoever has just come knows nothing about who is lost.
    let early = broken.run("lost-hosts").await;
    assert_eq!(early.text, "waits until every host had the time to report");
    assert!(early.again.is_some_and(|again| again <= Host::LEASE + 20));

    broken.contact().await;
    // Two of the three come back in just this moment; one of them has nothing new to say of itself.
    broken.before_the_next(vec![touch(&Host { started: 7, ..host(back) })]);
    broken.back_before_the_next(reports);
    assert_eq!(broken.says("lost-hosts").await, "1 host lost");
    let status = async |id| broken.get::<Host>(id).await.record.status;
    assert_eq!((status(broken.here).await, status(lost).await), (HostStatus::Online, HostStatus::Offline));
    assert_eq!((status(back).await, status(off).await), (HostStatus::Online, HostStatus::Offline));
    assert_eq!(status(reports).await, HostStatus::Online, "its lease says so");
    let logs = broken.all::<Log>().await;
    assert!(matches!(&logs[..], [log] if log.message.contains("does not report")), "{logs:?}");
    assert_eq!(broken.says("lost-hosts").await, "1 host lost", "the other one did not stay");
    assert_eq!(broken.says("lost-hosts").await, "0 hosts lost");
}
