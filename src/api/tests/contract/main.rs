//! The api from outside, over HTTP, on a real bus and a real queue.

mod access;
mod away;
mod kit;
mod race;
mod sockets;
mod story;
