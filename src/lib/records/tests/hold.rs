//! A lease is kept through what a store can do to its holder. Time is tokio's, and passes when all wait.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use culvert_lease::{Answer, Terms};
use culvert_records::{Grantor, Hold};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

const TERMS: Terms = Terms::of(15_000);

/// What the store does with the next request.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// Answers after so many milliseconds.
    After(u64, Answer),
    /// Never answers.
    Hang,
}

/// A store that does what the test says, and writes down what it was asked.
#[derive(Debug, Clone, Default)]
struct Script {
    turns: Arc<Mutex<VecDeque<Turn>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Script {
    fn of(turns: impl IntoIterator<Item = Turn>) -> Self {
        Self { turns: Arc::new(Mutex::new(turns.into_iter().collect())), asked: Arc::default() }
    }

    async fn ask(&self, what: String) -> Answer {
        self.asked.lock().expect("nobody panicked").push(what);
        let turn = self.turns.lock().expect("nobody panicked").pop_front();
        match turn.expect("the script has an end that no test comes to") {
            Turn::After(delay, answer) => {
                sleep(Duration::from_millis(delay)).await;
                answer
            }
            Turn::Hang => std::future::pending().await,
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panicked").clone()
    }
}

impl Grantor for Script {
    async fn claim(&self) -> Answer {
        self.ask("claim".into()).await
    }

    async fn renew(&self, epoch: u64) -> Answer {
        self.ask(format!("renew {epoch}")).await
    }

    async fn release(&self, epoch: u64) {
        self.asked.lock().expect("nobody panicked").push(format!("release {epoch}"));
    }
}

const fn held(epoch: u64) -> Answer {
    Answer::Held { epoch }
}

/// When the epoch became this, in milliseconds after `begun`.
async fn until(epochs: &mut watch::Receiver<Option<u64>>, wanted: Option<u64>, begun: Instant) -> u128 {
    let changed = epochs.wait_for(|epoch| *epoch == wanted);
    timeout(Duration::from_secs(60), changed).await.expect("it comes to that").expect("it is kept");
    begun.elapsed().as_millis()
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_ends_the_holding_in_time_and_another_answer_brings_it_back() {
    // Nothing is answered after the grant that was asked for at 0, until the third request.
    let store = Script::of([
        Turn::After(400, held(3)),
        Turn::Hang,
        Turn::After(100, Answer::Silence),
        Turn::After(100, Answer::Expired),
        Turn::After(100, held(4)),
        Turn::Hang,
    ]);
    let mut hold = Hold::new(store.clone(), TERMS);
    let (mut epochs, begun) = (hold.epochs(), Instant::now());
    let keeping = tokio::spawn(async move { hold.keep().await });
    assert_eq!(until(&mut epochs, Some(3), begun).await, 400);
    assert_eq!(until(&mut epochs, None, begun).await, 15_000, "counted from when the request was sent");
    // The renewal that hung is given up with the lease, and the next one a second after that.
    assert_eq!(until(&mut epochs, Some(4), begun).await, 17_300);
    assert_eq!(store.asked(), ["claim", "renew 3", "renew 3", "renew 3", "claim"]);
    keeping.abort();
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_another_has_it() {
    let store = Script::of([Turn::After(5, held(1)), Turn::After(5, Answer::Expired), Turn::After(5, Answer::Refused)]);
    let mut hold = Hold::new(store.clone(), TERMS);
    let epochs = hold.epochs();
    timeout(Duration::from_secs(6), hold.keep()).await.expect("it ends after the first renewal");
    assert_eq!(*epochs.borrow(), None);
    assert_eq!(store.asked(), ["claim", "renew 1", "claim"]);
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_process_held_is_held_after_the_store_says_so() {
    let store = Script::of([Turn::After(20, held(7))]);
    let mut hold = Hold::resume(store.clone(), TERMS, 7);
    let (mut epochs, begun) = (hold.epochs(), Instant::now());
    assert_eq!(*epochs.borrow(), None);
    tokio::select! {
        () = hold.keep() => panic!("nobody else has it"),
        after = until(&mut epochs, Some(7), begun) => assert_eq!(after, 20),
    }
    hold.release().await;
    assert_eq!(*epochs.borrow(), None);
    assert_eq!(store.asked(), ["renew 7", "release 7"]);
}
