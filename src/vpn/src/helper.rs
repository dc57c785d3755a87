//! The way to the helper: one request at a time, each with a deadline, over a connection that is made again whenever it
//! breaks.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use culvert_link::packet::Packets;
use culvert_wire::helper::{Instance, PACKET, Refusal, Reply, Request};
use culvert_wire::{decode, encode};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

/// How long the helper may take for most requests.
const SOON: Duration = Duration::from_secs(4);

/// How long it may take to start or stop OpenVPN.
const LATER: Duration = Duration::from_secs(10);

/// After a connection broke, none is tried for this long.
const PAUSE: Duration = Duration::from_millis(200);

/// Requests that may wait.
const QUEUE: usize = 64;

/// Why a request came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Failure {
    /// The helper said no.
    #[error("{0}")]
    Refused(Refusal),
    /// It is away or did not answer in time; whether the request was done is not known.
    #[error("the helper does not answer")]
    Away,
    /// It answered something else than was asked: it is of another version.
    #[error("the helper's answer makes no sense: is it of another version?")]
    Nonsense,
}

type Answer = Result<(Reply, Option<OwnedFd>), Failure>;

/// The helper.
#[derive(Debug, Clone)]
pub struct Helper {
    orders: mpsc::Sender<(Request, oneshot::Sender<Answer>)>,
    connections: watch::Receiver<u64>,
}

impl Helper {
    /// The helper that listens on this socket. It need not be there yet. Must be called inside a runtime.
    #[must_use]
    pub fn new(socket: PathBuf) -> Self {
        let (orders, queue) = mpsc::channel(QUEUE);
        let (count, connections) = watch::channel(0);
        tokio::spawn(Link { socket, count, open: None, broke: None }.run(queue));
        Self { orders, connections }
    }

    /// Changes with every new connection: then it may be another helper, who knows less.
    #[must_use]
    pub fn connections(&self) -> watch::Receiver<u64> {
        self.connections.clone()
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    ///
    /// It refused or did not answer.
    pub async fn ask(&self, request: Request) -> Answer {
        let (answer, answered) = oneshot::channel();
        let sent = timeout(SOON, self.orders.send((request, answer))).await;
        if !matches!(sent, Ok(Ok(()))) {
            return Err(Failure::Away);
        }
        answered.await.unwrap_or(Err(Failure::Away))
    }

    /// Asks for something that is answered by [`Reply::Done`].
    ///
    /// # Errors
    ///
    /// It refused or did not answer.
    pub async fn done(&self, request: Request) -> Result<Option<OwnedFd>, Failure> {
        match self.ask(request).await? {
            (Reply::Done, descriptor) => Ok(descriptor),
            _ => Err(Failure::Nonsense),
        }
    }

    /// What runs.
    ///
    /// # Errors
    ///
    /// It did not answer.
    pub async fn list(&self) -> Result<Vec<Instance>, Failure> {
        match self.ask(Request::List).await? {
            (Reply::Instances(instances), _) => Ok(instances),
            _ => Err(Failure::Nonsense),
        }
    }
}

/// The connection's owner.
struct Link {
    socket: PathBuf,
    count: watch::Sender<u64>,
    open: Option<Packets>,
    broke: Option<Instant>,
}

impl Link {
    async fn run(mut self, mut queue: mpsc::Receiver<(Request, oneshot::Sender<Answer>)>) {
        while let Some((request, answer)) = queue.recv().await {
            // Whoever asked may have given up.
            if !answer.is_closed() {
                let _ = answer.send(self.serve(&request).await);
            }
        }
    }

    async fn serve(&mut self, request: &Request) -> Answer {
        let limit = if matches!(request, Request::Start(_) | Request::Stop(_)) { LATER } else { SOON };
        match self.exchange(request, limit).await {
            Ok((Reply::Refused(refusal), _)) => Err(Failure::Refused(refusal)),
            Ok(answer) => Ok(answer),
            // The connection is gone with it: a late answer must not be taken for that to the next request.
            Err(_) => {
                self.broke = Some(Instant::now());
                Err(Failure::Away)
            }
        }
    }

