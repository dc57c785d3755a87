//! What processes need of the kernel that the standard library does not offer: passing descriptors, namespaces, pidfds,
//! tun devices, the processor's time, starting programs with less than their parent has.
//!
//! Security: this crate and `sandbox` are the only ones that may say `unsafe`; each block says why it is sound. It is
//! linked into the two programs that run as root, so it depends on nix alone and knows nothing of the product.

#![deny(clippy::undocumented_unsafe_blocks)]

mod error;

pub mod environment;
pub mod inherited;
pub mod launch;
pub mod log;
pub mod memfd;
pub mod netns;
pub mod notify;
pub mod packet;
pub mod pidfd;
pub mod processor;
pub mod socket;
pub mod tun;

pub use error::Error;
