//! Between a queue and its bus: sees every request, and holds the one that it is told to.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use culvert_frames::{FrameReader, FrameWriter, split};
use culvert_model::{Id, Kind};
use culvert_wire::bus::{Answer, Call, FRAME, Reply, Request, Write};
use culvert_wire::decode;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

/// When a request is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before the bus has it.
    Before,
    /// After the bus has done it, before it is told.
    After,
}

/// Says of each request whether it is to be held.
pub type Judge = Box<dyn FnMut(&Request) -> Option<Moment> + Send>;

/// What passes on requests.
pub struct Proxy {
    /// Where it listens.
    pub socket: PathBuf,
    shared: Arc<Shared>,
}

struct Shared {
    bus: PathBuf,
    judge: Mutex<Judge>,
    /// The number of the request whose answer is held.
    held: Mutex<Option<u64>>,
    /// The numbers of writes that remove a job, and how many were done.
    ends: Mutex<(Vec<u64>, usize)>,
    reached: Notify,
    go: Notify,
}

impl Proxy {
    /// In front of the bus at this socket.
    pub fn start(bus: &Path, judge: impl FnMut(&Request) -> Option<Moment> + Send + 'static) -> Self {
        let socket = bus.with_file_name(format!("{}.sock", Id::new()));
        let listener = UnixListener::bind(&socket).expect("a new name");
        let shared = Arc::new(Shared {
            bus: bus.into(),
            judge: Mutex::new(Box::new(judge)),
            held: Mutex::default(),
            ends: Mutex::default(),
            reached: Notify::new(),
            go: Notify::new(),
        });
        let serving = shared.clone();
        tokio::spawn(async move {
            while let Ok((queue, _)) = listener.accept().await {
                let bus = UnixStream::connect(&serving.bus).await.expect("the bus is there");
                let (asks, told) = split(queue, FRAME).expect("it can be watched");
                let (answers, asked) = split(bus, FRAME).expect("it can be watched");
                let (there, back) = (serving.clone(), serving.clone());
                tokio::spawn(async move { there.requests(asks, asked).await });
                tokio::spawn(async move { back.answers(answers, told).await });
            }
        });
        Self { socket, shared }
    }

    /// Until a request is held.
    pub async fn reached(&self) {
        self.shared.reached.notified().await;
    }

    /// Lets it go on.
    pub fn go(&self) {
        self.shared.go.notify_one();
    }

    /// How many jobs were removed through this.
    pub fn ended(&self) -> usize {
        self.shared.ends.lock().expect("nobody panicked").1
    }
}

impl Shared {
    async fn hold(&self) {
        self.reached.notify_one();
        self.go.notified().await;
    }

    async fn requests(&self, mut from: FrameReader, mut to: FrameWriter) {
        while let Ok(Some(frame)) = from.next().await {
            let frame = Bytes::copy_from_slice(frame);
            let Call { number, request } = decode(&frame).expect("a request");
            if ends_a_job(&request) {
                self.ends.lock().expect("nobody panicked").0.push(number);
            }
            let moment = (self.judge.lock().expect("nobody panicked"))(&request);
            match moment {
                Some(Moment::Before) => self.hold().await,
                Some(Moment::After) => *self.held.lock().expect("nobody panicked") = Some(number),
                None => {}
            }
            if to.send(&[frame]).await.is_err() {
                return;
            }
        }
    }

    async fn answers(&self, mut from: FrameReader, mut to: FrameWriter) {
        while let Ok(Some(frame)) = from.next().await {
            let frame = Bytes::copy_from_slice(frame);
            let Answer { number, reply } = decode(&frame).expect("an answer");
            self.count(number, matches!(reply, Ok(Reply::Written { .. })));
            let held = self.held.lock().expect("nobody panicked").take_if(|held| *held == number).is_some();
            if held {
                self.hold().await;
            }
            if to.send(&[frame]).await.is_err() {
                return;
            }
        }
    }

    fn count(&self, number: u64, written: bool) {
        let mut ends = self.ends.lock().expect("nobody panicked");
        if let Some(place) = ends.0.iter().position(|end| *end == number) {
            ends.0.swap_remove(place);
            ends.1 += usize::from(written);
        }
    }
}

/// Whether this removes a job.
pub fn ends_a_job(request: &Request) -> bool {
    let Request::Write { writes, .. } = request else { return false };
    writes.iter().any(|write| matches!(write, Write::Delete { kind: Kind::Job, .. }))
}
