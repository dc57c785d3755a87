//! An OpenVPN that is only its management socket: it answers commands as version 2.6 does, and says what a test tells it.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

/// How long a test waits for anything.
const SOON: Duration = Duration::from_secs(5);

/// The listening end.
pub struct Openvpn(UnixListener);

/// A controller's connection.
pub struct Controller {
    stream: UnixStream,
    /// What the controller wrote and no test has looked at.
    heard: String,
    /// The lines of `status 3` between its title and its end.
    pub rows: Vec<String>,
}

impl Openvpn {
    /// Listens.
    pub fn start(socket: &Path) -> Self {
        std::fs::create_dir_all(socket.parent().expect("a folder")).expect("a folder");
        Self(UnixListener::bind(socket).expect("a socket"))
    }

    /// Waits for a controller and greets it.
    pub async fn controller(&self) -> Controller {
        let (stream, _) = timeout(SOON, self.0.accept()).await.expect("a controller").expect("accepted");
        let mut controller = Controller { stream, heard: String::new(), rows: Vec::new() };
        controller.say(">INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info\r\n").await;
        controller
    }
}

impl Controller {
    /// Says something.
    pub async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.expect("written");
    }

    /// A notice about a client.
    pub async fn notice(&mut self, what: &str, environment: &[(&str, &str)]) {
        let mut text = format!(">CLIENT:{what}\r\n");
        for (name, value) in environment {
            text += &format!(">CLIENT:ENV,{name}={value}\r\n");
        }
        self.say(&(text + ">CLIENT:ENV,END\r\n")).await;
    }

    /// Answers commands until one begins with `wanted`, and gives that one back, up to its end.
    pub async fn until(&mut self, wanted: &str) -> String {
        loop {
            let command = self.command().await;
            self.reply(&command).await;
            if command.starts_with(wanted) {
                return command;
            }
        }
    }

    /// Answers commands for a while; gives them back.
    pub async fn during(&mut self, time: Duration) -> Vec<String> {
        let mut commands = Vec::new();
        let _ = timeout(time, async {
            loop {
                let command = self.command().await;
                self.reply(&command).await;
                commands.push(command);
            }
        })
        .await;
        commands
    }

    /// The next command, all of it.
    async fn command(&mut self) -> String {
        loop {
            let end = if self.heard.starts_with("client-auth ") { "\nEND\n" } else { "\n" };
            if let Some(place) = self.heard.find(end) {
                let rest = self.heard.split_off(place + end.len());
                return std::mem::replace(&mut self.heard, rest).trim_end().to_owned();
            }
            let mut buffer = [0; 4096];
            let length = timeout(SOON, self.stream.read(&mut buffer)).await.expect("a command").expect("read");
            assert!(length > 0, "the controller is gone");
            self.heard += std::str::from_utf8(&buffer[..length]).expect("text");
        }
    }

    async fn reply(&mut self, command: &str) {
        let answer = match command.split(' ').next().unwrap_or_default() {
            "" => String::new(),
            "END" => "ERROR: unknown command, enter 'help' for more options\r\n".into(),
            "env-filter" => format!("SUCCESS: env_filter_level={}\r\n", &command[11..]),
            "state" if command == "state" => "1,CONNECTED,SUCCESS,10.201.0.1,,,,\r\nEND\r\n".into(),
            "status" => format!("TITLE\tOpenVPN\r\n{}END\r\n", self.rows.concat()),
            word => format!("SUCCESS: {word} command succeeded\r\n"),
        };
        self.say(&answer).await;
    }
}
