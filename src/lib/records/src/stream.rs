//! The stream to the bus: opened again whenever it breaks.
//!
//! What was under way is asked again then. Of a write it is not known whether the bus that went away did it, so it is asked
//! again until it has an answer that tells, or until its caller has stopped waiting.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use culvert_frames::{FrameReader, FrameWriter};
use culvert_model::Millis;
use culvert_wire::bus::{Answer, Call, FRAME, Fault, Reply, Request};
use culvert_wire::{decode, encode};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::News;

/// How often it is looked for what is owed: a gap, a subscription, a write that is asked again.
const LOOK: Duration = Duration::from_millis(100);

/// Pauses between attempts to reach the bus, from the first to the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

/// With so many bytes, no more requests are put into the same write: what the socket takes without waiting.
const TOGETHER: usize = 64 << 10;

/// What the connection is to do.
#[derive(Debug)]
pub enum Order {
    /// Ask, and give the answer.
    Ask { call: Call, answer: oneshot::Sender<Result<Reply, Fault>> },
    /// Subscribe, and give all news.
    Subscribe { call: Call, news: mpsc::Sender<News> },
}

/// The stream, and what is under way on it.
pub struct Connection {
    socket: PathBuf,
    queue: mpsc::Receiver<Order>,
    asked: HashMap<u64, Asked>,
    subscribers: HashMap<u64, Subscriber>,
    opens: watch::Sender<u64>,
}

/// A request that has no answer yet.
struct Asked {
    call: Bytes,
    answer: oneshot::Sender<Result<Reply, Fault>>,
    since: Instant,
    /// Whether it is a write that a bus before this one may have done.
    again: bool,
    /// Whether it is to be asked once more.
    owed: bool,
}

impl Asked {
    /// What to send to another bus.
    fn again(&mut self) -> Bytes {
        let Ok(Call { number, request }) = decode(&self.call) else { return self.call.clone() };
        let (Request::Write { id, writes } | Request::WriteAgain { id, writes, .. }) = request else {
            return self.call.clone();
        };
        self.again = true;
        let begun = self.since.elapsed().as_millis() as Millis;
        let call = Call { number, request: Request::WriteAgain { id, writes, begun } };
        self.call = encode(&call).map_or_else(|_| self.call.clone(), Bytes::from);
        self.call.clone()
    }

    /// Whether this says that nothing was changed now: nothing about what an earlier bus did.
    fn tells_nothing(&self, reply: &Result<Reply, Fault>) -> bool {
        self.again && matches!(reply, Err(Fault::Unavailable | Fault::Busy))
    }
}

/// A subscriber and what is owed to it.
struct Subscriber {
    call: Bytes,
    news: mpsc::Sender<News>,
    gap: bool,
    /// The bus had no place for it: it must be asked again, or nothing would ever be heard.
    subscription: bool,
}

impl Subscriber {
    /// Never waits: what does not fit becomes a gap, told as soon as there is room.
    fn tell(&mut self, news: News) {
        self.settle();
        if !self.gap && self.news.try_send(news).is_err() {
            self.gap = true;
        }
    }

    fn settle(&mut self) {
        if self.gap && self.news.try_send(News::Gap).is_ok() {
            self.gap = false;
        }
    }
}

impl Connection {
    /// To the bus that listens on this socket. Counts how often it was opened.
    pub fn new(socket: PathBuf, queue: mpsc::Receiver<Order>, opens: watch::Sender<u64>) -> Self {
        Self { socket, queue, asked: HashMap::new(), subscribers: HashMap::new(), opens }
    }

