//! What the tests play against: a bus that keeps records in memory, a helper that notes what it is asked, an OpenVPN that
//! says what it is told to.
#![allow(dead_code)]

pub mod bus;
pub mod helper;
pub mod openvpn;
pub mod records;
