//! SIGSTOP of the primary.

use culvert_bus::store::Store;
use culvert_model::Kind;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::*;

/// From now to the next success, and the longest single request on the way.
async fn until_success<F: Future<Output = bool>>(request: impl Fn() -> F) -> (Duration, Duration) {
    let (began, mut longest) = (Instant::now(), Duration::ZERO);
    loop {
        let asked = Instant::now();
        let done = request().await;
        longest = longest.max(asked.elapsed());
        if done {
            return (began.elapsed(), longest);
        }
        assert!(began.elapsed() < Duration::from_secs(30), "the store does not come back");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_primary_hangs_nobody() {
    let _turn = alone().await;
    // A new set each time: a member that has just come back may follow the frozen one for 20 s, and no majority is there.
    for round in 0..2 {
        let set = ReplicaSet::start(3).expect("a replica set");
        let s = open(&set).await;
        let id = fresh();
        s.make(Kind::Server, &id, &json!({})).await;
        let frozen = set.primary().expect("a primary");
        set.freeze(frozen).expect("it can be frozen");
        let reads = until_success(async || s.store.get(Kind::Server, &id).await.is_ok());
        let writes = until_success(async || {
            s.write(vec![insert(Kind::Nonce, &fresh(), &json!({ "expires": 1 }))]).await.is_ok()
        });
        let ((read, longest_read), (write, longest_write)) = tokio::join!(reads, writes);
        println!(
            "frozen {round}: next read after {read:?} (one at most {longest_read:?}), \
             next write after {write:?} (one at most {longest_write:?})"
        );
        assert!(longest_read <= Duration::from_secs(3) + SLACK, "{longest_read:?}");
        assert!(longest_write <= Duration::from_secs(7) + SLACK, "{longest_write:?}");
        assert!(write <= Duration::from_secs(7) + SLACK, "{write:?}");
    }
}