    async fn exchange(&mut self, request: &Request, limit: Duration) -> io::Result<(Reply, Option<OwnedFd>)> {
        let bytes = encode(request).map_err(io::Error::other)?;
        let packets = self.connected().await?;
        // On a thread of its own, since readiness of a descriptor of this kind can't be awaited without `unsafe`.
        let exchanging = tokio::task::spawn_blocking(move || {
            let deadline = std::time::Instant::now() + limit;
            packets.send(&bytes, None, deadline)?;
            let (bytes, descriptor) = packets.receive(PACKET, deadline)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            io::Result::Ok((packets, bytes, descriptor))
        });
        let (packets, bytes, descriptor) = exchanging.await.map_err(io::Error::other)??;
        let reply = decode(&bytes).map_err(io::Error::other)?;
        self.open = Some(packets);
        Ok((reply, descriptor))
    }

    async fn connected(&mut self) -> io::Result<Packets> {
        if let Some(packets) = self.open.take() {
            return Ok(packets);
        }
        if let Some(broke) = self.broke {
            tokio::time::sleep_until(broke + PAUSE).await;
        }
        let socket = self.socket.clone();
        let connecting = tokio::task::spawn_blocking(move || culvert_link::socket::connect_packets(&socket));
        let connected = connecting.await.map_err(io::Error::other)??;
        self.count.send_modify(|count| *count += 1);
        Ok(Packets::new(connected))
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn pretend(socket: PathBuf, answers: Vec<Option<Reply>>) {
        let listener = culvert_link::socket::packets(&socket, 0o600, None, None).expect("a listener");
        std::thread::spawn(move || {
            let soon = || std::time::Instant::now() + Duration::from_secs(5);
            let mut connection = culvert_link::packet::accept(&listener, soon()).expect("a connection");
            for answer in answers {
                let request = loop {
                    match connection.receive(PACKET, soon()).expect("a packet") {
                        Some((bytes, _)) => break bytes,
                        None => connection = culvert_link::packet::accept(&listener, soon()).expect("a connection"),
                    }
                };
                let request: Request = decode(&request).expect("a request");
                let file = std::fs::File::open("/dev/null").expect("a file");
                match answer {
                    Some(reply) => {
                        let descriptor = matches!(request, Request::Output(_)).then(|| file.as_fd());
                        connection.send(&encode(&reply).expect("bytes"), descriptor, soon()).expect("sent");
                    }
                    None => connection = culvert_link::packet::accept(&listener, soon()).expect("a connection"),
                }
            }
        });
    }

    #[tokio::test]
    async fn answers_refusals_and_a_helper_that_goes_away() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("helper.sock");
        let answers =
            vec![Some(Reply::Instances(Vec::new())), Some(Reply::Done), Some(Reply::Refused(Refusal::InUse)), None];
        pretend(socket.clone(), answers.into_iter().chain([Some(Reply::Done)]).collect());
        let helper = Helper::new(socket);
        let slot = culvert_model::Slot::try_from(3).expect("a slot");
        assert_eq!(helper.list().await, Ok(Vec::new()));
        assert!(helper.done(Request::Output(slot)).await.expect("done").is_some());
        assert_eq!(helper.done(Request::Stop(slot)).await.err(), Some(Failure::Refused(Refusal::InUse)));
        assert_eq!(helper.list().await, Err(Failure::Away));
        assert!(helper.done(Request::Stop(slot)).await.is_ok());
        assert_eq!(*helper.connections().borrow(), 2);
    }

    #[tokio::test]
    async fn a_helper_that_is_not_there_is_away() {
        let helper = Helper::new("/nonexistent/helper.sock".into());
        assert_eq!(helper.list().await, Err(Failure::Away));
    }
}
