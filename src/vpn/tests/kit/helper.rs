//! A helper that does nothing but note what it is asked.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use culvert_link::packet::{self, Packets};
use culvert_wire::helper::{Instance, PACKET, Reply, Request};

/// What it was asked, oldest first, and what it says runs.
#[derive(Clone, Default)]
pub struct Helper {
    /// The requests, those that only look left out.
    pub asked: Arc<Mutex<Vec<Request>>>,
    /// What runs.
    pub running: Arc<Mutex<Vec<Instance>>>,
}

impl Helper {
    /// Listens on a thread of its own, as long as the test runs.
    pub fn start(socket: &Path) -> Self {
        let listener = culvert_link::socket::packets(socket, 0o600, None, None).expect("a socket");
        let helper = Self::default();
        let serving = helper.clone();
        std::thread::spawn(move || {
            while let Ok(connection) = packet::accept(&listener, Instant::now() + Duration::from_secs(60)) {
                serving.serve(&connection);
            }
        });
        helper
    }

    fn serve(&self, connection: &Packets) {
        let later = || Instant::now() + Duration::from_secs(60);
        while let Ok(Some((bytes, _))) = connection.receive(PACKET, later()) {
            let request: Request = culvert_wire::decode(&bytes).expect("a request");
            let reply = match &request {
                Request::List => Reply::Instances(self.running.lock().expect("running").clone()),
                Request::Addresses => Reply::Addresses { default: None, all: Vec::new() },
                Request::Start(start) => {
                    let instance =
                        Instance { slot: start.slot, server: start.server, epoch: start.epoch, pid: 1, running: true };
                    self.running.lock().expect("running").push(instance);
                    Reply::Done
                }
                Request::Stop(slot) => {
                    self.running.lock().expect("running").retain(|instance| instance.slot != *slot);
                    Reply::Done
                }
                _ => Reply::Done,
            };
            if !matches!(request, Request::List | Request::Addresses | Request::Output(_)) {
                self.asked.lock().expect("asked").push(request);
            }
            if connection.send(&culvert_wire::encode(&reply).expect("bytes"), None, later()).is_err() {
                return;
            }
        }
    }
}
