//! The api from outside, over HTTP, on a real bus and a real queue.

mod access;
mod away;
mod bulk;
mod doomed;
mod hosts;
mod kit;
mod metrics;
mod moving;
mod parameters;
mod pools;
mod race;
mod renewal;
mod sockets;
mod story;
mod work;
