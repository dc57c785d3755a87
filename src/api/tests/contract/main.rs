//! The api from outside, over HTTP, on a real bus and a real queue.

mod access;
mod away;
mod hosts;
mod kit;
mod parameters;
mod pools;
mod race;
mod sockets;
mod story;
mod work;
