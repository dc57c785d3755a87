//! Between a queue and its bus: sees every request, and holds the one that it is told to.

use std::collections::HashMap;
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

/// Somebody wrote that a job is over.
#[derive(Debug, Clone)]
pub struct End {
    pub job: String,
    /// Under which epoch.
    pub epoch: u64,
    /// Whether it was done. Without an answer that says so, nobody knows.
    pub done: Option<bool>,
}

/// What passes on requests.
pub struct Proxy {
    /// Where it listens.
    pub socket: PathBuf,
    shared: Arc<Shared>,
}

struct Shared {
    bus: PathBuf,
    judge: Mutex<Judge>,
    ends: Mutex<Vec<End>>,
    reached: Notify,
    go: Notify,
}

/// What is asked on one stream, by the requests' numbers.
#[derive(Default)]
struct Asked {
    /// The one whose answer is held.
    held: Option<u64>,
    /// Those that end jobs, with the places of their ends.
    ends: HashMap<u64, Vec<usize>>,
}

impl Proxy {
    /// In front of the bus at this socket.
    pub fn start(bus: &Path, judge: impl FnMut(&Request) -> Option<Moment> + Send + 'static) -> Self {
        let socket = bus.with_file_name(format!("{}.sock", Id::new()));
        let listener = UnixListener::bind(&socket).expect("a new name");
        let shared = Arc::new(Shared {
            bus: bus.into(),
            judge: Mutex::new(Box::new(judge)),
            ends: Mutex::default(),
            reached: Notify::new(),
            go: Notify::new(),
        });
        let serving = shared.clone();
        tokio::spawn(async move {
            while let Ok((queue, _)) = listener.accept().await {
                let bus = UnixStream::connect(&serving.bus).await.expect("the bus is there");
                let (asks, told) = split(queue, FRAME).expect("it can be watched");
                let (answers, passed) = split(bus, FRAME).expect("it can be watched");
                let (there, back) = (serving.clone(), serving.clone());
                let asked = Arc::new(Mutex::default());
                let known = asked.clone();
                tokio::spawn(async move { there.requests(asks, passed, &asked).await });
                tokio::spawn(async move { back.answers(answers, told, &known).await });
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

    /// Every job's end that was written through this.
    pub fn ends(&self) -> Vec<End> {
        self.shared.ends.lock().expect("nobody panicked").clone()
    }

    /// How many jobs were removed through this.
    pub fn ended(&self) -> usize {
        self.ends().iter().filter(|end| end.done == Some(true)).count()
    }
}

impl Shared {
    async fn hold(&self) {
        self.reached.notify_one();
        self.go.notified().await;
    }

    async fn requests(&self, mut from: FrameReader, mut to: FrameWriter, asked: &Mutex<Asked>) {
        while let Ok(Some(frame)) = from.next().await {
            let frame = Bytes::copy_from_slice(frame);
            let Call { number, request } = decode(&frame).expect("a request");
            self.note(number, &request, asked);
            let moment = (self.judge.lock().expect("nobody panicked"))(&request);
            match moment {
                Some(Moment::Before) => self.hold().await,
                Some(Moment::After) => asked.lock().expect("nobody panicked").held = Some(number),
                None => {}
            }
            if to.send(&[frame]).await.is_err() {
                return;
            }
        }
    }

    async fn answers(&self, mut from: FrameReader, mut to: FrameWriter, asked: &Mutex<Asked>) {
        while let Ok(Some(frame)) = from.next().await {
            let frame = Bytes::copy_from_slice(frame);
            let Answer { number, reply } = decode(&frame).expect("an answer");
            let (ended, held) = {
                let mut asked = asked.lock().expect("nobody panicked");
                (asked.ends.remove(&number), asked.held.take_if(|held| *held == number).is_some())
            };
            let done = match reply {
                Ok(Reply::Written { .. }) => Some(true),
                Ok(Reply::Refused { .. }) => Some(false),
                _ => None,
            };
            for place in ended.unwrap_or_default() {
                self.ends.lock().expect("nobody panicked")[place].done = done;
            }
            if held {
                self.hold().await;
            }
            if to.send(&[frame]).await.is_err() {
                return;
            }
        }
    }

    /// Notes the jobs that this ends.
    fn note(&self, number: u64, request: &Request, asked: &Mutex<Asked>) {
        for write in writes(request) {
            if let Write::Delete { kind: Kind::Job, id, guard } = write {
                let epoch = guard.claim.as_ref().map_or(0, |claim| claim.epoch);
                let mut ends = self.ends.lock().expect("nobody panicked");
                asked.lock().expect("nobody panicked").ends.entry(number).or_default().push(ends.len());
                ends.push(End { job: id.clone(), epoch, done: None });
            }
        }
    }
}

/// What this is to write.
pub fn writes(request: &Request) -> &[Write] {
    match request {
        Request::Write { writes, .. } | Request::WriteAgain { writes, .. } => writes,
        _ => &[],
    }
}

/// Whether this removes a job.
pub fn ends_a_job(request: &Request) -> bool {
    writes(request).iter().any(|write| matches!(write, Write::Delete { kind: Kind::Job, .. }))
}
