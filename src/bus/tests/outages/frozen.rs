//! SIGSTOP of the primary.

use culvert_bus::store::Store;
use culvert_bus::store::mongo::Mongo;
use culvert_model::{HostId, Kind};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::*;
use crate::secure::Secure;

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

/// Freezes the primary so often, each time of a new set: a member that has just come back may follow the frozen one for
/// 20 s, and no majority is there.
async fn freezes(rounds: usize) {
    let _turn = alone().await;
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let secure = tokio::task::block_in_place(|| Secure::start(3)).expect("a replica set");
        let host = HostId::new();
        let store = Mongo::connect(&secure.uri(), host).await.expect("the store opens");
        let s = Subject { store, host };
        let id = fresh();
        s.make(Kind::Server, &id, &json!({})).await;
        let frozen = secure.set.primary().expect("a primary");
        secure.set.freeze(frozen).expect("it can be frozen");
        let reading = until_success(async || s.store.get(Kind::Server, &id).await.is_ok());
        let writing = until_success(async || {
            s.write(vec![insert(Kind::Nonce, &fresh(), &json!({ "expires": 1 }))]).await.is_ok()
        });
        let ((read, longest_read), (write, longest_write)) = tokio::join!(reading, writing);
        println!(
            "frozen {round}: next read after {read:?} (one at most {longest_read:?}), \
             next write after {write:?} (one at most {longest_write:?})"
        );
        assert!(read.max(longest_read) <= Duration::from_secs(3) + SLACK, "{read:?}, {longest_read:?}");
        assert!(write.max(longest_write) <= Duration::from_secs(7) + SLACK, "{write:?}, {longest_write:?}");
        reads.push(read);
        writes.push(write);
    }
    reads.sort_unstable();
    writes.sort_unstable();
    println!("frozen {rounds} times: reads {reads:?}");
    println!("frozen {rounds} times: majority writes {writes:?}");
}

/// Reads go on within 3 s, majority writes within 7 s, with the elections of the kit (`mechanisms.md` 4.3).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_primary_hangs_nobody() {
    freezes(2).await;
}

/// Long mode: `cargo test -p culvert-bus --test mongo -- --ignored often --nocapture`, two minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long mode"]
async fn a_frozen_primary_hangs_nobody_however_often() {
    freezes(12).await;
}
