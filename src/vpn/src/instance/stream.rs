//! The bytes of a management connection. It is read from while it is written to: OpenVPN takes no command before it has
//! said what it has to say, so that who only writes waits for ever once both sockets are full.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

/// OpenVPN must take a command within this time.
const WRITE: Duration = Duration::from_secs(10);

/// A connection, and what is still to be written.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) socket: UnixStream,
    /// No more than the session has to say about its clients: if OpenVPN takes none of them, the connection is given up.
    blocks: VecDeque<Vec<u8>>,
    /// When some of that must have been taken.
    due: Instant,
}

impl Stream {
    pub(super) fn new(socket: UnixStream) -> Self {
        Self { socket, blocks: VecDeque::new(), due: Instant::now() }
    }

    /// Has a block written behind those before it, in one piece unless the socket is full.
    pub(super) fn write(&mut self, block: Vec<u8>) {
        if self.blocks.is_empty() {
            self.due = Instant::now() + WRITE;
        }
        self.blocks.push_back(block);
    }

    /// Whether everything was written.
    pub(super) fn written(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Writes what is to be written until there is something to read: its length. Cancel safe.
    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let ready = if self.written() {
                self.socket.ready(Interest::READABLE).await?
            } else {
                let ready = self.socket.ready(Interest::READABLE | Interest::WRITABLE);
                timeout_at(self.due, ready).await.map_err(|_| io::ErrorKind::TimedOut)??
            };
            if ready.is_writable() {
                self.flush()?;
            }
            if !self.written() && Instant::now() >= self.due {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if ready.is_readable() {
                match self.socket.try_read(buffer) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return read,
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while let Some(block) = self.blocks.front_mut() {
            match self.socket.try_write(block) {
                Ok(length) => {
                    self.due = Instant::now() + WRITE;
                    block.drain(..length);
                    if block.is_empty() {
                        self.blocks.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use tokio::time::{sleep, timeout};

    use super::*;

    struct Openvpn(Child);

    impl Drop for Openvpn {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// So many that their answers fill both sockets several times over.
    const COMMANDS: usize = 3000;

    #[tokio::test]
    async fn a_real_openvpn_takes_and_answers_more_commands_than_the_sockets_hold() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("management.sock");
        let mut command = Command::new("openvpn");
        command.args(["--dev", "null", "--management-hold", "--management"]).arg(&socket).arg("unix");
        let _openvpn = Openvpn(command.stdout(Stdio::null()).spawn().expect("openvpn is installed"));
        let whole = async {
            let connection = loop {
                match UnixStream::connect(&socket).await {
                    Ok(connection) => break connection,
                    Err(_) => sleep(Duration::from_millis(10)).await,
                }
            };
            let mut stream = Stream::new(connection);
            (0..COMMANDS).for_each(|_| stream.write(b"client-auth-nt 4 1\n".to_vec()));
            let (mut buffer, mut answers) = (vec![0; 64 << 10], 0);
            while answers < COMMANDS {
                let length = stream.read(&mut buffer).await.expect("it says something");
                answers +=
                    buffer[..length].split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"ERROR")).count();
            }
        };
        timeout(Duration::from_secs(30), whole).await.expect("it answers all");
    }
}