    /// Until nobody is left who could ask.
    pub async fn run(mut self) {
        let mut pause = PAUSE.0;
        loop {
            let stream = UnixStream::connect(&self.socket).await;
            if let Ok((reader, writer)) = stream.and_then(|stream| culvert_frames::split(stream, FRAME)) {
                let begun = Instant::now();
                self.opens.send_modify(|opens| *opens += 1);
                if self.serve(reader, writer).await.is_none() {
                    return;
                }
                if begun.elapsed() > Duration::from_secs(1) {
                    pause = PAUSE.0;
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Until the stream breaks; nothing when nobody is left who could ask.
    async fn serve(&mut self, mut reader: FrameReader, mut writer: FrameWriter) -> Option<()> {
        if writer.send(&self.all_again()).await.is_err() {
            return Some(());
        }
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                frame = reader.next() => match frame {
                    Ok(Some(frame)) => self.answer(frame),
                    _ => return Some(()),
                },
                order = self.queue.recv() => {
                    let calls = self.take_all(order?);
                    if writer.send(&calls).await.is_err() {
                        return Some(());
                    }
                }
                _ = look.tick(), if self.owes() => {
                    if writer.send(&self.owed()).await.is_err() {
                        return Some(());
                    }
                }
            }
        }
    }

    /// What a new bus is asked: subscriptions first, so that there is a place for them.
    fn all_again(&mut self) -> Vec<Bytes> {
        self.asked.retain(|_, asked| !asked.answer.is_closed());
        self.subscribers.retain(|_, subscriber| !subscriber.news.is_closed());
        self.asked.values_mut().for_each(|asked| asked.owed = false);
        self.subscribers.values_mut().for_each(|subscriber| subscriber.subscription = false);
        let subscriptions = self.subscribers.values().map(|subscriber| subscriber.call.clone());
        subscriptions.chain(self.asked.values_mut().map(Asked::again)).collect()
    }

    fn owes(&self) -> bool {
        self.subscribers.values().any(|subscriber| subscriber.gap || subscriber.subscription)
            || self.asked.values().any(|asked| asked.owed)
    }

    /// Tells the gaps that are owed, and gives what is to be asked once more.
    fn owed(&mut self) -> Vec<Bytes> {
        self.asked.retain(|_, asked| !(asked.owed && asked.answer.is_closed()));
        self.subscribers.values_mut().for_each(Subscriber::settle);
        let subscribers = self.subscribers.values_mut();
        let subscriptions = subscribers.filter_map(|it| std::mem::take(&mut it.subscription).then(|| it.call.clone()));
        let asked = self.asked.values_mut();
        subscriptions.chain(asked.filter_map(|it| std::mem::take(&mut it.owed).then(|| it.again()))).collect()
    }

    /// An order and those that wait behind it, as many as go together.
    fn take_all(&mut self, first: Order) -> Vec<Bytes> {
        let mut bytes = 0;
        let mut calls = Vec::new();
        let mut next = Some(first);
        while let Some(order) = next {
            let call = self.take(order);
            bytes += call.len();
            calls.push(call);
            next = if bytes < TOGETHER { self.queue.try_recv().ok() } else { None };
        }
        calls
    }

    fn take(&mut self, order: Order) -> Bytes {
        let (Order::Ask { call, .. } | Order::Subscribe { call, .. }) = &order;
        let number = call.number;
        let call = Bytes::from(encode(call).expect("requests have a form"));
        let bytes = call.clone();
        match order {
            Order::Ask { answer, .. } => {
                let asked = Asked { call, answer, since: Instant::now(), again: false, owed: false };
                self.asked.insert(number, asked);
            }
            Order::Subscribe { news, .. } => {
                self.subscribers.insert(number, Subscriber { call, news, gap: false, subscription: false });
            }
        }
        bytes
    }

    fn answer(&mut self, frame: &[u8]) {
        let Ok(Answer { number, reply }) = decode(frame) else {
            tracing::error!("the bus sent a malformed answer: is it of another version?");
            return;
        };
        if let Some(subscriber) = self.subscribers.get_mut(&number) {
            match reply {
                Ok(Reply::Changed(change)) => subscriber.tell(News::Changed(change)),
                Ok(Reply::Subscribed | Reply::Gap) => subscriber.tell(News::Gap),
                Err(Fault::Busy) => subscriber.subscription = true,
                other => tracing::error!(?other, "the bus refused a subscription"),
            }
            return;
        }
        if let Some(asked) = self.asked.get_mut(&number)
            && asked.tells_nothing(&reply)
        {
            asked.owed = true;
            return;
        }
        if let Some(asked) = self.asked.remove(&number) {
            // Who asked may have given up.
            let _ = asked.answer.send(reply);
        }
    }
}
